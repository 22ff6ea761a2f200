//! What a listener's connections speak, told by their first bytes.
//!
//! Owns the order in which that is decided (server.md CONN-03 to CONN-05) and the server's side of preflight, which
//! is inferred (protocol.md 15.7). Once it is decided, another layer does the work, or none.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use bytes::{Buf, BytesMut};

use crate::http::{Request, peek_request, write_refusal};
use crate::layer::{Layer, LayerError, LayerState, LayerTrouble, MakeLayer};
#[cfg(feature = "websocket")]
use crate::websocket::WebSocketServer;
#[cfg(feature = "zlib")]
use crate::zlib::Zlib;

const LAYER: &str = "detection";

/// How a request begins.
const GET: &[u8] = b"GET ";

/// What connections to a listener may be: plain, with a preflight in front, compressed, or WebSocket. For the side
/// that accepts.
///
/// Bytes that are none of the allowed forms are plain, if that is allowed; then whoever speaks before the peer has
/// spoken plain, and that decides.
///
/// ```
/// use amps_transport::{Detect, LayerState, MakeLayer};
/// use bytes::BytesMut;
///
/// let mut layer = Detect::new().make("")?;
/// let (mut above, mut answer) = (BytesMut::new(), BytesMut::new());
/// let mut input = BytesMut::from("GET /amps/json HTTP/1.1\r\nHost: x:1\r\n\r\n\0\0\0\x02{}");
/// let state = layer.receive(&mut input, &mut above, &mut answer)?;
/// assert_eq!(state, LayerState::Transparent);
/// assert!(answer.starts_with(b"HTTP/1.1 101 Switching Protocols\r\n"));
/// assert_eq!(&input[..], b"\0\0\0\x02{}", "what follows is not touched");
/// # Ok::<(), amps_transport::LayerError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Detect {
    plain: bool,
    preflight: bool,
    refusal: Option<u16>,
    #[cfg(feature = "zlib")]
    zlib: Option<Zlib>,
    #[cfg(feature = "websocket")]
    websocket: Option<WebSocketServer>,
}

impl Detect {
    /// Everything is allowed that this build can do.
    pub const fn new() -> Self {
        Self {
            plain: true,
            preflight: true,
            refusal: None,
            #[cfg(feature = "zlib")]
            zlib: Some(Zlib::new()),
            #[cfg(feature = "websocket")]
            websocket: Some(WebSocketServer::new()),
        }
    }

    /// Whether bytes that are nothing else are taken as they are. If not, and for a listener that is meant for one
    /// form only, they end the connection.
    #[must_use]
    pub const fn with_plain(mut self, allowed: bool) -> Self {
        self.plain = allowed;
        self
    }

    /// Whether a connection may begin with an HTTP request, which is granted.
    #[must_use]
    pub const fn with_preflight(mut self, allowed: bool) -> Self {
        self.preflight = allowed;
        self
    }

    /// Answers every HTTP request with this status instead, such as 407, and ends the connection; for tests of
    /// clients.
    #[must_use]
    pub const fn with_http_refusal(mut self, status: Option<u16>) -> Self {
        self.refusal = status;
        self
    }

    /// How a compressed connection is answered, or that there is none.
    #[cfg(feature = "zlib")]
    #[must_use]
    pub const fn with_zlib(mut self, zlib: Option<Zlib>) -> Self {
        self.zlib = zlib;
        self
    }

    /// How a WebSocket connection is served, or that there is none.
    #[cfg(feature = "websocket")]
    #[must_use]
    pub const fn with_websocket(mut self, websocket: Option<WebSocketServer>) -> Self {
        self.websocket = websocket;
        self
    }

    /// The layer of a connection that begins with the first bytes of a zlib stream.
    fn compressed(&self) -> Option<Box<dyn Layer>> {
        #[cfg(feature = "zlib")]
        return self.zlib.map(Zlib::layer);
        #[cfg(not(feature = "zlib"))]
        None
    }

    fn may_be_compressed(&self) -> bool {
        #[cfg(feature = "zlib")]
        return self.zlib.is_some();
        #[cfg(not(feature = "zlib"))]
        false
    }

    /// The layer of a connection that asks for WebSocket.
    fn web_socket(&self) -> Option<Box<dyn Layer>> {
        #[cfg(feature = "websocket")]
        return self.websocket.map(WebSocketServer::layer);
        #[cfg(not(feature = "websocket"))]
        None
    }

    fn may_be_http(&self) -> bool {
        #[cfg(feature = "websocket")]
        let web_socket = self.websocket.is_some();
        #[cfg(not(feature = "websocket"))]
        let web_socket = false;
        self.preflight || web_socket || self.refusal.is_some()
    }
}

impl Default for Detect {
    fn default() -> Self {
        Self::new()
    }
}

impl MakeLayer for Detect {
    fn make(&self, _host: &str) -> Result<Box<dyn Layer>, LayerError> {
        Ok(Box::new(Detecting { allowed: self.clone(), stage: Stage::First }))
    }
}

#[derive(Debug)]
struct Detecting {
    allowed: Detect,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Nothing has come.
    First,
    /// The beginning of something.
    Partial,
    /// A preflight was granted, and nothing has come behind it.
    Granted,
    Plain,
    Known(Box<dyn Layer>),
}

/// What the first bytes are.
enum Kind {
    Http,
    Compressed,
    Plain,
    Unknown,
}

impl Detecting {
    fn kind(&self, first: &[u8], granted: bool) -> Kind {
        let allowed = &self.allowed;
        if !granted && allowed.may_be_http() {
            let known = first.len().min(GET.len());
            match first.get(..known) == GET.get(..known) {
                true if known == GET.len() => return Kind::Http,
                true => return Kind::Unknown,
                false => {}
            }
        }
        match *first {
            [] => Kind::Unknown,
            [method, ..] if !allowed.may_be_compressed() || !is_zlib_method(method) => Kind::Plain,
            [_] => Kind::Unknown,
            [method, flags, ..] if is_zlib_head(method, flags) => Kind::Compressed,
            _ => Kind::Plain,
        }
    }

    /// Answers a request whose head is there: what the connection is from now on.
    fn serve(&self, request: &Request, answer: &mut BytesMut) -> Result<Option<Box<dyn Layer>>, LayerError> {
        let upgrade = [("Connection", "Upgrade"), ("Upgrade", "websocket")];
        let (code, headers, text): (_, &[_], _) = if let Some(code) = self.allowed.refusal {
            (code, &[], "refused")
        } else if request.fields.has("sec-websocket-key") {
            match self.allowed.web_socket() {
                Some(layer) => return Ok(Some(layer)),
                None => (400, &[], "WebSocket is not enabled here"),
            }
        } else if self.allowed.preflight {
            // A request without Upgrade is granted too: some clients send none (protocol.md 17.1).
            let token = request.fields.get("upgrade").unwrap_or("websocket");
            let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ";
            for part in [head, token, "\r\n\r\n"] {
                answer.extend_from_slice(part.as_bytes());
            }
            return Ok(None);
        } else {
            (426, &upgrade, "only WebSocket is served here")
        };
        write_refusal(code, headers, text, answer);
        let text = format!("an HTTP request was answered with the status {code}: {text}");
        Err(LayerError::new(LAYER, LayerTrouble::Refused, text))
    }

    /// From now on it is `layer`; or nothing.
    fn become_known(
        &mut self,
        layer: Option<Box<dyn Layer>>,
        answer: &mut BytesMut,
    ) -> Result<(), LayerError> {
        self.stage = match layer {
            Some(mut layer) => {
                layer.start(answer)?;
                Stage::Known(layer)
            }
            None => Stage::Plain,
        };
        Ok(())
    }
}

impl Layer for Detecting {
    fn name(&self) -> &'static str {
        match &self.stage {
            Stage::Known(layer) => layer.name(),
            _ => LAYER,
        }
    }

    fn start(&mut self, _below: &mut BytesMut) -> Result<LayerState, LayerError> {
        // Whoever says nothing and leaves has done nothing wrong; but if it cannot become plain, nothing can be sent.
        Ok(if self.allowed.plain { LayerState::Ready } else { LayerState::Handshaking })
    }

    fn receive(
        &mut self,
        below: &mut BytesMut,
        above: &mut BytesMut,
        answer: &mut BytesMut,
    ) -> Result<LayerState, LayerError> {
        loop {
            let granted = match &mut self.stage {
                Stage::Known(layer) => return layer.receive(below, above, answer),
                Stage::Plain => return Ok(LayerState::Transparent),
                Stage::Granted => true,
                Stage::First | Stage::Partial => false,
            };
            match self.kind(below, granted) {
                Kind::Unknown if granted => {
                    let state = if below.is_empty() { LayerState::Ready } else { LayerState::Handshaking };
                    return Ok(state);
                }
                Kind::Unknown => {
                    self.stage = Stage::Partial;
                    return Ok(LayerState::Handshaking);
                }
                Kind::Http => {
                    self.stage = Stage::Partial;
                    let peeked = peek_request(LAYER, below).inspect_err(|error| {
                        let code = if error.trouble() == LayerTrouble::Limit { 431 } else { 400 };
                        write_refusal(code, &[], "the request cannot be read", answer);
                    })?;
                    let Some((length, request)) = peeked else { return Ok(LayerState::Handshaking) };
                    match self.serve(&request, answer)? {
                        // It wants to read the request itself.
                        Some(layer) => self.become_known(Some(layer), answer)?,
                        None => {
                            below.advance(length);
                            self.stage = Stage::Granted;
                            if !self.allowed.may_be_compressed() {
                                self.become_known(None, answer)?;
                            }
                        }
                    }
                }
                Kind::Compressed => {
                    let layer = self.allowed.compressed();
                    self.become_known(layer, answer)?;
                }
                Kind::Plain if self.allowed.plain || granted => self.become_known(None, answer)?,
                Kind::Plain => {
                    let came = below.get(..16).unwrap_or(below).escape_ascii();
                    let text = format!("a connection began with \"{came}\", which is not allowed here");
                    return Err(LayerError::new(LAYER, LayerTrouble::Refused, text));
                }
            }
        }
    }

    fn send(&mut self, above: &[u8], below: &mut BytesMut) -> Result<(), LayerError> {
        match &mut self.stage {
            Stage::Known(layer) => layer.send(above, below),
            Stage::First | Stage::Granted | Stage::Plain => {
                self.stage = Stage::Plain;
                below.extend_from_slice(above);
                Ok(())
            }
            Stage::Partial => {
                let text = "bytes were sent before it was known how";
                Err(LayerError::new(LAYER, LayerTrouble::Handshake, text))
            }
        }
    }

    fn finish(&mut self, below: &mut BytesMut) {
        if let Stage::Known(layer) = &mut self.stage {
            layer.finish(below);
        }
    }

    fn ended(&mut self) -> Result<(), LayerError> {
        match &mut self.stage {
            Stage::Known(layer) => layer.ended(),
            Stage::Partial => {
                let text = "the peer closed the connection in the middle of its first bytes";
                Err(LayerError::new(LAYER, LayerTrouble::Truncated, text))
            }
            _ => Ok(()),
        }
    }
}

/// Whether the first byte of a zlib stream can be this: deflate, and a window of 512 bytes to 32 KiB. One of 256
/// bytes, which nobody writes, would be the length of a frame that is just allowed.
const fn is_zlib_method(method: u8) -> bool {
    method & 0x0f == 8 && 0x18 <= method && method <= 0x78
}

/// Whether a zlib stream can begin with these: they are a multiple of 31, and no dictionary is used.
const fn is_zlib_head(method: u8, flags: u8) -> bool {
    is_zlib_method(method) && (method as u16 * 256 + flags as u16) % 31 == 0 && flags & 0x20 == 0
}

#[cfg(test)]
mod tests;
