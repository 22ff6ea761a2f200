//! Reading a command back from a message: what servers, proxies and tools do.

use alloc::string::String;
use alloc::vec::Vec;

use super::delete::{Delete, QueueAction};
use super::session::Ended;
use super::text::Secret;
use super::{Ask, Command, CommandKind, Text};
use crate::bookmark::{BookmarkError, ReplayFrom};
use crate::header::Field;
use crate::ids::{Id, IdError, Ids};
use crate::message::Message;
use crate::options::{HeartbeatRequest, Options, OptionsError};

/// Why a message is no command that a server could carry out.
///
/// ```
/// use amps_protocol::{Command, CommandError, Field, Message};
///
/// let message = Message::decode(&br#"{"c":"subscribe","cid":"1"}"#[..]).unwrap();
/// let error = Command::read(&message).unwrap_err();
/// assert!(matches!(error, CommandError::MissingField { field: Field::Topic, .. }));
/// assert_eq!(error.to_string(), "subscribe lacks the field \"t\"");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The header has no `c` (protocol.md M-7).
    #[error("the header has no command: expected the field \"c\"")]
    NoCommand,
    /// A word that is no command (M-6).
    #[error("unknown command \"{token}\"")]
    Unknown {
        /// The word.
        token: String,
    },
    /// A message that only servers send. That includes `ack`, which some clients misuse to
    /// settle queue messages (C-7).
    #[error("\"{}\" is sent by servers, not by clients", .kind.token())]
    FromServer {
        /// What it is.
        kind: CommandKind,
    },
    /// A field that the command needs is not there.
    #[error("{} lacks the field \"{}\"", .kind.token(), .field.key())]
    MissingField {
        /// The command.
        kind: CommandKind,
        /// The field.
        field: Field,
    },
    /// An id that is none (I-4).
    #[error("the field \"{}\" of {}: {error}", .field.key(), .kind.token())]
    BadId {
        /// The command.
        kind: CommandKind,
        /// The field.
        field: Field,
        /// What is wrong with it.
        error: IdError,
    },
    /// A bookmark to begin at that is none.
    #[error("the field \"bm\" of {}: {error}", .kind.token())]
    BadBookmark {
        /// The command.
        kind: CommandKind,
        /// What is wrong with it.
        error: BookmarkError,
    },
    /// Options that break their grammar (O-8).
    #[error("the field \"o\" of {}: {error}", .kind.token())]
    BadOptions {
        /// The command.
        kind: CommandKind,
        /// What is wrong with them.
        error: OptionsError,
    },
    /// A heartbeat that asks for nothing known.
    #[error("the field \"o\" of heartbeat is \"{options}\"; expected start,SECONDS, beat or stop")]
    BadHeartbeat {
        /// What it asks for.
        options: String,
    },
    /// A `sow_delete` that says what it deletes in two ways (C-9), or in none.
    #[error(
        "sow_delete says in {ways} ways what it deletes; expected one of \"f\", \"sow_keys\", \"bm\" and a body"
    )]
    DeletesInSeveralWays {
        /// In how many.
        ways: usize,
    },
}

impl<'a> Command<'a> {
    /// Reads a client's command. Texts are borrowed from the message's frame.
    ///
    /// Ids that the client left out are filled in as a server does: `sub_id` from `cid`,
    /// `query_id` from `sub_id`, else from `cid` (protocol.md I-2, I-3). Fields that the
    /// command does not have are ignored.
    ///
    /// # Errors
    /// It is no command, or one that cannot be carried out.
    pub fn read<B: AsRef<[u8]>>(message: &'a Message<B>) -> Result<Self, CommandError> {
        Reader { message, kind: message.command() }.command()
    }
}

struct Reader<'a, B> {
    message: &'a Message<B>,
    kind: CommandKind,
}

impl<'a, B: AsRef<[u8]>> Reader<'a, B> {
    fn command(&self) -> Result<Command<'a>, CommandError> {
        let kind = self.kind;
        match kind {
            CommandKind::Missing => Err(CommandError::NoCommand),
            CommandKind::Unknown => {
                let token =
                    self.text(Field::Command).map(|token| alloc::format!("{token}")).unwrap_or_default();
                Err(CommandError::Unknown { token })
            }
            CommandKind::Ack | CommandKind::GroupBegin | CommandKind::GroupEnd | CommandKind::Oof => {
                Err(CommandError::FromServer { kind })
            }
            CommandKind::Logon => self.logon(),
            CommandKind::Publish | CommandKind::DeltaPublish => self.publish(),
            CommandKind::Subscribe | CommandKind::DeltaSubscribe => self.subscribe(),
            CommandKind::Sow => self.sow(),
            CommandKind::SowAndSubscribe => self.sow_and_subscribe(),
            CommandKind::SowAndDeltaSubscribe => self.sow_and_delta_subscribe(),
            CommandKind::SowDelete => self.sow_delete(),
            CommandKind::Unsubscribe => self.unsubscribe(),
            CommandKind::Flush => {
                let mut flush = Command::flush(self.command_id()?, self.message.acks());
                flush.ask = self.ask()?;
                Ok(flush.into())
            }
            CommandKind::Heartbeat => self.heartbeat(),
            CommandKind::StartTimer | CommandKind::StopTimer => {
                let mut timer = super::Timer::new(kind, self.command_id()?);
                timer.ask = self.ask()?;
                timer.topic = self.text(Field::Topic);
                timer.options = self.options()?;
                Ok(timer.into())
            }
        }
    }

    fn logon(&self) -> Result<Command<'a>, CommandError> {
        // A logon may be silent (L-9); whoever reads it is told so by what it asks for.
        let mut logon = super::Logon::new(Id::number(0), self.required(Field::ClientName)?);
        logon.ask = self.ask()?;
        logon.user_id = self.text(Field::UserId);
        logon.password = self.text(Field::Password).map(Secret);
        logon.message_type = self.text(Field::MessageType);
        logon.correlation_id = self.text(Field::CorrelationId);
        logon.version = self.text(Field::Version);
        logon.options = self.options()?;
        Ok(logon.into())
    }

    fn publish(&self) -> Result<Command<'a>, CommandError> {
        let mut publish = super::Publish::new(self.kind, self.required(Field::Topic)?);
        publish.ask = self.ask()?;
        publish.data = self.message.data().into();
        publish.sequence = self.sequence();
        publish.expiration = self.message.expiration();
        publish.sow_key = self.text(Field::SowKey);
        publish.correlation_id = self.text(Field::CorrelationId);
        Ok(publish.into())
    }

    fn subscribe(&self) -> Result<Command<'a>, CommandError> {
        let topic = self.required(Field::Topic)?;
        let (filter, replay, options) = (self.text(Field::Filter), self.replay()?, self.options()?);
        let switches = |name| options.iter().eq([(name, None)]);
        let (pause, resume) = (switches("pause"), switches("resume"));
        // With a bookmark `pause` means a new subscription that begins paused.
        if self.kind == CommandKind::Subscribe && replay.is_none() && filter.is_none() && (pause || resume) {
            let sub_ids = self.ids(Field::SubId)?;
            if sub_ids.is_empty() {
                return Err(self.lacks(Field::SubId));
            }
            let mut control = super::ReplayControl::new(topic, sub_ids, resume);
            control.ask = self.ask()?;
            return Ok(control.into());
        }
        let mut subscribe = super::Subscribe::new(self.kind, topic, self.sub_id()?);
        subscribe.ask = self.ask()?;
        subscribe.filter = filter;
        // Without a replay there is nothing to limit (OP-8).
        subscribe.top_n = self.message.top_n().filter(|_| replay.is_some());
        subscribe.replay = replay;
        subscribe.options = options;
        Ok(subscribe.into())
    }

    fn sow(&self) -> Result<Command<'a>, CommandError> {
        let mut sow = Command::sow(self.required(Field::Topic)?, self.query_id()?);
        sow.ask = self.ask()?;
        sow.as_of = self.replay()?;
        (sow.filter, sow.order_by, sow.sow_keys) = self.query_texts();
        (sow.batch_size, sow.top_n) = (self.message.batch_size(), self.message.top_n());
        sow.options = self.options()?;
        Ok(sow.into())
    }

    fn sow_and_subscribe(&self) -> Result<Command<'a>, CommandError> {
        let mut both = Command::sow_and_subscribe(self.required(Field::Topic)?, self.sub_id()?);
        both.query_id = self.query_id()?;
        both.ask = self.ask()?;
        both.replay = self.replay()?;
        (both.filter, both.order_by, both.sow_keys) = self.query_texts();
        (both.batch_size, both.top_n) = (self.message.batch_size(), self.message.top_n());
        both.options = self.options()?;
        Ok(both.into())
    }

    fn sow_and_delta_subscribe(&self) -> Result<Command<'a>, CommandError> {
        let mut both = Command::sow_and_delta_subscribe(self.required(Field::Topic)?, self.sub_id()?);
        both.query_id = self.query_id()?;
        both.ask = self.ask()?;
        (both.filter, both.order_by, both.sow_keys) = self.query_texts();
        (both.batch_size, both.top_n) = (self.message.batch_size(), self.message.top_n());
        both.options = self.options()?;
        Ok(both.into())
    }

    fn sow_delete(&self) -> Result<Command<'a>, CommandError> {
        let topic = self.required(Field::Topic)?;
        let action = QueueAction::of(self.options()?);
        let mut said = [
            self.text(Field::Filter).map(|filter| Delete::Filter { filter, action: action.clone() }),
            self.text(Field::SowKeys).map(Delete::Keys),
            self.text(Field::Bookmark)
                .map(|bookmarks| Delete::Messages { bookmarks, action: action.clone() }),
            Some(self.message.data()).filter(|data| !data.is_empty()).map(|data| Delete::Data(data.into())),
        ]
        .into_iter()
        .flatten();
        let (Some(what), others) = (said.next(), said.count()) else {
            return Err(CommandError::DeletesInSeveralWays { ways: 0 });
        };
        if others > 0 {
            return Err(CommandError::DeletesInSeveralWays { ways: 1 + others });
        }
        let mut delete = Command::sow_delete(topic, what);
        delete.ask = self.ask()?;
        delete.sequence = self.sequence();
        Ok(delete.into())
    }

    fn unsubscribe(&self) -> Result<Command<'a>, CommandError> {
        let queries = self.ids(Field::QueryId)?;
        let mut unsubscribe = if self.text(Field::SubId).is_some_and(|ids| ids == "all") {
            super::Unsubscribe::all()
        } else {
            super::Unsubscribe::ids(self.ids(Field::SubId)?)
        };
        if unsubscribe.subscriptions == Ended::These(Vec::new()) && queries.is_empty() {
            return Err(self.lacks(Field::SubId));
        }
        unsubscribe.query_ids = queries;
        unsubscribe.ask = self.ask()?;
        Ok(unsubscribe.into())
    }

    fn heartbeat(&self) -> Result<Command<'a>, CommandError> {
        // The old form has a field of its own, and the interval in another (3.2).
        let text = match (self.text(Field::Options), self.text(Field::Heartbeat)) {
            (None, Some(word)) if word == "start" => {
                let seconds = self.message.number(Field::TimeoutInterval).unwrap_or_default();
                alloc::format!("start,{seconds}")
            }
            (None, Some(word)) => alloc::format!("{word}"),
            (Some(options), _) => alloc::format!("{options}"),
            (None, None) => return Err(self.lacks(Field::Options)),
        };
        let request = HeartbeatRequest::parse(&text).ok_or(CommandError::BadHeartbeat { options: text })?;
        let mut heartbeat = Command::heartbeat(request);
        heartbeat.ask = self.ask()?;
        Ok(heartbeat.into())
    }

    fn query_texts(&self) -> (Option<Text<'a>>, Option<Text<'a>>, Option<Text<'a>>) {
        (self.text(Field::Filter), self.text(Field::OrderBy), self.text(Field::SowKeys))
    }

    /// A text that is there and not empty.
    fn text(&self, field: Field) -> Option<Text<'a>> {
        self.message.get(field).map(Text::from).filter(|text| !text.is_empty())
    }

    /// A text that has to be there.
    fn required(&self, field: Field) -> Result<Text<'a>, CommandError> {
        self.text(field).ok_or(self.lacks(field))
    }

    fn lacks(&self, field: Field) -> CommandError {
        CommandError::MissingField { kind: self.kind, field }
    }

    fn sequence(&self) -> Option<u64> {
        self.message.sequence().filter(|&sequence| sequence > 0)
    }

    fn ask(&self) -> Result<Ask<'a>, CommandError> {
        Ok(Ask { command_id: self.id(Field::CommandId)?, acks: self.message.acks() })
    }

    fn command_id(&self) -> Result<Id<'a>, CommandError> {
        self.id(Field::CommandId)?.ok_or(self.lacks(Field::CommandId))
    }

    fn sub_id(&self) -> Result<Id<'a>, CommandError> {
        match self.id(Field::SubId)? {
            Some(id) => Ok(id),
            None => self.id(Field::CommandId)?.ok_or(self.lacks(Field::SubId)),
        }
    }

    fn query_id(&self) -> Result<Id<'a>, CommandError> {
        match self.id(Field::QueryId)? {
            Some(id) => Ok(id),
            None => self.sub_id().map_err(|_| self.lacks(Field::QueryId)),
        }
    }

    fn id(&self, field: Field) -> Result<Option<Id<'a>>, CommandError> {
        let bad = |error| CommandError::BadId { kind: self.kind, field, error };
        self.text(field).map(|text| Id::text(text).map_err(bad)).transpose()
    }

    fn ids(&self, field: Field) -> Result<Vec<Id<'a>>, CommandError> {
        let bad = |error| CommandError::BadId { kind: self.kind, field, error };
        let list = self.message.get(field).unwrap_or_default();
        Ids::new(list).map(|text| Id::text(text).map_err(bad)).collect()
    }

    fn replay(&self) -> Result<Option<ReplayFrom>, CommandError> {
        let bad = |error| CommandError::BadBookmark { kind: self.kind, error };
        self.message.bookmark().map(|text| ReplayFrom::parse(text).map_err(bad)).transpose()
    }

    fn options(&self) -> Result<Options, CommandError> {
        let bad = |error| CommandError::BadOptions { kind: self.kind, error };
        let text = self.message.options().map_or(&[][..], |text| text);
        let mut options = Options::try_parse(text).map_err(bad)?;
        // Fields of old clients that became options (3.2). What the options say wins.
        let flag = |field| self.message.flag(field);
        if flag(Field::SendOof) == Some(true) {
            options.set_oof(true);
        }
        if flag(Field::SendKeys) == Some(true) {
            options.set_send_keys(true);
        }
        if flag(Field::SendEmpty) == Some(false) {
            options.set_no_empties(true);
        }
        if let (Some(skipped), false) = (self.message.number(Field::SkipN), options.contains("skip_n")) {
            options.set_skip_n(skipped);
        }
        Ok(options)
    }
}
