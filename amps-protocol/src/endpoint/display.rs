//! Printing connection strings, with the password masked (protocol.md U-12).

use core::fmt;

use super::{Endpoint, IpPreference, TransportOptions};

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme.name())?;
        if self.user.is_some() || self.password.is_some() {
            let user = self.user.as_deref().unwrap_or_default();
            let mask = if self.password.is_some() { ":***" } else { "" };
            write!(f, "{}{mask}@", Encoded { text: user, keep: "" })?;
        }
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)?;
        } else {
            write!(f, "{}:{}", self.host, self.port)?;
        }
        for segment in &self.prefix {
            write!(f, "/{segment}")?;
        }
        f.write_str("/amps")?;
        if let Some(message_type) = &self.message_type {
            write!(f, "/{message_type}")?;
        }
        self.options.write(f)
    }
}

impl TransportOptions {
    /// Writes those that were given, in the order of the table of protocol.md 15.2.
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = Parameters { f, separator: "?" };
        out.write("bind", self.bind)?;
        out.write("tcp_rcvbuf", self.recv_buffer)?;
        out.write("tcp_sndbuf", self.send_buffer)?;
        out.write("tcp_nodelay", self.nodelay)?;
        out.write("ip_protocol_prefer", self.prefer.map(IpPreference::token))?;
        out.write("compression", self.zlib.then_some("zlib"))?;
        out.write("http_preflight", self.http_preflight.then_some(true))?;
        out.write("path", self.path.as_deref().map(|text| Encoded { text, keep: "/" }))?;
        out.write("tcp_keepalive", self.keepalive)?;
        out.write("tcp_linger", self.linger)?;
        out.write("pretty", self.pretty.then_some(true))
    }
}

struct Parameters<'a, 'f> {
    f: &'a mut fmt::Formatter<'f>,
    separator: &'static str,
}

impl Parameters<'_, '_> {
    fn write(&mut self, name: &str, value: Option<impl fmt::Display>) -> fmt::Result {
        let Some(value) = value else { return Ok(()) };
        write!(self.f, "{}{name}={value}", self.separator)?;
        self.separator = "&";
        Ok(())
    }
}

/// A text with everything percent-encoded that could be read as syntax.
struct Encoded<'a> {
    text: &'a str,
    keep: &'static str,
}

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.text.bytes() {
            let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            if plain || self.keep.as_bytes().contains(&byte) {
                fmt::Write::write_char(f, char::from(byte))?;
            } else {
                write!(f, "%{byte:02X}")?;
            }
        }
        Ok(())
    }
}
