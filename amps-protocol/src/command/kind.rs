//! The commands of the protocol, and the messages of the server: their names.

/// Makes the enum and its names out of one table: each command with the word that is written,
/// then the other words that are understood.
macro_rules! commands {
    ($($(#[$doc:meta])* $name:ident: $token:literal $(| $alias:literal)*,)*) => {
        /// What a frame asks (from a client) or tells (from a server).
        ///
        /// ```
        /// use amps_protocol::CommandKind;
        ///
        /// assert_eq!(CommandKind::from_token(b"publish"), CommandKind::Publish);
        /// assert_eq!(CommandKind::Publish.token(), "p");
        /// ```
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum CommandKind {
            /// The header has no `c`.
            #[default]
            Missing,
            /// A word that this crate does not know.
            Unknown,
            $($(#[$doc])* $name,)*
        }

        impl CommandKind {
            /// Every known command: those of clients, then those of servers only.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The word that is written; empty for `Missing` and `Unknown`.
            #[inline]
            pub const fn token(self) -> &'static str {
                match self {
                    Self::Missing | Self::Unknown => "",
                    $(Self::$name => $token,)*
                }
            }

            /// What a received word means; `publish` is understood beside `p`.
            #[inline]
            pub fn from_token(token: &[u8]) -> Self {
                $(
                    if token == $token.as_bytes() $(|| token == $alias.as_bytes())* {
                        return Self::$name;
                    }
                )*
                if token.is_empty() { Self::Missing } else { Self::Unknown }
            }

            /// The beginning of a frame: four bytes for its length, then the command.
            #[inline(always)]
            pub(crate) const fn lead(self) -> &'static [u8] {
                match self {
                    Self::Missing | Self::Unknown => b"\0\0\0\0{\"c\":\"\"",
                    $(Self::$name => concat!("\0\0\0\0{\"c\":\"", $token, "\"").as_bytes(),)*
                }
            }
        }
    };
}

commands! {
    /// Identify and authenticate a connection.
    Logon: "logon",
    /// A message: published by a client, or delivered by the server.
    Publish: "p" | "publish",
    /// A partial update of a record.
    DeltaPublish: "delta_publish",
    /// Receive what is published from now on, or replay the transaction log.
    Subscribe: "subscribe",
    /// As `Subscribe`, with changes only.
    DeltaSubscribe: "delta_subscribe",
    /// Query the state of the world.
    Sow: "sow",
    /// Query, then subscribe, without a gap.
    SowAndSubscribe: "sow_and_subscribe",
    /// Query, then subscribe to changes, without a gap.
    SowAndDeltaSubscribe: "sow_and_delta_subscribe",
    /// Delete records, or acknowledge queue messages.
    SowDelete: "sow_delete",
    /// End subscriptions or queries.
    Unsubscribe: "unsubscribe",
    /// Ask to be told when everything sent so far was processed.
    Flush: "flush",
    /// Start heartbeats, or show a sign of life.
    Heartbeat: "heartbeat",
    /// Legacy.
    StartTimer: "start_timer",
    /// Legacy.
    StopTimer: "stop_timer",
    /// The server's answer to a command.
    Ack: "ack",
    /// A query result begins.
    GroupBegin: "group_begin",
    /// A query result ends.
    GroupEnd: "group_end",
    /// A record left the focus of a subscription.
    Oof: "oof",
}
