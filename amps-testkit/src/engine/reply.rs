//! Acknowledgements, and how frames leave the engine.
//!
//! Owns the encoding of `ack` frames and the rules of who gets which (server.md 0.4). Every
//! frame that leaves the engine passes `transmit`.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use amps_protocol::{AckType, CommandKind, Field, FrameWriter, LENGTH_PREFIX, Message, MessageId, Status};
use amps_transport::{ConnId, Sink, Time};
use bytes::BytesMut;

use super::Engine;
use super::event::{Event, Observe};
use super::lint::Lint;
use super::reasons::Reason;
use super::slow::Pace;
use super::switches::PublishCommand;

/// What an `ack` carries beside the kind and the command's id.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AckFrame<'a> {
    pub(crate) command_id: Option<&'a [u8]>,
    pub(crate) sequence: Option<u64>,
    pub(crate) bookmark: Option<MessageId>,
    pub(crate) client_name: Option<&'a str>,
    pub(crate) user: Option<&'a str>,
    pub(crate) password: Option<&'a str>,
    pub(crate) sub_id: Option<&'a str>,
    pub(crate) correlation: Option<&'a [u8]>,
    pub(crate) max_backlog: Option<u32>,
    pub(crate) query_id: Option<&'a str>,
    pub(crate) matches: Option<u64>,
    pub(crate) topic_matches: Option<u64>,
    pub(crate) returned: Option<u64>,
    pub(crate) deleted: Option<u64>,
    pub(crate) status: Status,
    pub(crate) reason: Option<&'a str>,
    pub(crate) version: Option<&'a str>,
}

impl AckFrame<'_> {
    pub(crate) const fn new() -> Self {
        Self {
            command_id: None,
            sequence: None,
            bookmark: None,
            client_name: None,
            user: None,
            password: None,
            sub_id: None,
            correlation: None,
            max_backlog: None,
            query_id: None,
            matches: None,
            topic_matches: None,
            returned: None,
            deleted: None,
            status: Status::Success,
            reason: None,
            version: None,
        }
    }
}

/// How the frame of a delivery begins, and how it may.
const SHORT: &[u8] = br#"{"c":"p""#;
const LONG: &[u8] = br#"{"c":"publish""#;

/// Why a command fails: the reason that the client is told, and for the journal the detail.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) reason: Reason,
    pub(crate) detail: Option<String>,
}

impl Refusal {
    pub(crate) const fn because(reason: Reason, detail: String) -> Self {
        Self { reason, detail: Some(detail) }
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self { reason, detail: None }
    }
}

impl Engine {
    /// Sends the `processed` ack of a command that asked for it.
    pub(super) fn acknowledge<S: Sink>(
        &mut self,
        now: Time,
        conn: ConnId,
        message: &Message<&[u8]>,
        ack: AckFrame<'_>,
        sink: &mut S,
    ) {
        self.acknowledge_as(now, conn, message, AckType::Processed, ack, sink);
    }

    /// Sends one kind of ack to a command that asked for it.
    pub(super) fn acknowledge_as<S: Sink>(
        &mut self,
        now: Time,
        conn: ConnId,
        message: &Message<&[u8]>,
        kind: AckType,
        ack: AckFrame<'_>,
        sink: &mut S,
    ) {
        if message.acks().contains(kind) {
            let command_id = message.command_id().map(|id| &**id);
            self.send_ack(now, conn, kind, AckFrame { command_id, ..ack }, sink);
        }
    }

    /// Fails a command: a `processed` failure, if asked for (ACK-07).
    pub(super) fn refuse<S: Sink>(
        &mut self,
        now: Time,
        conn: ConnId,
        message: &Message<&[u8]>,
        refusal: Refusal,
        sink: &mut S,
    ) {
        self.refusals += 1;
        let text = self.config.reasons.text(refusal.reason).to_owned();
        if let Some(detail) = refusal.detail {
            self.note(now, conn, Lint::Refused, format!("{text}: {detail}"));
        }
        let ack = AckFrame { status: Status::Failure, reason: Some(&text), ..AckFrame::new() };
        self.acknowledge(now, conn, message, ack, sink);
    }

    pub(super) fn send_ack<S: Sink>(
        &mut self,
        now: Time,
        conn: ConnId,
        kind: AckType,
        ack: AckFrame<'_>,
        sink: &mut S,
    ) {
        let writer = FrameWriter::new(&mut self.out, CommandKind::Ack)
            .maybe_text(Field::CommandId, ack.command_id)
            .maybe_number(Field::Sequence, ack.sequence)
            .maybe_text(Field::Bookmark, ack.bookmark.map(|bookmark| bookmark.to_string()))
            .maybe_text(Field::ClientName, ack.client_name)
            .maybe_text(Field::UserId, ack.user)
            .maybe_text(Field::Password, ack.password)
            .maybe_text(Field::SubId, ack.sub_id)
            .maybe_text(Field::QueryId, ack.query_id)
            .maybe_text(Field::CorrelationId, ack.correlation)
            .maybe_text(Field::Options, ack.max_backlog.map(|backlog| format!("max_backlog={backlog}")))
            .maybe_number(Field::Matches, ack.matches)
            .maybe_number(Field::TopicMatches, ack.topic_matches)
            .maybe_number(Field::RecordsReturned, ack.returned)
            .maybe_number(Field::RecordsDeleted, ack.deleted)
            .acks(kind.into())
            .text(Field::Status, ack.status.token())
            .maybe_text(Field::Reason, ack.reason)
            .maybe_text(Field::Version, ack.version);
        writer.finish(b"");
        self.transmit(now, conn, sink);
    }

    /// Sends the one frame that has been encoded into `out`.
    pub(super) fn transmit<S: Sink>(&mut self, now: Time, conn: ConnId, sink: &mut S) {
        self.spell_out();
        self.has_sent(now, conn, self.out.len(), Pace::Servers);
        self.hand_over(now, conn, sink);
    }

    /// The same for a frame that waited until the client had room for it.
    pub(super) fn transmit_paced<S: Sink>(&mut self, now: Time, conn: ConnId, sink: &mut S) {
        self.spell_out();
        self.has_sent(now, conn, self.out.len(), Pace::Clients);
        self.hand_over(now, conn, sink);
    }

    /// Writes `publish` where `p` was written, if that is wanted (server.md 11, row 4).
    fn spell_out(&mut self) {
        if self.config.switches.publish_command == PublishCommand::Short {
            return;
        }
        let Some(rest) = self.out.get(LENGTH_PREFIX..).and_then(|frame| frame.strip_prefix(SHORT)) else {
            return;
        };
        let length = u32::try_from(LONG.len() + rest.len()).unwrap_or(u32::MAX);
        let mut spelled = BytesMut::with_capacity(LENGTH_PREFIX + LONG.len() + rest.len());
        spelled.extend_from_slice(&length.to_be_bytes());
        spelled.extend_from_slice(LONG);
        spelled.extend_from_slice(rest);
        self.out = spelled;
    }

    fn hand_over<S: Sink>(&mut self, now: Time, conn: ConnId, sink: &mut S) {
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.last_sent = now;
            connection.sent += 1;
            sink.send(conn, &self.out);
            if self.observe == Observe::All {
                let frame = self.out.get(LENGTH_PREFIX..).unwrap_or_default();
                if let Ok(message) = Message::decode(frame) {
                    self.events.push((now, Event::Sent { conn, message: message.to_owned() }));
                }
            }
        }
        self.out.clear();
    }
}
