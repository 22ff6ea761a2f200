//! `Authentication` and `Entitlement`, of the instance and of a transport.

use super::reader::Reader;
use super::schema;
use super::scope::Scope;
use super::units;
use super::xml::Element;

/// What a module is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Authentication,
    Entitlement,
}

/// What a module decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    Everybody,
    /// As `Everybody`, and a first command is as good as a logon.
    Implicit,
    Nobody,
}

impl Policy {
    pub(super) fn is_refusal(self) -> bool {
        self == Self::Nobody
    }
}

/// The policy of the module in an element; `None` if there is none.
pub(super) fn module(reader: &mut Reader, scope: &Scope, element: &Element, role: Role) -> Option<Policy> {
    reader.check(element, schema::SECURITY);
    let name = reader.required(element, "Module")?;
    let child = element.get("Module")?;
    match (role, name.as_str()) {
        (Role::Authentication, "amps-default-authentication-module") => {
            default_options(reader, element);
            Some(Policy::Everybody)
        }
        (Role::Authentication, "amps-implicit-authentication-module") => Some(Policy::Implicit),
        // The name of the first is inferred from that of the second.
        (Role::Authentication, "amps-default-no-authentication-module")
        | (Role::Entitlement, "amps-default-no-entitlement-module") => Some(Policy::Nobody),
        (Role::Entitlement, "amps-default-entitlement-module") => Some(Policy::Everybody),
        (_, name) if scope.modules.iter().any(|known| known == name) => {
            let what = match role {
                Role::Authentication => "everybody may log on, unless the test says who may",
                Role::Entitlement => "everybody may do everything",
            };
            reader.not_supported(child, what);
            Some(Policy::Everybody)
        }
        (_, name) => {
            scope.unknown_module(reader, child, name);
            None
        }
    }
}

/// Options of the default module that differ from what the server does.
fn default_options(reader: &mut Reader, element: &Element) {
    let Some(options) = element.get("Options") else { return };
    if reader.value(options, "AllowSpoofing", units::boolean) == Some(true) {
        if let Some(child) = options.get("AllowSpoofing") {
            reader.not_supported(child, "users stay without a name");
        }
    }
    if reader.value(options, "RequireLogon", units::boolean) == Some(false) {
        if let Some(child) = options.get("RequireLogon") {
            reader.not_supported(child, "clients have to log on all the same");
        }
    }
}
