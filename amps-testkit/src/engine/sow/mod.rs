//! The state of the world: the last message of each key, and everything that follows from it
//! (server.md 4).
//!
//! * `table` keeps the records;
//! * `query` answers queries, in batches, ordered and cut as asked;
//! * `change` is what a publish, a delete or time does to a record, and who hears of it;
//! * `watch` are the subscriptions that look at whole topics;
//! * `page` keeps windows over ordered results, `ranked` the order;
//! * `groups` computes one result per group of records, `aggregate` keeps subscriptions to
//!   them up to date;
//! * `derived` keeps views and conflated topics, `join` the rows of views over several topics;
//! * `queued` shows views and aggregates what can be seen of a queue;
//! * `history` keeps past states that can be queried;
//! * `enrich` adds fields on the way in;
//! * `delete` is `sow_delete` on a topic that is no queue.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod aggregate;
mod change;
mod delete;
mod derived;
mod enrich;
mod groups;
mod history;
mod join;
mod page;
mod query;
mod queued;
mod ranked;
mod table;
mod watch;

pub(crate) use aggregate::Aggregate;
pub(crate) use change::Change;
pub(crate) use derived::{Derived, derive};
pub(crate) use enrich::Incoming;
pub(crate) use groups::Grouping;
pub(crate) use history::Point;
pub(crate) use page::Page;
pub(crate) use table::{Layout, Record, Resource, Table, resource_in};
pub(crate) use watch::Watchers;
