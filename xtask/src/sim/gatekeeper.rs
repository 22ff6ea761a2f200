//! A server that is in no state to serve: it refuses every logon, or never answers.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use amps_protocol::{AckType, CommandKind, Field, FrameWriter, Status};
use amps_transport::{CloseMode, Input, Machine, Sink, Time};
use bytes::BytesMut;

use super::watch::each_frame;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Gatekeeper {
    /// Never answers.
    pub(super) mute: bool,
    /// It refuses because the name is in use.
    pub(super) in_use: bool,
}

impl Machine for Gatekeeper {
    type Note = ();

    fn handle<S: Sink>(&mut self, _: Time, input: Input<'_, ()>, sink: &mut S) {
        let Input::Received { conn, bytes } = input else { return };
        let mut answer = BytesMut::new();
        let taken = each_frame(bytes, |message| {
            if message.command() == CommandKind::Logon && !self.mute {
                FrameWriter::new(&mut answer, CommandKind::Ack)
                    .maybe_text(Field::CommandId, message.command_id().map(|cid| &**cid))
                    .acks(AckType::Processed.into())
                    .text(Field::Status, Status::Failure.token())
                    .text(Field::Reason, if self.in_use { "name in use" } else { "auth failure" })
                    .finish(b"");
            }
        });
        let _ = bytes.split_to(taken);
        if !answer.is_empty() {
            sink.send(conn, &answer);
            sink.close(conn, CloseMode::Flush);
        }
    }

    fn deadline(&self) -> Option<Time> {
        None
    }
}
