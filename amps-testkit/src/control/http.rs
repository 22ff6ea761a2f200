//! Requests and answers on a socket.
//!
//! Owns the limits: how long a request may be, and how long it may take. A connection carries one
//! request.

use std::borrow::Cow;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::guard::Provenance;

/// The longest request, header and body together.
const MAX_REQUEST: usize = 1 << 20;

/// How long a request may take to arrive, and an answer to be taken.
const MAX_TIME: Duration = Duration::from_secs(5);

/// How long the rest of a request that was refused is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// The most header fields of a request.
const MAX_FIELDS: usize = 64;

/// What somebody wants.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: String,
    /// The parts of the path, decoded.
    pub(super) path: Vec<String>,
    /// What follows the question mark, decoded.
    pub(super) query: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    /// Whether it is a browser that wants something to show.
    pub(super) wants_page: bool,
}

/// What somebody gets.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Body,
    /// The body was not asked for, only how long it is.
    pub(super) head_only: bool,
    /// The methods that there are, if that was what was wrong.
    pub(super) allow: Option<String>,
    /// The server is to stop when this was sent.
    pub(super) stops: bool,
}

#[derive(Debug)]
pub(super) enum Body {
    Json(Value),
    /// HTML, and what it may do.
    Page {
        html: &'static str,
        policy: &'static str,
    },
}

impl From<Value> for Answer {
    fn from(body: Value) -> Self {
        Self { status: 200, body: Body::Json(body), head_only: false, allow: None, stops: false }
    }
}

impl Answer {
    pub(super) fn page(html: &'static str, policy: &'static str) -> Self {
        Self { body: Body::Page { html, policy }, ..json!({}).into() }
    }
}

/// Why somebody does not get it: a status, and a sentence.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) text: String,
    pub(super) allow: Option<String>,
}

impl Refused {
    pub(super) fn new(status: u16, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), allow: None }
    }
}

impl From<Refused> for Answer {
    fn from(refused: Refused) -> Self {
        Self { status: refused.status, allow: refused.allow, ..json!({"error": refused.text}).into() }
    }
}

/// What a header says of the rest.
struct Head {
    request: Request,
    /// Where the body begins, and how long it is.
    offset: usize,
    length: usize,
    /// The sender waits for a word before it sends the body.
    waits: bool,
}

/// Reads one request; `None` if the connection ends before it begins.
pub(super) fn read(stream: &mut TcpStream) -> Result<Option<Request>, Refused> {
    read_until(stream, Instant::now() + MAX_TIME)
}

fn read_until(stream: &mut TcpStream, deadline: Instant) -> Result<Option<Request>, Refused> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(head) = parse(&bytes)? {
            break head;
        }
        if bytes.len() > MAX_REQUEST {
            return Err(too_large());
        }
        if !read_some(stream, deadline, &mut bytes)? {
            return if bytes.is_empty() { Ok(None) } else { Err(cut_off()) };
        }
    };
    let Head { mut request, offset, length, waits } = head;
    if offset.saturating_add(length) > MAX_REQUEST {
        return Err(too_large());
    }
    if waits {
        let _gone = stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
    }
    while bytes.len() < offset + length {
        if !read_some(stream, deadline, &mut bytes)? {
            return Err(cut_off());
        }
    }
    request.body = bytes.get(offset..offset + length).unwrap_or_default().to_vec();
    Ok(Some(request))
}

/// Reads what is there; `false` at the end.
fn read_some(stream: &mut TcpStream, deadline: Instant, bytes: &mut Vec<u8>) -> Result<bool, Refused> {
    let mut piece = [0; 8192];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || stream.set_read_timeout(Some(left)).is_err() {
            return Err(too_slow());
        }
        match stream.read(&mut piece) {
            Ok(count) => {
                bytes.extend_from_slice(piece.get(..count).unwrap_or_default());
                return Ok(count > 0);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Err(too_slow());
            }
            Err(_) => return Ok(false),
        }
    }
}

/// Reads a header; `None` if it is not whole.
fn parse(bytes: &[u8]) -> Result<Option<Head>, Refused> {
    let wrong = |text: String| Refused::new(400, text);
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    let offset = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(offset)) => offset,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(wrong(format!("this is not a request of HTTP/1.1: {error}"))),
    };
    let field = |name: &str| {
        let found = parsed.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        found.map(|field| String::from_utf8_lossy(field.value).trim().to_owned())
    };
    let fields_named = |name: &str| {
        let found = parsed.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        found.map(|field| String::from_utf8_lossy(field.value).trim().to_owned()).collect()
    };
    let provenance = Provenance {
        hosts: fields_named("host"),
        origin: field("origin"),
        site: field("sec-fetch-site"),
        mode: field("sec-fetch-mode"),
    };
    provenance.check(parsed.method.unwrap_or_default())?;
    if field("transfer-encoding").is_some() {
        return Err(wrong("the body comes in chunks; send it whole, with a Content-Length".to_owned()));
    }
    let length = match field("content-length") {
        None => 0,
        Some(text) => text
            .parse()
            .map_err(|_| wrong(format!("the Content-Length is \"{text}\"; write a number of bytes")))?,
    };
    let target = parsed.path.unwrap_or("/");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok::<_, Refused>((decode(key)?, decode(value)?))
    };
    let request = Request {
        method: parsed.method.unwrap_or_default().to_owned(),
        path: path.split('/').filter(|part| !part.is_empty()).map(decode).collect::<Result<_, _>>()?,
        query: query.split('&').filter(|part| !part.is_empty()).map(pair).collect::<Result<_, _>>()?,
        body: Vec::new(),
        wants_page: field("accept").is_some_and(|accepted| accepts_html(&accepted)),
    };
    let waits = field("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue"));
    Ok(Some(Head { request, offset, length, waits }))
}

/// Whether HTML is named among what is accepted: browsers do so, and programs that take anything do not.
fn accepts_html(accepted: &str) -> bool {
    let mut kinds = accepted.split(',').map(|kind| kind.split(';').next().unwrap_or_default().trim());
    kinds.any(|kind| kind.eq_ignore_ascii_case("text/html"))
}

/// Undoes the percent encoding.
fn decode(text: &str) -> Result<String, Refused> {
    let wrong =
        || Refused::new(400, format!("\"{text}\" is no part of a path; write %2F for a slash in a name"));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, others)) = rest.split_first() {
        rest = others;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let digits = rest.get(..2).and_then(|digits| std::str::from_utf8(digits).ok()).ok_or_else(wrong)?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
        rest = rest.get(2..).unwrap_or_default();
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

/// Writes an answer, and ends the connection. `unread`: some of the request may still come.
pub(super) fn write(stream: &mut TcpStream, answer: &Answer, unread: bool) -> io::Result<()> {
    stream.set_write_timeout(Some(MAX_TIME))?;
    let (kind, more, body) = match &answer.body {
        Body::Json(value) => ("application/json", String::new(), Cow::Owned(format!("{value}\n"))),
        Body::Page { html, policy } => {
            let policy = format!("Content-Security-Policy: {policy}\r\nX-Frame-Options: DENY\r\n");
            ("text/html; charset=utf-8", policy, Cow::Borrowed(*html))
        }
    };
    let allow = answer.allow.as_ref().map_or_else(String::new, |methods| format!("Allow: {methods}\r\n"));
    // Nothing is kept, nothing is taken for something else, and no other page can show it.
    let head = format!(
        "HTTP/1.1 {} {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{allow}{more}Cache-Control: no-store\r\n\
         Vary: Accept\r\nX-Content-Type-Options: nosniff\r\nCross-Origin-Resource-Policy: same-origin\r\n\
         Referrer-Policy: no-referrer\r\nConnection: close\r\n\r\n",
        answer.status,
        phrase(answer.status),
        body.len(),
    );
    let body = if answer.head_only { "" } else { &*body };
    stream.write_all((head + body).as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    if unread {
        drain(stream);
    }
    Ok(())
}

/// Reads what is left of a request that was refused: a socket that is closed with something
/// unread takes its answer back.
fn drain(stream: &mut TcpStream) {
    let (deadline, mut taken) = (Instant::now() + PATIENCE, 0);
    let mut bytes = Vec::new();
    while taken < 16 * MAX_REQUEST && matches!(read_some(stream, deadline, &mut bytes), Ok(true)) {
        taken += bytes.len();
        bytes.clear();
    }
}

const fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Not Implemented",
    }
}

fn too_large() -> Refused {
    Refused::new(413, "the request has more than 1 MiB; send several smaller ones")
}

fn too_slow() -> Refused {
    Refused::new(408, "the request was not whole after 5 s; send all of it at once")
}

fn cut_off() -> Refused {
    Refused::new(400, "the request ended before it was whole; its Content-Length has to be that of the body")
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_request_that_takes_too_long_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        sender.write_all(b"GET / HT").unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let refused = read_until(&mut stream, Instant::now()).unwrap_err();
        assert_eq!(
            (refused.status, &*refused.text),
            (408, "the request was not whole after 5 s; send all of it at once")
        );
    }

    #[test]
    fn parts_of_a_path_are_decoded() {
        assert_eq!(decode("a%2Fb%20c").unwrap(), "a/b c");
        assert_eq!(decode("%C3%A4").unwrap(), "\u{e4}");
        for wrong in ["%", "%2", "%zz", "%ff"] {
            assert_eq!(decode(wrong).unwrap_err().status, 400, "{wrong}");
        }
    }
}
