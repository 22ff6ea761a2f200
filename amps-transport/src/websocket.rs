//! WebSocket (RFC 6455), both roles: the upgrade, and messages that carry frames.
//!
//! Above it lie frames: a length of 4 bytes, the highest first, and that many bytes. Owns how messages carry them
//! (protocol.md W-2 to W-5) and the upgrade; the protocol itself, masks and fragments, pings and the close
//! handshake, is tungstenite's, over buffers instead of a socket. Offers no extension and no subprotocol (W-10).
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use core::fmt;
use std::io::{self, Cursor, Read, Write};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Error, Message};

use crate::http::{
    Answer, HttpConfigError, HttpHeaders, Request, check_authority, check_path, refusal, take_answer,
    take_request, write_refusal,
};
use crate::layer::{Layer, LayerError, LayerState, LayerTrouble, MakeLayer};

const LAYER: &str = "WebSocket";

/// The bytes of a frame's length.
const LENGTH: usize = 4;

/// The largest message by default, in bytes (protocol.md W-11).
const DEFAULT_LIMIT: usize = 209_715_200;

/// The library clears this much before each of its reads, so it should not be more than usually comes.
const READ_BUFFER: usize = 16 * 1024;

/// Encoded messages are brought on when there are so many bytes of them. Longer messages do not go through the
/// library's buffer, which would keep their size for the life of the connection.
const WRITE_BUFFER: usize = 16 * 1024;

/// The side that asks for the upgrade.
///
/// A server that does not upgrade refuses with [`LayerTrouble::Refused`], with the statuses 401, 403 and 407 it is
/// [`LayerTrouble::Authentication`].
///
/// ```
/// use amps_transport::{HttpHeaders, LayerState, MakeLayer, WebSocket, WebSocketServer};
/// use bytes::BytesMut;
///
/// let mut headers = HttpHeaders::new();
/// headers.add_basic("Authorization", "alice", "secret")?;
/// let client = WebSocket::new("amps.example.com:9008", "/amps/json")?.with_headers(headers);
/// let (mut client, mut server) = (client.make("")?, WebSocketServer::new().make("")?);
///
/// let (mut up, mut down, mut above) = (BytesMut::new(), BytesMut::new(), BytesMut::new());
/// client.start(&mut up)?;
/// assert_eq!(server.receive(&mut up, &mut above, &mut down)?, LayerState::Ready);
/// assert_eq!(client.receive(&mut down, &mut above, &mut up)?, LayerState::Ready);
/// client.send(b"\0\0\0\x02{}", &mut up)?;
/// assert_eq!(up.len(), 2 + 4 + 2, "a head, a mask, and the message without its length");
/// server.receive(&mut up, &mut above, &mut down)?;
/// assert_eq!(&above[..], b"\0\0\0\x02{}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct WebSocket {
    authority: String,
    path: String,
    headers: HttpHeaders,
    prefixed: bool,
    limit: usize,
}

impl WebSocket {
    /// Asks `authority`, a host and port as they stand in `Host`, for `path`.
    ///
    /// # Errors
    /// One of the two cannot stand in a request.
    pub fn new(authority: &str, path: &str) -> Result<Self, HttpConfigError> {
        check_authority(authority)?;
        check_path(path)?;
        let (authority, path) = (authority.into(), path.into());
        Ok(Self { authority, path, headers: HttpHeaders::new(), prefixed: false, limit: DEFAULT_LIMIT })
    }

    /// With headers of the application in the upgrade request, such as `Authorization`. None by default.
    #[must_use]
    pub fn with_headers(mut self, headers: HttpHeaders) -> Self {
        self.headers = headers;
        self
    }

    /// Whether messages that are sent hold the frame's length too. They do not by default. Both forms are
    /// understood in any case.
    #[must_use]
    pub const fn with_length_prefix(mut self, prefixed: bool) -> Self {
        self.prefixed = prefixed;
        self
    }

    /// With another limit for the bytes of one message, in both directions, than 209715200.
    #[must_use]
    pub const fn with_limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }
}

impl MakeLayer for WebSocket {
    fn make(&self, _host: &str) -> Result<Box<dyn Layer>, LayerError> {
        let (key, mut request) = (generate_key(), BytesMut::new());
        let ours = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", &key),
        ];
        self.headers.write_request(&format!("GET {}", self.path), &self.authority, &ours, &mut request);
        let stage = Stage::Asking { request, accept: derive_accept_key(key.as_bytes()) };
        let codec =
            Codec { prefixed: self.prefixed, in_kind: false, limit: self.limit, partial: BytesMut::new() };
        Ok(Box::new(WebSocketLayer { stage, codec }))
    }
}

/// The side that grants upgrades, for every path.
///
/// A request that is no upgrade is answered with the status 400 or 426, and ends the connection.
///
/// ```
/// use amps_transport::{LayerTrouble, MakeLayer, WebSocketServer};
/// use bytes::BytesMut;
///
/// let mut layer = WebSocketServer::new().make("")?;
/// let (mut above, mut answer) = (BytesMut::new(), BytesMut::new());
/// let mut request = BytesMut::from("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
/// let error = layer.receive(&mut request, &mut above, &mut answer).unwrap_err();
/// assert_eq!(error.trouble(), LayerTrouble::Handshake);
/// assert!(answer.starts_with(b"HTTP/1.1 426 Upgrade Required\r\n"));
/// # Ok::<(), amps_transport::LayerError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebSocketServer {
    prefixed: bool,
    limit: usize,
}

impl WebSocketServer {
    /// With messages that do not hold the frame's length, up to 209715200 bytes.
    pub const fn new() -> Self {
        Self { prefixed: false, limit: DEFAULT_LIMIT }
    }

    /// Whether messages that are sent before the first was received hold the frame's length too; after that they
    /// are of the form that the peer uses.
    #[must_use]
    pub const fn with_length_prefix(mut self, prefixed: bool) -> Self {
        self.prefixed = prefixed;
        self
    }

    /// With another limit for the bytes of one message, in both directions.
    #[must_use]
    pub const fn with_limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// The layer itself.
    pub(crate) fn layer(self) -> Box<dyn Layer> {
        let codec =
            Codec { prefixed: self.prefixed, in_kind: true, limit: self.limit, partial: BytesMut::new() };
        Box::new(WebSocketLayer { stage: Stage::Awaiting, codec })
    }
}

impl Default for WebSocketServer {
    fn default() -> Self {
        Self::new()
    }
}

impl MakeLayer for WebSocketServer {
    fn make(&self, _host: &str) -> Result<Box<dyn Layer>, LayerError> {
        Ok(self.layer())
    }
}

struct WebSocketLayer {
    stage: Stage,
    codec: Codec,
}

enum Stage {
    /// The client's request, and what the answer has to say.
    Asking {
        request: BytesMut,
        accept: String,
    },
    /// The server has no request yet.
    Awaiting,
    Open(Box<WebSocketContext>),
}

/// How messages carry frames.
#[derive(Debug)]
struct Codec {
    /// Messages that are sent hold the length.
    prefixed: bool,
    /// As the peer does it.
    in_kind: bool,
    limit: usize,
    /// The beginning of a frame that is to be sent.
    partial: BytesMut,
}

/// Without the request, which may hold secrets, and without the library's buffers.
impl fmt::Debug for WebSocketLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = matches!(self.stage, Stage::Open(_));
        f.debug_struct("WebSocketLayer").field("open", &open).finish_non_exhaustive()
    }
}

/// Buffers in place of a socket.
struct Pipe<'a> {
    input: &'a mut BytesMut,
    output: &'a mut BytesMut,
}

impl Read for Pipe<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = out.len().min(self.input.len());
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.input.copy_to_slice(out.get_mut(..count).unwrap_or_default());
        Ok(count)
    }
}

impl Write for Pipe<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl WebSocketLayer {
    fn open(&mut self, role: Role) {
        let most = self.codec.limit.saturating_add(LENGTH);
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(WRITE_BUFFER)
            .max_message_size(Some(most))
            .max_frame_size(Some(most));
        self.stage = Stage::Open(Box::new(WebSocketContext::new(role, Some(config))));
    }
}

impl Layer for WebSocketLayer {
    fn name(&self) -> &'static str {
        LAYER
    }

    fn start(&mut self, below: &mut BytesMut) -> Result<LayerState, LayerError> {
        if let Stage::Asking { request, .. } = &mut self.stage {
            below.unsplit(request.split());
        }
        Ok(LayerState::Handshaking)
    }

    fn receive(
        &mut self,
        below: &mut BytesMut,
        above: &mut BytesMut,
        answer: &mut BytesMut,
    ) -> Result<LayerState, LayerError> {
        match &self.stage {
            Stage::Asking { accept, .. } => {
                let Some(head) = take_answer(LAYER, below)? else { return Ok(LayerState::Handshaking) };
                check_answer(&head, accept)?;
                self.open(Role::Client);
            }
            Stage::Awaiting => {
                let request = take_request(LAYER, below).inspect_err(|error| {
                    let code = if error.trouble() == LayerTrouble::Limit { 431 } else { 400 };
                    write_refusal(code, &[], "a WebSocket upgrade is expected here", answer);
                })?;
                let Some(request) = request else { return Ok(LayerState::Handshaking) };
                grant(&request, answer)?;
                self.open(Role::Server);
            }
            Stage::Open(_) => {}
        }
        let Stage::Open(context) = &mut self.stage else { return Ok(LayerState::Handshaking) };
        self.codec.receive(context, &mut Pipe { input: below, output: answer }, above)
    }

    fn send(&mut self, above: &[u8], below: &mut BytesMut) -> Result<(), LayerError> {
        let Stage::Open(context) = &mut self.stage else {
            let text = "bytes were sent before the upgrade";
            return Err(LayerError::new(LAYER, LayerTrouble::Handshake, text));
        };
        // Taken as a whole: a part that shares its block with another would be copied by every append.
        let mut bytes = std::mem::take(&mut self.codec.partial);
        bytes.extend_from_slice(above);
        self.codec.send(context, bytes, below)
    }

    fn finish(&mut self, below: &mut BytesMut) {
        if let Stage::Open(context) = &mut self.stage {
            close(context, CloseCode::Normal, &mut Pipe { input: &mut BytesMut::new(), output: below });
        }
    }

    fn ended(&mut self) -> Result<(), LayerError> {
        let (trouble, text) = match self.stage {
            Stage::Open(_) => {
                (LayerTrouble::Truncated, "the peer closed the connection without a close frame")
            }
            _ => (
                LayerTrouble::Handshake,
                "the peer closed the connection before the upgrade; check that the port speaks WebSocket",
            ),
        };
        Err(LayerError::new(LAYER, trouble, text))
    }
}

impl Codec {
    /// Sends the whole frames at the front of `bytes`, and keeps the rest.
    fn send(
        &mut self,
        context: &mut WebSocketContext,
        mut bytes: BytesMut,
        out: &mut BytesMut,
    ) -> Result<(), LayerError> {
        let mut pipe = Pipe { input: &mut BytesMut::new(), output: out };
        // Whether nothing else shares the block of `bytes`.
        let mut alone = true;
        while let Some(length) = bytes.first_chunk().map(|length| u32::from_be_bytes(*length) as usize) {
            if length > self.limit {
                let text =
                    format!("a message of {length} bytes is longer than the {} that are allowed", self.limit);
                return Err(LayerError::new(LAYER, LayerTrouble::Limit, text));
            }
            let whole = LENGTH + length;
            if bytes.len() < whole {
                // Once for the whole message: when more of it comes, the room is there.
                if alone {
                    bytes.reserve(whole - bytes.len());
                } else {
                    let mut rest = BytesMut::with_capacity(whole);
                    rest.extend_from_slice(&bytes);
                    bytes = rest;
                }
                self.partial = bytes;
                return context.flush(&mut pipe).map_err(failed);
            }
            let mut message = bytes.split_to(whole);
            alone = false;
            if !self.prefixed {
                message.advance(LENGTH);
            }
            if message.len() > WRITE_BUFFER {
                write_large(context, &mut pipe, &message)?;
            } else {
                context.write(&mut pipe, Message::Binary(message.freeze())).map_err(failed)?;
            }
        }
        // A few bytes must not hold the block of the messages in front of them.
        self.partial = BytesMut::from(&bytes[..]);
        context.flush(&mut pipe).map_err(failed)
    }

    fn receive(
        &mut self,
        context: &mut WebSocketContext,
        pipe: &mut Pipe<'_>,
        above: &mut BytesMut,
    ) -> Result<LayerState, LayerError> {
        loop {
            let delivered = match context.read(pipe) {
                Ok(Message::Binary(bytes)) => self.deliver(&bytes, above),
                Ok(Message::Text(text)) => self.deliver(text.as_bytes(), above),
                // The library answers pings, at the latest with the next read.
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => Ok(()),
                Ok(Message::Close(_)) => {
                    // The library has the answer ready; for a server it is the end, which it reports as an error.
                    let _closed = context.flush(pipe);
                    return Ok(LayerState::Ended);
                }
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(LayerState::Ready);
                }
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => return Ok(LayerState::Ended),
                Err(error) => Err(failed(error)),
            };
            if let Err(error) = delivered {
                let code = match error.trouble() {
                    LayerTrouble::Limit => CloseCode::Size,
                    _ => CloseCode::Protocol,
                };
                close(context, code, pipe);
                return Err(error);
            }
        }
    }

    /// Appends a message as a frame, or as the frames that it holds.
    fn deliver(&mut self, message: &[u8], above: &mut BytesMut) -> Result<(), LayerError> {
        let prefixed = holds_whole_frames(message);
        if !prefixed {
            let length = u32::try_from(message.len()).ok().filter(|_| message.len() <= self.limit);
            let Some(length) = length else {
                let (count, limit) = (message.len(), self.limit);
                let text = format!("a message of {count} bytes is longer than the {limit} that are allowed");
                return Err(LayerError::new(LAYER, LayerTrouble::Limit, text));
            };
            above.reserve(LENGTH + message.len());
            above.put_u32(length);
        }
        above.extend_from_slice(message);
        if self.in_kind {
            self.prefixed = prefixed;
        }
        Ok(())
    }
}

/// Whether a message holds one or more frames with their lengths, and nothing else (protocol.md W-3, inferred).
///
/// A message without the length begins with `{` or a blank, which as the highest byte of a length would be more than
/// half a gigabyte, or with a line break, of which four would have to be just the right length. So whoever reads the
/// frames sees what makes no sense.
fn holds_whole_frames(message: &[u8]) -> bool {
    let mut rest = message;
    while let Some((length, behind)) = rest.split_first_chunk() {
        match behind.get(u32::from_be_bytes(*length) as usize..) {
            Some([]) => return true,
            Some(next) => rest = next,
            None => return false,
        }
    }
    false
}

/// Writes one long message as one frame, without the library's buffer. The library makes an empty frame for it, which
/// says whether anything may be sent, and with what mask.
fn write_large(
    context: &mut WebSocketContext,
    pipe: &mut Pipe<'_>,
    message: &[u8],
) -> Result<(), LayerError> {
    // What the library has buffered comes first.
    context.flush(pipe).map_err(failed)?;
    let mut empty = BytesMut::new();
    let mut aside = Pipe { input: &mut BytesMut::new(), output: &mut empty };
    context.write(&mut aside, Message::Binary(Bytes::new())).map_err(failed)?;
    context.flush(&mut aside).map_err(failed)?;
    let header = FrameHeader::parse(&mut Cursor::new(&empty)).map_err(failed)?;
    let Some((header, 0)) = header else {
        let text = "an empty frame has no header of its own";
        return Err(LayerError::new(LAYER, LayerTrouble::Protocol, text));
    };
    header.format(message.len() as u64, pipe).map_err(failed)?;
    let front = pipe.output.len();
    pipe.output.extend_from_slice(message);
    if let Some(mask) = header.mask {
        for group in pipe.output.get_mut(front..).unwrap_or_default().chunks_mut(mask.len()) {
            group.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
        }
    }
    Ok(())
}

fn close(context: &mut WebSocketContext, code: CloseCode, pipe: &mut Pipe<'_>) {
    // Whether it can still be said does not matter: the connection ends.
    let _said = context.close(pipe, Some(CloseFrame { code, reason: "".into() }));
}

fn failed(error: Error) -> LayerError {
    let (trouble, text) = match &error {
        Error::Capacity(_) => (LayerTrouble::Limit, format!("a message is too large: {error}")),
        Error::Utf8(_) => (LayerTrouble::Protocol, format!("a text message is not UTF-8: {error}")),
        _ => (LayerTrouble::Protocol, format!("the peer breaks the protocol: {error}")),
    };
    LayerError::new(LAYER, trouble, text).with_source(error)
}

/// Checks that the server has upgraded, and to nothing else.
fn check_answer(answer: &Answer, accept: &str) -> Result<(), LayerError> {
    if answer.code != 101 {
        return Err(refusal(LAYER, answer));
    }
    let fields = &answer.fields;
    let wrong = if !fields.lists("upgrade", "websocket") || !fields.lists("connection", "upgrade") {
        "the answer does not upgrade to WebSocket"
    } else if fields.get("sec-websocket-accept") != Some(accept) {
        "the answer's Sec-WebSocket-Accept does not fit the request"
    } else if fields.has("sec-websocket-extensions") {
        "the server selected an extension, and none was offered"
    } else if fields.has("sec-websocket-protocol") {
        "the server selected a subprotocol, and none was offered"
    } else {
        return Ok(());
    };
    Err(LayerError::new(LAYER, LayerTrouble::Handshake, format!("{wrong}; check what answers on that port")))
}

/// Grants an upgrade, or says why not.
fn grant(request: &Request, answer: &mut BytesMut) -> Result<(), LayerError> {
    const UPGRADE: &[(&str, &str)] =
        &[("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")];
    let fields = &request.fields;
    let key = fields.get("sec-websocket-key").unwrap_or_default();
    let (code, wrong) = if request.method != "GET" {
        (400, "the method is not GET")
    } else if request.minor_version == 0 {
        (400, "the version is not HTTP/1.1")
    } else if !fields.lists("upgrade", "websocket") || !fields.lists("connection", "upgrade") {
        (426, "the request does not ask for an upgrade to WebSocket")
    } else if fields.get("sec-websocket-version") != Some("13") {
        (426, "the Sec-WebSocket-Version is not 13")
    } else if !is_key(key) {
        (400, "the Sec-WebSocket-Key is missing or is not 16 bytes in base64")
    } else {
        // No extension and no subprotocol is selected, whatever the client offers.
        let accept = derive_accept_key(key.as_bytes());
        let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
        for part in [head, "Sec-WebSocket-Accept: ", &accept, "\r\n\r\n"] {
            answer.extend_from_slice(part.as_bytes());
        }
        return Ok(());
    };
    write_refusal(code, if code == 426 { UPGRADE } else { &[] }, wrong, answer);
    Err(LayerError::new(
        LAYER,
        LayerTrouble::Handshake,
        format!("{wrong}; it was answered with the status {code}"),
    ))
}

/// Whether it is 16 bytes in base64.
fn is_key(key: &str) -> bool {
    let digits = key.strip_suffix("==").unwrap_or_default();
    digits.len() == 22
        && digits.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/')
}

#[cfg(test)]
mod tests;
