//! What the server does of its own accord: when something expires, is published, or a time has
//! come (server.md 6.7, 8.7).
//!
//! Owns the compiled actions, and those that have been triggered and wait until the step that
//! triggered them is over. What an action publishes may trigger another; such a chain ends after
//! so many links, as AMPS supports none that do not end. That is noted, and other chains go on.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use amps_transport::{Sink, Time};

use super::Engine;
use super::config::{ActionConfig, ActionStep, ActionTrigger, Config, ConfigError};
use super::event::Event;
use super::filter::Language;
use super::lint::Lint;
use super::queue::ExpiryReason;
use super::selector::{Facts, Selector};
use super::timers::Timer;
use super::topic::{MessageTypes, TopicPattern, TopicReading, TypeId};

/// Actions that may run because of one happening, before the rest of what follows from it is dropped.
const MOST_IN_A_CHAIN: usize = 10_000;

/// Bytes that the actions of one chain may publish together: one that doubles a message needs few links.
const MOST_BYTES_IN_A_CHAIN: usize = 64 << 20;

/// What a chain has done so far.
#[derive(Debug, Default)]
struct Run {
    actions: usize,
    bytes: usize,
}

/// All that follows from one happening that no action has caused.
type ChainId = u64;

/// The actions of an engine.
#[derive(Debug, Default)]
pub(crate) struct Actions {
    compiled: Vec<Action>,
    triggered: VecDeque<Triggered>,
    /// What each chain has done, while any is waiting.
    run: BTreeMap<ChainId, Run>,
    /// The chain to which belongs what happens now: that of the action that ran last, until everything
    /// that follows from it has been done.
    cause: Option<ChainId>,
    chains: ChainId,
}

#[derive(Debug)]
struct Triggered {
    action: usize,
    chain: ChainId,
    happening: Happening,
}

#[derive(Debug)]
struct Action {
    message_type: TypeId,
    trigger: Trigger,
    steps: Vec<ActionStep>,
    /// What it does and where it was configured, for notes.
    described: String,
}

#[derive(Debug)]
enum Trigger {
    Expired { topic: String, reasons: Vec<ExpiryReason> },
    Published { topic: TopicPattern, filter: Option<Selector> },
    Scheduled,
}

/// What triggered an action.
#[derive(Clone, Debug, Default)]
pub(crate) struct Happening {
    pub(crate) topic: String,
    pub(crate) body: Arc<[u8]>,
    pub(crate) correlation: Option<Box<[u8]>>,
    pub(crate) client_name: String,
    pub(crate) bookmark: String,
    pub(crate) reason: &'static str,
}

impl Actions {
    /// # Errors
    /// A topic or a filter that does not parse.
    pub(crate) fn new(config: &Config, types: &mut MessageTypes) -> Result<Self, ConfigError> {
        // A dead letter is an action too.
        let letters = config.queues.iter().filter_map(|queue| {
            let action = ActionConfig::on_expired(&queue.name).message_type(&queue.message_type);
            let mut action = action.publish(queue.dead_letter.as_ref()?, "{{AMPS_DATA}}");
            action.place = format!("dead letters of \"{}\"", queue.name);
            Some(action)
        });
        let actions = letters.chain(config.actions.iter().cloned());
        let compiled =
            actions.map(|action| compile(action, types, &config.language())).collect::<Result<_, _>>()?;
        Ok(Self { compiled, ..Self::default() })
    }

    /// What was triggered is not done.
    pub(crate) fn forget(&mut self) {
        self.triggered.clear();
        self.run.clear();
        self.cause = None;
    }

    /// Something happened that these actions are about.
    fn trigger(&mut self, found: Vec<usize>, happening: &Happening) {
        let chain = self.cause.unwrap_or_else(|| {
            self.chains += 1;
            self.chains
        });
        let triggered = |action| Triggered { action, chain, happening: happening.clone() };
        self.triggered.extend(found.into_iter().map(triggered));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.compiled.is_empty()
    }
}

fn compile(
    config: ActionConfig,
    types: &mut MessageTypes,
    language: &Language,
) -> Result<Action, ConfigError> {
    let wrong = |fault: String| ConfigError::Action { fault };
    let pattern = |text: &str| TopicPattern::parse(text, TopicReading::Guess, true).map_err(wrong);
    let filter = |text: &str| Selector::parse(text, language).map_err(wrong);
    let described = config.described();
    let trigger = match config.trigger {
        ActionTrigger::Expired { topic, reasons } => Trigger::Expired { topic, reasons },
        ActionTrigger::Published { topic, filter: text } => {
            Trigger::Published { topic: pattern(&topic)?, filter: text.as_deref().map(filter).transpose()? }
        }
        ActionTrigger::Scheduled(_) => Trigger::Scheduled,
    };
    for step in &config.steps {
        if let ActionStep::DeleteRecords { topic, filter: text, .. } = step {
            pattern(topic)?;
            filter(&fill(text, &Happening::default(), "", Duration::ZERO))?;
        }
    }
    Ok(Action { message_type: types.id(&config.message_type), trigger, steps: config.steps, described })
}

impl Engine {
    /// Something expired.
    pub(super) fn has_expired(
        &mut self,
        message_type: TypeId,
        topic: &str,
        reason: ExpiryReason,
        happening: impl FnOnce() -> Happening,
    ) {
        let concerns = |action: &Action| match &action.trigger {
            Trigger::Expired { topic: wanted, reasons } => {
                action.message_type == message_type
                    && *wanted == *topic
                    && (reasons.is_empty() || reasons.contains(&reason))
            }
            _ => false,
        };
        let found: Vec<usize> = self.actions_that(concerns);
        if !found.is_empty() {
            let happening = Happening { topic: topic.to_owned(), reason: reason.as_str(), ..happening() };
            self.actions.trigger(found, &happening);
        }
    }

    /// A message was published.
    pub(super) fn was_published(&mut self, now: Time, message_type: TypeId, facts: Facts<'_>) {
        let concerns = |action: &Action| match &action.trigger {
            Trigger::Published { topic, filter } => {
                action.message_type == message_type
                    && topic.matches(facts.topic)
                    && filter.as_ref().is_none_or(|filter| filter.matches(facts, now))
            }
            _ => false,
        };
        let found: Vec<usize> = self.actions_that(concerns);
        if !found.is_empty() {
            let happening = Happening {
                topic: facts.topic.to_owned(),
                body: facts.body.into(),
                correlation: facts.correlation.map(Into::into),
                client_name: facts.publisher.to_owned(),
                bookmark: facts.bookmark.map(|bookmark| bookmark.to_string()).unwrap_or_default(),
                reason: "",
            };
            self.actions.trigger(found, &happening);
        }
    }

    fn actions_that(&self, concerns: impl Fn(&Action) -> bool) -> Vec<usize> {
        let actions = self.actions.compiled.iter().enumerate();
        actions.filter(|(_, action)| concerns(action)).map(|(index, _)| index).collect()
    }

    /// Begins to count the time until scheduled actions are due.
    pub(super) fn arm_actions(&mut self, now: Time) {
        for index in 0..self.config.actions.len() {
            if !self.timers.is_set(Timer::Action(index)) {
                self.arm_action(now, index);
            }
        }
    }

    fn arm_action(&mut self, now: Time, index: usize) {
        let trigger = self.config.actions.get(index).map(|action| &action.trigger);
        if let Some(ActionTrigger::Scheduled(schedule)) = trigger {
            let wait = schedule.next(Duration::from_nanos(now.as_unix_nanos()));
            self.timers.set(Timer::Action(index), Some(now + wait));
        }
    }

    /// The time of an action has come.
    pub(super) fn action_timer(&mut self, now: Time, index: usize) {
        // The dead letters stand in front of what was configured.
        let letters = self.actions.compiled.len() - self.config.actions.len();
        self.actions.trigger(vec![letters + index], &Happening::default());
        self.arm_action(now, index);
    }

    /// Runs the next action that was triggered; `false` if there is none.
    pub(super) fn run_action<S: Sink>(&mut self, now: Time, sink: &mut S) -> bool {
        let Some(Triggered { action, chain, happening }) = self.actions.triggered.pop_front() else {
            self.actions.run.clear();
            self.actions.cause = None;
            return false;
        };
        self.actions.cause = Some(chain);
        let run = self.actions.run.entry(chain).or_default();
        run.actions += 1;
        let steps = self.actions.compiled.get(action).map(|action| action.steps.clone()).unwrap_or_default();
        run.bytes += steps.iter().map(|step| largest(step, &happening)).sum::<usize>();
        if run.actions > MOST_IN_A_CHAIN || run.bytes > MOST_BYTES_IN_A_CHAIN {
            self.end_chain(now, action, chain);
            return true;
        }
        for step in steps {
            self.take_step(now, &step, &happening, sink);
        }
        true
    }

    /// Drops what else a chain would do, and says so.
    fn end_chain(&mut self, now: Time, action: usize, chain: ChainId) {
        let Run { actions, bytes } = self.actions.run.remove(&chain).unwrap_or_default();
        let done = actions.saturating_sub(1);
        let before = self.actions.triggered.len();
        self.actions.triggered.retain(|triggered| triggered.chain != chain);
        let dropped = before - self.actions.triggered.len() + 1;
        let described = self.actions.compiled.get(action).map_or("", |action| &action.described);
        let text = format!(
            "{done} actions with {bytes} bytes followed from one another; {dropped} more are dropped, the first of them: {described}"
        );
        self.note(now, Event::NOBODY, Lint::EndlessActions, text);
    }

    fn take_step<S: Sink>(&mut self, now: Time, step: &ActionStep, happening: &Happening, sink: &mut S) {
        let since = Duration::from_nanos(now.as_unix_nanos());
        match step {
            ActionStep::Publish { message_type, topic, data, delta } => {
                let message_type = self.types.id(message_type);
                let topic = fill(topic, happening, &self.config.instance, since);
                // A body that is no text is passed on as it is.
                let body = match data.trim() {
                    "{{AMPS_DATA}}" => happening.body.to_vec(),
                    data => fill(data, happening, &self.config.instance, since).into_bytes(),
                };
                let correlation = happening.correlation.as_deref();
                self.publish_synthetic(now, message_type, &topic, &body, correlation, *delta, sink);
            }
            ActionStep::DeleteRecords { message_type, topic, filter } => {
                let message_type = self.types.id(message_type);
                let filter = fill(filter, happening, &self.config.instance, since);
                let pattern = TopicPattern::parse(topic, TopicReading::Guess, false);
                if let (Ok(pattern), Ok(filter)) = (pattern, Selector::parse(&filter, &self.language)) {
                    self.delete_matching(now, message_type, &pattern, &filter, sink);
                }
            }
        }
    }
}

/// What a step publishes at the most, in bytes: known before it is made.
fn largest(step: &ActionStep, happening: &Happening) -> usize {
    let ActionStep::Publish { data, .. } = step else { return 0 };
    // What is no text grows to three bytes for each.
    let grows = if std::str::from_utf8(&happening.body).is_ok() { 1 } else { 3 };
    let inserted = data.matches("AMPS_DATA").count() * happening.body.len() * grows;
    data.len() + inserted
}

/// A template with what stands in it for something else.
fn fill(template: &str, happening: &Happening, instance: &str, now: Duration) -> String {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((name, after)) = after.split_once("}}") else { break };
        text.push_str(before);
        match name.trim() {
            "AMPS_TOPIC" => text.push_str(&happening.topic),
            "AMPS_DATA" => text.push_str(&String::from_utf8_lossy(&happening.body)),
            "AMPS_DATA_LENGTH" => text.push_str(&happening.body.len().to_string()),
            "AMPS_REASON" => text.push_str(happening.reason),
            "AMPS_CORRELATION_ID" => {
                text.push_str(&String::from_utf8_lossy(happening.correlation.as_deref().unwrap_or_default()));
            }
            "AMPS_CLIENT_NAME" => text.push_str(&happening.client_name),
            "AMPS_BOOKMARK" => text.push_str(&happening.bookmark),
            "AMPS_INSTANCE_NAME" => text.push_str(instance),
            "AMPS_UNIX_TIMESTAMP" => text.push_str(&now.as_secs_f64().to_string()),
            // What is not known stays as it was written.
            other => {
                text.push_str("{{");
                text.push_str(other);
                text.push_str("}}");
            }
        }
        rest = after;
    }
    text.push_str(rest);
    text
}
