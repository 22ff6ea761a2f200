//! The commands of the protocol, and the messages of the server.

/// What a frame asks (from a client) or tells (from a server).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum CommandKind {
    /// The header has no `c`.
    #[default]
    Missing,
    /// A word that this crate does not know.
    Unknown,
    /// Identify and authenticate a connection.
    Logon,
    /// A message: published by a client, or delivered by the server.
    Publish,
    /// A partial update of a record.
    DeltaPublish,
    /// Receive what is published from now on, or replay the transaction log.
    Subscribe,
    /// As `Subscribe`, with changes only.
    DeltaSubscribe,
    /// Query the state of the world.
    Sow,
    /// Query, then subscribe, without a gap.
    SowAndSubscribe,
    /// Query, then subscribe to changes, without a gap.
    SowAndDeltaSubscribe,
    /// Delete records, or acknowledge queue messages.
    SowDelete,
    /// End subscriptions or queries.
    Unsubscribe,
    /// Ask to be told when everything sent so far was processed.
    Flush,
    /// Start heartbeats, or show a sign of life.
    Heartbeat,
    /// Legacy.
    StartTimer,
    /// Legacy.
    StopTimer,
    /// The server's answer to a command.
    Ack,
    /// A query result begins.
    GroupBegin,
    /// A query result ends.
    GroupEnd,
    /// A record left the focus of a subscription.
    Oof,
}

impl CommandKind {
    /// The word that is written.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Missing | Self::Unknown => "",
            Self::Logon => "logon",
            Self::Publish => "p",
            Self::DeltaPublish => "delta_publish",
            Self::Subscribe => "subscribe",
            Self::DeltaSubscribe => "delta_subscribe",
            Self::Sow => "sow",
            Self::SowAndSubscribe => "sow_and_subscribe",
            Self::SowAndDeltaSubscribe => "sow_and_delta_subscribe",
            Self::SowDelete => "sow_delete",
            Self::Unsubscribe => "unsubscribe",
            Self::Flush => "flush",
            Self::Heartbeat => "heartbeat",
            Self::StartTimer => "start_timer",
            Self::StopTimer => "stop_timer",
            Self::Ack => "ack",
            Self::GroupBegin => "group_begin",
            Self::GroupEnd => "group_end",
            Self::Oof => "oof",
        }
    }

    /// What a received word means; `publish` is understood beside `p`.
    #[inline]
    pub fn from_token(token: &[u8]) -> Self {
        match token {
            b"p" | b"publish" => Self::Publish,
            b"ack" => Self::Ack,
            b"logon" => Self::Logon,
            b"delta_publish" => Self::DeltaPublish,
            b"subscribe" => Self::Subscribe,
            b"delta_subscribe" => Self::DeltaSubscribe,
            b"sow" => Self::Sow,
            b"sow_and_subscribe" => Self::SowAndSubscribe,
            b"sow_and_delta_subscribe" => Self::SowAndDeltaSubscribe,
            b"sow_delete" => Self::SowDelete,
            b"unsubscribe" => Self::Unsubscribe,
            b"flush" => Self::Flush,
            b"heartbeat" => Self::Heartbeat,
            b"start_timer" => Self::StartTimer,
            b"stop_timer" => Self::StopTimer,
            b"group_begin" => Self::GroupBegin,
            b"group_end" => Self::GroupEnd,
            b"oof" => Self::Oof,
            b"" => Self::Missing,
            _ => Self::Unknown,
        }
    }
}
