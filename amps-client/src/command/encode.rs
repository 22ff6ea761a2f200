//! From a command to a frame: what the client adds by itself.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::borrow::Cow;

use amps_protocol::{
    AckType, AckTypes, CommandKind, DEFAULT_MAX_OUTBOUND, Field, FrameTooLong, FrameWriter, Id, Options,
};
use bytes::BytesMut;

use super::{Command, Word};
use crate::error::{Error, Result};

/// Records per message of a query's result, unless the application says otherwise (BS-1).
const DEFAULT_BATCH_SIZE: u64 = 10;

/// The identifiers of one execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WireIds {
    pub(crate) command: Id<'static>,
    /// Of what goes on until it is ended.
    pub(crate) sub: Option<Id<'static>>,
    /// Of what has a result.
    pub(crate) query: Option<Id<'static>>,
}

impl WireIds {
    /// The name by which errors speak of it.
    pub(crate) fn name(&self) -> String {
        self.sub.as_ref().or(self.query.as_ref()).unwrap_or(&self.command).to_string()
    }

    /// Each of them once.
    pub(crate) fn distinct(&self) -> impl Iterator<Item = &Id<'static>> {
        let sub = self.sub.iter().filter(|sub| **sub != self.command);
        let query =
            self.query.iter().filter(|query| **query != self.command && Some(*query) != self.sub.as_ref());
        std::iter::once(&self.command).chain(sub).chain(query)
    }
}

/// When nothing more comes for a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    /// Once it is ended.
    Never,
    /// With the end of its result, and the acknowledgements that the application asked for.
    WithGroup,
    /// With the last acknowledgement that the application asked for.
    WithAcks,
}

impl Command {
    /// The identifiers, where the application has not chosen them made of a number that was
    /// not used before.
    ///
    /// # Errors
    /// One that the application has chosen is none.
    pub(crate) fn wire_ids(&self, serial: u64) -> Result<WireIds> {
        let chosen = |text: &Option<String>| match text {
            Some(text) => Id::text(text.clone())
                .map(Some)
                .map_err(|error| Error::InvalidArgument(format!("{}: {error}", self.name()))),
            None => Ok(None),
        };
        let command = chosen(&self.command_id)?.unwrap_or_else(|| Id::number(serial));
        let sub = if self.is_subscribe() {
            Some(chosen(&self.sub_id)?.unwrap_or_else(|| command.clone()))
        } else {
            None
        };
        let query = if self.is_sow() {
            // A query has no subscription id of its own: one that was set names the query.
            let other = if sub.is_some() { sub.clone() } else { chosen(&self.sub_id)? };
            Some(chosen(&self.query_id)?.or(other).unwrap_or_else(|| command.clone()))
        } else {
            None
        };
        Ok(WireIds { command, sub, query })
    }

    /// The acknowledgements to ask for: the application's, and those that the client needs
    /// (client.md 8.3).
    pub(crate) fn asked(&self, for_stream: bool) -> AckTypes {
        use CommandKind as K;
        if self.no_acks {
            return AckTypes::NONE;
        }
        let own = match self.kind() {
            K::Publish | K::DeltaPublish | K::Unsubscribe | K::StartTimer | K::Heartbeat => AckTypes::NONE,
            K::Sow if for_stream => AckTypes::from(AckType::Processed).with(AckType::Completed),
            _ => AckType::Processed.into(),
        };
        self.acks.union(own)
    }

    /// Whether the caller waits until the server has processed it.
    pub(crate) fn waits(&self, asked: AckTypes) -> bool {
        asked.contains(AckType::Processed) && !self.is_publish()
    }

    /// When nothing more comes for it.
    pub(crate) fn ends(&self) -> Ends {
        if self.is_subscribe() {
            Ends::Never
        } else if self.is_sow() {
            Ends::WithGroup
        } else {
            Ends::WithAcks
        }
    }

    /// The options as they are sent. `skip_n` counts from the same place as `top_n`, which is
    /// then an option as well.
    pub(crate) fn effective_options(&self) -> Cow<'_, Options> {
        match self.top_n {
            Some(records) if self.options.contains("skip_n") => {
                let mut options = self.options.clone();
                options.set_top_n(records);
                Cow::Owned(options)
            }
            _ => Cow::Borrowed(&self.options),
        }
    }

    /// Writes the frame, with the sequence number `number` if there is one.
    ///
    /// # Errors
    /// It would be longer than `limit`, where it publishes, or than any server takes; nothing is written then.
    pub(crate) fn encode<'a>(
        &'a self,
        out: &mut BytesMut,
        ids: &'a WireIds,
        acks: AckTypes,
        options: &Options,
        number: Option<u64>,
        limit: usize,
    ) -> Result<()> {
        let data = self.data.as_deref().unwrap_or_default();
        // The application bounds what is published. A subscription that is placed again may be longer than it was:
        // its recovery point grows with the number of publishers.
        let limit = if self.is_publish() { limit } else { limit.max(DEFAULT_MAX_OUTBOUND) };
        if data.len() > limit {
            return Err(Error::TooLarge(FrameTooLong { length: data.len() as u64, limit: limit as u64 }));
        }
        // Of what is not placed: one that exists, or a list.
        let places = ids.sub.is_some() || ids.query.is_some();
        let other = |id: &'a Option<String>| id.as_deref().filter(|_| !places).map(str::as_bytes);
        let (other_sub, other_query) = (other(&self.sub_id), other(&self.query_id));
        let sub = ids.sub.as_ref().map(Id::as_bytes).or(other_sub);
        let query = ids.query.as_ref().map(Id::as_bytes).or(other_query);
        let named = self.command_id.is_some() || !acks.is_empty() || places;
        let batch_size = self.batch_size.or(self.is_sow().then_some(DEFAULT_BATCH_SIZE));
        let top_n = self.top_n.filter(|_| !options.contains("top_n"));
        let frame = match &self.word {
            Word::Known(kind) => FrameWriter::new(out, *kind),
            Word::Other(name) => FrameWriter::with_token(out, name.as_bytes()),
        };
        let mut frame = frame
            .maybe_text(Field::CommandId, named.then_some(ids.command.as_bytes()))
            .maybe_number(Field::Sequence, number)
            .maybe_text(Field::Bookmark, self.bookmark.as_deref())
            .maybe_text(Field::MessageType, self.message_type.as_deref())
            .maybe_text(Field::Topic, self.topic.as_deref())
            .maybe_text(Field::SubId, sub)
            .maybe_text(Field::QueryId, query)
            .maybe_text(Field::Filter, self.filter.as_deref().filter(|filter| !filter.is_empty()))
            .maybe_text(Field::OrderBy, self.order_by.as_deref())
            .maybe_number(Field::BatchSize, batch_size)
            .maybe_number(Field::TopN, top_n)
            .maybe_number(Field::Expiration, self.expiration)
            .maybe_text(Field::SowKey, self.sow_key.as_deref());
        if !self.sow_keys.is_empty() {
            frame = frame.list(Field::SowKeys, &self.sow_keys);
        }
        frame = frame.maybe_text(Field::CorrelationId, self.correlation_id.as_deref());
        if !options.is_empty() {
            frame = frame.pieces(Field::Options, options.pieces());
        }
        frame.acks(acks).finish_within(data, limit).map(drop).map_err(Error::TooLarge)
    }
}
