//! One frame on its way out, and what is done to it.
//!
//! Owns the bytes of the frame. It holds nothing back: when it leaves is `link`'s business.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use amps_protocol::LENGTH_PREFIX;
use amps_transport::CloseMode;
use bytes::{Bytes, BytesMut};

use super::FaultId;
use super::action::{Action, Unfinished};
use super::link::End;
use crate::sim::Rng;

pub(super) struct Draft {
    bytes: BytesMut,
    /// Where the body begins in `bytes`.
    body: usize,
    pub(super) before: BytesMut,
    pub(super) extra: u64,
    pub(super) delay: Option<Duration>,
    pub(super) end: Option<End>,
}

impl Draft {
    /// A frame with its length, and where its body begins.
    pub(super) fn new(frame: &[u8], body: usize) -> Self {
        Self {
            bytes: BytesMut::from(frame),
            body: body.min(frame.len()),
            before: BytesMut::new(),
            extra: 0,
            delay: None,
            end: None,
        }
    }

    pub(super) fn apply(&mut self, fault: FaultId, action: &Action, rng: &mut Rng) {
        match action {
            Action::Delay(span) => self.delay = Some(self.delay.unwrap_or_default() + *span),
            Action::DropMidFrame(length) => {
                self.bytes.truncate(*length);
                self.end = Some(End::Close(CloseMode::Flush));
            }
            Action::TruncateLength { extra, then } => {
                self.announce(self.bytes.len().saturating_sub(LENGTH_PREFIX).saturating_add(*extra as usize));
                self.end = Some(match then {
                    Unfinished::Stall => End::Stall(fault),
                    Unfinished::Close => End::Close(CloseMode::Flush),
                });
            }
            Action::Corrupt { offset, bytes } => {
                let place = self.bytes.get_mut(*offset..).unwrap_or_default();
                place.iter_mut().zip(bytes).for_each(|(byte, other)| *byte = *other);
            }
            Action::Garbage(length) => {
                self.before.extend((0..*length).map(|_| (rng.next_u64() >> 56) as u8));
            }
            Action::BadHeader(header) => {
                let body = self.bytes.split_off(self.body.min(self.bytes.len()));
                self.bytes.truncate(LENGTH_PREFIX);
                self.bytes.extend_from_slice(header.as_bytes());
                self.body = self.bytes.len();
                self.bytes.extend_from_slice(&body);
                self.announce(self.bytes.len().saturating_sub(LENGTH_PREFIX));
            }
            Action::Duplicate(extra) => self.extra = self.extra.saturating_add(*extra),
            // What is done to connections, commands and batches is done elsewhere.
            _ => {}
        }
    }

    fn announce(&mut self, length: usize) {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        if let Some(prefix) = self.bytes.get_mut(..LENGTH_PREFIX) {
            prefix.copy_from_slice(&length.to_be_bytes());
        }
    }

    pub(super) fn into_bytes(self) -> Bytes {
        self.bytes.freeze()
    }
}
