//! The states of a connection, as listeners see them.

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
