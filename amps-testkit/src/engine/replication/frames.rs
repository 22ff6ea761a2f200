//! What two instances say to each other.
//!
//! Owns the frames of a replication link. They are of this project's own and no part of the
//! AMPS protocol, but are framed and encoded as everything else is: a length, a header, a body.
//!
//! | From the source | Meaning |
//! |---|---|
//! | `group_begin`, `client_name`, `user_id`, `version` | the name and the group of the source |
//! | `p`, `s`, a record of the log | an entry, and its position in the source's log |
//! | `group_end` | all that there was when the link was made has been sent |
//!
//! | From the receiver | Meaning |
//! |---|---|
//! | `group_begin`, the same, sequence numbers | its name, and the numbers that it knows |
//! | `ack`, `s` | it has everything up to this position |
//! | `subscribe`, `bm`, `mt`, `t` | it would deliver this message of a queue |
//! | `group_end`, `reason` | it will not take anything, and why |
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use amps_protocol::{CommandKind, Field, FrameWriter, Message, MessageId};
use bytes::BytesMut;

use crate::engine::log_record::LogRecord;
use crate::engine::record_codec::{put_record, read_record};
use crate::engine::txlog::Position;

/// What both sides have to speak.
const VERSION: &str = "amps-testkit/1";

/// Who speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    pub(super) instance: String,
    pub(super) group: String,
    /// From a receiver: the highest sequence number of each publisher.
    pub(super) known: Vec<MessageId>,
}

/// A frame of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Greeting(Greeting),
    Entry { position: Position, record: LogRecord },
    Complete,
    Refused(String),
    Confirmed(Position),
    Wanted { queue: String, message_type: String, bookmark: MessageId },
}

impl Frame {
    /// Appends the frame; `false` if it is too long to be one.
    pub(super) fn write(&self, out: &mut BytesMut) -> bool {
        let mut body = Vec::new();
        let frame = match self {
            Self::Greeting(Greeting { instance, group, known }) => {
                let numbers = known.iter().map(|id| LogRecord::Sequence(*id));
                if numbers.map(|record| put_record(&mut body, &record)).any(|put| put.is_err()) {
                    return false;
                }
                FrameWriter::new(out, CommandKind::GroupBegin)
                    .text(Field::ClientName, instance)
                    .text(Field::UserId, group)
                    .text(Field::Version, VERSION)
            }
            Self::Entry { position, record } => {
                if put_record(&mut body, record).is_err() {
                    return false;
                }
                FrameWriter::new(out, CommandKind::Publish).number(Field::Sequence, *position)
            }
            Self::Complete => FrameWriter::new(out, CommandKind::GroupEnd),
            Self::Refused(reason) => FrameWriter::new(out, CommandKind::GroupEnd).text(Field::Reason, reason),
            Self::Confirmed(position) => {
                FrameWriter::new(out, CommandKind::Ack).number(Field::Sequence, *position)
            }
            Self::Wanted { queue, message_type, bookmark } => FrameWriter::new(out, CommandKind::Subscribe)
                .text(Field::Bookmark, bookmark.to_string())
                .text(Field::MessageType, message_type)
                .text(Field::Topic, queue),
        };
        frame.finish(&body);
        true
    }

    /// `None` if it is no frame of a link.
    pub(super) fn read(message: &Message<&[u8]>) -> Option<Self> {
        let text = |field| message.get(field).map(|text| String::from_utf8_lossy(text).into_owned());
        Some(match message.command() {
            CommandKind::GroupBegin => {
                if text(Field::Version)? != VERSION {
                    return None;
                }
                let mut known = Vec::new();
                let mut rest = message.data();
                while !rest.is_empty() {
                    let (after, LogRecord::Sequence(id)) = read_record(rest).ok()? else { return None };
                    known.push(id);
                    rest = after;
                }
                let instance = text(Field::ClientName).filter(|name| !name.is_empty())?;
                Self::Greeting(Greeting { instance, group: text(Field::UserId)?, known })
            }
            CommandKind::Publish => {
                let (rest, record) = read_record(message.data()).ok()?;
                rest.is_empty().then_some(Self::Entry { position: message.sequence()?, record })?
            }
            CommandKind::GroupEnd => text(Field::Reason).map_or(Self::Complete, Self::Refused),
            CommandKind::Ack => Self::Confirmed(message.sequence()?),
            CommandKind::Subscribe => Self::Wanted {
                queue: text(Field::Topic)?,
                message_type: text(Field::MessageType)?,
                bookmark: MessageId::parse(message.get(Field::Bookmark)?).ok()?,
            },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use amps_protocol::LENGTH_PREFIX;

    use super::*;

    #[test]
    fn every_frame_comes_back_as_it_was() {
        let id = MessageId { publisher: u64::MAX, sequence: 9 };
        let known = vec![id, MessageId { publisher: 1, sequence: u64::MAX }];
        let greeting = Greeting { instance: "A \"1\"".into(), group: String::new(), known };
        let frames = [
            Frame::Greeting(greeting),
            Frame::Entry { position: 3, record: LogRecord::Sequence(id) },
            Frame::Complete,
            Frame::Refused("no".into()),
            Frame::Confirmed(7),
            Frame::Wanted { queue: "q".into(), message_type: "json".into(), bookmark: id },
        ];
        for frame in frames {
            let mut bytes = BytesMut::new();
            assert!(frame.write(&mut bytes));
            let message = Message::decode(&bytes[LENGTH_PREFIX..]).unwrap();
            assert_eq!(Frame::read(&message), Some(frame));
        }
    }

    #[test]
    fn what_clients_say_is_no_frame_of_a_link() {
        for text in [r#"{"c":"logon","client_name":"a"}"#, r#"{"c":"p","t":"T","s":1}x"#, r#"{"c":"p"}"#] {
            assert_eq!(Frame::read(&Message::decode(text.as_bytes()).unwrap()), None, "{text}");
        }
    }
}
