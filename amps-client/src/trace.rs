//! What the client tells `tracing` (feature `tracing`; without it nothing here does anything).
//!
//! Owns the spans and events, all of the target `amps`, and decides what they say: never the body of a message,
//! never a credential, and never the words of the application's own code, which may hold either.
//!
//! | | Level | Fields |
//! |---|---|---|
//! | span `connection`, from the socket to its loss | info | `client`, `server` (once logged on, without user and password) |
//! | span `command`, while somebody waits for its answer | debug | `client`, `command`, `topic`, `outcome` (`ok`, or the kind of error) |
//! | span `publish` | trace | `client`, `topic`, `bytes` |
//! | event: a state of the connection | info | `client`, `state`, `reconnect` |
//! | event: an error that has no caller | warn | `client`, `kind`, `error` where it is the client's own words |
//! | event: a stream is full | warn | `client`, `subscription`, `depth` |
//! | event: a message was acknowledged after its lease had ended | warn | `client`, `subscription`, `topic`, `bookmark`, `late` |
//! | event: the server refused a write | warn | `client`, `topic`, `sequence`, `reason` |

pub(crate) use imp::{CommandSpan, PublishSpan, Trace};

#[cfg(feature = "tracing")]
mod imp {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Mutex, OnceLock, PoisonError};

    use amps_protocol::Message as Raw;
    use tracing::field::Empty;
    use tracing::{Span, debug_span, info, info_span, trace_span, warn};

    use crate::command::Command;
    use crate::error::{DisconnectCause, Error, Result};
    use crate::lease::LeaseOverrun;
    use crate::listener::ConnectionState;
    use crate::server_chooser::ConnectionInfo;
    use crate::store_error::StoreError;

    /// What one client tells of its connection.
    #[derive(Debug, Default)]
    pub(crate) struct Trace {
        client: OnceLock<String>,
        connection: Mutex<Option<Span>>,
        /// There was a logon before.
        logged_on: AtomicBool,
    }

    impl Trace {
        pub(crate) fn set_client(&self, name: &str) {
            let _ = self.client.set(name.to_owned());
        }

        fn client(&self) -> &str {
            self.client.get().map_or("", String::as_str)
        }

        fn span(&self) -> Span {
            let span = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
            span.clone().unwrap_or_else(Span::none)
        }

        fn set_span(&self, span: Option<Span>) {
            let old =
                std::mem::replace(&mut *self.connection.lock().unwrap_or_else(PoisonError::into_inner), span);
            // A subscriber may do anything when a span ends: without the lock.
            drop(old);
        }

        pub(crate) fn server(&self, info: Option<&ConnectionInfo>) {
            if let Some(info) = info {
                let server = format!("{}://{}:{}", info.scheme(), info.host(), info.port());
                self.span().record("server", server);
            }
        }

        pub(crate) fn state(&self, state: ConnectionState) {
            let client = self.client();
            if state == ConnectionState::Connected {
                self.set_span(Some(info_span!(target: "amps", "connection", client, server = Empty)));
            }
            let again = state == ConnectionState::LoggedOn && self.logged_on.swap(true, Ordering::Relaxed);
            let span = self.span();
            if again {
                info!(target: "amps", parent: &span, client, ?state, reconnect = true, "connected again");
            } else {
                info!(target: "amps", parent: &span, client, ?state, "the state of the connection changed");
            }
            if state == ConnectionState::Disconnected {
                self.set_span(None);
            }
        }

        pub(crate) fn error(&self, error: &Error) {
            let (client, kind, span) = (self.client(), error.kind(), self.span());
            if is_our_own(error) {
                warn!(target: "amps", parent: &span, client, ?kind, %error, "something failed that has no caller");
            } else {
                warn!(target: "amps", parent: &span, client, ?kind, "something of the application failed");
            }
        }

        pub(crate) fn slow(&self, subscription: &str, depth: usize) {
            let (client, span) = (self.client(), self.span());
            warn!(target: "amps", parent: &span, client, subscription, depth, "a stream is full");
        }

        /// Whether anybody takes events of the level of warnings.
        pub(crate) fn tells_warnings(&self) -> bool {
            tracing::enabled!(target: "amps", tracing::Level::WARN)
        }

        pub(crate) fn overrun(&self, overrun: &LeaseOverrun) {
            let (client, span) = (self.client(), self.span());
            let LeaseOverrun { subscription, topic, bookmark, by: late, .. } = overrun;
            warn!(
                target: "amps", parent: &span, client, subscription, topic, bookmark, ?late,
                "a message was acknowledged after its lease had ended"
            );
        }

        pub(crate) fn refused_write(&self, ack: &Raw<&[u8]>, original: Option<&Raw<&[u8]>>) {
            let (client, span) = (self.client(), self.span());
            let topic = original.and_then(|original| original.topic()).or_else(|| ack.topic());
            let topic = topic.map(ToString::to_string).unwrap_or_default();
            let reason = ack.reason().map(ToString::to_string).unwrap_or_default();
            let sequence = ack.sequence();
            warn!(target: "amps", parent: &span, client, topic, sequence, reason, "the server refused a write");
        }
    }

    /// Whether the text of an error holds nothing of the application's own words.
    fn is_our_own(error: &Error) -> bool {
        match error {
            Error::Handler { .. } | Error::Authenticator { .. } | Error::NoServer { .. } => false,
            Error::InvalidArgument(_) | Error::Store(StoreError::Other(_)) => false,
            Error::Disconnected { cause: DisconnectCause::GaveUp(error) } => is_our_own(error),
            _ => true,
        }
    }

    #[cfg(test)]
    #[test]
    fn what_only_the_application_says_is_not_told() {
        let other = Error::Store(StoreError::other("the account of ann"));
        assert!(!is_our_own(&other));
        let cause = DisconnectCause::GaveUp(Box::new(other));
        assert!(!is_our_own(&Error::Disconnected { cause }));
        assert!(is_our_own(&Error::Usage("write it otherwise")));
    }

    /// A command, from its beginning until its answer is there or nobody waits for it any more.
    #[derive(Clone, Debug)]
    pub(crate) struct CommandSpan(Span);

    impl CommandSpan {
        pub(crate) fn new(client: &str, command: &str, topic: Option<&str>) -> Self {
            Self(debug_span!(target: "amps", "command", client, command, topic, outcome = Empty))
        }

        pub(crate) fn of(client: &str, command: &Command) -> Self {
            Self::new(client, command.name(), command.get_topic())
        }

        /// Does something as part of the command.
        pub(crate) fn within<T>(&self, f: impl FnOnce() -> T) -> T {
            self.0.in_scope(f)
        }

        /// The answer is there.
        pub(crate) fn outcome<T>(&self, result: &Result<T>) {
            if self.0.is_disabled() {
                return;
            }
            match result {
                Ok(_) => self.0.record("outcome", "ok"),
                Err(error) => self.0.record("outcome", format!("{:?}", error.kind())),
            };
        }
    }

    /// One publish, however often it is tried.
    #[derive(Debug)]
    pub(crate) struct PublishSpan(Span);

    impl PublishSpan {
        pub(crate) fn new(client: &str, topic: &str, bytes: usize) -> Self {
            Self(trace_span!(target: "amps", "publish", client, topic, bytes))
        }

        /// Does something as part of it.
        pub(crate) fn within<T>(&self, f: impl FnOnce() -> T) -> T {
            self.0.in_scope(f)
        }
    }
}

#[cfg(not(feature = "tracing"))]
mod imp {
    use amps_protocol::Message as Raw;

    use crate::command::Command;
    use crate::error::{Error, Result};
    use crate::lease::LeaseOverrun;
    use crate::listener::ConnectionState;
    use crate::server_chooser::ConnectionInfo;

    #[derive(Debug, Default)]
    pub(crate) struct Trace;

    #[allow(clippy::unused_self, reason = "the same face as with the feature")]
    impl Trace {
        pub(crate) const fn set_client(&self, _: &str) {}
        pub(crate) const fn server(&self, _: Option<&ConnectionInfo>) {}
        pub(crate) const fn state(&self, _: ConnectionState) {}
        pub(crate) const fn error(&self, _: &Error) {}
        pub(crate) const fn slow(&self, _: &str, _: usize) {}
        pub(crate) const fn tells_warnings(&self) -> bool {
            false
        }
        pub(crate) const fn overrun(&self, _: &LeaseOverrun) {}
        pub(crate) const fn refused_write(&self, _: &Raw<&[u8]>, _: Option<&Raw<&[u8]>>) {}
    }

    #[derive(Clone, Debug)]
    pub(crate) struct CommandSpan;

    #[allow(clippy::unused_self, reason = "the same face as with the feature")]
    impl CommandSpan {
        pub(crate) const fn new(_: &str, _: &str, _: Option<&str>) -> Self {
            Self
        }
        pub(crate) const fn of(_: &str, _: &Command) -> Self {
            Self
        }
        #[inline]
        pub(crate) fn within<T>(&self, f: impl FnOnce() -> T) -> T {
            f()
        }
        pub(crate) const fn outcome<T>(&self, _: &Result<T>) {}
    }

    #[derive(Debug)]
    pub(crate) struct PublishSpan;

    #[allow(clippy::unused_self, reason = "the same face as with the feature")]
    impl PublishSpan {
        #[inline]
        pub(crate) const fn new(_: &str, _: &str, _: usize) -> Self {
            Self
        }
        #[inline]
        pub(crate) fn within<T>(&self, f: impl FnOnce() -> T) -> T {
            f()
        }
    }
}
