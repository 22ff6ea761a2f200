//! The states of a connection, as listeners see them, and what some of them may decide.

/// What becomes of a subscription that the server refuses to place again after a reconnect; see
/// [`ClientBuilder::on_failed_resubscription`](crate::ClientBuilder::on_failed_resubscription).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AfterRefusal {
    /// It ends with the server's error; the client and its other subscriptions go on. The default.
    #[default]
    EndSubscription,
    /// This connection is given up, and the next server is tried, which may be the same.
    NextServer,
}

/// A stage of connecting, failing or recovering.
///
/// On a full (re)connect the order is `Connected`, `LoggedOn`, [`HeartbeatInitiated`],
/// [`PublishReplayed`], [`Resubscribed`]; the last three only where heartbeats are on, where
/// there is a publish store, and where a reconnect policy restores subscriptions.
///
/// [`HeartbeatInitiated`]: ConnectionState::HeartbeatInitiated
/// [`PublishReplayed`]: ConnectionState::PublishReplayed
/// [`Resubscribed`]: ConnectionState::Resubscribed
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ConnectionState {
    /// The connection was lost or closed, or an attempt failed.
    Disconnected,
    /// The client was closed on purpose; nothing follows until `connect`.
    Shutdown,
    /// The socket is connected; the logon is on its way.
    Connected,
    /// The logon succeeded; recovery is not finished.
    LoggedOn,
    /// The server agreed to heartbeats.
    HeartbeatInitiated,
    /// What the publish store keeps is on its way again. Only with a publish store.
    PublishReplayed,
    /// Every subscription was placed again (or ended with its error).
    Resubscribed,
}
