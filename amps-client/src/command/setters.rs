//! Filling a command in.

use std::time::Duration;

use amps_protocol::{AckType, AckTypes, BookmarkNotFound, Interval, Options};
use bytes::Bytes;

use super::Command;

impl Command {
    /// The topic, or a regular expression over topics.
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.topic = Some(topic.into());
        self
    }

    /// A content filter. The client sends it as it is; the server evaluates it.
    pub fn filter(mut self, filter: impl Into<String>) -> Self {
        self.filter = Some(filter.into());
        self
    }

    /// The body of a publish, or the record that a `sow_delete` is to delete.
    pub fn data(mut self, data: impl Into<Bytes>) -> Self {
        self.data = Some(data.into());
        self
    }

    /// Chooses the command id; else the client does.
    pub fn command_id(mut self, id: impl Into<String>) -> Self {
        self.command_id = Some(id.into());
        self
    }

    /// Chooses the subscription id, or names the one to replace. For `unsubscribe` and to
    /// pause or resume replays it may be a comma list.
    pub fn sub_id(mut self, id: impl Into<String>) -> Self {
        self.sub_id = Some(id.into());
        self
    }

    /// Names several subscriptions, for `unsubscribe` and to pause or resume replays.
    pub fn sub_ids<S: AsRef<str>>(mut self, ids: impl IntoIterator<Item = S>) -> Self {
        self.sub_id = Some(joined(ids));
        self
    }

    /// Chooses the query id.
    pub fn query_id(mut self, id: impl Into<String>) -> Self {
        self.query_id = Some(id.into());
        self
    }

    /// Where a replay or a historical query begins: a bookmark, a comma list of them, a time
    /// (`YYYYmmddTHHMMSS`), `0` for the beginning, `0|1|` for now. In a `sow_delete` the
    /// messages of a queue that are to be settled.
    pub fn bookmark(mut self, bookmark: impl Into<String>) -> Self {
        self.bookmark = Some(bookmark.into());
        self
    }

    /// Replaces all options by this text, which is sent as it is.
    pub fn options(mut self, text: &str) -> Self {
        self.options = Options::parse(text);
        self
    }

    /// Sets one option by name, in place of an earlier value of the same name.
    pub fn option(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.options.set(name, value);
        self
    }

    /// Sets one option that has no value.
    pub fn flag(mut self, name: &str) -> Self {
        self.options.flag(name);
        self
    }

    /// Asks for one more acknowledgement. The ones asked for here are delivered to the
    /// command's stream or handler; those that the client needs by itself are not.
    pub fn ack(mut self, ack: AckType) -> Self {
        self.acks = self.acks.with(ack);
        self.no_acks = false;
        self
    }

    /// Asks for these acknowledgements, instead of what was asked for before.
    pub fn acks(mut self, acks: impl Into<AckTypes>) -> Self {
        self.acks = acks.into();
        self.no_acks = false;
        self
    }

    /// Asks for no acknowledgement at all, not even for those that the client needs: nobody
    /// waits for the server then, and a refusal goes to the listener for unexpected messages.
    pub fn no_acks(mut self) -> Self {
        self.acks = AckTypes::NONE;
        self.no_acks = true;
        self
    }

    /// Records per message of a query's result. Default 10; a server takes up to 10,000. One
    /// for very large records, 50 to 100 for small ones.
    pub fn batch_size(mut self, records: u64) -> Self {
        self.batch_size = Some(records);
        self
    }

    /// The most records to return. Default: all.
    pub fn top_n(mut self, records: u64) -> Self {
        self.top_n = Some(records);
        self
    }

    /// How many records to skip; needs [`top_n`](Self::top_n) and [`order_by`](Self::order_by).
    pub fn skip_n(mut self, records: u64) -> Self {
        self.options.set_skip_n(records);
        self
    }

    /// The order of a query's records, such as `/price DESC`.
    pub fn order_by(mut self, order: impl Into<String>) -> Self {
        self.order_by = Some(order.into());
        self
    }

    /// Seconds until a published message expires; 0 for never.
    pub fn expiration(mut self, seconds: u64) -> Self {
        self.expiration = Some(seconds);
        self
    }

    /// The key of the record to write, where the topic leaves keys to publishers.
    pub fn sow_key(mut self, key: impl Into<String>) -> Self {
        self.sow_key = Some(key.into());
        self
    }

    /// The keys of the records to query or delete: those that messages bear, not values of
    /// fields.
    pub fn sow_keys<S: Into<String>>(mut self, keys: impl IntoIterator<Item = S>) -> Self {
        self.sow_keys = keys.into_iter().map(Into::into).collect();
        self
    }

    /// A mark of your own that goes with the message. AMPS asks for Base64 characters.
    pub fn correlation_id(mut self, mark: impl Into<String>) -> Self {
        self.correlation_id = Some(mark.into());
        self
    }

    /// The sequence number of a publish, for applications that number by themselves.
    pub fn sequence(mut self, number: u64) -> Self {
        self.sequence = Some(number);
        self
    }

    /// The message type, for commands of newer servers that have one.
    pub fn message_type(mut self, name: impl Into<String>) -> Self {
        self.message_type = Some(name.into());
        self
    }

    /// How long to wait for the server, instead of
    /// [`ClientBuilder::command_timeout`](crate::ClientBuilder::command_timeout). Without effect
    /// on a publish, which does not wait.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How many unacknowledged messages of a queue to accept at a time.
    pub fn max_backlog(mut self, messages: u32) -> Self {
        self.options.set_max_backlog(messages);
        self
    }

    /// Has the server hold updates back, and send at most the last one of each interval for
    /// each record.
    pub fn conflation(mut self, interval: Duration) -> Self {
        self.options.set("conflation", Interval::from(interval));
        self
    }

    /// What makes messages the same record for [`conflation`](Self::conflation); default the
    /// record key. A list of fields such as `[/id,/side]`.
    pub fn conflation_key(mut self, fields: &str) -> Self {
        self.options.set("conflation_key", bracketed(fields));
        self
    }

    /// How fast a replay may go: messages per second, bytes (`10MB`), or a multiple of the
    /// original speed (`2X`).
    pub fn rate(mut self, rate: impl std::fmt::Display) -> Self {
        self.options.set("rate", rate);
        self
    }

    /// The longest silence in a replay whose [`rate`](Self::rate) is a multiple.
    pub fn rate_max_gap(mut self, gap: Duration) -> Self {
        self.options.set_rate_max_gap(gap.into());
        self
    }

    /// The fields to deliver, such as `[/id,/price]` or `[-/,+/id]`.
    pub fn select(mut self, fields: &str) -> Self {
        self.options.set("select", bracketed(fields));
        self
    }

    /// The fields of an aggregation, such as `[/id,SUM(/qty) AS /total]`; needs
    /// [`grouping`](Self::grouping).
    pub fn projection(mut self, fields: &str) -> Self {
        self.options.set("projection", bracketed(fields));
        self
    }

    /// What an aggregation groups by, such as `[/id]`.
    pub fn grouping(mut self, fields: &str) -> Self {
        self.options.set("grouping", bracketed(fields));
        self
    }

    /// What a replay does when the log has none of its bookmarks.
    pub fn bookmark_not_found(mut self, what: BookmarkNotFound) -> Self {
        self.options.set_bookmark_not_found(what);
        self
    }

    /// Extends the lease of a queue message, with a bookmark in a `sow_delete`.
    pub fn lease_extension(mut self, span: Duration) -> Self {
        self.options.set_lease_extension(span.into());
        self
    }
}

/// One method for each option that is only there or not.
macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident: $set:ident;)*) => {
        impl Command {
            $($(#[$doc])* pub fn $name(mut self) -> Self { self.options.$set(true); self })*
        }
    };
}

flags! {
    /// Tells when a record leaves the focus: deleted, expired, or no longer a match.
    oof: set_oof;
    /// Has deltas bear the key fields.
    send_keys: set_send_keys;
    /// Leaves out deltas in which nothing changed.
    no_empties: set_no_empties;
    /// Leaves record keys out of deliveries.
    no_sow_key: set_no_sow_key;
    /// Puts the server's time on deliveries.
    timestamp: set_timestamp;
    /// Once the replay is over, delivers before messages are persisted.
    live: set_live;
    /// Delivers only what every synchronous replica has.
    fully_durable: set_fully_durable;
    /// Replaces the subscription that has this id.
    replace: set_replace;
    /// Enters a replay paused, or pauses the ones that [`sub_id`](Self::sub_id) names.
    pause: set_pause;
    /// Resumes the paused replays that [`sub_id`](Self::sub_id) names, together.
    resume: set_resume;
    /// Takes the topic literally, whatever characters it has.
    non_regex_topic: set_non_regex_topic;
    /// Gives the messages back to their queue.
    cancel: set_cancel;
    /// Expires the messages of a queue now.
    expire: set_expire;
}

fn joined<S: AsRef<str>>(parts: impl IntoIterator<Item = S>) -> String {
    let parts: Vec<S> = parts.into_iter().collect();
    parts.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(",")
}

/// A list that protects its commas.
fn bracketed(list: &str) -> String {
    if list.starts_with('[') { list.to_owned() } else { format!("[{list}]") }
}
