//! `Authentication` and `Entitlement`, of the instance and of a transport.

use crate::engine::{Access, Authentication, Conditions, Reason, Reasons};

use super::reader::Reader;
use super::schema;
use super::scope::Scope;
use super::units;
use super::xml::Element;

/// Who may log on, if the element of an instance or of a transport says so.
pub(super) fn authentication(reader: &mut Reader, scope: &Scope, parent: &Element) -> Option<Authentication> {
    let element = parent.get("Authentication")?;
    reader.check(element, schema::SECURITY);
    let name = reader.required(element, "Module")?;
    match name.as_str() {
        "amps-default-authentication-module" => {
            let conditions = conditions(reader, element, Conditions::default());
            Some(match conditions == Conditions::default() {
                true => Authentication::Disabled,
                false => Authentication::Anybody(conditions),
            })
        }
        "amps-implicit-authentication-module" => {
            let implicit = Conditions { require_logon: false, ..Conditions::default() };
            let conditions = conditions(reader, element, implicit);
            Some(match conditions == implicit {
                true => Authentication::Implicit,
                false => Authentication::Anybody(conditions),
            })
        }
        "amps-default-no-authentication-module" => {
            Some(Authentication::Refuse(Reasons::default().text(Reason::AuthFailure).to_owned()))
        }
        name => {
            own_module(reader, scope, element, name, "everybody may log on, unless the test says who may");
            None
        }
    }
}

/// Who may do what, if the element of an instance or of a transport says so.
pub(super) fn access(reader: &mut Reader, scope: &Scope, parent: &Element) -> Option<Access> {
    let element = parent.get("Entitlement")?;
    reader.check(element, schema::SECURITY);
    let name = reader.required(element, "Module")?;
    match name.as_str() {
        "amps-default-entitlement-module" => Some(Access::Everything),
        "amps-default-no-entitlement-module" => Some(Access::Nothing),
        name => {
            own_module(
                reader,
                scope,
                element,
                name,
                "everybody may do everything, unless the test says who may",
            );
            None
        }
    }
}

/// A module whose library is not loaded, or one that nobody knows.
fn own_module(reader: &mut Reader, scope: &Scope, element: &Element, name: &str, what: &str) {
    let Some(child) = element.get("Module") else { return };
    if scope.modules.iter().any(|known| known == name) {
        reader.not_supported(child, what);
    } else {
        scope.unknown_module(reader, child, name);
    }
}

/// The options of the module that lets everybody in.
fn conditions(reader: &mut Reader, element: &Element, defaults: Conditions) -> Conditions {
    let Some(options) = element.get("Options") else { return defaults };
    reader.check(options, schema::CONDITIONS);
    let mut option = |name, default| reader.value(options, name, units::boolean).unwrap_or(default);
    Conditions {
        allow_spoofing: option("AllowSpoofing", defaults.allow_spoofing),
        require_logon: option("RequireLogon", defaults.require_logon),
        require_user: option("RequireUsername", defaults.require_user),
    }
}
