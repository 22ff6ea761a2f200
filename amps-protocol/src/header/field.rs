//! The fields that a header can hold.
//!
//! Owns their names: the one key that is written, and every other key that is understood.

/// A header field. The order of the variants is the canonical order in which encoders
/// write them, so that equal commands give equal bytes (protocol.md E-8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Field {
    /// `c`: What the frame asks or tells. Also read as `cmd`.
    Command,
    /// `cid`: Names a command, so that its acknowledgements can be told apart. Also read as `cmd_id`.
    CommandId,
    /// `s`: The publisher's sequence number, above zero when sent. Also read as `seq`.
    Sequence,
    /// `bm`: A position in the transaction log, or several, comma separated. Also read as `bookmark`.
    Bookmark,
    /// `client_name`: The name of the client, in a logon and its acknowledgement.
    ClientName,
    /// `user_id`: The user who logs on; on deliveries the publisher, where the server tells.
    UserId,
    /// `pw`: The password or token of a logon. Never shown by `Debug`. Also read as `password`.
    Password,
    /// `mt`: The connection's message type: `json`, `nvfix`, … Also read as `message_type`.
    MessageType,
    /// `t`: The topic; a regular expression in subscriptions and queries. Also read as `topic`.
    Topic,
    /// `sub_id`: The subscription, or a comma list of them.
    SubId,
    /// `sids`: Every subscription of this connection that a delivery matched.
    SubIds,
    /// `query_id`: The query whose result this is.
    QueryId,
    /// `f`: The content filter. Also read as `filter`.
    Filter,
    /// `orderby`: The order of a query's result. Also read as `order_by`.
    OrderBy,
    /// `bs`: Records per `sow` frame: asked, or contained. Also read as `batch_size`.
    BatchSize,
    /// `gseq`: Number of a batch within its query result. Also read as `group_sequence_number`.
    GroupSequence,
    /// `top_n`: The most records to return.
    TopN,
    /// `e`: Seconds until the message expires. Also read as `expiration`.
    Expiration,
    /// `k`: The key of a record in the state of the world. Also read as `sow_key`.
    SowKey,
    /// `sow_keys`: Several record keys, comma separated.
    SowKeys,
    /// `x`: The publisher's own mark, passed through verbatim. Also read as `correlation_id`.
    CorrelationId,
    /// `o`: The options of a command, or those the server granted. Also read as `opts`, `options`.
    Options,
    /// `lp`: When the lease of a queue message ends. Also read as `leaseperiod`, `lease_period`.
    Lease,
    /// `ts`: When the server processed the message. Also read as `timestamp`.
    Timestamp,
    /// `matches`: Records that satisfied topic and filter.
    Matches,
    /// `topic_matches`: Records looked at in matching topics.
    TopicMatches,
    /// `records_returned`: Records sent.
    RecordsReturned,
    /// `records_inserted`: Records inserted.
    RecordsInserted,
    /// `records_updated`: Records updated.
    RecordsUpdated,
    /// `records_deleted`: Records deleted.
    RecordsDeleted,
    /// `a`: The acknowledgements asked for, or the kind of this one. Also read as `ack_type`.
    AckType,
    /// `status`: Whether a command succeeded.
    Status,
    /// `reason`: Why a command failed, or why a record left focus.
    Reason,
    /// `version`: The version of the client or of the server. Also read as `v`.
    Version,
    /// `data_only`: Legacy: no envelope on deliveries.
    DataOnly,
    /// `send_empty`: Legacy: deliver empty updates.
    SendEmpty,
    /// `send_keys`: Legacy: include key fields.
    SendKeys,
    /// `send_oof`: Legacy: ask for out-of-focus messages.
    SendOof,
    /// `send_matching_ids`: Legacy: ask for subscription ids. Also read as `send_matchng_ids`.
    SendMatchingIds,
    /// `max_msgs`: Legacy: most messages in a batch publish. Also read as `maximum_messages`.
    MaxMessages,
    /// `heartbeat`: Legacy: the old form of the heartbeat command.
    Heartbeat,
    /// `timeout_interval`: Legacy: publisher timeout.
    TimeoutInterval,
    /// `grace_period`: Legacy: obsolete.
    GracePeriod,
    /// `use_ns`: Legacy: SOAP namespaces.
    UseNamespaces,
    /// `src`: Legacy: source of a replicated message.
    Source,
    /// `skip_n`: Legacy: header form of the option `skip_n`.
    SkipN,
    /// `l`: Bytes of the body; decisive only inside `sow` frames. Also read as `msg_len`.
    Length,
}

impl Field {
    /// Every field, in canonical order.
    pub const ALL: &'static [Self] = &[
        Self::Command,
        Self::CommandId,
        Self::Sequence,
        Self::Bookmark,
        Self::ClientName,
        Self::UserId,
        Self::Password,
        Self::MessageType,
        Self::Topic,
        Self::SubId,
        Self::SubIds,
        Self::QueryId,
        Self::Filter,
        Self::OrderBy,
        Self::BatchSize,
        Self::GroupSequence,
        Self::TopN,
        Self::Expiration,
        Self::SowKey,
        Self::SowKeys,
        Self::CorrelationId,
        Self::Options,
        Self::Lease,
        Self::Timestamp,
        Self::Matches,
        Self::TopicMatches,
        Self::RecordsReturned,
        Self::RecordsInserted,
        Self::RecordsUpdated,
        Self::RecordsDeleted,
        Self::AckType,
        Self::Status,
        Self::Reason,
        Self::Version,
        Self::DataOnly,
        Self::SendEmpty,
        Self::SendKeys,
        Self::SendOof,
        Self::SendMatchingIds,
        Self::MaxMessages,
        Self::Heartbeat,
        Self::TimeoutInterval,
        Self::GracePeriod,
        Self::UseNamespaces,
        Self::Source,
        Self::SkipN,
        Self::Length,
    ];

    /// The key under which the field is written.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Command => "c",
            Self::CommandId => "cid",
            Self::Sequence => "s",
            Self::Bookmark => "bm",
            Self::ClientName => "client_name",
            Self::UserId => "user_id",
            Self::Password => "pw",
            Self::MessageType => "mt",
            Self::Topic => "t",
            Self::SubId => "sub_id",
            Self::SubIds => "sids",
            Self::QueryId => "query_id",
            Self::Filter => "f",
            Self::OrderBy => "orderby",
            Self::BatchSize => "bs",
            Self::GroupSequence => "gseq",
            Self::TopN => "top_n",
            Self::Expiration => "e",
            Self::SowKey => "k",
            Self::SowKeys => "sow_keys",
            Self::CorrelationId => "x",
            Self::Options => "o",
            Self::Lease => "lp",
            Self::Timestamp => "ts",
            Self::Matches => "matches",
            Self::TopicMatches => "topic_matches",
            Self::RecordsReturned => "records_returned",
            Self::RecordsInserted => "records_inserted",
            Self::RecordsUpdated => "records_updated",
            Self::RecordsDeleted => "records_deleted",
            Self::AckType => "a",
            Self::Status => "status",
            Self::Reason => "reason",
            Self::Version => "version",
            Self::DataOnly => "data_only",
            Self::SendEmpty => "send_empty",
            Self::SendKeys => "send_keys",
            Self::SendOof => "send_oof",
            Self::SendMatchingIds => "send_matching_ids",
            Self::MaxMessages => "max_msgs",
            Self::Heartbeat => "heartbeat",
            Self::TimeoutInterval => "timeout_interval",
            Self::GracePeriod => "grace_period",
            Self::UseNamespaces => "use_ns",
            Self::Source => "src",
            Self::SkipN => "skip_n",
            Self::Length => "l",
        }
    }

    /// The field that a received key means: the written key, or any other known spelling.
    #[inline]
    pub fn from_key(key: &[u8]) -> Option<Self> {
        Some(match key {
            b"c" | b"cmd" => Self::Command,
            b"cid" | b"cmd_id" => Self::CommandId,
            b"s" | b"seq" => Self::Sequence,
            b"bm" | b"bookmark" => Self::Bookmark,
            b"client_name" => Self::ClientName,
            b"user_id" => Self::UserId,
            b"pw" | b"password" => Self::Password,
            b"mt" | b"message_type" => Self::MessageType,
            b"t" | b"topic" => Self::Topic,
            b"sub_id" => Self::SubId,
            b"sids" => Self::SubIds,
            b"query_id" => Self::QueryId,
            b"f" | b"filter" => Self::Filter,
            b"orderby" | b"order_by" => Self::OrderBy,
            b"bs" | b"batch_size" => Self::BatchSize,
            b"gseq" | b"group_sequence_number" => Self::GroupSequence,
            b"top_n" => Self::TopN,
            b"e" | b"expiration" => Self::Expiration,
            b"k" | b"sow_key" => Self::SowKey,
            b"sow_keys" => Self::SowKeys,
            b"x" | b"correlation_id" => Self::CorrelationId,
            b"o" | b"opts" | b"options" => Self::Options,
            b"lp" | b"leaseperiod" | b"lease_period" => Self::Lease,
            b"ts" | b"timestamp" => Self::Timestamp,
            b"matches" => Self::Matches,
            b"topic_matches" => Self::TopicMatches,
            b"records_returned" => Self::RecordsReturned,
            b"records_inserted" => Self::RecordsInserted,
            b"records_updated" => Self::RecordsUpdated,
            b"records_deleted" => Self::RecordsDeleted,
            b"a" | b"ack_type" => Self::AckType,
            b"status" => Self::Status,
            b"reason" => Self::Reason,
            b"version" | b"v" => Self::Version,
            b"data_only" => Self::DataOnly,
            b"send_empty" => Self::SendEmpty,
            b"send_keys" => Self::SendKeys,
            b"send_oof" => Self::SendOof,
            b"send_matching_ids" | b"send_matchng_ids" => Self::SendMatchingIds,
            b"max_msgs" | b"maximum_messages" => Self::MaxMessages,
            b"heartbeat" => Self::Heartbeat,
            b"timeout_interval" => Self::TimeoutInterval,
            b"grace_period" => Self::GracePeriod,
            b"use_ns" => Self::UseNamespaces,
            b"src" => Self::Source,
            b"skip_n" => Self::SkipN,
            b"l" | b"msg_len" => Self::Length,
            _ => return None,
        })
    }

    /// Whether an empty value counts as absent (protocol.md D-14).
    pub(crate) const fn is_identifier(self) -> bool {
        matches!(self, Self::CommandId | Self::SubId | Self::SubIds | Self::QueryId | Self::Bookmark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_found_under_its_own_key_and_keys_are_unique() {
        for (i, field) in Field::ALL.iter().enumerate() {
            assert_eq!(Field::from_key(field.key().as_bytes()), Some(*field));
            assert_eq!(*field as usize, i);
        }
        assert_eq!(Field::from_key(b"C"), None, "keys are case sensitive");
        assert_eq!(Field::from_key(b"opts"), Some(Field::Options));
    }
}
