//! What lies between a listener's sockets and the engine's frames: TLS, HTTP preflight, compression, WebSocket.
//!
//! Owns which of them a listener has (server.md CONN-01 to CONN-07). The engine knows of none; opens no socket.

use std::sync::Arc;

use amps_transport::{Detect, MakeLayer};

use crate::builder::Listen;
use crate::engine::TransportConfig;
use crate::server::StartError;

#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tls")]
pub(crate) use tls::Tls;

/// The messages of one WebSocket may be as long as they may by default elsewhere; shorter limits are the engine's.
#[cfg(feature = "websocket")]
const WEBSOCKET_LIMIT: usize = 209_715_200;

/// What the connections of a listener speak, below the frames (CONN-01).
///
/// ```
/// use amps_testkit::{FakeServer, Protocol, TransportConfig};
///
/// let both = TransportConfig::new("both").protocol(Protocol::Any);
/// let server = FakeServer::builder().transport("127.0.0.1:0", both).start();
/// assert_eq!(server.is_ok(), cfg!(feature = "websocket"));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Frames: plain, or, with the Cargo feature `zlib`, compressed; an HTTP preflight may come first.
    #[default]
    Amps,
    /// WebSocket, and nothing else. Needs the Cargo feature `websocket`.
    WebSocket,
    /// Both on one port, told by what a connection begins with, as a real server does not do it. Needs
    /// the Cargo feature `websocket`.
    Any,
}

/// What a transport's rules say of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wire {
    pub(crate) protocol: Option<Protocol>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Tls,
}

/// What a scheme says of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) tls: bool,
    pub(crate) websocket: bool,
}

impl Asked {
    /// `None` if there is no such scheme over TCP.
    pub(crate) fn by_scheme(scheme: &str) -> Option<Self> {
        let (tls, websocket) = match scheme {
            "tcp" => (false, false),
            "tcps" => (true, false),
            "ws" => (false, true),
            "wss" => (true, true),
            _ => return None,
        };
        Some(Self { tls, websocket })
    }
}

impl TransportConfig {
    /// What connections speak. Default: [`Protocol::WebSocket`] where the address begins with `ws://`
    /// or `wss://`, else [`Protocol::Amps`].
    #[must_use]
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.wire.protocol = Some(protocol);
        self
    }
}

/// Finds the layers of the listeners of one server, before any of them is open.
pub(crate) struct Fitter {
    #[cfg(feature = "websocket")]
    websocket: amps_transport::WebSocketServer,
    #[cfg(feature = "tls")]
    own: tls::OwnAuthority,
}

impl Fitter {
    pub(crate) fn new(max_frame: usize, listen: &[Listen]) -> Self {
        // What this build lacks needs none of it.
        #[cfg(not(feature = "websocket"))]
        let _ = max_frame;
        #[cfg(not(feature = "tls"))]
        let _ = listen;
        Self {
            // Of messages that are too long for it the engine says so itself, as it does on other transports.
            #[cfg(feature = "websocket")]
            websocket: amps_transport::WebSocketServer::new().with_limit(max_frame.max(WEBSOCKET_LIMIT)),
            #[cfg(feature = "tls")]
            own: tls::OwnAuthority::new(listen),
        }
    }

    /// # Errors
    /// The listener cannot be as its address and its rules have it.
    pub(crate) fn fit(&mut self, listen: &mut Listen) -> Result<(), StartError> {
        let wrong = |fault| StartError::Address { text: format!("{}{}", listen.place(), listen.text), fault };
        let (asked, wire) = (listen.asked, &listen.transport.wire);
        let protocol = match (asked.websocket, wire.protocol) {
            (true, Some(Protocol::Amps)) => {
                return Err(wrong("the scheme is that of WebSocket, but the protocol is to be amps"));
            }
            (true, None) => Protocol::WebSocket,
            (_, protocol) => protocol.unwrap_or_default(),
        };
        #[cfg(feature = "tls")]
        let tls = asked.tls || wire.tls.is_wanted();
        #[cfg(not(feature = "tls"))]
        let tls = asked.tls;
        if listen.at.is_unix() {
            if tls || protocol != Protocol::Amps {
                return Err(wrong("on a Unix socket there is neither TLS nor WebSocket"));
            }
            listen.scheme = "unix";
            return Ok(());
        }
        if tls && cfg!(not(feature = "tls")) {
            return Err(wrong("TLS needs the Cargo feature \"tls\" of amps-testkit"));
        }
        if protocol != Protocol::Amps && cfg!(not(feature = "websocket")) {
            return Err(wrong("WebSocket needs the Cargo feature \"websocket\" of amps-testkit"));
        }
        let detection: Arc<dyn MakeLayer> = Arc::new(self.detection(protocol));
        #[cfg(feature = "tls")]
        let layers = if tls { vec![Arc::new(self.own.server(listen)?), detection] } else { vec![detection] };
        #[cfg(not(feature = "tls"))]
        let layers = vec![detection];
        listen.scheme = match (tls, protocol == Protocol::WebSocket) {
            (false, false) => "tcp",
            (true, false) => "tcps",
            (false, true) => "ws",
            (true, true) => "wss",
        };
        listen.layers = layers;
        Ok(())
    }

    /// What a connection may begin with.
    fn detection(&self, protocol: Protocol) -> Detect {
        let frames = protocol != Protocol::WebSocket;
        let detect = Detect::new().with_plain(frames).with_preflight(frames);
        #[cfg(feature = "zlib")]
        let detect = if frames { detect } else { detect.with_zlib(None) };
        #[cfg(feature = "websocket")]
        let detect = detect.with_websocket((protocol != Protocol::Amps).then_some(self.websocket));
        detect
    }

    /// The authority of the certificates that were made, if any were.
    pub(crate) fn ca(self) -> Option<Arc<str>> {
        #[cfg(feature = "tls")]
        return self.own.ca();
        #[cfg(not(feature = "tls"))]
        None
    }
}
