//! Scripted faults (server.md 8.3): what goes wrong, when, for whom, and how often.
//!
//! Owns the vocabulary: a [`Fault`] is a scope, a [`Trigger`], an [`Action`] and a count. Reading
//! order: `trigger` and `action` say what there is, `json` how it is written, `layer` is what
//! stands between the loop and the engine, with `inbound` and `outbound` for the two ways,
//! `link` for what one connection is put through, and `draft` for one frame on its way out.
//!
//! Pure: time is passed in, and chance is drawn from one seeded generator.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod action;
mod draft;
mod inbound;
mod json;
mod layer;
mod link;
mod outbound;
mod sink;
mod trigger;

use std::fmt;
use std::time::Duration;

pub use action::{Action, HowClosed, Lasting, Unfinished};
pub(crate) use layer::{FaultLayer, FaultRow};
pub(crate) use sink::FaultSink;
pub use trigger::Trigger;

use crate::form::FaultError;
use crate::matcher::Pattern;

/// Something that goes wrong: for whom, when, what, and how often.
///
/// ```
/// use amps_testkit::{Action, Fault, FakeServer, Trigger};
///
/// let cut = Fault::when(Trigger::outbound(3)).on_client("^app").then(Action::drop_mid_frame(7));
/// assert_eq!(
///     cut.to_string(),
///     "once, before outbound frame 3 of a client like \"^app\": drop the connection 7 bytes into the frame"
/// );
/// let server = FakeServer::builder().fault(cut).start()?;
/// assert_eq!(server.unused_faults().len(), 1);
/// # Ok::<(), amps_testkit::StartError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a fault does nothing before a server has it"]
pub struct Fault {
    pub(crate) scope: Scope,
    pub(crate) trigger: Trigger,
    pub(crate) action: Action,
    pub(crate) count: Count,
}

/// A fault that lacks its action; see [`Fault::when`].
///
/// ```
/// use amps_testkit::{Action, Fault, Trigger};
///
/// let fault = Fault::when(Trigger::any_outbound()).on_topic("T").times(2).then(Action::Duplicate(1));
/// assert!(fault.to_string().starts_with("2 times, "));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a fault needs an action: call `then`"]
pub struct FaultBuilder {
    scope: Scope,
    trigger: Trigger,
    count: Count,
}

/// Whom a fault concerns. Everything named has to hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Scope {
    pub(crate) transport: Option<String>,
    pub(crate) client: Option<Pattern>,
    pub(crate) connection: Option<u64>,
    pub(crate) sub_id: Option<String>,
    pub(crate) topic: Option<String>,
}

/// How often a fault fires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Count {
    #[default]
    Once,
    Times(u64),
    Always,
}

impl Count {
    pub(crate) const fn allows(self, fired: u64) -> bool {
        match self {
            Self::Once => fired == 0,
            Self::Times(count) => fired < count,
            Self::Always => true,
        }
    }
}

/// Names a fault of a server. Never used twice by the same server.
///
/// ```
/// use amps_testkit::{Action, Fault, FakeServer, Trigger};
///
/// let server = FakeServer::builder().start()?;
/// let id = server.add_fault(Fault::when(Trigger::Logon).then(Action::Swallow))?;
/// assert_eq!(id.to_string(), "1");
/// assert!(server.remove_fault(id) && !server.remove_fault(id));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FaultId(pub u64);

impl fmt::Display for FaultId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A fault that a server has, and how often it fired.
///
/// ```
/// use amps_testkit::{Action, Fault, FakeServer, Trigger};
///
/// let fault = Fault::when(Trigger::Logon).then(Action::Swallow);
/// let server = FakeServer::builder().fault(fault.clone()).start()?;
/// let faults = server.faults();
/// assert_eq!((&faults[0].fault, faults[0].fired), (&fault, 0));
/// # Ok::<(), amps_testkit::StartError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct FaultStatus {
    /// Its name.
    pub id: FaultId,
    /// What it is.
    pub fault: Fault,
    /// How often it fired.
    pub fired: u64,
}

/// A fault fired: what the journal tells of it.
///
/// ```
/// use amps_testkit::{Action, Fault, FakeServer, Trigger, What};
/// use std::time::Duration;
///
/// let now = Fault::when(Trigger::After(Duration::ZERO)).then(Action::LoseEntries(1));
/// let server = FakeServer::builder().virtual_clock().fault(now).start()?;
/// server.advance(Duration::ZERO);
/// let What::Fault(firing) = &server.journal()[0].what else { panic!("it fired") };
/// assert_eq!(firing.to_string(), "fault 1, after 0ns: forget the last 1 log entries at the next restart");
/// # Ok::<(), amps_testkit::StartError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firing {
    /// Which fault.
    pub fault: FaultId,
    /// What set it off.
    pub cause: String,
    /// What it does.
    pub action: String,
}

impl fmt::Display for Firing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fault {}, {}: {}", self.fault, self.cause, self.action)
    }
}

impl Fault {
    /// Begins with what sets it off. Unless told otherwise it fires once, for anybody.
    pub fn when(trigger: Trigger) -> FaultBuilder {
        FaultBuilder { scope: Scope::default(), trigger, count: Count::default() }
    }

    /// A connection that is unreliable: every output in pieces of a few bytes, one frame in a
    /// hundred late by up to 50 ms, and one in two hundred never whole, as the connection is cut
    /// within it. The same seed gives the same set; what it hits depends on the server's seed,
    /// too.
    ///
    /// ```
    /// use amps_testkit::{FakeServer, Fault};
    ///
    /// let server = FakeServer::builder().seed(7).faults(Fault::flaky(7)).start()?;
    /// assert_eq!(server.faults().len(), 3);
    /// # Ok::<(), amps_testkit::StartError>(())
    /// ```
    pub fn flaky(seed: u64) -> Vec<Self> {
        let mut rng = crate::sim::Rng::new(seed);
        let sizes = (0..8).map(|_| rng.between(1, 40) as usize).collect();
        let late = Duration::from_millis(rng.between(1, 50));
        vec![
            Self::when(Trigger::any_accept())
                .always()
                .then(Action::PartialWrites { sizes, gap: Duration::ZERO }),
            Self::when(Trigger::Probability(0.01)).always().then(Action::Delay(late)),
            Self::when(Trigger::Probability(0.005))
                .always()
                .then(Action::drop_mid_frame(rng.between(1, 20) as usize)),
        ]
    }

    /// Whether it can fire at all.
    ///
    /// # Errors
    /// A pattern or a filter does not compile, a number cannot be (frames count from 1), or a
    /// probability lies outside of 0 to 1.
    pub fn check(&self) -> Result<(), FaultError> {
        self.scope.client.as_ref().map_or(Ok(()), |client| client.check("scope.client"))?;
        self.trigger.check()?;
        self.action.check()
    }
}

impl FaultBuilder {
    /// Only for connections of this transport, by its name; see
    /// [`FakeServer::listeners`](crate::FakeServer::listeners).
    pub fn on_transport(mut self, name: impl Into<String>) -> Self {
        self.scope.transport = Some(name.into());
        self
    }

    /// Only for clients whose name has a match for this regular expression. Nobody has a name
    /// before the logon arrives.
    pub fn on_client(mut self, pattern: impl Into<String>) -> Self {
        self.scope.client = Some(Pattern::new(pattern));
        self
    }

    /// Only for this connection, counted from 0 in the order of arrival.
    pub fn on_connection(mut self, index: u64) -> Self {
        self.scope.connection = Some(index);
        self
    }

    /// Only for frames of this subscription.
    pub fn on_sub_id(mut self, id: impl Into<String>) -> Self {
        self.scope.sub_id = Some(id.into());
        self
    }

    /// Only for frames with this topic. Acks have none.
    pub fn on_topic(mut self, topic: impl Into<String>) -> Self {
        self.scope.topic = Some(topic.into());
        self
    }

    /// It fires once, which is the default.
    pub fn once(mut self) -> Self {
        self.count = Count::Once;
        self
    }

    /// It fires so many times.
    pub fn times(mut self, count: u64) -> Self {
        self.count = Count::Times(count);
        self
    }

    /// It fires whenever it can.
    pub fn always(mut self) -> Self {
        self.count = Count::Always;
        self
    }

    /// Ends with what it does.
    pub fn then(self, action: Action) -> Fault {
        let Self { scope, trigger, count } = self;
        Fault { scope, trigger, action, count }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            Count::Once => f.write_str("once")?,
            Count::Times(count) => write!(f, "{count} times")?,
            Count::Always => f.write_str("always")?,
        }
        write!(f, ", {}{}: {}", self.trigger, self.scope, self.action)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(client) = &self.client {
            write!(f, " of a client like \"{}\"", client.text())?;
        }
        if let Some(index) = self.connection {
            write!(f, " of connection {index}")?;
        }
        if let Some(name) = &self.transport {
            write!(f, " of the transport \"{name}\"")?;
        }
        if let Some(id) = &self.sub_id {
            write!(f, " for the subscription \"{id}\"")?;
        }
        if let Some(topic) = &self.topic {
            write!(f, " with topic \"{topic}\"")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
