//! Who may use the control port.
//!
//! Owns the refusal of what a browser sends on behalf of other web pages. Whoever can connect may do everything, and
//! a browser on the same machine can connect, whatever page it shows: a page from elsewhere may send requests to
//! loopback (and does not get to see the answers), or be served under a name that is pointed at loopback afterwards
//! (DNS rebinding), and then it would see them. Programs send neither `Origin` nor `Sec-Fetch-Site`, and notice
//! nothing.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::http::Refused;

/// The fields of a request by which it is judged, as they were sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Provenance {
    /// More than one is as bad as a foreign one.
    pub(super) hosts: Vec<String>,
    pub(super) origin: Option<String>,
    /// `Sec-Fetch-Site`: whose page the browser sends this for.
    pub(super) site: Option<String>,
    /// `Sec-Fetch-Mode`: `navigate` if somebody has followed a link.
    pub(super) mode: Option<String>,
}

impl Provenance {
    /// Whether the request comes from a program, or from the control port's own page.
    pub(super) fn check(&self, method: &str) -> Result<(), Refused> {
        let refused = |text: String| Err(Refused::new(403, text));
        if let Some(host) = self.hosts.iter().find(|host| !is_local(host)) {
            return refused(format!(
                "the Host is \"{host}\", and any web page can be served under a name; use localhost or the address, \
                 such as 127.0.0.1"
            ));
        }
        let host = match &self.hosts[..] {
            [] => None,
            [host] => Some(host),
            _ => return refused("the request has several fields of the name Host; send one".to_owned()),
        };
        if let Some(origin) = &self.origin {
            let own = host.map(|host| format!("http://{host}"));
            if !own.is_some_and(|own| own.eq_ignore_ascii_case(origin)) {
                return refused(format!(
                    "other web pages may not use the control port; this is from \"{origin}\": leave out the Origin, or \
                     use the page that GET / shows"
                ));
            }
        }
        // Browsers send no Origin with what only reads, and with what a link leads to.
        let foreign = self.site.as_deref().is_some_and(|site| site != "same-origin" && site != "none");
        let followed = self.mode.as_deref() == Some("navigate") && matches!(method, "GET" | "HEAD");
        if foreign && !followed {
            return refused("other web pages may not use the control port".to_owned());
        }
        Ok(())
    }
}

/// Whether no name server has a say in what this means: `localhost`, or an address, with or without a port.
fn is_local(host: &str) -> bool {
    let without_port = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.is_empty() => name,
        _ => host,
    };
    if let Some(address) = without_port.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    without_port.eq_ignore_ascii_case("localhost") || without_port.parse::<Ipv4Addr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_localhost_are_local_and_names_are_not() {
        for local in ["127.0.0.1:8085", "127.0.0.1", "localhost", "LocalHost:80", "[::1]:8085", "[::1]"] {
            assert!(is_local(local), "{local}");
        }
        for foreign in [
            "",
            ":80",
            "evil.example",
            "evil.example:8085",
            "127.0.0.1.evil.example",
            "localhost.evil.example:80",
            "127.0.0.1:80:evil",
            "127.0.0.1@evil.example",
            "localhost:port",
            "::1",
            "[localhost]",
            "0x7f.1",
        ] {
            assert!(!is_local(foreign), "{foreign}");
        }
    }

    #[test]
    fn the_own_page_may_and_others_may_not() {
        let from = |host: &str, origin: Option<&str>, site: Option<&str>, mode: Option<&str>| Provenance {
            hosts: vec![host.to_owned()],
            origin: origin.map(str::to_owned),
            site: site.map(str::to_owned),
            mode: mode.map(str::to_owned),
        };
        let own = Some("http://127.0.0.1:80");
        assert!(from("127.0.0.1:80", None, None, None).check("POST").is_ok());
        assert!(from("127.0.0.1:80", own, Some("same-origin"), Some("cors")).check("POST").is_ok());
        assert!(from("127.0.0.1:80", None, Some("none"), Some("navigate")).check("GET").is_ok());
        assert!(from("127.0.0.1:80", None, Some("cross-site"), Some("navigate")).check("GET").is_ok());
        for (origin, site, mode, method) in [
            (Some("http://127.0.0.1:81"), None, None, "POST"),
            (Some("https://127.0.0.1:80"), None, None, "POST"),
            (Some("http://localhost:80"), None, None, "POST"),
            (Some("null"), None, None, "POST"),
            (Some(""), None, None, "GET"),
            (None, Some("cross-site"), Some("no-cors"), "GET"),
            (None, Some("same-site"), Some("no-cors"), "GET"),
            (None, Some("cross-site"), Some("navigate"), "POST"),
            (own, Some("cross-site"), Some("cors"), "POST"),
        ] {
            let refused = from("127.0.0.1:80", origin, site, mode).check(method).unwrap_err();
            assert_eq!(refused.status, 403, "{origin:?} {site:?} {mode:?} {method}");
        }
        assert!(from("evil.example", Some("http://evil.example"), None, None).check("GET").is_err());
        let twice = Provenance { hosts: vec!["localhost".to_owned(); 2], ..Provenance::default() };
        assert!(twice.check("GET").is_err());
        let nowhere = Provenance { origin: Some("http://localhost".to_owned()), ..Provenance::default() };
        assert!(nowhere.check("GET").is_err());
        assert!(Provenance::default().check("POST").is_ok());
    }
}
