//! The configuration of entitlements (server.md 1.11).
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

/// What an [`Entitlement`] permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntitlementKind {
    /// To log on.
    Logon,
    /// To subscribe to a topic, query it, and, if it is a queue, acknowledge.
    Read,
    /// To publish to a topic, and to delete from it.
    Write,
}

/// Something that a user may do. As soon as there is one, whatever no entitlement permits is
/// refused; logging on is open to all until an entitlement speaks of it.
///
/// Of several that name a topic the first counts, those of the user before those of `*`. The
/// topics of a container that matches a pattern are named by the container's name, messages in a
/// queue by the queue's.
///
/// ```
/// use amps_testkit::Entitlement;
///
/// let own_orders = Entitlement::read("alice", "orders").filter("/desk = 'A'").select("[-/margin]");
/// let all = Entitlement::write("*", ".*");
/// assert_ne!(own_orders, all);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entitlement {
    pub(crate) kind: EntitlementKind,
    pub(crate) user: String,
    pub(crate) topic: String,
    pub(crate) filter: Option<String>,
    pub(crate) select: Option<String>,
}

impl Entitlement {
    fn new(kind: EntitlementKind, user: impl Into<String>, topic: impl Into<String>) -> Self {
        Self { kind, user: user.into(), topic: topic.into(), filter: None, select: None }
    }

    /// To log on. The user `*` is everybody.
    pub fn logon(user: impl Into<String>) -> Self {
        Self::new(EntitlementKind::Logon, user, "")
    }

    /// To read a topic, or every topic that matches a regular expression.
    pub fn read(user: impl Into<String>, topic: impl Into<String>) -> Self {
        Self::new(EntitlementKind::Read, user, topic)
    }

    /// To write to a topic, or to every topic that matches a regular expression.
    pub fn write(user: impl Into<String>, topic: impl Into<String>) -> Self {
        Self::new(EntitlementKind::Write, user, topic)
    }

    /// Only messages that match. Default: all. Not for [`logon`](Self::logon).
    #[must_use]
    pub fn filter(mut self, filter: impl Into<String>) -> Self {
        self.filter = Some(filter.into());
        self
    }

    /// Only these fields: a select list such as `[-/margin]`. Default: all. Only for
    /// [`read`](Self::read). Of a body that is not well-formed, or opaque and not allowed as a
    /// whole, nothing is shown.
    #[must_use]
    pub fn select(mut self, list: impl Into<String>) -> Self {
        self.select = Some(list.into());
        self
    }
}
