//! Choices where the documentation is silent or contradicts itself.
//!
//! Owns every rule of this kind that a test may want to turn (server.md 11); nothing else
//! in the engine decides such a question on its own.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;
use std::time::Duration;

/// Where public sources leave a question open: which answer the server gives.
///
/// ```
/// use amps_testkit::{MaxCancels, Switches};
///
/// let switches = Switches { max_cancels: MaxCancels::Exceed, ..Switches::default() };
/// assert!(switches.logon_required_ack);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switches {
    /// `logon.required_ack`: a command before the logon gets a failure ack (if it asked for
    /// `processed`) before the connection is closed. Default `true`.
    pub logon_required_ack: bool,
    /// `logon.close_on_failure`: a refused logon closes the connection. Default `true`.
    pub close_on_refused_logon: bool,
    /// `ack.processed_sub_id`: the `processed` ack of a subscribe carries `sub_id`. Default `false`.
    pub processed_sub_id: bool,
    /// `wire.publish_cmd`: how deliveries spell their command. Default [`PublishCommand::Short`].
    pub publish_command: PublishCommand,
    /// `wire.publish_msg_len`: deliveries carry `l`. Default `true`.
    pub publish_length: bool,
    /// `wire.sow_ts`: where the frames of a query say when records were updated. Default
    /// [`SowTimestamp::Record`].
    pub sow_timestamp: SowTimestamp,
    /// `queue.max_cancels`. Default [`MaxCancels::Reach`].
    pub max_cancels: MaxCancels,
    /// `queue.expire_leased`: a message may expire while it is leased. Default `false`: it
    /// expires when the lease ends unsuccessfully.
    pub expire_leased: bool,
    /// `queue.lp_without_lease` for at-least-once queues without a lease period. Default
    /// [`LeaseHeader::FarFuture`].
    pub lease_without_period: LeaseHeader,
    /// `queue.lp_at_most_once`: `lp` of at-most-once queues. Default [`LeaseHeader::Absent`].
    pub lease_at_most_once: LeaseHeader,
    /// `queue.topic_header`: `t` of a queue delivery. Default [`QueueTopic::Queue`].
    pub queue_topic: QueueTopic,
    /// `queue.return_position`: where a returned message goes. Default [`ReturnPosition::Original`].
    pub return_position: ReturnPosition,
    /// `heartbeat.only_beat`: only heartbeat commands count as life. Default `false`: every
    /// inbound byte counts.
    pub heartbeat_only_beat: bool,
    /// `dup.ack`: what a duplicate publish that asks for `persisted` is told. Default
    /// [`DuplicateAck::Success`].
    pub duplicate_ack: DuplicateAck,
    /// `dup.failed_advances`: a sequenced publish that failed counts as seen. Default `true`.
    pub failed_advances: bool,
    /// `delta.null`: what a null in a delta does to the stored value. Default
    /// [`DeltaNull::Keep`].
    pub delta_null: DeltaNull,
    /// `delta.no_empties_keys`: a delta subscription with `no_empties` gets the key fields of a
    /// record without asking for `send_keys`. Default `false`.
    pub no_empties_keys: bool,
    /// `page.order`: in which order the frames of one change of a page are sent. Default
    /// [`PageOrder::OutFirst`].
    pub page_order: PageOrder,
    /// `sow.topn_round_to_batch`: the `top_n` of a query, unless it makes a page, is rounded up to a
    /// multiple of its batch size. Default `false`.
    pub round_top_n: bool,
    /// `topics.internal_in_regex`: `.*` receives `/AMPS/...` traffic too. Default `false`.
    pub internal_in_regex: bool,
    /// `options.unknown`. Default [`UnknownOptions::Ignore`].
    pub unknown_options: UnknownOptions,
    /// `bookmark.unlogged`: a bookmark subscription to one topic that is not logged. Default
    /// [`UnloggedBookmark::Error`].
    pub bookmark_unlogged: UnloggedBookmark,
    /// `bookmark.after_end`: what becomes of a bookmark subscription that has got all it asked
    /// for. Default [`AfterEnd::Silent`].
    pub bookmark_after_end: AfterEnd,
    /// `bookmark.persisted_interval`: how often bookmark subscriptions are told what is
    /// durable, if it changed. Default `None`: as often as acks of publishes are conflated.
    pub bookmark_persisted_interval: Option<Duration>,
    /// `queue.transfer_delay`: how long the owner of a queue message keeps it that another
    /// instance would deliver and nobody here can take. Default 0.
    pub transfer_delay: Duration,
    /// How long a subscription with `conflation=auto` holds updates back while its client has not
    /// taken what it was sent (CNF-08, inferred). `conflation.auto_interval`, default 100 ms.
    pub auto_conflation: Duration,
    /// `bookmark.hash`: the first part of the bookmarks of certain client names, for example
    /// to reproduce captured traffic. Other names are hashed by FNV-1a. Default: none.
    pub bookmark_hash: BTreeMap<String, u64>,
    /// `expr.null_logic`: what `AND` and `OR` make of NULL. Default [`NullLogic::Amps`].
    pub null_logic: NullLogic,
    /// `expr.nan`: what a comparison makes of NaN. Default [`NanComparison::AlwaysFalse`].
    pub nan: NanComparison,
    /// `expr.untyped_string_compare`: how a number of FIX, NVFIX or XML meets a string. Default
    /// [`UntypedCompare::Text`].
    pub untyped_string_compare: UntypedCompare,
    /// `ack.from_client`: an `ack` command from a client is taken as a queue acknowledgement
    /// (protocol.md C-7) instead of closing the connection. Default `false`.
    pub accept_client_ack: bool,
    /// `sow.unordered`: the order of the results of queries that ask for none (QRY-06). Default
    /// [`Unordered::Insertion`].
    pub unordered: Unordered,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            logon_required_ack: true,
            close_on_refused_logon: true,
            processed_sub_id: false,
            publish_command: PublishCommand::Short,
            publish_length: true,
            sow_timestamp: SowTimestamp::Record,
            max_cancels: MaxCancels::Reach,
            expire_leased: false,
            lease_without_period: LeaseHeader::FarFuture,
            lease_at_most_once: LeaseHeader::Absent,
            queue_topic: QueueTopic::Queue,
            return_position: ReturnPosition::Original,
            heartbeat_only_beat: false,
            duplicate_ack: DuplicateAck::Success,
            failed_advances: true,
            delta_null: DeltaNull::Keep,
            no_empties_keys: false,
            page_order: PageOrder::OutFirst,
            round_top_n: false,
            internal_in_regex: false,
            unknown_options: UnknownOptions::Ignore,
            bookmark_unlogged: UnloggedBookmark::Error,
            bookmark_after_end: AfterEnd::Silent,
            bookmark_persisted_interval: None,
            transfer_delay: Duration::ZERO,
            auto_conflation: Duration::from_millis(100),
            bookmark_hash: BTreeMap::new(),
            null_logic: NullLogic::Amps,
            nan: NanComparison::AlwaysFalse,
            untyped_string_compare: UntypedCompare::Text,
            accept_client_ack: false,
            unordered: Unordered::Insertion,
        }
    }
}

/// How a delivery spells its command.
///
/// ```
/// use amps_testkit::{PublishCommand, Switches};
///
/// assert_eq!(Switches::default().publish_command, PublishCommand::Short);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishCommand {
    /// `p`.
    Short,
    /// `publish`.
    Long,
}

/// Where a frame with several records says when they were updated, if that was asked for.
///
/// ```
/// use amps_testkit::{SowTimestamp, Switches};
///
/// assert_eq!(Switches::default().sow_timestamp, SowTimestamp::Record);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SowTimestamp {
    /// In the header of each record.
    Record,
    /// In the header of the frame, for the newest of its records.
    Frame,
}

/// In which order a change of a page is told.
///
/// ```
/// use amps_testkit::{PageOrder, Switches};
///
/// assert_eq!(Switches::default().page_order, PageOrder::OutFirst);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageOrder {
    /// What leaves, then what enters.
    OutFirst,
    /// What enters, then what leaves.
    InFirst,
}

/// When the limit of cancels removes a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxCancels {
    /// With the n-th cancel.
    Reach,
    /// With the cancel after the n-th.
    Exceed,
}

/// What `lp` says where no lease ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseHeader {
    /// `99991231T235959.000000Z`.
    FarFuture,
    /// There is no `lp`.
    Absent,
}

/// Which topic a queue delivery names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueTopic {
    /// The name of the queue.
    Queue,
    /// The topic that the message was published to.
    Underlying,
}

/// Where a message goes that comes back to its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReturnPosition {
    /// To its old place, so that it is the next to be delivered.
    Original,
    /// Behind everything that waits.
    Tail,
}

/// What the publisher of a duplicate is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DuplicateAck {
    /// Success: the next conflated ack covers it.
    Success,
    /// Failure, with the reason `duplicate`.
    Reason,
}

pub use super::filter::{NanComparison, NullLogic, UntypedCompare};
pub use super::format::DeltaNull;

/// What becomes of a command with an option that the server does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownOptions {
    /// The option is ignored, and noted in the journal.
    Ignore,
    /// The command fails with `invalid options`.
    Reject,
}

/// What a bookmark subscription to a topic that is not logged is.
///
/// ```
/// use amps_testkit::{Switches, UnloggedBookmark};
///
/// let switches = Switches { bookmark_unlogged: UnloggedBookmark::Live, ..Switches::default() };
/// assert_ne!(switches, Switches::default());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnloggedBookmark {
    /// An error: `invalid topic`.
    Error,
    /// An ordinary subscription, without replay.
    Live,
}

/// What becomes of a bookmark subscription after its last message: that at the end of a range,
/// or the n-th of `top_n`.
///
/// ```
/// use amps_testkit::{AfterEnd, Switches};
///
/// assert_eq!(Switches::default().bookmark_after_end, AfterEnd::Silent);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterEnd {
    /// It stays registered, and gets nothing more.
    Silent,
    /// It is unsubscribed.
    Remove,
}

/// In which order a query returns what it was not told to order.
///
/// ```
/// use amps_testkit::{Switches, Unordered};
///
/// let switches = Switches { unordered: Unordered::Shuffle(7), ..Switches::default() };
/// assert_eq!(Switches::default().unordered, Unordered::Insertion);
/// assert_ne!(switches, Switches::default());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unordered {
    /// That in which the records were inserted.
    Insertion,
    /// Another with every query, drawn from this seed.
    Shuffle(u64),
}
