//! What can never work, found before a byte is written.

use amps_protocol::{CommandKind, Id};

use super::{Command, Word};
use crate::error::{Error, Result};
use crate::session::replay::is_most_recent;

impl Command {
    /// Whether the command may be sent.
    ///
    /// # Errors
    /// It can never work; the text says what to do instead.
    pub(crate) fn check(&self) -> Result<()> {
        use CommandKind as K;
        match &self.word {
            Word::Other(name) if name.is_empty() => {
                return Err(self.invalid("the command has no name; give one, such as \"subscribe\""));
            }
            Word::Other(name) => refuse_controls(name, "name", name)?,
            Word::Known(K::Logon) => {
                return Err(Error::Usage(
                    "a connection has one logon, which `connect` sends; set what it says on the builder",
                ));
            }
            Word::Known(K::Ack | K::GroupBegin | K::GroupEnd | K::Oof) => {
                return Err(self.invalid("only servers send it; acknowledge with `Message::ack`"));
            }
            Word::Known(_) => {}
        }
        self.check_texts()?;
        self.check_ids()?;
        self.check_bookmark()?;
        if self.replaces() && self.no_acks {
            return Err(
                self.invalid("a replacement waits until the server agrees; ask for its acknowledgement")
            );
        }
        if self.kind() == K::Unsubscribe && self.sub_id.as_deref() == Some("") {
            return Err(
                self.invalid("the subscription id is empty: it has ended already, or was never placed")
            );
        }
        if self.batch_size == Some(0) {
            return Err(self.invalid("a batch size of 0 holds no record; give 1 or more, or none for 10"));
        }
        if self.kind() == K::SowDelete {
            self.check_delete()?;
        }
        if matches!(self.word, Word::Known(_)) {
            let options = self.effective_options();
            let checked = options.check(self.kind(), self.bookmark.is_some());
            checked.map_err(|problem| self.invalid(&problem.to_string()))?;
        }
        Ok(())
    }

    fn check_texts(&self) -> Result<()> {
        let name = self.name();
        match &self.topic {
            Some(topic) if topic.is_empty() => {
                return Err(self.invalid("the topic is empty; name one, or a regular expression"));
            }
            None if self.needs_topic() => {
                return Err(self.invalid("it needs a topic; name one, or a regular expression"));
            }
            _ => {}
        }
        for (what, text) in [
            ("topic", &self.topic),
            ("filter", &self.filter),
            ("command id", &self.command_id),
            ("subscription id", &self.sub_id),
            ("query id", &self.query_id),
            ("bookmark", &self.bookmark),
            ("order", &self.order_by),
            ("record key", &self.sow_key),
            ("correlation id", &self.correlation_id),
        ] {
            if let Some(text) = text {
                refuse_controls(name, what, text)?;
            }
        }
        self.sow_keys.iter().try_for_each(|key| refuse_controls(name, "record key", key))
    }

    fn check_ids(&self) -> Result<()> {
        let id = |what: &str, text: &Option<String>| match text {
            Some(text) => match Id::text(text.as_str()) {
                Ok(_) => Ok(()),
                Err(error) => Err(self.invalid(&format!("the {what}: {error}"))),
            },
            None => Ok(()),
        };
        id("command id", &self.command_id)?;
        if self.is_subscribe() {
            id("subscription id", &self.sub_id)?;
        }
        if self.is_sow() {
            id("query id", &self.query_id)?;
        }
        let needs_id = self.replaces() || self.controls_replay() || self.kind() == CommandKind::Unsubscribe;
        if needs_id && self.sub_id.is_none() && self.query_id.is_none() {
            return Err(self.invalid("it needs the id of a subscription; set `sub_id`"));
        }
        Ok(())
    }

    /// Where a subscription left off is known here, and is no word of the protocol (protocol.md 9.2).
    fn check_bookmark(&self) -> Result<()> {
        let Some(bookmark) = &self.bookmark else { return Ok(()) };
        let resumes = bookmark.split(',').any(|piece| is_most_recent(piece.trim()));
        if resumes && !(self.is_subscribe() && is_most_recent(bookmark)) {
            return Err(self.invalid(
                "only a subscription can go on where it left off, and from nowhere else at the same time; give a \
                 bookmark",
            ));
        }
        Ok(())
    }

    /// The four ways to say what to delete exclude each other, and one is needed (SD-4, SD-5).
    fn check_delete(&self) -> Result<()> {
        let filter = self.filter.as_ref().is_some_and(|filter| !filter.trim().is_empty());
        let keys = self.sow_keys.iter().any(|key| !key.is_empty());
        let bookmark = self.bookmark.as_ref().is_some_and(|bookmark| !bookmark.is_empty());
        match [filter, keys, self.data.is_some(), bookmark].into_iter().filter(|way| *way).count() {
            1 => Ok(()),
            0 => Err(self.invalid(
                "say what to delete by a filter, record keys, data or bookmarks; the filter 1=1 deletes everything",
            )),
            _ => Err(self.invalid(
                "filter, record keys, data and bookmarks exclude each other; send one command for each",
            )),
        }
    }

    fn needs_topic(&self) -> bool {
        use CommandKind as K;
        let without = matches!(
            self.kind(),
            K::Unsubscribe | K::Flush | K::Heartbeat | K::StartTimer | K::StopTimer | K::Unknown
        );
        !without && !self.controls_replay()
    }

    fn invalid(&self, text: &str) -> Error {
        Error::InvalidArgument(format!("{}: {text}", self.name()))
    }
}

/// Refuses control characters, which a server could only drop or misread.
pub(crate) fn refuse_controls(call: &str, what: &str, text: &str) -> Result<()> {
    // Nearly every text, each time that something is published.
    if text.bytes().all(|byte| (b' '..0x7f).contains(&byte)) {
        return Ok(());
    }
    match text.char_indices().find(|(_, character)| character.is_control()) {
        None => Ok(()),
        Some((at, character)) => Err(Error::InvalidArgument(format!(
            "{}: the {what} has the control character {character:?} at byte {at}; leave it out",
            call.escape_debug()
        ))),
    }
}
