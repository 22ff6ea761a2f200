//! The settings of a transcript that are about who may come in, and what for.

use amps_testkit::{Access, Authentication, Conditions, Entitlement, TransportConfig};

/// `@ authentication spoofing require_user no_logon`: everybody is let in, on these conditions.
pub(crate) fn anybody(words: &[&str]) -> Authentication {
    let mut conditions = Conditions::default();
    for word in words {
        match *word {
            "spoofing" => conditions.allow_spoofing = true,
            "require_user" => conditions.require_user = true,
            "no_logon" => conditions.require_logon = false,
            _ => panic!("unknown condition: {word}"),
        }
    }
    Authentication::Anybody(conditions)
}

/// `@ transport authentication=implicit access=nothing`: what is different about the listener.
pub(crate) fn own_rule(transport: TransportConfig, rule: &str) -> TransportConfig {
    match rule {
        "authentication=disabled" => transport.authentication(Authentication::Disabled),
        "authentication=implicit" => transport.authentication(Authentication::Implicit),
        "authentication=refuse" => transport.authentication(Authentication::Refuse("not here".to_owned())),
        "access=everything" => transport.access(Access::Everything),
        "access=nothing" => transport.access(Access::Nothing),
        _ => match rule.strip_prefix("access=read:") {
            Some(topic) => transport.access(Access::Only(vec![Entitlement::read("*", topic)])),
            None => panic!("unknown rule: {rule}"),
        },
    }
}
