//! Fields that the server adds to a message on its way into the state of the world
//! (server.md PUB-03).
//!
//! Owns the order: preprocessing sees the message alone and comes before the key, enrichment
//! sees the record that the message replaces too. Within one stage every expression sees the
//! message as the stage found it, unless the field of an earlier one says `SET_CURRENT`.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::borrow::Cow;
use std::time::Duration;

use amps_transport::Time;

use crate::engine::config::{ConfigError, SowConfig};
use crate::engine::filter::{Assignment, Body, Context, Document, Field, FilterError, Language, Path};
use crate::engine::format::Format;

/// Whose message it is that something is added to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Incoming<'a> {
    pub(crate) topic: &'a str,
    pub(crate) body: &'a [u8],
    pub(crate) correlation: Option<&'a [u8]>,
    pub(crate) publisher: &'a str,
    pub(crate) instance: &'a str,
}

impl<'a> Incoming<'a> {
    /// What the expressions can ask for.
    pub(crate) fn context(self, now: Time) -> Context<'a> {
        let now = Duration::from_nanos(now.as_unix_nanos());
        Context {
            topic: self.topic,
            message_size: self.body.len() as u64,
            correlation_id: self.correlation.unwrap_or_default(),
            now,
            last_updated: Some(now),
            client_name: self.publisher,
            instance_name: self.instance,
            ..Context::default()
        }
    }
}

/// What one topic adds to its messages.
#[derive(Clone, Debug)]
pub(crate) struct Enrichment {
    before_key: Vec<Assignment>,
    after_key: Vec<Assignment>,
}

impl Enrichment {
    pub(crate) fn new(config: &SowConfig, language: &Language) -> Result<Self, ConfigError> {
        Ok(Self {
            before_key: parse_all(&config.name, &config.preprocessing, language, Assignment::parse_alone)?,
            after_key: parse_all(&config.name, &config.enrichment, language, Assignment::parse_in)?,
        })
    }

    /// What a conflated topic adds to its copies.
    pub(crate) fn of_copies(
        topic: &str,
        fields: &[String],
        language: &Language,
    ) -> Result<Self, ConfigError> {
        let after_key = parse_all(topic, fields, language, Assignment::parse_in)?;
        Ok(Self { before_key: Vec::new(), after_key })
    }

    /// The body that the key is computed of.
    pub(crate) fn preprocess<'b>(
        &self,
        format: &Format,
        body: &'b [u8],
        context: Context<'_>,
    ) -> Cow<'b, [u8]> {
        apply(&self.before_key, format, body, context)
    }

    /// The body that is stored, or merged into what is stored. `previous` is the stored record.
    pub(crate) fn enrich<'b>(
        &self,
        format: &Format,
        body: Cow<'b, [u8]>,
        previous: Option<&[u8]>,
        context: Context<'_>,
    ) -> Cow<'b, [u8]> {
        if self.after_key.is_empty() {
            return body;
        }
        let previous = previous.map(|body| format.read(body));
        let previous = previous.as_ref().map(|document: &Body<'_>| document as &dyn Document);
        let enriched = apply(&self.after_key, format, &body, Context { previous, ..context });
        Cow::Owned(enriched.into_owned())
    }
}

fn parse_all(
    topic: &str,
    fields: &[String],
    language: &Language,
    parse: fn(&str, &Language) -> Result<Assignment, FilterError>,
) -> Result<Vec<Assignment>, ConfigError> {
    let wrong = |field: &String, fault: FilterError| ConfigError::EnrichedField {
        topic: topic.to_owned(),
        field: field.clone(),
        fault: fault.to_string(),
    };
    fields.iter().map(|field| parse(field, language).map_err(|fault| wrong(field, fault))).collect()
}

fn apply<'b>(
    assignments: &[Assignment],
    format: &Format,
    body: &'b [u8],
    context: Context<'_>,
) -> Cow<'b, [u8]> {
    if assignments.is_empty() {
        return Cow::Borrowed(body);
    }
    let mut seen = Cow::Borrowed(body);
    let mut made: Vec<(Path, Field<'static>)> = Vec::new();
    // All up to one that the next can see read the same document.
    for stage in assignments.split_inclusive(|assignment| assignment.set_current) {
        let document = format.read(&seen);
        let mut shown = None;
        for assignment in stage {
            let value = assignment.expression.evaluate(&document, &context).into_owned();
            if assignment.optional && value.value().is_null() {
                continue;
            }
            let field = (assignment.field.clone(), value);
            if assignment.set_current {
                shown = Some(format.set(&seen, std::slice::from_ref(&field)));
            }
            made.push(field);
        }
        drop(document);
        if let Some(shown) = shown {
            seen = Cow::Owned(shown);
        }
    }
    Cow::Owned(format.set(body, &made))
}
