//! What lies between a socket and the bytes of a machine: encryption, compression, a handshake.
//!
//! A [`Layer`] is a plain value that turns bytes into bytes, and knows neither sockets nor
//! clocks, like a machine; several stand on each other. A [`MakeLayer`] makes one for each
//! connection.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use core::fmt;
use std::error::Error;
use std::io;
use std::sync::Arc;

use bytes::BytesMut;

/// One layer of one connection. Its lower side is the wire's, or another layer's, its upper
/// side the machine's, or another layer's.
///
/// ```
/// use amps_transport::{Layer, LayerError, LayerState};
/// use bytes::BytesMut;
///
/// /// Not an encryption.
/// #[derive(Debug)]
/// struct Xor(u8);
///
/// impl Layer for Xor {
///     fn receive(
///         &mut self,
///         below: &mut BytesMut,
///         above: &mut BytesMut,
///         _answer: &mut BytesMut,
///     ) -> Result<LayerState, LayerError> {
///         above.extend(below.split().iter().map(|byte| byte ^ self.0));
///         Ok(LayerState::Ready)
///     }
///     fn send(&mut self, above: &[u8], below: &mut BytesMut) -> Result<(), LayerError> {
///         below.extend(above.iter().map(|byte| byte ^ self.0));
///         Ok(())
///     }
/// }
///
/// let (mut wire, mut plain) = (BytesMut::new(), BytesMut::new());
/// Xor(7).send(b"abc", &mut wire)?;
/// Xor(7).receive(&mut wire, &mut plain, &mut BytesMut::new())?;
/// assert_eq!(&plain[..], b"abc");
/// # Ok::<(), LayerError>(())
/// ```
pub trait Layer: fmt::Debug + Send {
    /// What people call it, in a word, for messages such as that its handshake did not end.
    fn name(&self) -> &'static str {
        "layer"
    }

    /// The layer below is ready: puts what has to be said first, if anything, into `below`.
    ///
    /// # Errors
    /// The connection cannot be used.
    fn start(&mut self, below: &mut BytesMut) -> Result<LayerState, LayerError> {
        let _ = below;
        Ok(LayerState::Ready)
    }

    /// Takes from the front of `below` what it can use, appends what that means to `above`, and
    /// what has to be answered to `answer`. What it leaves of `below` is offered again: together with
    /// what comes next, or, if something was appended to `above`, as soon as that was taken. So a layer whose output
    /// may be much larger than its input appends a bounded part at a time.
    ///
    /// # Errors
    /// The connection ends with this.
    fn receive(
        &mut self,
        below: &mut BytesMut,
        above: &mut BytesMut,
        answer: &mut BytesMut,
    ) -> Result<LayerState, LayerError>;

    /// Appends to `below` what `above` is on the wire. Called only when it is ready.
    ///
    /// # Errors
    /// The connection ends with this.
    fn send(&mut self, above: &[u8], below: &mut BytesMut) -> Result<(), LayerError>;

    /// This side ends the connection in an orderly way: puts what has to be said at the end
    /// into `below`.
    fn finish(&mut self, below: &mut BytesMut) {
        let _ = below;
    }

    /// The peer has ended the layer below, and everything that came before was taken.
    ///
    /// # Errors
    /// More should have come: something was cut off.
    fn ended(&mut self) -> Result<(), LayerError> {
        Ok(())
    }
}

/// How far a layer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerState {
    /// Its handshake is under way: the layers above wait.
    Handshaking,
    /// It carries bytes.
    Ready,
    /// From here on it changes nothing, in neither direction, and is in the way: what is left of its input
    /// belongs to the layer above.
    Transparent,
    /// The peer has ended what this layer carries, in an orderly way, whatever becomes of the layer below: for
    /// those above it is the end of the stream. The rest of the input means nothing.
    Ended,
}

/// Makes the layers of connections, one for each.
pub trait MakeLayer: fmt::Debug + Send + Sync {
    /// A layer for a new connection; `host` is the name that the connection asked for, empty on the side that
    /// accepts.
    ///
    /// # Errors
    /// There can be none, for example because a certificate does not fit.
    fn make(&self, host: &str) -> Result<Box<dyn Layer>, LayerError>;

    /// The name of the peer of the layers above, if it is another than that of those below: there is a proxy in
    /// between.
    fn host_above(&self) -> Option<&str> {
        None
    }
}

/// The layers of a connection, the one next to the wire first.
pub type Layers = Vec<Arc<dyn MakeLayer>>;

/// What kind of trouble a layer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayerTrouble {
    /// The peers do not agree on how to talk, or one does not trust the other.
    Handshake,
    /// The peer, or somebody in between, wants other credentials.
    Authentication,
    /// The peer, or somebody in between, does not want this connection.
    Refused,
    /// What came makes no sense.
    Protocol,
    /// The end is missing.
    Truncated,
    /// What came is larger than anything that is allowed.
    Limit,
}

/// Why a layer ends its connection.
#[derive(Clone, Debug)]
pub struct LayerError {
    layer: &'static str,
    trouble: LayerTrouble,
    text: String,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl LayerError {
    /// In words that name the cause and what to do; `layer` is its name for people, such as "TLS".
    pub fn new(layer: &'static str, trouble: LayerTrouble, text: impl Into<String>) -> Self {
        Self { layer, trouble, text: text.into(), source: None }
    }

    /// The same with the error of a library behind it.
    #[must_use]
    pub fn with_source(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// The layer, in a word for people.
    pub const fn layer(&self) -> &'static str {
        self.layer
    }

    /// The kind of trouble.
    pub const fn trouble(&self) -> LayerTrouble {
        self.trouble
    }

    /// The layer's error in an error of the system, if it is one.
    pub(crate) fn within(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl fmt::Display for LayerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.layer, self.text)
    }
}

impl Error for LayerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

impl From<LayerError> for io::Error {
    fn from(error: LayerError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}
