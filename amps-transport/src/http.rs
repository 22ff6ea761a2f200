//! What preflight, proxies and WebSocket share of HTTP/1.1: headers that an application adds, and the heads of
//! requests and answers.
//!
//! Owns what may stand in a request that this crate sends, and what an answer's status means (protocol.md HP-4 to
//! HP-7). Holds no state of a connection, and reads no bodies.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use core::fmt;

use bytes::{Buf, BytesMut};
use httparse::{EMPTY_HEADER, Status};

use crate::layer::{LayerError, LayerTrouble};

/// The largest head of a request or answer (protocol.md HP-5).
pub(crate) const MAX_HEAD: usize = 16 * 1024;

/// More headers than this are nothing that helps a connection.
const MAX_HEADERS: usize = 96;

/// Headers that an application adds to a request, in its order.
///
/// ```
/// use amps_transport::HttpHeaders;
///
/// let mut headers = HttpHeaders::new();
/// headers.add("X-Route", "east")?.add_line("Cookie: a=1")?;
/// headers.add_basic("Proxy-Authorization", "alice", "secret")?;
/// assert_eq!(headers.len(), 3);
/// let error = headers.add("Host", "elsewhere").unwrap_err();
/// assert!(error.to_string().contains("Host"));
/// # Ok::<(), amps_transport::HttpConfigError>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct HttpHeaders {
    list: Vec<(String, String)>,
}

/// Why a request cannot be made as it was asked for.
///
/// ```
/// use amps_transport::{HttpConfigError, HttpHeaders};
///
/// let error = HttpHeaders::new().add("Cookie", "a\r\nb").unwrap_err();
/// assert!(matches!(error, HttpConfigError::HeaderValue { name } if name == "Cookie"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HttpConfigError {
    /// A header line has no colon.
    #[error(
        "an HTTP header line of {length} bytes, number {place} of them, has no colon; write it as \"Name: value\""
    )]
    HeaderLine {
        /// Which header it would have been, from 1. Nothing of the line is shown: all of it may be a secret.
        place: usize,
        /// The bytes of the line.
        length: usize,
    },
    /// A header's name is empty, or holds what no name may hold.
    #[error(
        "the name of the HTTP header number {place}, of {length} bytes, cannot be one; use letters, digits and hyphens"
    )]
    HeaderName {
        /// Which header it would have been, from 1. Nothing of the name is shown: it may be a part of a secret.
        place: usize,
        /// The bytes of the name.
        length: usize,
    },
    /// A header's value holds a line break or another control character.
    #[error("the value of the HTTP header \"{name}\" holds a line break or another control character")]
    HeaderValue {
        /// The header.
        name: String,
    },
    /// A header that belongs to the request itself.
    #[error("the HTTP header \"{name}\" is set by the connection itself; leave it out")]
    HeaderReserved {
        /// The header.
        name: String,
    },
    /// The user name of Basic credentials holds a colon, which ends it.
    #[error(
        "the user name for the HTTP header \"{name}\" holds a colon, which Basic credentials cannot carry"
    )]
    UserName {
        /// The header.
        name: String,
    },
    /// The host and port are not of the form that a request needs.
    #[error("\"{authority}\" is not a host and port for an HTTP request; write it as host:port")]
    Authority {
        /// What was given.
        authority: String,
    },
    /// The path is not of the form that a request needs.
    #[error("\"{path}\" is not a path for an HTTP request; begin with / and percent-encode blanks")]
    Path {
        /// What was given.
        path: String,
    },
}

/// What would change where a request ends, or what it asks for.
const RESERVED: &[&str] = &["host", "content-length", "transfer-encoding", "te", "trailer", "expect"];

impl HttpHeaders {
    /// None.
    pub const fn new() -> Self {
        Self { list: Vec::new() }
    }

    /// Adds a header; blanks around `value` are left out. One that repeats `Connection` or `Upgrade` replaces that
    /// of the request; others may be there several times.
    ///
    /// # Errors
    /// The name or the value cannot stand in a request, or the header belongs to the request itself: `Host`, what
    /// says how long a request is, and everything that begins with `Sec-WebSocket-`.
    pub fn add(&mut self, name: &str, value: &str) -> Result<&mut Self, HttpConfigError> {
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(HttpConfigError::HeaderName { place: self.list.len() + 1, length: name.len() });
        }
        if !value.bytes().all(|byte| byte == b'\t' || !byte.is_ascii_control()) {
            return Err(HttpConfigError::HeaderValue { name: name.into() });
        }
        let lower = name.to_ascii_lowercase();
        if RESERVED.contains(&lower.as_str()) || lower.starts_with("sec-websocket-") {
            return Err(HttpConfigError::HeaderReserved { name: name.into() });
        }
        self.list.push((name.into(), value.trim_matches([' ', '\t']).into()));
        Ok(self)
    }

    /// Adds a header that is written as `Name: value`.
    ///
    /// # Errors
    /// There is no colon; and as for [`add`](Self::add).
    pub fn add_line(&mut self, line: &str) -> Result<&mut Self, HttpConfigError> {
        let Some((name, value)) = line.split_once(':') else {
            return Err(HttpConfigError::HeaderLine { place: self.list.len() + 1, length: line.len() });
        };
        self.add(name, value)
    }

    /// Adds credentials in the form `Basic`; `name` is `Authorization` for the server, `Proxy-Authorization` for a
    /// proxy.
    ///
    /// # Errors
    /// The user name holds a colon; and as for [`add`](Self::add).
    pub fn add_basic(
        &mut self,
        name: &str,
        user: &str,
        password: &str,
    ) -> Result<&mut Self, HttpConfigError> {
        if user.contains(':') {
            return Err(HttpConfigError::UserName { name: name.into() });
        }
        let credentials = base64(format!("{user}:{password}").as_bytes());
        self.add(name, &format!("Basic {credentials}"))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    fn has(&self, name: &str) -> bool {
        self.list.iter().any(|(own, _)| own.eq_ignore_ascii_case(name))
    }

    /// Writes a request's line, `Host`, what `ours` holds unless it is replaced, these, and the empty line.
    pub(crate) fn write_request(
        &self,
        line: &str,
        authority: &str,
        ours: &[(&str, &str)],
        out: &mut BytesMut,
    ) {
        let mut put = |parts: &[&str]| parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
        put(&[line, " HTTP/1.1\r\nHost: ", authority, "\r\n"]);
        for (name, value) in ours.iter().filter(|(name, _)| !self.has(name)) {
            put(&[name, ": ", value, "\r\n"]);
        }
        for (name, value) in &self.list {
            put(&[name, ": ", value, "\r\n"]);
        }
        put(&["\r\n"]);
    }
}

/// Without the values: they may be secrets.
impl fmt::Debug for HttpHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list.iter().map(|(name, _)| name)).finish()
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Checks a host and port as they stand in `Host` and in CONNECT.
pub(crate) fn check_authority(authority: &str) -> Result<(), HttpConfigError> {
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, ""));
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let host_fits = !host.is_empty()
        && (bracketed || !host.contains(':'))
        && host.bytes().all(|byte| byte.is_ascii_graphic() && !b"/@?#\\\"".contains(&byte));
    if host_fits && !port.starts_with('+') && port.parse::<u16>().is_ok() {
        return Ok(());
    }
    Err(HttpConfigError::Authority { authority: authority.escape_debug().to_string() })
}

/// Checks the target of a request.
pub(crate) fn check_path(path: &str) -> Result<(), HttpConfigError> {
    if path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Ok(());
    }
    Err(HttpConfigError::Path { path: path.escape_debug().to_string() })
}

/// The host of a host and port, without brackets.
pub(crate) fn host_of(authority: &str) -> &str {
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let number =
            group.iter().fold(0u32, |number, &byte| number << 8 | u32::from(byte)) << (8 * (3 - group.len()));
        for digit in 0..4 {
            let index = (number >> (18 - 6 * digit)) as usize & 63;
            let character = DIGITS.get(index).filter(|_| digit <= group.len());
            text.push(character.map_or('=', |&character| char::from(character)));
        }
    }
    text
}

/// The head of an answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    /// For people: what the first line says.
    pub(crate) status: String,
    #[cfg(feature = "websocket")]
    pub(crate) fields: Fields,
}

/// The head of a request.
#[derive(Debug)]
pub(crate) struct Request {
    #[cfg(feature = "websocket")]
    pub(crate) method: String,
    /// 1 in HTTP/1.1.
    #[cfg(feature = "websocket")]
    pub(crate) minor_version: u8,
    pub(crate) fields: Fields,
}

/// The headers that came.
#[derive(Debug)]
pub(crate) struct Fields(Vec<(String, Vec<u8>)>);

impl Fields {
    fn new(headers: &[httparse::Header<'_>]) -> Self {
        Self(headers.iter().map(|header| (header.name.to_ascii_lowercase(), header.value.to_vec())).collect())
    }

    /// The first value of a header whose name is given in small letters.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(own, _)| own == name);
        found.and_then(|(_, value)| core::str::from_utf8(value).ok())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(own, _)| own == name)
    }

    /// Whether one of the words in a list, over all headers of that name, is `word`.
    #[cfg(feature = "websocket")]
    pub(crate) fn lists(&self, name: &str, word: &str) -> bool {
        let values = self.0.iter().filter(|(own, _)| own == name);
        values
            .filter_map(|(_, value)| core::str::from_utf8(value).ok())
            .any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word)))
    }
}

/// Takes the head of an answer from the front of `input`, when it is there; answers that only announce another one
/// (100, 103) are skipped.
///
/// # Errors
/// It is none, or too large; `layer` is who says so.
pub(crate) fn take_answer(layer: &'static str, input: &mut BytesMut) -> Result<Option<Answer>, LayerError> {
    loop {
        let mut headers = [EMPTY_HEADER; MAX_HEADERS];
        let mut answer = httparse::Response::new(&mut headers);
        let parsed = answer.parse(within_limit(input));
        let Some(end) = head_end(layer, "answer", parsed, input)? else { return Ok(None) };
        let code = answer.code.unwrap_or_default();
        let reason = answer.reason.unwrap_or_default();
        let status = format!("HTTP/1.{} {code} {reason}", answer.version.unwrap_or_default());
        #[cfg(feature = "websocket")]
        let fields = Fields::new(answer.headers);
        input.advance(end);
        if code == 101 || code >= 200 {
            let status = status.trim_end().into();
            return Ok(Some(Answer {
                code,
                status,
                #[cfg(feature = "websocket")]
                fields,
            }));
        }
    }
}

/// Takes the head of a request from the front of `input`, when it is there.
///
/// # Errors
/// It is none, or too large; `layer` is who says so.
#[cfg(feature = "websocket")]
pub(crate) fn take_request(layer: &'static str, input: &mut BytesMut) -> Result<Option<Request>, LayerError> {
    let found = peek_request(layer, input)?;
    Ok(found.map(|(end, request)| {
        input.advance(end);
        request
    }))
}

/// The head of a request at the front of `input`, and its length, when it is there.
pub(crate) fn peek_request(
    layer: &'static str,
    input: &[u8],
) -> Result<Option<(usize, Request)>, LayerError> {
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let parsed = request.parse(within_limit(input));
    let Some(end) = head_end(layer, "request", parsed, input)? else { return Ok(None) };
    let request = Request {
        #[cfg(feature = "websocket")]
        method: request.method.unwrap_or_default().to_owned(),
        #[cfg(feature = "websocket")]
        minor_version: request.version.unwrap_or_default(),
        fields: Fields::new(request.headers),
    };
    Ok(Some((end, request)))
}

fn within_limit(input: &[u8]) -> &[u8] {
    input.get(..MAX_HEAD).unwrap_or(input)
}

fn head_end(
    layer: &'static str,
    what: &str,
    parsed: Result<Status<usize>, httparse::Error>,
    input: &[u8],
) -> Result<Option<usize>, LayerError> {
    match parsed {
        Ok(Status::Complete(end)) => Ok(Some(end)),
        Ok(Status::Partial) if input.len() < MAX_HEAD => Ok(None),
        Ok(Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            let text = format!("the HTTP {what} has more than {MAX_HEAD} bytes or {MAX_HEADERS} headers");
            Err(LayerError::new(layer, LayerTrouble::Limit, text))
        }
        Err(error) => {
            let came = input.get(..32).unwrap_or(input).escape_ascii();
            let text =
                format!("expected an HTTP {what}, but \"{came}\" is none; check what listens on that port");
            Err(LayerError::new(layer, LayerTrouble::Protocol, text).with_source(error))
        }
    }
}

/// What an answer means that does not grant what was asked for (protocol.md HP-7, inferred).
pub(crate) fn refusal(layer: &'static str, answer: &Answer) -> LayerError {
    let status = &answer.status;
    match answer.code {
        401 | 403 | 407 => {
            let text = format!("\"{status}\": credentials are missing or wrong; set them as a header");
            LayerError::new(layer, LayerTrouble::Authentication, text)
        }
        _ => LayerError::new(layer, LayerTrouble::Refused, format!("the answer is \"{status}\"")),
    }
}

/// A whole answer that ends a connection.
pub(crate) fn write_refusal(code: u16, headers: &[(&str, &str)], text: &str, out: &mut BytesMut) {
    let reason = match code {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        407 => "Proxy Authentication Required",
        426 => "Upgrade Required",
        431 => "Request Header Fields Too Large",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Refused",
    };
    let mut head = format!("HTTP/1.1 {code} {reason}\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !headers.iter().any(|(name, _)| *name == "Connection") {
        head.push_str("Connection: close\r\n");
    }
    head.push_str(&format!("Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{text}\n", text.len() + 1));
    out.extend_from_slice(head.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_that_would_break_the_request_is_refused_by_name() {
        let mut headers = HttpHeaders::new();
        for (name, value, error) in [
            ("", "x", "number 1, of 0 bytes, cannot be one"),
            ("A B", "x", "number 1, of 3 bytes, cannot be one"),
            ("A\r\nB", "x", "of 4 bytes"),
            ("Na:me", "x", "of 5 bytes"),
            ("Cookie", "a\r\nHost: evil", "of the HTTP header \"Cookie\" holds a line break"),
            ("Cookie", "a\n", "\"Cookie\""),
            ("Cookie", "a\0", "\"Cookie\""),
            ("hOST", "x", "\"hOST\" is set by the connection"),
            ("Content-Length", "3", "\"Content-Length\" is set"),
            ("Sec-WebSocket-Key", "x", "\"Sec-WebSocket-Key\" is set"),
            ("Sec-WebSocket-Protocol", "x", "is set"),
        ] {
            let text = headers.add(name, value).unwrap_err().to_string();
            assert!(text.contains(error), "{text}");
        }
        for secret in ["hunter2", "hunter2 nocolon", "Basic hunter2=: x"] {
            let error = headers.add_line(secret).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
            assert!(error.to_string().contains("number 1"), "{error}");
        }
        assert!(headers.add_basic("Authorization", "a:b", "c").is_err());
        assert!(headers.is_empty());
    }

    #[test]
    fn headers_keep_their_order_and_replace_those_of_the_request() {
        let mut headers = HttpHeaders::new();
        headers
            .add_line("X-One:  1\t")
            .unwrap()
            .add("upgrade", "amps")
            .unwrap()
            .add("Cookie", "a=ä")
            .unwrap();
        headers.add("Cookie", "b").unwrap();
        let mut out = BytesMut::new();
        let ours = [("Connection", "Upgrade"), ("Upgrade", "websocket")];
        headers.write_request("GET /x", "h:1", &ours, &mut out);
        let expected = "GET /x HTTP/1.1\r\nHost: h:1\r\nConnection: Upgrade\r\nX-One: 1\r\nupgrade: amps\r\n\
                        Cookie: a=ä\r\nCookie: b\r\n\r\n";
        assert_eq!(core::str::from_utf8(&out).unwrap(), expected);
        assert_eq!(format!("{headers:?}"), r#"["X-One", "upgrade", "Cookie", "Cookie"]"#, "no values");
    }

    #[test]
    fn basic_credentials_are_those_of_the_standard() {
        // RFC 7617 section 2, and the vectors of RFC 4648 section 10.
        assert_eq!(base64(b"Aladdin:open sesame"), "QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        let vectors = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"];
        for (length, expected) in vectors.iter().enumerate() {
            assert_eq!(base64(&b"foobar"[..length]), *expected);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }

    #[test]
    fn hosts_and_paths_that_cannot_stand_in_a_request_are_refused() {
        for good in ["host:1", "10.0.0.1:65535", "[::1]:9007", "a-b.c:0"] {
            check_authority(good).unwrap();
        }
        for bad in [
            "",
            "host",
            ":1",
            "host:",
            "host:65536",
            "host:+1",
            "::1:2",
            "a b:1",
            "a\r\n:1",
            "a/b:1",
            "u@h:1",
        ] {
            assert!(check_authority(bad).is_err(), "{bad}");
        }
        assert_eq!([host_of("[::1]:7"), host_of("h:7")], ["::1", "h"]);
        check_path("/prefix/amps/json?x=%20").unwrap();
        for bad in ["", "amps", "/a b", "/a\r\n", "/ä", "/a#b"] {
            assert!(check_path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_answer_is_taken_at_every_split_and_leaves_what_is_behind_it() {
        let whole = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 204\r\nA:  b \r\n\r\nrest";
        for split in 0..=whole.len() {
            let mut input = BytesMut::from(&whole[..split]);
            let mut answer = take_answer("test", &mut input).unwrap();
            assert_eq!(answer.is_some(), split >= whole.len() - 4);
            input.extend_from_slice(&whole[split..]);
            if answer.is_none() {
                answer = take_answer("test", &mut input).unwrap();
            }
            let answer = answer.unwrap();
            assert_eq!((answer.code, answer.status.as_str()), (204, "HTTP/1.0 204"));
            #[cfg(feature = "websocket")]
            assert_eq!(answer.fields.get("a"), Some("b"));
            assert_eq!(&input[..], b"rest");
        }
    }

    #[test]
    fn heads_without_end_and_garbage_are_refused() {
        let mut long = BytesMut::from(&b"HTTP/1.1 200 OK\r\n"[..]);
        while long.len() < MAX_HEAD - 5 {
            assert!(take_answer("test", &mut long).unwrap().is_none());
            long.extend_from_slice(&[b"A: ".as_slice(), &[b'x'; 4000], b"\r\n"].concat());
        }
        assert_eq!(take_answer("test", &mut long).unwrap_err().trouble(), LayerTrouble::Limit);
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(MAX_HEADERS + 1));
        let error = take_answer("test", &mut BytesMut::from(many.as_bytes())).unwrap_err();
        assert_eq!(error.trouble(), LayerTrouble::Limit);
        let error = take_answer("test", &mut BytesMut::from(&b"\0\0\0\x05hello"[..])).unwrap_err();
        assert_eq!(error.trouble(), LayerTrouble::Protocol);
        assert!(error.to_string().contains(r#""\x00\x00\x00\x05hello""#), "{error}");
    }

    #[cfg(feature = "websocket")]
    #[test]
    fn words_are_found_in_lists_over_several_headers() {
        let text = b"GET / HTTP/1.1\r\nConnection: keep-alive\r\nconnection: a , UPGRADE\r\n\r\n";
        let request = take_request("test", &mut BytesMut::from(&text[..])).unwrap().unwrap();
        assert_eq!(request.method, "GET");
        assert!(request.fields.lists("connection", "upgrade") && request.fields.has("connection"));
        assert!(!request.fields.lists("connection", "keep"));
    }
}
