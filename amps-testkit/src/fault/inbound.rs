//! The way in: frames of clients, and who answers them.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use amps_protocol::{CommandKind, LENGTH_PREFIX, Message, next_frame};
use amps_transport::{ConnId, Input, Machine, Sink, Time};
use bytes::BytesMut;

use super::action::{Action, Target};
use super::layer::{FaultLayer, Occasion};
use super::link::{Answered, Armed, Omitted};
use super::sink::FaultSink;
use crate::engine::Engine;

/// A frame that waits for its time.
pub(super) struct Held {
    pub(super) due: Time,
    frame: BytesMut,
    plan: Plan,
}

/// What becomes of a frame.
#[derive(Default)]
struct Plan {
    delay: Duration,
    answer: Answer,
    /// So many messages more in a replay.
    rewind: u64,
}

/// Who answers it, and how.
#[derive(Default)]
enum Answer {
    /// The engine.
    #[default]
    Engine,
    Nobody,
    RefuseLogon {
        reason: String,
        close: bool,
    },
    NameInUse,
    Challenge(String),
    Fail {
        reason: String,
        /// Whether the sequence number counts as seen.
        seen: bool,
    },
}

impl Action {
    /// Whether an action on commands can be done to this one.
    pub(super) fn suits(&self, message: &Message<&[u8]>) -> bool {
        match self {
            Self::RefuseLogon { .. } | Self::Challenge(_) | Self::NameInUse => {
                message.command() == CommandKind::Logon
            }
            Self::PersistedFailure { sequence, .. } => message.sequence() == Some(*sequence),
            Self::ReplayDuplicates(_) => {
                matches!(message.command(), CommandKind::Subscribe | CommandKind::SowAndSubscribe)
                    && message.bookmark().is_some()
            }
            _ => true,
        }
    }
}

impl FaultLayer {
    /// Bytes of a client: its frames, one after the other, past the faults and to the engine.
    pub(crate) fn receive<S: Sink>(
        &mut self,
        engine: &mut Engine,
        now: Time,
        conn: ConnId,
        bytes: &mut BytesMut,
        sink: &mut S,
    ) {
        while let Some(link) = self.links.get(&conn) {
            if link.cut || link.closing {
                return bytes.clear();
            }
            if link.reads.is_some() {
                // They are offered again when reading goes on.
                return;
            }
            let Ok(Some(total)) = next_frame(bytes, usize::MAX) else { break };
            let frame = bytes.split_to(total);
            self.take_frame(engine, now, conn, frame, sink);
        }
        if bytes.is_empty() {
            return;
        }
        // What is no whole frame is a sign of life, or too long.
        engine.handle(now, Input::Received { conn, bytes }, &mut FaultSink { layer: self, sink, now });
        self.settle(engine, now, sink);
    }

    fn take_frame<S: Sink>(
        &mut self,
        engine: &mut Engine,
        now: Time,
        conn: ConnId,
        frame: BytesMut,
        sink: &mut S,
    ) {
        let plan = match Message::decode(frame.get(LENGTH_PREFIX..).unwrap_or_default()) {
            Ok(message) => self.judge(now, conn, &message, sink),
            Err(_) => Plan::default(),
        };
        // The journal has what was decided before what follows from it.
        self.settle(engine, now, sink);
        let Some(link) = self.links.get_mut(&conn) else { return };
        let before = link.held.back().map(|held| held.due);
        if before.is_some() || !plan.delay.is_zero() {
            let due = (now + plan.delay).max(before.unwrap_or(now));
            return link.held.push_back(Held { due, frame, plan });
        }
        self.carry_out(engine, now, conn, frame, plan, sink);
    }

    fn judge<S: Sink>(&mut self, now: Time, conn: ConnId, message: &Message<&[u8]>, sink: &mut S) -> Plan {
        let mut plan = Plan::default();
        let Some(link) = self.links.get_mut(&conn) else { return plan };
        if message.command() == CommandKind::Logon {
            link.client = message.client_name().map(|name| String::from_utf8_lossy(name).into());
            if let Some(challenge) = link.challenges.pop_front() {
                plan.answer = Answer::Challenge(challenge);
            }
        }
        let mut todo = self.take_armed_inbound(conn, message);
        for armed in self.occurs(now, conn, Occasion::Inbound(message)) {
            match armed.action.target() {
                Target::Inbound if armed.action.suits(message) => todo.push(armed),
                Target::Either => todo.push(armed),
                _ => self.begin(now, conn, armed, sink),
            }
        }
        for armed in todo {
            self.plan(conn, message, armed, &mut plan);
        }
        plan
    }

    fn plan(&mut self, conn: ConnId, message: &Message<&[u8]>, armed: Armed, plan: &mut Plan) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        match armed.action {
            Action::Delay(span) => plan.delay += span,
            Action::ReplayDuplicates(count) => plan.rewind += count,
            Action::Swallow => plan.answer = Answer::Nobody,
            // What was not asked for does not come.
            Action::SwallowAck(kind) if !message.acks().contains(kind) => {}
            Action::SwallowAck(kind) => {
                let command_id = message.command_id().map(|id| id.to_vec());
                let answers = Some(Answered { command_id, sequence: message.sequence() });
                link.acks.omitted.push(Omitted { fault: armed.fault, kind, answers });
            }
            Action::RefuseLogon { reason, close } => plan.answer = Answer::RefuseLogon { reason, close },
            Action::NameInUse => plan.answer = Answer::NameInUse,
            Action::Challenge(list) => {
                link.challenges = list.into();
                if let Some(challenge) = link.challenges.pop_front() {
                    plan.answer = Answer::Challenge(challenge);
                }
            }
            Action::Fail(reason) => plan.answer = Answer::Fail { reason, seen: false },
            Action::PersistedFailure { reason, .. } => plan.answer = Answer::Fail { reason, seen: true },
            // The rest is done to what goes out, or to the connection.
            _ => {}
        }
    }

    fn carry_out<S: Sink>(
        &mut self,
        engine: &mut Engine,
        now: Time,
        conn: ConnId,
        mut frame: BytesMut,
        plan: Plan,
        sink: &mut S,
    ) {
        let mut through = FaultSink { layer: &mut *self, sink: &mut *sink, now };
        let Ok(message) = Message::decode(frame.get(LENGTH_PREFIX..).unwrap_or_default()) else {
            engine.handle(now, Input::Received { conn, bytes: &mut frame }, &mut through);
            return self.settle(engine, now, sink);
        };
        let logon = message.command() == CommandKind::Logon;
        match plan.answer {
            Answer::Engine => {
                drop(message);
                engine.rewind_next_replay(plan.rewind);
                engine.handle(now, Input::Received { conn, bytes: &mut frame }, &mut through);
                engine.rewind_next_replay(0);
            }
            Answer::Nobody => engine.overlook(now, conn, &message),
            Answer::RefuseLogon { reason, close } => {
                engine.refuse_logon(now, conn, &message, Some((&reason, close)), &mut through);
            }
            Answer::NameInUse => engine.refuse_logon(now, conn, &message, None, &mut through),
            Answer::Challenge(challenge) => {
                engine.challenge_logon(now, conn, &message, &challenge, &mut through);
            }
            Answer::Fail { reason, seen } => {
                engine.fail_command(now, conn, &message, &reason, seen, &mut through);
            }
        }
        if logon {
            if let Some(link) = self.links.get_mut(&conn) {
                link.client = engine.client_name(conn);
            }
        }
        self.settle(engine, now, sink);
    }

    /// Inbound frames whose time has come.
    pub(super) fn release_held<S: Sink>(
        &mut self,
        engine: &mut Engine,
        now: Time,
        conn: ConnId,
        sink: &mut S,
    ) {
        loop {
            let Some(link) = self.links.get_mut(&conn).filter(|link| !link.cut && !link.closing) else {
                return;
            };
            if link.held.front().is_none_or(|held| held.due > now) {
                return;
            }
            let Some(Held { frame, plan, .. }) = link.held.pop_front() else { return };
            self.carry_out(engine, now, conn, frame, plan, sink);
        }
    }
}
