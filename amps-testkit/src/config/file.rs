//! A configuration file that has been read.

use std::path::Path;
use std::time::Duration;

use fancy_regex::Regex;

use crate::builder::Listen;
use crate::engine::filter::{Functions, Value};
use crate::engine::{
    Access, ActionConfig, Authentication, Config, ConfigError, ConflatedTopicConfig, DestinationConfig,
    Engine, LogTopics, LoggedTopic, MessageTypeConfig, QueueConfig, SERVER_VERSION, SlowClientLimits,
    SowConfig, ViewConfig,
};

use super::finding::{ConfigFileError, Finding, FindingKind};
use super::reader::{Places, Reader, Subject};
use super::schema;
use super::scope::Scope;
use super::variables::Variables;
use super::xml::{self, Element, Place};
use super::{actions, queues, replication, security, topics, transports, units};

/// Characters that the name of an instance cannot have.
const NOT_IN_NAMES: &[char] = &[' ', '/', '\\', '$', '~'];

/// How configuration files are read; everything has a default.
///
/// ```
/// use amps_testkit::ConfigReader;
///
/// let text = "<AMPSConfig><Name>${WHO}</Name></AMPSConfig>";
/// let file = ConfigReader::new().define("WHO", "orders-1").parse("amps.xml", text)?;
/// assert_eq!(file.config().instance, "orders-1");
/// # Ok::<(), amps_testkit::ConfigFileError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ConfigReader {
    variables: Variables,
    strict: bool,
}

impl ConfigReader {
    /// Reads leniently, with the variables of the environment.
    pub fn new() -> Self {
        Self::default()
    }

    /// What `${NAME}` stands for, whatever the environment says.
    #[must_use]
    pub fn define(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.variables.define(name, value);
        self
    }

    /// Whether other variables come from the environment of the process. Default `true`.
    #[must_use]
    pub fn environment(mut self, on: bool) -> Self {
        self.variables.use_environment(on);
        self
    }

    /// Whether an element that AMPS does not know is an error. Default `false`: a warning.
    #[must_use]
    pub fn strict(mut self, on: bool) -> Self {
        self.strict = on;
        self
    }

    /// Reads a file, and those that it includes.
    ///
    /// # Errors
    /// A file cannot be read, or says something that cannot be.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<ConfigFile, ConfigFileError> {
        let path = path.as_ref();
        let directory = path.parent().unwrap_or(Path::new(""));
        let variables = self.with_own(&path.display().to_string(), &directory.display().to_string());
        self.finish(xml::load(path, &variables))
    }

    /// Reads a text; findings call it `name`. What it includes is looked for in the current
    /// directory.
    ///
    /// # Errors
    /// As [`ConfigReader::read`].
    pub fn parse(&self, name: &str, text: &str) -> Result<ConfigFile, ConfigFileError> {
        self.finish(xml::parse(name, text, &self.with_own(name, "")))
    }

    /// With the variables that AMPS itself defines.
    fn with_own(&self, path: &str, directory: &str) -> Variables {
        let directory = if directory.is_empty() { "." } else { directory };
        let mut variables = self.variables.clone();
        variables.define("AMPS_CONFIG_PATH", path);
        variables.define("AMPS_CONFIG_DIRECTORY", directory);
        variables.define("AMPS_VERSION", SERVER_VERSION);
        variables
    }

    fn finish(&self, root: Result<Element, Finding>) -> Result<ConfigFile, ConfigFileError> {
        let root = root.map_err(|finding| ConfigFileError::new(vec![finding]))?;
        let mut reader = Reader::new(self.strict);
        let parts = read_root(&mut reader, &root);
        let Reader { mut findings, places, .. } = reader;
        let first = &*root.place.file;
        findings.sort_by(|a, b| {
            let key = |finding: &Finding| (finding.file != first, finding.line);
            key(a).0.cmp(&key(b).0).then_with(|| a.file.cmp(&b.file)).then(key(a).1.cmp(&key(b).1))
        });
        if findings.iter().any(|finding| finding.kind == FindingKind::Error) {
            return Err(ConfigFileError::new(findings));
        }
        Ok(ConfigFile { parts: Parts { places, ..parts }, findings, root: root.place })
    }
}

/// A configuration file, read and understood.
///
/// ```
/// use amps_testkit::{ConfigFile, FakeServer};
///
/// let file = ConfigFile::parse(
///     "amps.xml",
///     "<AMPSConfig>
///        <Name>orders-1</Name>
///        <Transports>
///          <Transport>
///            <Name>json-tcp</Name><Type>tcp</Type><InetAddr>9007</InetAddr>
///            <Protocol>amps</Protocol><MessageType>json</MessageType>
///          </Transport>
///        </Transports>
///      </AMPSConfig>",
/// )?;
/// let server = FakeServer::builder().config(file).start()?;
/// assert_eq!(server.listeners()[0].name, "json-tcp");
/// assert_ne!(server.addr().port(), 9007); // a free port, unless told to keep those of the file
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ConfigFile {
    parts: Parts,
    findings: Vec<Finding>,
    /// Where it begins.
    root: Place,
}

impl ConfigFile {
    /// Reads a file as [`ConfigReader`] does by default.
    ///
    /// # Errors
    /// As [`ConfigReader::read`].
    pub fn read(path: impl AsRef<Path>) -> Result<Self, ConfigFileError> {
        ConfigReader::new().read(path)
    }

    /// Reads a text as [`ConfigReader`] does by default.
    ///
    /// # Errors
    /// As [`ConfigReader::read`].
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigFileError> {
        ConfigReader::new().parse(name, text)
    }

    /// What is ignored, not supported or not known, in the order of the lines.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The configuration of an engine that the file describes.
    pub fn config(&self) -> Config {
        let mut config = Config::default();
        let topics = self.parts.log.clone();
        self.parts.clone().put_into(&mut config);
        config.log = topics.map_or(LogTopics::None, LogTopics::Matching);
        config
    }

    /// Whether the file alone makes a server, without what a builder might add to it.
    ///
    /// # Errors
    /// It contradicts itself: a queue without a transaction log, for one.
    pub fn verify(&self) -> Result<(), ConfigFileError> {
        let Err(error) = Engine::new(self.config()) else { return Ok(()) };
        let whole = || self.root.finding(FindingKind::Error, "", error.to_string());
        let finding = explain(&self.parts.places, &error).unwrap_or_else(whole);
        Err(ConfigFileError::new(vec![finding]))
    }

    pub(crate) fn into_parts(self) -> Parts {
        self.parts
    }
}

/// What a file says, before it is put into a configuration with what others say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parts {
    pub(crate) listen: Vec<Listen>,
    /// Where what is logged goes.
    pub(crate) destinations: Vec<DestinationConfig>,
    /// `None`: there is no log.
    pub(crate) log: Option<Vec<LoggedTopic>>,
    instance: Option<String>,
    group: Option<String>,
    sow: Vec<SowConfig>,
    queues: Vec<QueueConfig>,
    views: Vec<ViewConfig>,
    actions: Vec<ActionConfig>,
    conflated_topics: Vec<ConflatedTopicConfig>,
    message_types: Vec<MessageTypeConfig>,
    slow_clients: Option<SlowClientLimits>,
    sow_stats_interval: Option<Duration>,
    regex_topics: Option<bool>,
    authentication: Option<Authentication>,
    /// Nobody may do anything.
    closed: bool,
    functions: Functions,
    pub(crate) places: Places,
}

impl Parts {
    /// Adds topics and queues, and sets what there can be one of; the log is left alone.
    pub(crate) fn put_into(self, config: &mut Config) {
        config.sow.extend(self.sow);
        config.queues.extend(self.queues);
        config.destinations.extend(self.destinations);
        config.views.extend(self.views);
        config.actions.extend(self.actions);
        config.conflated_topics.extend(self.conflated_topics);
        config.message_types.extend(self.message_types);
        config.instance = self.instance.unwrap_or(std::mem::take(&mut config.instance));
        config.group = self.group.or(config.group.take());
        config.regex_topics = self.regex_topics.unwrap_or(config.regex_topics);
        config.sow_stats_interval = self.sow_stats_interval.or(config.sow_stats_interval);
        if let Some(limits) = self.slow_clients {
            config.slow_clients = limits;
        }
        if let Some(authentication) = self.authentication {
            config.authentication = authentication;
        }
        config.closed |= self.closed;
        config.functions = std::mem::take(&mut config.functions).and(&self.functions);
    }
}

/// What the engine says of a file, in the words and with the line of the file.
pub(crate) fn explain(places: &Places, error: &ConfigError) -> Option<Finding> {
    let (subject, name, element, text) = match error {
        ConfigError::Filter { queue, fault } => {
            (Subject::Queue, queue, "Filter", format!("does not parse: {fault}; correct it"))
        }
        ConfigError::NotLogged { queue, topic, message_type: None } => (
            Subject::Queue,
            queue,
            "UnderlyingTopic",
            format!("the topic \"{topic}\" has no transaction log; add a Topic for it to TransactionLog"),
        ),
        ConfigError::NotLogged { queue, topic, message_type: Some(name) } => (
            Subject::Queue,
            queue,
            "UnderlyingTopic",
            format!(
                "the topic \"{topic}\" is not logged for {name}; add a Topic with this MessageType to \
                 TransactionLog"
            ),
        ),
        ConfigError::AtMostOnceFairness { queue } => (
            Subject::Queue,
            queue,
            "FairnessModel",
            "does not go with at-most-once; write round-robin, or remove it".to_owned(),
        ),
        ConfigError::PublishTarget { queue } => (
            Subject::Queue,
            queue,
            "UnderlyingTopic",
            "is a regular expression; add DefaultPublishTarget to the queue".to_owned(),
        ),
        ConfigError::QueueTwice { queue } => {
            (Subject::Queue, queue, "", format!("the queue \"{queue}\" is defined twice; rename one"))
        }
        ConfigError::DestinationTwice { destination } => {
            let text = format!("the destination \"{destination}\" is defined twice; rename one");
            (Subject::Destination, destination, "", text)
        }
        ConfigError::DestinationWithoutLog { destination } => {
            let text = "there is no TransactionLog to replicate; add one".to_owned();
            (Subject::Destination, destination, "", text)
        }
        ConfigError::ReplicatedTopicNotLogged { destination, topic } => (
            Subject::Destination,
            destination,
            "Topic",
            format!("the topic \"{topic}\" has no transaction log; add a Topic for it to TransactionLog"),
        ),
        ConfigError::TopicTwice { topic } => {
            (Subject::Topic, topic, "", format!("the topic \"{topic}\" is defined twice; rename one"))
        }
        // Patterns and keys have been checked when the file was read.
        _ => return None,
    };
    let at = |part| places.get(&(subject, name.clone(), part));
    let (place, element) = at(element).or_else(|| at(""))?;
    Some(place.finding(FindingKind::Error, element, text))
}

fn read_root(reader: &mut Reader, root: &Element) -> Parts {
    reader.check(root, schema::ROOT);
    let mut scope = Scope::default();
    let mut parts = Parts { instance: instance(reader, root), ..Parts::default() };
    parts.group = reader.optional(root, "Group");
    // Definitions first: they may stand behind what refers to them.
    if let Some(modules) = root.get("Modules") {
        scope.modules(reader, modules);
    }
    if let Some(functions) = root.get("UserDefinedFunctions") {
        parts.functions = read_functions(reader, &scope, functions);
        reader.language = parts.functions.clone().into();
    }
    if let Some(types) = root.get("MessageTypes") {
        scope.message_types(reader, types);
    }
    if let Some(protocols) = root.get("Protocols") {
        scope.protocols(reader, protocols);
    }
    read_sow(reader, &mut scope, root, &mut parts);
    let mut names: Vec<&str> = Vec::new();
    for transports in root.all(&["Transports"]) {
        reader.check(transports, schema::TRANSPORTS);
        for transport in transports.all(&["Transport"]) {
            let name = transport.get("Name").and_then(|child| Some((child, child.text.as_deref().ok()?)));
            if let Some((child, name)) = name {
                if names.contains(&name) {
                    reader.error(child, format!("the transport \"{name}\" is defined twice; rename one"));
                }
                names.push(name);
            }
            parts.listen.extend(transports::transport(reader, &scope, transport));
        }
    }
    if let Some(log) = root.get("TransactionLog") {
        parts.log = Some(read_log(reader, &scope, log));
    }
    for list in root.all(&["Replication"]) {
        reader.check(list, schema::REPLICATION);
        for child in list.all(&["Destination"]) {
            parts.destinations.extend(replication::destination(reader, &scope, child));
        }
    }
    for action in root.all(&["Actions"]).flat_map(|actions| actions.children.iter()) {
        if action.name == "Action" {
            parts.actions.extend(actions::action(reader, &scope, action));
        }
    }
    for list in root.all(&["Actions"]) {
        reader.check(list, schema::ACTIONS);
    }
    parts.authentication = security::authentication(reader, &scope, root);
    parts.closed = security::access(reader, &scope, root) == Some(Access::Nothing);
    read_limits(reader, root, &mut parts);
    parts.regex_topics = reader.value(root, "RegexTopicSupport", units::boolean);
    parts.message_types = scope.message_types;
    parts
}

fn instance(reader: &mut Reader, root: &Element) -> Option<String> {
    let name = reader.required(root, "Name")?;
    let child = root.get("Name")?;
    if name.contains(NOT_IN_NAMES) {
        reader.error(child, format!("\"{name}\" has a space, /, \\, $ or ~ in it; choose another name"));
        return None;
    }
    Some(name)
}

/// The functions that a file declares: they are in libraries, which are not loaded.
fn read_functions(reader: &mut Reader, scope: &Scope, functions: &Element) -> Functions {
    reader.check(functions, schema::FUNCTIONS);
    let mut declared = Functions::default();
    for element in functions.all(&["Function"]) {
        reader.check(element, schema::FUNCTION);
        let name = reader.required(element, "Name");
        if let (Some(module), Some(child)) = (reader.required(element, "Module"), element.get("Module")) {
            if !scope.modules.contains(&module) {
                scope.unknown_module(reader, child, &module);
            }
        }
        reader.required(element, "Symbol");
        let count = element.get("ParameterCount").filter(|child| child.text.as_deref() != Ok(""));
        let count = count.and_then(|_| reader.value(element, "ParameterCount", units::small_count));
        let Some(name) = name else { continue };
        let one = Functions::default().with(name, count.map(|count| count as usize), |_| Value::Null);
        if let (Some((_, fault)), Some(child)) = (one.unusable(), element.get("Name")) {
            reader.error(child, format!("cannot be: {fault}; choose another name"));
            continue;
        }
        reader.not_supported(element, "it gives NULL, unless the test registers a function of this name");
        declared = declared.and(&one);
    }
    declared
}

fn read_sow(reader: &mut Reader, scope: &mut Scope, root: &Element, parts: &mut Parts) {
    for sow in root.all(&["SOW", "TopicMetaData"]) {
        reader.check(sow, schema::SOW);
        for child in &sow.children {
            match child.name.as_str() {
                "Topic" | "TopicDefinition" => parts.sow.extend(topics::topic(reader, scope, child)),
                "View" | "ViewDefinition" => parts.views.extend(topics::view(reader, scope, child)),
                "ConflatedTopic" | "ReplicaDefinition" => {
                    parts.conflated_topics.extend(topics::conflated_topic(reader, scope, child));
                }
                "Queue" | "QueueDefinition" | "LocalQueue" | "GroupLocalQueue" => {
                    parts.queues.extend(queues::queue(reader, scope, child));
                }
                _ => {}
            }
        }
    }
}

fn read_log(reader: &mut Reader, scope: &Scope, log: &Element) -> Vec<LoggedTopic> {
    reader.check(log, schema::TRANSACTION_LOG);
    let mut logged = Vec::new();
    for element in log.all(&["Topic"]) {
        reader.check(element, schema::LOGGED_TOPIC);
        reader.syntax(element, "Name", Regex::new);
        let name = reader.topic_name(element);
        let message_type = scope.required_type(reader, element);
        let topic = name.zip(message_type);
        logged.extend(topic.map(|(name, message_type)| LoggedTopic::new(name).message_type(message_type)));
    }
    logged
}

fn read_limits(reader: &mut Reader, root: &Element, parts: &mut Parts) {
    let defaults = SlowClientLimits::default();
    let limits = SlowClientLimits {
        memory: reader.value(root, "MessageMemoryLimit", units::size),
        disk: reader.value(root, "MessageDiskLimit", units::size),
        age: reader.value(root, "ClientMessageAgeLimit", units::interval),
        capacity_percent: reader
            .value(root, "ClientMaxCapacity", units::percent)
            .unwrap_or(defaults.capacity_percent),
        frames: None,
    };
    parts.slow_clients = (limits != defaults).then_some(limits);
    for name in ["SOWStatsInterval", "SOWStatisticsInterval"] {
        if let Some(interval) = reader.value(root, name, units::interval) {
            parts.sow_stats_interval = Some(interval);
        }
    }
}
