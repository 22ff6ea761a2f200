//! The HTTP request in front of a connection, by which it passes proxies: an upgrade, or CONNECT.
//!
//! Owns the only place that knows what preflight looks like, which no document shows (protocol.md 15.7, inferred).
//! Changes nothing once the answer has granted it.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use bytes::BytesMut;

use crate::http::{HttpConfigError, HttpHeaders, check_authority, check_path, host_of, refusal, take_answer};
use crate::layer::{Layer, LayerError, LayerState, LayerTrouble, MakeLayer};

/// The request in front of a connection that a reverse proxy, or the server, answers: "upgrade".
///
/// The status 101, or any other from 200 to 299, grants it; 401, 403 and 407 are
/// [`LayerTrouble::Authentication`], everything else is [`LayerTrouble::Refused`].
///
/// ```
/// use amps_transport::{HttpHeaders, LayerState, MakeLayer, Preflight};
/// use bytes::BytesMut;
///
/// let mut headers = HttpHeaders::new();
/// headers.add("Cookie", "a=1")?;
/// let preflight = Preflight::new("amps.example.com:9007", "/amps/json")?.with_headers(headers);
///
/// let mut layer = preflight.make("amps.example.com")?;
/// let (mut out, mut above) = (BytesMut::new(), BytesMut::new());
/// layer.start(&mut out)?;
/// assert!(out.starts_with(b"GET /amps/json HTTP/1.1\r\nHost: amps.example.com:9007\r\n"));
/// let mut answer = BytesMut::from("HTTP/1.1 101 Switching Protocols\r\n\r\nfirst bytes");
/// let state = layer.receive(&mut answer, &mut above, &mut out)?;
/// assert_eq!(state, LayerState::Transparent);
/// assert_eq!(answer, "first bytes");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Preflight {
    authority: String,
    path: String,
    upgrade: String,
    headers: HttpHeaders,
}

impl Preflight {
    /// Asks `authority`, a host and port as they stand in `Host`, for `path`.
    ///
    /// # Errors
    /// One of the two cannot stand in a request.
    pub fn new(authority: &str, path: &str) -> Result<Self, HttpConfigError> {
        check_authority(authority)?;
        check_path(path)?;
        let (authority, path) = (authority.into(), path.into());
        Ok(Self { authority, path, upgrade: "websocket".into(), headers: HttpHeaders::new() })
    }

    /// With headers of the application. None by default.
    #[must_use]
    pub fn with_headers(mut self, headers: HttpHeaders) -> Self {
        self.headers = headers;
        self
    }

    /// With another protocol to upgrade to than `websocket`, which is what proxies know.
    ///
    /// # Errors
    /// It cannot stand in a header.
    pub fn with_upgrade(mut self, protocol: &str) -> Result<Self, HttpConfigError> {
        HttpHeaders::new().add("Upgrade", protocol)?;
        self.upgrade = protocol.into();
        Ok(self)
    }
}

impl MakeLayer for Preflight {
    fn make(&self, _host: &str) -> Result<Box<dyn Layer>, LayerError> {
        let mut request = BytesMut::new();
        let ours = [("Connection", "Upgrade"), ("Upgrade", self.upgrade.as_str())];
        self.headers.write_request(&format!("GET {}", self.path), &self.authority, &ours, &mut request);
        Ok(Box::new(Asking { layer: "HTTP preflight", request }))
    }
}

/// The way through an HTTP proxy that connects to the server: `CONNECT`.
///
/// The connection goes to the proxy's address, this is its lowest layer, and TLS, if any, comes above it, for the
/// server's name.
///
/// ```
/// use amps_transport::{HttpConnect, HttpHeaders, MakeLayer};
/// use bytes::BytesMut;
///
/// let mut headers = HttpHeaders::new();
/// headers.add_basic("Proxy-Authorization", "Aladdin", "open sesame")?;
/// let through = HttpConnect::new("amps.example.com:9007")?.with_headers(headers);
/// assert_eq!(through.host_above(), Some("amps.example.com"));
///
/// let mut request = BytesMut::new();
/// through.make("proxy.example.com")?.start(&mut request)?;
/// assert_eq!(
///     request,
///     "CONNECT amps.example.com:9007 HTTP/1.1\r\nHost: amps.example.com:9007\r\n\
///      Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n"
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct HttpConnect {
    authority: String,
    headers: HttpHeaders,
}

impl HttpConnect {
    /// To `authority`, the host and port of the server as the proxy knows them.
    ///
    /// # Errors
    /// That cannot stand in a request.
    pub fn new(authority: &str) -> Result<Self, HttpConfigError> {
        check_authority(authority)?;
        Ok(Self { authority: authority.into(), headers: HttpHeaders::new() })
    }

    /// With headers for the proxy, such as `Proxy-Authorization`. None by default.
    #[must_use]
    pub fn with_headers(mut self, headers: HttpHeaders) -> Self {
        self.headers = headers;
        self
    }
}

impl MakeLayer for HttpConnect {
    fn make(&self, _host: &str) -> Result<Box<dyn Layer>, LayerError> {
        let mut request = BytesMut::new();
        let line = format!("CONNECT {}", self.authority);
        self.headers.write_request(&line, &self.authority, &[], &mut request);
        Ok(Box::new(Asking { layer: "HTTP proxy", request }))
    }

    fn host_above(&self) -> Option<&str> {
        Some(host_of(&self.authority))
    }
}

/// Waits for an answer.
struct Asking {
    layer: &'static str,
    request: BytesMut,
}

/// Without the request, which may hold secrets.
impl core::fmt::Debug for Asking {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Asking").field("layer", &self.layer).finish_non_exhaustive()
    }
}

impl Layer for Asking {
    fn name(&self) -> &'static str {
        self.layer
    }

    fn start(&mut self, below: &mut BytesMut) -> Result<LayerState, LayerError> {
        below.unsplit(self.request.split());
        Ok(LayerState::Handshaking)
    }

    fn receive(
        &mut self,
        below: &mut BytesMut,
        _above: &mut BytesMut,
        _answer: &mut BytesMut,
    ) -> Result<LayerState, LayerError> {
        let Some(answer) = take_answer(self.layer, below)? else { return Ok(LayerState::Handshaking) };
        match answer.code {
            101 | 200..=299 => Ok(LayerState::Transparent),
            _ => Err(refusal(self.layer, &answer)),
        }
    }

    fn send(&mut self, _above: &[u8], _below: &mut BytesMut) -> Result<(), LayerError> {
        let text = "bytes were sent before the request was granted";
        Err(LayerError::new(self.layer, LayerTrouble::Handshake, text))
    }

    fn ended(&mut self) -> Result<(), LayerError> {
        let text = "the connection was closed instead of an answer; check that an HTTP server or proxy listens there";
        Err(LayerError::new(self.layer, LayerTrouble::Handshake, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(maker: &dyn MakeLayer) -> (Box<dyn Layer>, BytesMut) {
        let (mut layer, mut out) = (maker.make("ignored").unwrap(), BytesMut::new());
        assert_eq!(layer.start(&mut out).unwrap(), LayerState::Handshaking);
        (layer, out)
    }

    fn answered(maker: &dyn MakeLayer, bytes: &[u8]) -> (Result<LayerState, LayerError>, BytesMut) {
        let (mut layer, mut input) = (started(maker).0, BytesMut::from(bytes));
        let (mut above, mut answer) = (BytesMut::new(), BytesMut::new());
        let state = layer.receive(&mut input, &mut above, &mut answer);
        assert!(above.is_empty() && answer.is_empty());
        (state, input)
    }

    #[test]
    fn the_request_is_that_of_the_rules() {
        let mut headers = HttpHeaders::new();
        headers.add("Token", "v").unwrap().add_line("Cookie: a=1").unwrap();
        let preflight = Preflight::new("[::1]:9007", "/east/amps/json").unwrap().with_headers(headers);
        let expected = "GET /east/amps/json HTTP/1.1\r\nHost: [::1]:9007\r\nConnection: Upgrade\r\n\
                        Upgrade: websocket\r\nToken: v\r\nCookie: a=1\r\n\r\n";
        assert_eq!(started(&preflight).1, expected);
        let other = preflight.with_upgrade("amps").unwrap();
        assert_eq!(started(&other).1, expected.replace("websocket", "amps").as_str());
        assert_eq!(started(&other).1, started(&other).1, "again with every connection");
    }

    #[test]
    fn what_cannot_stand_in_a_request_is_refused_when_it_is_set_up() {
        assert!(matches!(Preflight::new("host", "/"), Err(HttpConfigError::Authority { .. })));
        assert!(matches!(Preflight::new("host:1", "amps"), Err(HttpConfigError::Path { .. })));
        let preflight = Preflight::new("host:1", "/").unwrap();
        assert!(matches!(preflight.with_upgrade("a\r\nb"), Err(HttpConfigError::HeaderValue { .. })));
        assert!(HttpConnect::new("host:1\r\nX: y").is_err());
    }

    #[test]
    fn any_split_of_an_answer_is_understood_and_nothing_behind_it_is_lost() {
        let preflight = Preflight::new("h:1", "/amps").unwrap();
        let whole = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\0\0\0\x02{}";
        for split in 0..=whole.len() {
            let mut layer = started(&preflight).0;
            let (mut above, mut answer) = (BytesMut::new(), BytesMut::new());
            let mut input = BytesMut::from(&whole[..split]);
            let mut state = layer.receive(&mut input, &mut above, &mut answer).unwrap();
            input.extend_from_slice(&whole[split..]);
            if state == LayerState::Handshaking {
                state = layer.receive(&mut input, &mut above, &mut answer).unwrap();
            }
            assert_eq!(state, LayerState::Transparent);
            assert_eq!(&input[..], b"\0\0\0\x02{}");
        }
    }

    #[test]
    fn every_status_means_what_the_rules_say() {
        let makers: [Box<dyn MakeLayer>; 2] =
            [Box::new(Preflight::new("h:1", "/").unwrap()), Box::new(HttpConnect::new("h:1").unwrap())];
        for maker in makers {
            for code in [101, 200, 204, 299] {
                let answer = format!("HTTP/1.1 {code} x\r\n\r\n");
                assert_eq!(answered(&*maker, answer.as_bytes()).0.unwrap(), LayerState::Transparent);
            }
            for (code, trouble) in [
                (301, LayerTrouble::Refused),
                (400, LayerTrouble::Refused),
                (401, LayerTrouble::Authentication),
                (403, LayerTrouble::Authentication),
                (407, LayerTrouble::Authentication),
                (404, LayerTrouble::Refused),
                (502, LayerTrouble::Refused),
            ] {
                let error =
                    answered(&*maker, format!("HTTP/1.1 {code} So What\r\n\r\n").as_bytes()).0.unwrap_err();
                assert_eq!(error.trouble(), trouble);
                assert!(error.to_string().contains(&format!("HTTP/1.1 {code} So What")), "{error}");
            }
            let garbage = answered(&*maker, b"\x16\x03\x01").0.unwrap_err();
            assert_eq!(garbage.trouble(), LayerTrouble::Protocol);
        }
    }

    #[test]
    fn an_end_instead_of_an_answer_is_an_error() {
        let mut layer = started(&HttpConnect::new("h:1").unwrap()).0;
        let error = layer.ended().unwrap_err();
        assert!(error.to_string().starts_with("HTTP proxy: the connection was closed"), "{error}");
        assert!(layer.send(b"x", &mut BytesMut::new()).is_err());
    }
}
