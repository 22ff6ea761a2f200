//! The configuration of what the server does of its own accord (server.md 8.7, `Actions`).
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::fmt;
use std::time::Duration;

use crate::engine::queue::ExpiryReason;

const DAY: u64 = 86_400;

/// When a scheduled action runs. Times of the day are UTC.
///
/// ```
/// use amps_testkit::Schedule;
/// use std::time::Duration;
///
/// assert_eq!(Schedule::parse("4h"), Ok(Schedule::Every(Duration::from_secs(4 * 3600))));
/// assert_eq!(Schedule::parse("23:30"), Ok(Schedule::Daily(Duration::from_secs(84_600))));
/// assert!(Schedule::parse("Saturday at 11:00").is_ok());
/// assert!(Schedule::parse("25:00").is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Again and again, this long after the start or the last time.
    Every(Duration),
    /// Each day, this long after midnight.
    Daily(Duration),
    /// Each week, this long after midnight of Monday.
    Weekly(Duration),
}

impl Schedule {
    /// Parses what AMPS writes in `Every`: an interval, a time of the day, or a day of the week
    /// `at` a time. A time that is not marked with `Z` is read as UTC too.
    ///
    /// # Errors
    /// What to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is no schedule; write 4h, 23:00 or Saturday at 11:00");
        let time = |text: &str| {
            let (hours, minutes) = text.trim().trim_end_matches(['Z', 'z']).split_once(':')?;
            let (hours, minutes): (u64, u64) = (hours.parse().ok()?, minutes.parse().ok()?);
            (hours < 24 && minutes < 60).then(|| Duration::from_secs(hours * 3600 + minutes * 60))
        };
        if let Some((day, at)) = text.split_once(" at ") {
            let days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
            let day = day.trim().to_ascii_lowercase();
            let place = days.iter().position(|known| day.len() >= 3 && day.starts_with(known));
            let (place, at) = place.zip(time(at)).ok_or_else(wrong)?;
            return Ok(Self::Weekly(Duration::from_secs(DAY * place as u64) + at));
        }
        if text.contains(':') {
            return time(text).map(Self::Daily).ok_or_else(wrong);
        }
        let interval: amps_protocol::Interval = text.trim().parse().map_err(|_| wrong())?;
        let interval = interval.duration();
        if interval.is_zero() { Err(wrong()) } else { Ok(Self::Every(interval)) }
    }

    /// How long after this time since 1970 it is due next.
    pub(crate) fn next(self, now: Duration) -> Duration {
        // 1970 began on a Thursday.
        let (period, at, phase) = match self {
            Self::Every(interval) => return interval,
            Self::Daily(at) => (Duration::from_secs(DAY), at, Duration::ZERO),
            Self::Weekly(at) => (Duration::from_secs(7 * DAY), at, Duration::from_secs(3 * DAY)),
        };
        let passed = Duration::from_nanos(((now + phase).as_nanos() % period.as_nanos()) as u64);
        if passed < at { at - passed } else { at + period - passed }
    }
}

/// What makes an action run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ActionTrigger {
    /// A record of a topic, or a message of a queue, expires.
    Expired {
        /// The topic or the queue.
        topic: String,
        /// For one of these reasons; for any, if there is none.
        reasons: Vec<ExpiryReason>,
    },
    /// A message is published.
    Published {
        /// The topic, or a regular expression.
        topic: String,
        /// Only messages that match.
        filter: Option<String>,
    },
    /// A time comes.
    Scheduled(Schedule),
}

/// What an action does. In texts, `{{AMPS_TOPIC}}`, `{{AMPS_DATA}}`, `{{AMPS_DATA_LENGTH}}`,
/// `{{AMPS_REASON}}`, `{{AMPS_CORRELATION_ID}}`, `{{AMPS_CLIENT_NAME}}`, `{{AMPS_BOOKMARK}}`,
/// `{{AMPS_INSTANCE_NAME}}` and `{{AMPS_UNIX_TIMESTAMP}}` stand for what happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ActionStep {
    /// Publishes a message.
    Publish {
        /// The message type.
        message_type: String,
        /// The topic.
        topic: String,
        /// The body.
        data: String,
        /// As a delta.
        delta: bool,
    },
    /// Deletes records.
    DeleteRecords {
        /// The message type.
        message_type: String,
        /// The topic, or a regular expression.
        topic: String,
        /// Those that match.
        filter: String,
    },
}

impl fmt::Display for ActionTrigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired { topic, reasons } if reasons.is_empty() => write!(f, "when \"{topic}\" expires"),
            Self::Expired { topic, reasons } => {
                let reasons: Vec<&str> = reasons.iter().map(|reason| reason.as_str()).collect();
                write!(f, "when \"{topic}\" expires ({})", reasons.join(", "))
            }
            Self::Published { topic, filter: None } => write!(f, "when \"{topic}\" is published to"),
            Self::Published { topic, filter: Some(filter) } => {
                write!(f, "when \"{topic}\" is published to ({filter})")
            }
            Self::Scheduled(_) => f.write_str("when its time comes"),
        }
    }
}

impl fmt::Display for ActionStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Publish { topic, delta: false, .. } => write!(f, "publish to \"{topic}\""),
            Self::Publish { topic, delta: true, .. } => write!(f, "publish a delta to \"{topic}\""),
            Self::DeleteRecords { topic, filter, .. } => write!(f, "delete from \"{topic}\" ({filter})"),
        }
    }
}

/// Something that the server does of its own accord.
///
/// ```
/// use amps_testkit::{ActionConfig, FakeServer, QueueConfig, Schedule};
/// use std::time::Duration;
///
/// let server = FakeServer::builder()
///     .queue(QueueConfig::new("jobs").expiration(Duration::from_secs(10)))
///     .action(
///         ActionConfig::on_expired("jobs")
///             .publish("failed", r#"{"job":{{AMPS_DATA}},"why":"{{AMPS_REASON}}"}"#),
///     )
///     .virtual_clock()
///     .start()?;
/// server.publish("jobs", "{\"n\":1}").unwrap();
/// server.advance(Duration::from_secs(10));
/// let failed = server.logged_messages().into_iter().find(|message| message.topic == "failed");
/// assert_eq!(failed.unwrap().body, br#"{"job":{"n":1},"why":"time_limit"}"#);
///
/// let nightly = ActionConfig::scheduled(Schedule::parse("23:00").unwrap())
///     .delete_records("orders", "/status = 'cancelled'");
/// # let _ = nightly;
/// # Ok::<(), amps_testkit::StartError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ActionConfig {
    pub(crate) trigger: ActionTrigger,
    pub(crate) message_type: String,
    pub(crate) steps: Vec<ActionStep>,
    /// File, line and element of the configuration that has it; empty if no file does.
    pub(crate) place: String,
}

/// Equal are two that do the same, wherever they were configured.
impl PartialEq for ActionConfig {
    fn eq(&self, other: &Self) -> bool {
        let Self { trigger, message_type, steps, place: _ } = self;
        (trigger, message_type, steps) == (&other.trigger, &other.message_type, &other.steps)
    }
}

impl Eq for ActionConfig {}

impl ActionConfig {
    /// An action that does nothing yet.
    pub fn new(trigger: ActionTrigger) -> Self {
        Self { trigger, message_type: "json".to_owned(), steps: Vec::new(), place: String::new() }
    }

    /// When a record of a topic, or a message of a queue, expires, whatever the reason.
    pub fn on_expired(topic: impl Into<String>) -> Self {
        Self::new(ActionTrigger::Expired { topic: topic.into(), reasons: Vec::new() })
    }

    /// When a message is published to a topic, or to one that matches a regular expression.
    pub fn on_published(topic: impl Into<String>) -> Self {
        Self::new(ActionTrigger::Published { topic: topic.into(), filter: None })
    }

    /// When a time comes.
    pub fn scheduled(schedule: Schedule) -> Self {
        Self::new(ActionTrigger::Scheduled(schedule))
    }

    /// The message type of the topics. Default `json`. What follows has it too.
    #[must_use]
    pub fn message_type(mut self, name: impl Into<String>) -> Self {
        self.message_type = name.into();
        self
    }

    /// Publishes a message. Templates: see [`ActionStep`].
    #[must_use]
    pub fn publish(self, topic: impl Into<String>, data: impl Into<String>) -> Self {
        let message_type = self.message_type.clone();
        self.then(ActionStep::Publish { message_type, topic: topic.into(), data: data.into(), delta: false })
    }

    /// Deletes the records of a topic that match.
    #[must_use]
    pub fn delete_records(self, topic: impl Into<String>, filter: impl Into<String>) -> Self {
        let message_type = self.message_type.clone();
        self.then(ActionStep::DeleteRecords { message_type, topic: topic.into(), filter: filter.into() })
    }

    /// What it does, and where that was configured.
    pub(crate) fn described(&self) -> String {
        let steps: Vec<String> = self.steps.iter().map(ToString::to_string).collect();
        let place = if self.place.is_empty() { String::new() } else { format!("{}: ", self.place) };
        format!("{place}{}: {}", self.trigger, steps.join(", "))
    }

    /// Does this as well, after what it does already.
    #[must_use]
    pub fn then(mut self, step: ActionStep) -> Self {
        self.steps.push(step);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_due_at_its_next_time() {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        assert_eq!(Schedule::Every(hours(4)).next(hours(9)), hours(4));
        assert_eq!(Schedule::Daily(hours(23)).next(hours(22)), hours(1));
        assert_eq!(Schedule::Daily(hours(23)).next(hours(23)), hours(24));
        // 2026-01-01 was a Thursday; Saturday 11:00 is 59 hours after its beginning.
        let new_year = Duration::from_secs(1_767_225_600);
        assert_eq!(Schedule::parse("Saturday at 11:00").unwrap().next(new_year), hours(59));
        assert_eq!(Schedule::parse("thu at 00:00Z").unwrap().next(new_year), hours(7 * 24));
        for text in ["", "x", "12", "24:00", "someday at 11:00", "Mon at noon", "0s"] {
            assert!(Schedule::parse(text).is_err() || text == "12", "{text}");
        }
    }
}
