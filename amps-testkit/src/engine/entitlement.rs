//! Who may see and change what (server.md 1.11).
//!
//! Owns the rules of a user, compiled when the user logs on and kept for the life of the
//! connection (ENT-05). Without any rule in the configuration everybody may do everything.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::borrow::Cow;
use std::sync::Arc;

use super::config::{Access, Config, ConfigError, Entitlement, EntitlementKind};
use super::filter::{Filter, Language};
use super::format::{Format, Select};
use super::topic::{TopicPattern, TopicReading};

/// The user of rules that are for all users.
pub(crate) const EVERYBODY: &str = "*";

/// What one user may do.
#[derive(Debug)]
pub(crate) struct Rights {
    rules: Vec<Rule>,
    /// Whether to log on takes a right as well.
    logons: bool,
}

#[derive(Debug)]
struct Rule {
    kind: EntitlementKind,
    pattern: TopicPattern,
    filter: Option<Filter>,
    select: Option<Select>,
}

/// The right to read, or to write, one topic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Right<'r> {
    /// Only messages that it matches.
    pub(crate) filter: Option<&'r Filter>,
    /// Only these fields.
    pub(crate) select: Option<&'r Select>,
}

/// Checks every rule of a configuration.
pub(crate) fn check(entitlements: &[Entitlement], language: &Language) -> Result<(), ConfigError> {
    entitlements.iter().try_for_each(|entitlement| compile(entitlement, language).map(drop))
}

impl Rights {
    /// Those of a user on a transport; `None` if nobody is restricted there.
    pub(crate) fn of(
        config: &Config,
        restricted: bool,
        access: Option<&Access>,
        user: &str,
    ) -> Option<Arc<Self>> {
        let language = &config.language();
        match access {
            Some(Access::Everything) => None,
            Some(Access::Only(entitlements)) => Some(Self::among(entitlements, false, user, language)),
            Some(Access::Nothing) => Some(Self::among(&[], true, user, language)),
            None => restricted.then(|| Self::among(&config.entitlements, config.closed, user, language)),
        }
    }

    /// Those of a user, of all that there are.
    fn among(entitlements: &[Entitlement], closed: bool, user: &str, language: &Language) -> Arc<Self> {
        // The first rule decides, and what is said of one user is meant to (inferred).
        let own = entitlements.iter().filter(|e| e.user == user && user != EVERYBODY);
        let rules = own.chain(entitlements.iter().filter(|e| e.user == EVERYBODY));
        // What does not compile was refused with the configuration.
        let rules = rules.filter_map(|entitlement| compile(entitlement, language).ok()).collect();
        let logons = closed || entitlements.iter().any(|e| e.kind == EntitlementKind::Logon);
        Arc::new(Self { rules, logons })
    }

    /// Whether the user may log on. Without any rule about logons, everybody may.
    pub(crate) fn may_log_on(&self) -> bool {
        !self.logons || self.rules.iter().any(|rule| rule.kind == EntitlementKind::Logon)
    }

    /// The right to read a topic: the first rule that names it.
    pub(crate) fn read(&self, topic: &str) -> Option<Right<'_>> {
        self.right(EntitlementKind::Read, topic)
    }

    /// The right to write to a topic: the first rule that names it.
    pub(crate) fn write(&self, topic: &str) -> Option<Right<'_>> {
        self.right(EntitlementKind::Write, topic)
    }

    fn right(&self, kind: EntitlementKind, topic: &str) -> Option<Right<'_>> {
        let rule = self.rules.iter().find(|rule| rule.kind == kind && rule.pattern.matches(topic))?;
        Some(Right { filter: rule.filter.as_ref(), select: rule.select.as_ref() })
    }

    /// What the user may see of a body (ENT-03). Of one that the list cannot be applied to, that
    /// is nothing.
    pub(crate) fn visible<'b>(&self, resource: &str, format: &Format, body: &'b [u8]) -> Cow<'b, [u8]> {
        match self.read(resource).and_then(|right| right.select) {
            Some(select) => Cow::Owned(format.permit(body, select)),
            None => Cow::Borrowed(body),
        }
    }
}

fn compile(entitlement: &Entitlement, language: &Language) -> Result<Rule, ConfigError> {
    let wrong = |fault: String| ConfigError::Entitlement {
        user: entitlement.user.clone(),
        topic: entitlement.topic.clone(),
        fault,
    };
    if entitlement.select.is_some() && entitlement.kind != EntitlementKind::Read {
        return Err(wrong("only a right to read has a select list".to_owned()));
    }
    if entitlement.filter.is_some() && entitlement.kind == EntitlementKind::Logon {
        return Err(wrong("a right to log on has no filter, for there is no message".to_owned()));
    }
    let pattern = TopicPattern::parse(&entitlement.topic, TopicReading::Guess, true).map_err(wrong)?;
    let filter = entitlement.filter.as_ref().map(|text| Filter::parse_in(text, language)).transpose();
    let select = entitlement.select.as_ref().map(|text| Select::parse(text)).transpose();
    Ok(Rule {
        kind: entitlement.kind,
        pattern,
        filter: filter.map_err(|fault| wrong(fault.to_string()))?,
        select: select.map_err(|fault| wrong(fault.to_string()))?,
    })
}
