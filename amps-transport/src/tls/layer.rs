//! The bytes of one TLS connection.
//!
//! Owns the library's session, and no buffer but one: records are decrypted where they came, in
//! the buffer of the stack. This is the library's "unbuffered" interface; where it copies all the
//! same is said below. Against its buffered interface, which takes in at most 4 KiB at a time into a
//! buffer of its own, it was measured a tenth to a third faster with records of 128 bytes, and as
//! fast or faster with those of 16 KiB.
//!
//! Copies: receiving, the library moves what it decrypted into a `Vec` of its own for each record, and
//! from there it is appended to `above`; sending, it encrypts into a `Vec` for each record, and copies
//! that to `below`, where room has to be filled with zeros first.
//!
//! Bounds: decrypted bytes are never more than what came, of which the stack hands over no more
//! than it reads at once; an unfinished record is at most 16 KiB and an unfinished message of the
//! handshake at most 64 KiB, which the library sees to.

use core::fmt;

use bytes::{Buf, BytesMut};
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError, UnbufferedStatus,
    WriteTraffic,
};
use rustls::{CommonState, Error};

use super::NAME;
use super::explain::{self, Side};
use crate::layer::{Layer, LayerError, LayerState, LayerTrouble};

/// The session of either side: the library has two types, with the same methods.
pub(super) trait Session: Send {
    type Data;
    const SIDE: Side;

    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;

    fn common(&self) -> &CommonState;
}

impl Session for UnbufferedClientConnection {
    type Data = ClientConnectionData;
    const SIDE: Side = Side::Client;

    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(input)
    }

    fn common(&self) -> &CommonState {
        self
    }
}

impl Session for UnbufferedServerConnection {
    type Data = ServerConnectionData;
    const SIDE: Side = Side::Server;

    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(input)
    }

    fn common(&self) -> &CommonState {
        self
    }
}

/// Records have this many bytes of text at most (RFC 8446, 5.1).
const RECORD: usize = 16 * 1024;

/// Header, explicit nonce and tag of AES-GCM in TLS 1.2; everything else adds less.
const OVERHEAD: usize = 5 + 8 + 16;

const HEADER: usize = 5;

pub(super) struct TlsLayer<S> {
    session: S,
    /// The peer has said something that is TLS.
    heard: bool,
    /// The peer has said that it ends.
    over: bool,
    /// The session is of no more use.
    failed: bool,
    /// A copy of the input that was left, if a message of the handshake begins in it that is not complete. The
    /// library remembers places in it, and wants to see it whenever it is called, to send as well.
    pieces: Vec<u8>,
}

impl<S: Session> TlsLayer<S> {
    pub(super) fn new(session: S) -> Self {
        Self { session, heard: false, over: false, failed: false, pieces: Vec::new() }
    }

    /// Takes what there is.
    fn run(
        &mut self,
        below: &mut BytesMut,
        above: &mut BytesMut,
        answer: &mut BytesMut,
    ) -> Result<(), Error> {
        loop {
            let UnbufferedStatus { mut discard, state } = self.session.process(below);
            let mut done = false;
            let mut outcome = Ok(());
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        above.extend_from_slice(record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(encoder)) => encode(encoder, answer)?,
                // What was encoded is on its way when this returns.
                Ok(ConnectionState::TransmitTlsData(encoded)) => encoded.done(),
                Ok(ConnectionState::PeerClosed) => self.over = true,
                Ok(_) => done = true,
                Err(error) => outcome = Err(error),
            }
            below.advance(discard.min(below.len()));
            if done || outcome.is_err() || self.over {
                return outcome;
            }
        }
    }

    /// Brings out what the library wants to say: an alert.
    fn last_words(&mut self, below: &mut BytesMut) {
        // Looks at no input before all of that is out.
        while self.session.common().wants_write() {
            let Ok(ConnectionState::EncodeTlsData(encoder)) = self.session.process(&mut []).state else {
                return;
            };
            if encode(encoder, below).is_err() {
                return;
            }
        }
    }

    fn remember_pieces(&mut self, before: usize, whole: usize, left: &[u8]) {
        // All whole records were taken, unless some are kept until a message is complete.
        let kept = before - left.len() < whole || !self.pieces.is_empty();
        self.pieces.clear();
        if kept {
            self.pieces.extend_from_slice(left);
        }
    }
}

impl<S: Session> Layer for TlsLayer<S> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn start(&mut self, below: &mut BytesMut) -> Result<LayerState, LayerError> {
        self.receive(&mut BytesMut::new(), &mut BytesMut::new(), below)
    }

    fn receive(
        &mut self,
        below: &mut BytesMut,
        above: &mut BytesMut,
        answer: &mut BytesMut,
    ) -> Result<LayerState, LayerError> {
        let (before, whole) = (below.len(), whole_records(below));
        if let Err(error) = self.run(below, above, answer) {
            self.failed = true;
            self.last_words(answer);
            if !self.heard && below.first().is_some_and(|&first| !is_content_type(first)) {
                return Err(explain::no_tls(error, below, S::SIDE));
            }
            return Err(explain::explain(error, S::SIDE));
        }
        self.heard |= below.len() < before;
        if self.over {
            if self.session.common().is_handshaking() {
                return Err(explain::ended_in_handshake(S::SIDE));
            }
            below.clear();
            self.finish(answer);
            return Ok(LayerState::Ended);
        }
        self.remember_pieces(before, whole, below);
        Ok(if self.session.common().is_handshaking() { LayerState::Handshaking } else { LayerState::Ready })
    }

    fn send(&mut self, above: &[u8], below: &mut BytesMut) -> Result<(), LayerError> {
        while !self.failed {
            match self.session.process(&mut self.pieces).state {
                Ok(ConnectionState::WriteTraffic(traffic)) => return encrypt(traffic, above, below),
                Ok(ConnectionState::EncodeTlsData(encoder)) => {
                    encode(encoder, below).map_err(|error| explain::explain(error, S::SIDE))?;
                }
                Ok(ConnectionState::TransmitTlsData(encoded)) => encoded.done(),
                Ok(_) => break,
                Err(error) => return Err(explain::explain(error, S::SIDE)),
            }
        }
        Err(LayerError::new(
            NAME,
            LayerTrouble::Protocol,
            "nothing can be sent any more: the connection has failed",
        ))
    }

    fn finish(&mut self, below: &mut BytesMut) {
        self.last_words(below);
        if self.failed {
            return;
        }
        // In the middle of the handshake there is nothing to end, and after the end neither.
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) = self.session.process(&mut self.pieces).state {
            // There is no room, so the alert is put behind whatever waits.
            let _queued = traffic.queue_close_notify(&mut []);
        }
        self.last_words(below);
    }

    fn ended(&mut self) -> Result<(), LayerError> {
        if self.session.common().is_handshaking() {
            return Err(explain::ended_in_handshake(S::SIDE));
        }
        if self.over { Ok(()) } else { Err(explain::truncated(S::SIDE)) }
    }
}

impl<S: Session> fmt::Debug for TlsLayer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsLayer").field("side", &S::SIDE).field("over", &self.over).finish()
    }
}

fn encode<D>(mut encoder: EncodeTlsData<'_, D>, to: &mut BytesMut) -> Result<(), Error> {
    let start = to.len();
    // Nothing is lost by asking: the answer is how much room there has to be.
    if let Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) =
        encoder.encode(&mut [])
    {
        to.resize(start + required_size, 0);
        let room = to.get_mut(start..).unwrap_or_default();
        encoder.encode(room).map_err(|_| Error::EncryptError)?;
    }
    Ok(())
}

fn encrypt<D>(mut traffic: WriteTraffic<'_, D>, text: &[u8], to: &mut BytesMut) -> Result<(), LayerError> {
    let start = to.len();
    to.resize(start + text.len() + text.len().div_ceil(RECORD) * OVERHEAD, 0);
    let mut encrypted = traffic.encrypt(text, to.get_mut(start..).unwrap_or_default());
    if let Err(EncryptError::InsufficientSize(InsufficientSizeError { required_size })) = encrypted {
        // An answer to a change of keys goes first.
        to.resize(start + required_size, 0);
        encrypted = traffic.encrypt(text, to.get_mut(start..).unwrap_or_default());
    }
    to.truncate(start + *encrypted.as_ref().unwrap_or(&0));
    match encrypted {
        Ok(_) => Ok(()),
        Err(error) => {
            let text = "no more can be sent with the keys of this connection";
            Err(LayerError::new(NAME, LayerTrouble::Limit, text).with_source(error))
        }
    }
}

/// How many bytes at the front are whole records.
fn whole_records(mut bytes: &[u8]) -> usize {
    let all = bytes.len();
    while let Some((&[_, _, _, high, low], rest)) = bytes.split_first_chunk::<HEADER>() {
        let Some(next) = rest.get(usize::from(u16::from_be_bytes([high, low]))..) else { break };
        bytes = next;
    }
    all - bytes.len()
}

/// Whether a record of TLS can begin with this: change_cipher_spec, alert, handshake,
/// application_data, heartbeat.
const fn is_content_type(byte: u8) -> bool {
    matches!(byte, 20..=24)
}

#[cfg(test)]
mod tests;
