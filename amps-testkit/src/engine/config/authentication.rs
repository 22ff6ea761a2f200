//! Who may log on (server.md 1.3).
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Who may log on. `Debug` shows the users and none of their passwords.
///
/// ```
/// use amps_testkit::Authentication;
///
/// let users = Authentication::Passwords([("alice".to_owned(), "secret".to_owned())].into());
/// assert_eq!(format!("{users:?}"), r#"Passwords({"alice"})"#);
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Authentication {
    /// Everybody; the authenticated name stays empty.
    #[default]
    Disabled,
    /// Everybody, also without a logon: any first command will do. A connection without a
    /// logon has the message type of its listener, or `json`.
    Implicit,
    /// Everybody, on these conditions.
    Anybody(Conditions),
    /// Users with these passwords; their name becomes their identity.
    Passwords(BTreeMap<String, String>),
    /// Nobody; every logon fails with this reason.
    Refuse(String),
}

/// What the authentication that lets everybody in may still ask for, or grant: the options of
/// AMPS's default module.
///
/// ```
/// use amps_testkit::{Authentication, Conditions};
///
/// // Users are who they say they are.
/// let trusting = Conditions { allow_spoofing: true, require_user: true, ..Conditions::default() };
/// assert!(trusting.require_logon);
/// assert_ne!(Authentication::Anybody(trusting), Authentication::default());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// The user name of the logon becomes the identity. Default `false`: it stays empty.
    pub allow_spoofing: bool,
    /// A command before the logon is refused. Default `true`.
    pub require_logon: bool,
    /// A logon without a user name is refused. Default `false`.
    pub require_user: bool,
}

impl Default for Conditions {
    fn default() -> Self {
        Self { allow_spoofing: false, require_logon: true, require_user: false }
    }
}

impl Authentication {
    /// The conditions on which everybody is let in; `None` if not everybody is.
    pub(crate) fn conditions(&self) -> Option<Conditions> {
        match self {
            Self::Disabled => Some(Conditions::default()),
            Self::Implicit => Some(Conditions { require_logon: false, ..Conditions::default() }),
            Self::Anybody(conditions) => Some(*conditions),
            Self::Passwords(_) | Self::Refuse(_) => None,
        }
    }
}

impl fmt::Debug for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disabled => f.write_str("Disabled"),
            Self::Implicit => f.write_str("Implicit"),
            Self::Anybody(conditions) => f.debug_tuple("Anybody").field(conditions).finish(),
            Self::Passwords(passwords) => {
                let users: BTreeSet<&String> = passwords.keys().collect();
                f.debug_tuple("Passwords").field(&users).finish()
            }
            Self::Refuse(reason) => f.debug_tuple("Refuse").field(reason).finish(),
        }
    }
}
