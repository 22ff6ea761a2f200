//! The fields that a header can hold.
//!
//! Owns their names: the one key that is written, and every other key that is understood.

/// Makes the enum and everything that follows from its names out of one table: each field
/// with the key that is written, then the other keys that are understood.
macro_rules! fields {
    ($($(#[$doc:meta])* $name:ident: $key:literal $(| $alias:literal)*,)*) => {
        /// A header field. The order of the variants is the canonical order in which encoders
        /// write them, so that equal commands give equal bytes (protocol.md E-8).
        ///
        /// ```
        /// use amps_protocol::Field;
        ///
        /// assert_eq!(Field::from_key(b"bookmark"), Some(Field::Bookmark));
        /// assert_eq!(Field::Bookmark.key(), "bm");
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum Field {
            $($(#[$doc])* $name,)*
        }

        impl Field {
            /// Every field, in canonical order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The key under which the field is written.
            #[inline]
            pub const fn key(self) -> &'static str {
                match self {
                    $(Self::$name => $key,)*
                }
            }

            /// Every key under which the field is understood, the written one first.
            pub const fn keys(self) -> &'static [&'static str] {
                match self {
                    $(Self::$name => &[$key $(, $alias)*],)*
                }
            }

            /// What precedes a value without quotes: comma, key and colon.
            #[inline(always)]
            pub(super) const fn lead(self) -> &'static [u8] {
                match self {
                    $(Self::$name => concat!(",\"", $key, "\":").as_bytes(),)*
                }
            }

            /// What precedes a value in quotes, the opening quote included.
            #[inline(always)]
            pub(super) const fn text_lead(self) -> &'static [u8] {
                match self {
                    $(Self::$name => concat!(",\"", $key, "\":\"").as_bytes(),)*
                }
            }

            /// The field that a key of at most seven bytes means, the key and its closing quote
            /// being given as a little-endian integer: a chain of integer comparisons, which compiles
            /// to a few instructions.
            #[inline]
            pub(super) const fn from_short_key(key: u64) -> Option<Self> {
                $(
                    if key == const { short_key($key) } $(|| key == const { short_key($alias) })* {
                        return Some(Self::$name);
                    }
                )*
                None
            }

            fn from_long_key(key: &[u8]) -> Option<Self> {
                match key {
                    $(_ if is_long($key, key) $(|| is_long($alias, key))* => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

fields! {
    /// `c`: What the frame asks or tells. Also read as `cmd`.
    Command: "c" | "cmd",
    /// `cid`: Names a command, so that its acknowledgements can be told apart. Also read as `cmd_id`.
    CommandId: "cid" | "cmd_id",
    /// `s`: The publisher's sequence number, above zero when sent. Also read as `seq`.
    Sequence: "s" | "seq",
    /// `bm`: A position in the transaction log, or several, comma separated. Also read as `bookmark`.
    Bookmark: "bm" | "bookmark",
    /// `client_name`: The name of the client, in a logon and its acknowledgement.
    ClientName: "client_name",
    /// `user_id`: The user who logs on; on deliveries the publisher, where the server tells.
    UserId: "user_id",
    /// `pw`: The password or token of a logon. Never shown by `Debug`. Also read as `password`.
    Password: "pw" | "password",
    /// `mt`: The connection's message type: `json`, `nvfix`, … Also read as `message_type`.
    MessageType: "mt" | "message_type",
    /// `t`: The topic; a regular expression in subscriptions and queries. Also read as `topic`.
    Topic: "t" | "topic",
    /// `sub_id`: The subscription, or a comma list of them.
    SubId: "sub_id",
    /// `sids`: Every subscription of this connection that a delivery matched.
    SubIds: "sids",
    /// `query_id`: The query whose result this is.
    QueryId: "query_id",
    /// `f`: The content filter. Also read as `filter`.
    Filter: "f" | "filter",
    /// `orderby`: The order of a query's result. Also read as `order_by`.
    OrderBy: "orderby" | "order_by",
    /// `bs`: Records per `sow` frame: asked, or contained. Also read as `batch_size`.
    BatchSize: "bs" | "batch_size",
    /// `gseq`: Number of a batch within its query result. Also read as `group_sequence_number`.
    GroupSequence: "gseq" | "group_sequence_number",
    /// `top_n`: The most records to return.
    TopN: "top_n",
    /// `e`: Seconds until the message expires. Also read as `expiration`.
    Expiration: "e" | "expiration",
    /// `k`: The key of a record in the state of the world. Also read as `sow_key`.
    SowKey: "k" | "sow_key",
    /// `sow_keys`: Several record keys, comma separated.
    SowKeys: "sow_keys",
    /// `x`: The publisher's own mark, passed through verbatim. Also read as `correlation_id`.
    CorrelationId: "x" | "correlation_id",
    /// `o`: The options of a command, or those the server granted. Also read as `opts`, `options`.
    Options: "o" | "opts" | "options",
    /// `lp`: When the lease of a queue message ends. Also read as `leaseperiod`, `lease_period`.
    Lease: "lp" | "leaseperiod" | "lease_period",
    /// `ts`: When the server processed the message. Also read as `timestamp`.
    Timestamp: "ts" | "timestamp",
    /// `matches`: Records that satisfied topic and filter.
    Matches: "matches",
    /// `topic_matches`: Records looked at in matching topics.
    TopicMatches: "topic_matches",
    /// `records_returned`: Records sent.
    RecordsReturned: "records_returned",
    /// `records_inserted`: Records inserted.
    RecordsInserted: "records_inserted",
    /// `records_updated`: Records updated.
    RecordsUpdated: "records_updated",
    /// `records_deleted`: Records deleted.
    RecordsDeleted: "records_deleted",
    /// `a`: The acknowledgements asked for, or the kind of this one. Also read as `ack_type`.
    AckType: "a" | "ack_type",
    /// `status`: Whether a command succeeded.
    Status: "status",
    /// `reason`: Why a command failed, or why a record left focus.
    Reason: "reason",
    /// `version`: The version of the client or of the server. Also read as `v`.
    Version: "version" | "v",
    /// `data_only`: Legacy: no envelope on deliveries.
    DataOnly: "data_only",
    /// `send_empty`: Legacy: deliver empty updates.
    SendEmpty: "send_empty",
    /// `send_keys`: Legacy: include key fields.
    SendKeys: "send_keys",
    /// `send_oof`: Legacy: ask for out-of-focus messages.
    SendOof: "send_oof",
    /// `send_matching_ids`: Legacy: ask for subscription ids. Also read as `send_matchng_ids`.
    SendMatchingIds: "send_matching_ids" | "send_matchng_ids",
    /// `max_msgs`: Legacy: most messages in a batch publish. Also read as `maximum_messages`.
    MaxMessages: "max_msgs" | "maximum_messages",
    /// `heartbeat`: Legacy: the old form of the heartbeat command.
    Heartbeat: "heartbeat",
    /// `timeout_interval`: Legacy: publisher timeout.
    TimeoutInterval: "timeout_interval",
    /// `grace_period`: Legacy: obsolete.
    GracePeriod: "grace_period",
    /// `use_ns`: Legacy: SOAP namespaces.
    UseNamespaces: "use_ns",
    /// `src`: Legacy: source of a replicated message.
    Source: "src",
    /// `skip_n`: Legacy: header form of the option `skip_n`.
    SkipN: "skip_n",
    /// `l`: Bytes of the body; decisive only inside `sow` frames. Also read as `msg_len`.
    Length: "l" | "msg_len",
}

/// Keys up to this length are compared as integers: with its closing quote, such a key fits
/// one 64-bit word.
const SHORT: usize = 7;

/// A key as an integer, its closing quote included, so that trailing zero bytes count; one
/// that equals no short key if it is too long.
const fn short_key(key: &str) -> u64 {
    let key = key.as_bytes();
    if key.len() > SHORT {
        return u64::MAX;
    }
    let mut word = [0; 8];
    let mut i = 0;
    while i < key.len() {
        word[i] = key[i];
        i += 1;
    }
    word[i] = b'"';
    u64::from_le_bytes(word)
}

#[inline(always)]
fn is_long(known: &'static str, key: &[u8]) -> bool {
    known.len() > SHORT && key == known.as_bytes()
}

impl Field {
    /// The field that a received key means: the written key, or any other known spelling.
    pub fn from_key(key: &[u8]) -> Option<Self> {
        if key.len() > SHORT {
            return Self::from_long_key(key);
        }
        let mut word = [0; 8];
        word[..key.len()].copy_from_slice(key);
        word[key.len()] = b'"';
        Self::from_short_key(u64::from_le_bytes(word))
    }

    /// Whether an empty value counts as absent (protocol.md D-14).
    #[inline]
    pub(crate) const fn is_identifier(self) -> bool {
        matches!(self, Self::CommandId | Self::SubId | Self::SubIds | Self::QueryId | Self::Bookmark)
    }

    /// Whether the field holds an unsigned integer, which is written without quotes
    /// (protocol.md E-3).
    pub const fn is_number(self) -> bool {
        matches!(
            self,
            Self::Sequence
                | Self::BatchSize
                | Self::GroupSequence
                | Self::TopN
                | Self::Expiration
                | Self::Matches
                | Self::TopicMatches
                | Self::RecordsReturned
                | Self::RecordsInserted
                | Self::RecordsUpdated
                | Self::RecordsDeleted
                | Self::MaxMessages
                | Self::TimeoutInterval
                | Self::GracePeriod
                | Self::SkipN
                | Self::Length
        )
    }

    /// Whether the field holds `true` or `false`, written without quotes (protocol.md E-4).
    pub const fn is_flag(self) -> bool {
        matches!(
            self,
            Self::DataOnly
                | Self::SendEmpty
                | Self::SendKeys
                | Self::SendOof
                | Self::SendMatchingIds
                | Self::UseNamespaces
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn every_field_is_found_under_each_of_its_keys_and_keys_are_unique() {
        for (i, field) in Field::ALL.iter().enumerate() {
            assert_eq!(field.keys()[0], field.key());
            for key in field.keys() {
                assert_eq!(Field::from_key(key.as_bytes()), Some(*field), "{key}");
            }
            assert_eq!(*field as usize, i);
        }
        assert_eq!(Field::from_key(b"C"), None, "keys are case sensitive");
        for unknown in [&b""[..], b"zz", b"records_", b"client_names", b"\0\0\0\0\0\0\0", b"c\0", &[0xff; 8]]
        {
            assert_eq!(Field::from_key(unknown), None, "{unknown:?}");
        }
    }

    #[test]
    fn what_precedes_a_value_is_comma_key_and_colon() {
        for &field in Field::ALL {
            let lead = format!(",\"{}\":", field.key());
            assert_eq!(field.lead(), lead.as_bytes());
            assert_eq!(field.text_lead(), [lead.as_bytes(), b"\""].concat());
        }
    }

    #[test]
    fn a_short_key_is_its_bytes_and_its_closing_quote_and_a_long_one_is_none() {
        assert_eq!(short_key("c").to_le_bytes(), *b"c\"\0\0\0\0\0\0");
        assert_eq!(short_key("matches").to_le_bytes(), *b"matches\"");
        assert_eq!(short_key("bookmark"), u64::MAX);
    }

    #[test]
    fn a_field_is_a_number_a_flag_or_a_text() {
        assert!(Field::ALL.iter().all(|field| !(field.is_number() && field.is_flag())));
        assert!(Field::ALL.iter().all(|field| !(field.is_number() && field.is_identifier())));
        assert!(Field::BatchSize.is_number() && Field::SendOof.is_flag());
        assert!(!Field::SowKey.is_number(), "keys exceed 64 bits");
    }
}
