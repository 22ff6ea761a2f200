//! What the connections of one listener are held to, where that is not what the instance says
//! (server.md 1.1).
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use super::super::entitlement;
use super::super::filter::Language;
use crate::wire::Wire;

use super::{Authentication, ConfigError, Entitlement, SlowClientLimits};

/// The rules of one transport. What it does not say, the instance says.
///
/// ```
/// use amps_testkit::{Access, Authentication, FakeServer, TransportConfig};
///
/// let inside = TransportConfig::new("inside").authentication(Authentication::Implicit);
/// let outside = TransportConfig::new("outside").message_type("json").access(Access::Nothing);
/// let server = FakeServer::builder()
///     .transport("127.0.0.1:0", inside)
///     .transport("127.0.0.1:0", outside)
///     .start()?;
/// let names: Vec<String> = server.listeners().into_iter().map(|listener| listener.name).collect();
/// assert_eq!(names, ["inside", "outside"]);
/// # Ok::<(), amps_testkit::StartError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransportConfig {
    pub(crate) name: Option<String>,
    pub(crate) message_type: Option<String>,
    pub(crate) authentication: Option<Authentication>,
    pub(crate) access: Option<Access>,
    pub(crate) limits: TransportLimits,
    pub(crate) disabled: bool,
    /// What lies below the frames, which is none of the engine's business.
    pub(crate) wire: Wire,
}

impl TransportConfig {
    /// A transport that is as the instance is. The name is part of generated client names
    /// (CONN-22).
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..Self::default() }
    }

    /// The only message type of its connections. Default: the logon names one.
    #[must_use]
    pub fn message_type(mut self, name: impl Into<String>) -> Self {
        self.message_type = Some(name.into());
        self
    }

    /// Who may log on here. Default: as [`Config::authentication`](super::Config::authentication).
    #[must_use]
    pub fn authentication(mut self, authentication: Authentication) -> Self {
        self.authentication = Some(authentication);
        self
    }

    /// Who may do what here. Default: as the instance says, by
    /// [`Config::entitlements`](super::Config::entitlements).
    #[must_use]
    pub fn access(mut self, access: Access) -> Self {
        self.access = Some(access);
        self
    }

    /// When clients are disconnected that are slow to read. Default: as
    /// [`Config::slow_clients`](super::Config::slow_clients).
    #[must_use]
    pub fn limits(mut self, limits: TransportLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Whether nobody listens at the start, until
    /// [`FakeServer::enable_transport`](crate::FakeServer::enable_transport). Default `false`.
    #[must_use]
    pub fn disabled(mut self, disabled: bool) -> Self {
        self.disabled = disabled;
        self
    }

    /// # Errors
    /// An entitlement does not parse.
    pub(crate) fn check(&self, language: &Language) -> Result<(), ConfigError> {
        match &self.access {
            Some(Access::Only(entitlements)) => entitlement::check(entitlements, language),
            _ => Ok(()),
        }
    }
}

/// What users may do.
///
/// ```
/// use amps_testkit::{Access, Entitlement};
///
/// let readers = Access::Only(vec![Entitlement::read("*", "^prices")]);
/// assert_ne!(readers, Access::default());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Everything.
    #[default]
    Everything,
    /// What these permit; logging on is open to all unless one of them speaks of it.
    Only(Vec<Entitlement>),
    /// Nothing, not even to log on.
    Nothing,
}

/// What of [`SlowClientLimits`] is different for one transport.
///
/// ```
/// use amps_testkit::TransportLimits;
/// use std::time::Duration;
///
/// let limits = TransportLimits { age: Some(Duration::from_secs(30)), ..Default::default() };
/// assert_eq!(limits.capacity_percent, None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransportLimits {
    /// Bytes that wait for the clients of the transport; see [`SlowClientLimits::memory`].
    pub memory: Option<u64>,
    /// Bytes on disk; see [`SlowClientLimits::disk`].
    pub disk: Option<u64>,
    /// How long a message may wait for its client.
    pub age: Option<Duration>,
    /// How many frames may wait for one client; see [`SlowClientLimits::frames`].
    pub frames: Option<usize>,
    /// The share of the limits that one client may use up, in percent.
    pub capacity_percent: Option<u8>,
}

impl TransportLimits {
    /// The limits of a transport of an instance that has these.
    pub(crate) fn within(&self, instance: &SlowClientLimits) -> SlowClientLimits {
        SlowClientLimits {
            memory: self.memory.or(instance.memory),
            disk: self.disk.or(instance.disk),
            age: self.age.or(instance.age),
            frames: self.frames.or(instance.frames),
            capacity_percent: self.capacity_percent.unwrap_or(instance.capacity_percent),
        }
    }
}
