//! The states of a connection, as listeners see them.

/// A stage of connecting, failing or recovering.
///
/// On a full (re)connect the order is `Connected`, `LoggedOn`, [`HeartbeatInitiated`],
/// [`Resubscribed`]; the last two only where heartbeats are on and where a reconnect policy
/// restores subscriptions.
///
/// [`HeartbeatInitiated`]: ConnectionState::HeartbeatInitiated
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
    /// Every subscription was placed again (or ended with its error).
    Resubscribed,
}
