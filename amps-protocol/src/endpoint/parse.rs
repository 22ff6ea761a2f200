//! Reading connection strings (protocol.md 15.1).

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use core::str::FromStr;

use nom::branch::alt;
use nom::bytes::complete::{tag, take_till, take_till1, take_while1};
use nom::combinator::{map, opt, rest, verify};
use nom::sequence::{delimited, preceded, terminated};
use nom::{IResult, Parser};

use super::{Endpoint, EndpointError, IpPreference, Password, Scheme, TransportOptions};
use crate::offset::offset_of;

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let fail = |part: &str, problem| EndpointError::Syntax { offset: offset_of(text, part), problem };
        let (after_scheme, scheme) =
            scheme(text).map_err(|_| fail(text, "it does not begin with a scheme and \"://\""))?;
        let scheme = Scheme::from_name(scheme)
            .ok_or_else(|| EndpointError::UnknownScheme { scheme: scheme.to_owned() })?;

        let (tail, authority) = authority(after_scheme).map_err(|_| fail(after_scheme, "it has no host"))?;
        // Before anything else is judged: what comes first might be half of a password.
        let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
        let torn = |part: &str| part.contains('@');
        let in_query =
            |segment: &str| torn(segment) && !(scheme == Scheme::Unix && segment.starts_with("path="));
        if torn(path) || query.split('&').any(in_query) {
            // Most likely a password with a slash: name no part of it, and point at none.
            return Err(fail(
                after_scheme,
                "there is an \"@\" behind the host; write / ? and @ in a password as %2F, %3F and %40",
            ));
        }
        // The last @ separates: a careless password may contain another.
        let (user_info, address) = match authority.rsplit_once('@') {
            Some((user_info, address)) => (Some(user_info), address),
            None => (None, authority),
        };
        let (user, password) = match user_info.map(|info| info.split_once(':').unwrap_or((info, ""))) {
            None => (None, None),
            Some((user, password)) => (
                Some(percent_decode(user).ok_or_else(|| fail(user, "the user has a broken % escape"))?),
                Some(
                    percent_decode(password)
                        .ok_or_else(|| fail(user, "the password has a broken % escape"))?,
                ),
            ),
        };
        let (after_host, host) = host(address).map_err(|_| fail(address, "it has no host"))?;
        if let Some(at) = host.find(|c: char| c.is_whitespace() || c.is_control()) {
            let part = host.get(at..).unwrap_or(host);
            return Err(fail(part, "the host holds a blank or a control character"));
        }
        let port = match after_host.strip_prefix(':') {
            Some(port) => {
                port_number(port).ok_or_else(|| fail(port, "the port is not a number from 0 to 65535"))?
            }
            None if after_host.is_empty() && scheme == Scheme::Unix => 0,
            None => return Err(fail(after_host, "it has no port")),
        };
        if port == 0 && scheme != Scheme::Unix {
            return Err(fail(after_host, "the port is 0"));
        }

        let (prefix, message_type) = parse_path(text, path)?;
        let options = parse_options(text, query, scheme)?;
        // Prefixes are for proxies: those of WebSocket and of an HTTP upgrade (U-5).
        let proxied = matches!(scheme, Scheme::Ws | Scheme::Wss) || options.http_preflight;
        if let (Some(first), false) = (prefix.first(), proxied) {
            return Err(EndpointError::UnsupportedProtocol { protocol: first.clone() });
        }
        if scheme == Scheme::Unix && options.path.is_none() {
            let end = text.get(text.len()..).unwrap_or_default();
            return Err(fail(end, "the unix transport needs the parameter \"path\""));
        }
        Ok(Self {
            scheme,
            user: user.filter(|user| !user.is_empty()),
            password: password.filter(|password| !password.is_empty()).map(Password),
            host: host.to_owned(),
            port,
            prefix,
            message_type,
            options,
        })
    }
}

fn scheme(input: &str) -> IResult<&str, &str, ()> {
    terminated(take_while1(|c: char| c.is_ascii_alphanumeric()), tag("://")).parse(input)
}

fn authority(input: &str) -> IResult<&str, &str, ()> {
    take_till(|c| c == '/' || c == '?').parse(input)
}

/// A name, an IPv4 address, or an IPv6 address in brackets.
fn host(input: &str) -> IResult<&str, &str, ()> {
    let bracketed = delimited(tag("["), take_till1(|c| c == ']'), tag("]"));
    let literal = verify(bracketed, |text: &str| text.parse::<core::net::Ipv6Addr>().is_ok());
    alt((literal, take_till1(|c| c == ':' || c == '['))).parse(input)
}

/// Digits only: the sign that Rust's own parser takes is none of a port.
fn port_number(text: &str) -> Option<u16> {
    decimal(text)
}

/// An unsigned decimal without a sign.
fn decimal<T: FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// The segments before the last `amps`, and the message type after it (U-5). They are taken
/// as they are: no percent-decoding is defined for them.
fn parse_path(text: &str, path: &str) -> Result<(Vec<String>, Option<String>), EndpointError> {
    let fail = |part: &str, problem| EndpointError::Syntax { offset: offset_of(text, part), problem };
    let mut segments: Vec<&str> = path.split('/').skip(1).collect();
    if segments.last() == Some(&"") {
        segments.pop();
    }
    let Some(at) = segments.iter().rposition(|segment| *segment == "amps") else {
        return Err(match segments.first() {
            None => fail(path, "it has no protocol"),
            Some(protocol) => EndpointError::UnsupportedProtocol { protocol: (*protocol).to_owned() },
        });
    };
    if let Some(extra) = segments.get(at + 2) {
        return Err(fail(extra, "too many path segments follow the protocol"));
    }
    if let Some(empty) = segments.iter().find(|segment| segment.is_empty()) {
        return Err(fail(empty, "the path has an empty segment"));
    }
    let prefix = segments.iter().take(at).map(|segment| (*segment).to_owned()).collect();
    Ok((prefix, segments.get(at + 1).map(|segment| (*segment).to_owned())))
}

fn parameter(input: &str) -> IResult<&str, (&str, &str), ()> {
    let value = map(opt(preceded(tag("="), rest)), Option::unwrap_or_default);
    (take_till1(|c| c == '='), value).parse(input)
}

fn parse_options(text: &str, query: &str, scheme: Scheme) -> Result<TransportOptions, EndpointError> {
    let fail = |part: &str, problem| EndpointError::Syntax { offset: offset_of(text, part), problem };
    let mut options = TransportOptions::default();
    let mut seen: Vec<&str> = Vec::new();
    for segment in query.split('&').filter(|segment| !segment.is_empty()) {
        let (_, (name, raw)) = parameter(segment).map_err(|_| fail(segment, "a parameter has no name"))?;
        if seen.contains(&name) {
            return Err(EndpointError::RepeatedParameter { name: name.to_owned() });
        }
        seen.push(name);
        let value = percent_decode(raw).ok_or_else(|| fail(segment, "a parameter has a broken % escape"))?;
        set_option(&mut options, scheme, name, &value)?;
    }
    Ok(options)
}

fn set_option(
    options: &mut TransportOptions,
    scheme: Scheme,
    name: &str,
    value: &str,
) -> Result<(), EndpointError> {
    let bad = |expected| EndpointError::BadValue { name: name.to_owned(), value: value.to_owned(), expected };
    let on_tcp = matches!(scheme, Scheme::Tcp | Scheme::Tcps);
    let on_socket = scheme != Scheme::Unix;
    let applies = match name {
        "bind" | "tcp_rcvbuf" | "tcp_sndbuf" | "tcp_nodelay" | "tcp_keepalive" | "tcp_linger"
        | "ip_protocol_prefer" => on_socket,
        "compression" | "http_preflight" => on_tcp,
        "path" => scheme == Scheme::Unix,
        "pretty" => true,
        _ => return Err(EndpointError::UnknownParameter { name: name.to_owned() }),
    };
    if !applies {
        return Err(EndpointError::NotApplicable { name: name.to_owned(), scheme: scheme.name() });
    }
    let boolean = || parse_bool(value).ok_or_else(|| bad("true or false"));
    let bytes = || decimal::<usize>(value).ok_or_else(|| bad("a number of bytes"));
    match name {
        "bind" => options.bind = Some(value.parse().map_err(|_| bad("an IP address"))?),
        "tcp_rcvbuf" => options.recv_buffer = Some(bytes()?),
        "tcp_sndbuf" => options.send_buffer = Some(bytes()?),
        "tcp_nodelay" => options.nodelay = Some(boolean()?),
        "tcp_keepalive" => options.keepalive = Some(boolean()?),
        "tcp_linger" => options.linger = Some(decimal(value).ok_or_else(|| bad("a number of seconds"))?),
        "ip_protocol_prefer" => {
            options.prefer = Some(match value {
                _ if value.eq_ignore_ascii_case(IpPreference::Ipv4.token()) => IpPreference::Ipv4,
                _ if value.eq_ignore_ascii_case(IpPreference::Ipv6.token()) => IpPreference::Ipv6,
                _ => return Err(bad("ipv4 or ipv6")),
            });
        }
        "compression" => {
            if value != "zlib" {
                return Err(bad("zlib"));
            }
            options.zlib = true;
        }
        "http_preflight" => options.http_preflight = boolean()?,
        "path" if value.is_empty() => return Err(bad("the name of a socket file")),
        "path" => options.path = Some(value.to_owned()),
        _ => options.pretty = boolean()?,
    }
    Ok(())
}

fn parse_bool(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "1" => Some(true),
        "false" | "f" | "no" | "n" | "0" => Some(false),
        _ => None,
    }
}

/// `None` if an escape is broken or the result is not UTF-8.
fn percent_decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            out.push((high * 16 + low) as u8);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}
