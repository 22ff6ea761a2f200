//! A command in full: what the application may say to a server, and what the client adds.
//!
//! Owns the fields and the constructors. `setters.rs` fills them in, `check.rs` refuses what
//! can never work before a byte is written, `encode.rs` knows what the client adds by itself
//! and makes the frame.

use std::fmt;
use std::time::Duration;

use amps_protocol::{AckTypes, CommandKind, Options};
use bytes::Bytes;

mod check;
mod encode;
mod setters;

pub(crate) use check::refuse_controls;
pub(crate) use encode::{Ends, WireIds};

/// A command to the server, with every field that AMPS has.
///
/// The methods of [`Client`](crate::Client) cover what is done every day; a `Command` says
/// everything else, and can be kept, changed and sent again. Setters take and return it:
///
/// ```
/// use amps_client::{AckType, Client, Command};
/// # let server = amps_testkit::FakeServer::builder()
/// #     .sow(amps_testkit::SowConfig::new("orders").key("/id")).start()?;
/// # let uri = server.uri("json");
///
/// let client = Client::builder("desk-7").server(&uri).connect()?;
/// client.publish("orders", br#"{"id":1,"qty":5}"#)?;
/// let query = Command::sow("orders").filter("/qty > 3").batch_size(50).ack(AckType::Stats);
/// for message in client.execute(&query)? {
///     let message = message?;
///     println!("{:?} {}", message.command(), String::from_utf8_lossy(message.data()));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Identifiers
///
/// What is not set, the client assigns: the command id is a number that this client has not
/// used before; the subscription id is the command id; the query id is the subscription id,
/// or else the command id. Executing does not change the command: executed again, it gets a
/// new command id.
///
/// # What is refused
///
/// A command that can never work returns
/// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) when it is executed, and
/// nothing is written: a topic is missing or holds control characters, options contradict
/// each other, a batch size is zero, a `sow_delete` names its records in two ways.
#[derive(Clone, PartialEq)]
#[must_use = "a command does nothing until a client executes it"]
pub struct Command {
    pub(super) word: Word,
    pub(super) topic: Option<String>,
    pub(super) filter: Option<String>,
    pub(super) data: Option<Bytes>,
    pub(super) command_id: Option<String>,
    pub(super) sub_id: Option<String>,
    pub(super) query_id: Option<String>,
    pub(super) bookmark: Option<String>,
    pub(super) options: Options,
    pub(super) acks: AckTypes,
    pub(super) no_acks: bool,
    pub(super) batch_size: Option<u64>,
    pub(super) top_n: Option<u64>,
    pub(super) order_by: Option<String>,
    pub(super) expiration: Option<u64>,
    pub(super) sow_key: Option<String>,
    pub(super) sow_keys: Vec<String>,
    pub(super) correlation_id: Option<String>,
    pub(super) sequence: Option<u64>,
    pub(super) message_type: Option<String>,
    pub(super) timeout: Option<Duration>,
}

/// What the command is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Known(CommandKind),
    /// One that this client does not know.
    Other(String),
}

impl Command {
    /// A command by its name. Names that this client does not know are sent as given, so that
    /// newer servers can be used.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        let word = match CommandKind::from_token(name.as_bytes()) {
            CommandKind::Unknown | CommandKind::Missing => Word::Other(name),
            known => Word::Known(known),
        };
        Self::of(word)
    }

    fn of(word: Word) -> Self {
        Self {
            word,
            topic: None,
            filter: None,
            data: None,
            command_id: None,
            sub_id: None,
            query_id: None,
            bookmark: None,
            options: Options::new(),
            acks: AckTypes::NONE,
            no_acks: false,
            batch_size: None,
            top_n: None,
            order_by: None,
            expiration: None,
            sow_key: None,
            sow_keys: Vec::new(),
            correlation_id: None,
            sequence: None,
            message_type: None,
            timeout: None,
        }
    }

    fn about(kind: CommandKind, topic: impl Into<String>) -> Self {
        Self { topic: Some(topic.into()), ..Self::of(Word::Known(kind)) }
    }

    /// Messages of a topic, from now on; with a [`bookmark`](Self::bookmark), from there.
    pub fn subscribe(topic: impl Into<String>) -> Self {
        Self::about(CommandKind::Subscribe, topic)
    }

    /// As [`subscribe`](Self::subscribe), with only the fields that changed.
    pub fn delta_subscribe(topic: impl Into<String>) -> Self {
        Self::about(CommandKind::DeltaSubscribe, topic)
    }

    /// The records of a topic, as they are now.
    pub fn sow(topic: impl Into<String>) -> Self {
        Self::about(CommandKind::Sow, topic)
    }

    /// The records of a topic, then its messages, without a gap and without an overlap.
    pub fn sow_and_subscribe(topic: impl Into<String>) -> Self {
        Self::about(CommandKind::SowAndSubscribe, topic)
    }

    /// As [`sow_and_subscribe`](Self::sow_and_subscribe), with only the fields that changed
    /// once the records are there.
    pub fn sow_and_delta_subscribe(topic: impl Into<String>) -> Self {
        Self::about(CommandKind::SowAndDeltaSubscribe, topic)
    }

    /// A message to a topic.
    pub fn publish(topic: impl Into<String>) -> Self {
        Self::about(CommandKind::Publish, topic)
    }

    /// A partial update of a record: the key fields, and those that change.
    pub fn delta_publish(topic: impl Into<String>) -> Self {
        Self::about(CommandKind::DeltaPublish, topic)
    }

    /// Deletes records, or settles messages of a queue: add exactly one of
    /// [`filter`](Self::filter), [`sow_keys`](Self::sow_keys), [`data`](Self::data) and
    /// [`bookmark`](Self::bookmark).
    pub fn sow_delete(topic: impl Into<String>) -> Self {
        Self::about(CommandKind::SowDelete, topic)
    }

    /// Ends a subscription, several (a comma list), or `all`.
    pub fn unsubscribe(sub_id: impl Into<String>) -> Self {
        Self { sub_id: Some(sub_id.into()), ..Self::of(Word::Known(CommandKind::Unsubscribe)) }
    }

    /// Asks to be told when everything sent so far was processed.
    pub fn flush() -> Self {
        Self::of(Word::Known(CommandKind::Flush))
    }

    /// Starts a timer of the server. Legacy.
    pub fn start_timer(id: impl Into<String>) -> Self {
        Self { command_id: Some(id.into()), ..Self::of(Word::Known(CommandKind::StartTimer)) }
    }

    /// Stops a timer of the server; ask for the `stats` acknowledgement to learn its time. Legacy.
    pub fn stop_timer(id: impl Into<String>) -> Self {
        Self { command_id: Some(id.into()), ..Self::of(Word::Known(CommandKind::StopTimer)) }
    }

    /// Back to what it was after its constructor by name: everything but the name is forgotten.
    pub fn reset(&mut self) {
        *self = Self::of(self.word.clone());
    }

    /// What the command is called on the wire.
    pub fn name(&self) -> &str {
        match &self.word {
            Word::Known(kind) => kind.token(),
            Word::Other(name) => name,
        }
    }

    /// What the command is; `Unknown` for a name that this client does not know.
    pub fn kind(&self) -> CommandKind {
        match &self.word {
            Word::Known(kind) => *kind,
            Word::Other(_) => CommandKind::Unknown,
        }
    }

    /// Whether messages come until it is ended.
    pub fn is_subscribe(&self) -> bool {
        use CommandKind as K;
        matches!(self.kind(), K::Subscribe | K::DeltaSubscribe | K::SowAndSubscribe | K::SowAndDeltaSubscribe)
            && !self.controls_replay()
    }

    /// Whether it queries the state of the world.
    pub fn is_sow(&self) -> bool {
        use CommandKind as K;
        matches!(self.kind(), K::Sow | K::SowAndSubscribe | K::SowAndDeltaSubscribe)
    }

    /// Whether a publish store would number and keep it: what changes the server's data.
    pub fn needs_sequence_number(&self) -> bool {
        use CommandKind as K;
        matches!(self.kind(), K::Publish | K::DeltaPublish | K::SowDelete)
    }

    /// Whether it publishes.
    pub(crate) fn is_publish(&self) -> bool {
        matches!(self.kind(), CommandKind::Publish | CommandKind::DeltaPublish)
    }

    /// Whether it pauses or resumes replays that are there, and places nothing.
    pub(crate) fn controls_replay(&self) -> bool {
        let pauses = self.options.pause() && self.sub_id.is_some() && self.bookmark.is_none();
        pauses || self.options.resume()
    }

    /// Whether it replaces a subscription that is there.
    pub(crate) fn replaces(&self) -> bool {
        self.is_subscribe() && self.options.replace()
    }

    /// The same, as what is in force and not as a change.
    pub(crate) fn without_replace(mut self) -> Self {
        self.options.remove("replace");
        self
    }

    /// The command in words, for errors.
    pub(crate) fn describe(&self) -> String {
        match &self.topic {
            Some(topic) => format!("{} \"{topic}\"", self.name()),
            None => self.name().to_owned(),
        }
    }
}

/// The getters: each returns what a setter was given.
macro_rules! getters {
    ($($(#[$doc:meta])* $name:ident: $field:ident;)*) => {
        impl Command {
            $($(#[$doc])* pub fn $name(&self) -> Option<&str> { self.$field.as_deref() })*
        }
    };
}

getters! {
    /// The topic, or the regular expression over topics.
    get_topic: topic;
    /// The content filter.
    get_filter: filter;
    /// The command id that the application chose.
    get_command_id: command_id;
    /// The subscription id, or a comma list, that the application chose.
    get_sub_id: sub_id;
    /// The query id that the application chose.
    get_query_id: query_id;
    /// The bookmark, or a comma list of them.
    get_bookmark: bookmark;
    /// The order of a query's records.
    get_order_by: order_by;
    /// The key of the record that a publish writes.
    get_sow_key: sow_key;
    /// The publisher's own mark.
    get_correlation_id: correlation_id;
    /// The message type.
    get_message_type: message_type;
}

impl Command {
    /// The body.
    pub fn get_data(&self) -> Option<&[u8]> {
        self.data.as_deref()
    }

    /// The options.
    pub const fn get_options(&self) -> &Options {
        &self.options
    }

    /// The acknowledgements that the application asks for.
    pub const fn get_acks(&self) -> AckTypes {
        self.acks
    }

    /// Whether the application asks for the acknowledgement that the command was processed.
    pub const fn has_processed_ack(&self) -> bool {
        self.acks.contains(amps_protocol::AckType::Processed)
    }

    /// Whether the application asks for statistics.
    pub const fn has_stats_ack(&self) -> bool {
        self.acks.contains(amps_protocol::AckType::Stats)
    }

    /// Records per message of a query's result.
    pub const fn get_batch_size(&self) -> Option<u64> {
        self.batch_size
    }

    /// The most records of a query.
    pub const fn get_top_n(&self) -> Option<u64> {
        self.top_n
    }

    /// Seconds until a published message expires.
    pub const fn get_expiration(&self) -> Option<u64> {
        self.expiration
    }

    /// The keys of records.
    pub fn get_sow_keys(&self) -> &[String] {
        &self.sow_keys
    }

    /// The sequence number of a publish.
    pub const fn get_sequence(&self) -> Option<u64> {
        self.sequence
    }

    /// How long to wait for the server, if the client's setting is not to count.
    pub const fn get_timeout(&self) -> Option<Duration> {
        self.timeout
    }
}

impl fmt::Debug for Command {
    /// Shows what is set; of the body only the length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Command");
        out.field("name", &self.name());
        for (name, value) in [
            ("topic", &self.topic),
            ("filter", &self.filter),
            ("command_id", &self.command_id),
            ("sub_id", &self.sub_id),
            ("query_id", &self.query_id),
            ("bookmark", &self.bookmark),
            ("order_by", &self.order_by),
            ("sow_key", &self.sow_key),
            ("correlation_id", &self.correlation_id),
        ] {
            if let Some(value) = value {
                out.field(name, value);
            }
        }
        if !self.options.is_empty() {
            out.field("options", &format_args!("{}", self.options));
        }
        if let Some(data) = &self.data {
            out.field("data", &format_args!("{} bytes", data.len()));
        }
        out.finish_non_exhaustive()
    }
}
