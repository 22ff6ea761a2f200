//! Describing a server before it starts.
//!
//! Owns the defaults of [`FakeServer`], the reading of listen addresses, and how what a file
//! says goes together with what is said in Rust.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use amps_transport::Time;

use crate::Bell;
use crate::config::{ConfigFile, ConfigFileError, Places, explain};
use crate::engine::filter::{Functions, Value};
use crate::engine::{
    ActionConfig, Authentication, Config, ConflatedTopicConfig, DestinationConfig, Engine, Entitlement,
    LogTopics, LoggedTopic, MessageTypeConfig, QueueConfig, Reasons, SetError, SlowClientLimits, SowConfig,
    Switches, TransportConfig, ViewConfig,
};
use crate::fault::Fault;
use crate::journal::JournalMode;
use crate::server::{FakeServer, StartError};
use crate::shell::VIRTUAL_START;
use crate::wire::Fitter;

mod listen;
mod script;
pub(crate) use listen::{Listen, Place};

/// Entries that a journal keeps by default.
const JOURNAL_CAP: usize = 100_000;

/// Describes a [`FakeServer`]; everything has a default.
///
/// Topics, queues and listeners add up, whether a file or a call names them. Of what there can
/// be only one, the last word counts.
#[derive(Clone, Debug, Default)]
#[must_use = "nothing happens until `start` is called"]
pub struct FakeServerBuilder {
    config: Config,
    /// Functions of this builder, which come before those that files declare.
    functions: Functions,
    log: Option<Vec<LoggedTopic>>,
    listen: Vec<(String, TransportConfig)>,
    /// The listeners of files, which come before the others.
    transports: Vec<Listen>,
    keep_ports: bool,
    #[cfg(feature = "tls")]
    keep_certificates: bool,
    /// Where the definitions of files are.
    places: Places,
    /// Why a file could not be read.
    failed: Option<ConfigFileError>,
    plan: Plan,
    data_dir: Option<PathBuf>,
    /// Where other instances connect.
    replication_listen: Vec<String>,
    /// The destinations of files.
    destinations: Vec<DestinationConfig>,
}

/// What is not the engine's: how the server runs and what a test makes of it.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Where a virtual clock starts; `None` for the real one.
    pub(crate) clock: Option<Time>,
    pub(crate) journal: JournalMode,
    pub(crate) journal_cap: usize,
    pub(crate) seed: u64,
    pub(crate) faults: Vec<Fault>,
    pub(crate) rules: Rules,
    /// Where the control port listens, if there is one.
    pub(crate) control: Option<String>,
    /// The authority of the certificates that the server has made, as PEM.
    pub(crate) ca: Option<Arc<str>>,
    /// Rung when a link has done something.
    pub(crate) bell: Arc<Bell>,
}

/// What makes a test fail.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rules {
    /// What clients should not have done.
    pub(crate) strict: bool,
    /// Connections that are left at the end.
    pub(crate) leaks: bool,
    /// Expectations that are not met at the end.
    pub(crate) verify_on_drop: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            clock: None,
            journal: JournalMode::default(),
            journal_cap: JOURNAL_CAP,
            seed: 0,
            faults: Vec::new(),
            rules: Rules::default(),
            control: None,
            ca: None,
            bell: Arc::default(),
        }
    }
}

impl FakeServerBuilder {
    /// Adds what an AMPS configuration file says, with the variables of the environment; to
    /// see what it does not support, or to define variables, see [`Self::config`]. Its
    /// transports get free ports of 127.0.0.1, unless [`Self::keep_ports`] is called. A file
    /// without a transaction log means that there is none, unless [`Self::txlog`] adds one.
    ///
    /// A file that cannot be read is an error of [`Self::start`].
    pub fn config_file(mut self, path: impl AsRef<Path>) -> Self {
        match ConfigFile::read(path) {
            Ok(file) => self.config(file),
            Err(error) => {
                self.failed.get_or_insert(error);
                self
            }
        }
    }

    /// Adds what an AMPS configuration file says; see [`Self::config_file`].
    pub fn config(mut self, file: ConfigFile) -> Self {
        let mut parts = file.into_parts();
        match parts.log.take() {
            Some(topics) => self.log.get_or_insert_default().extend(topics),
            None if self.log.is_none() => self.config.log = LogTopics::None,
            None => {}
        }
        self.transports.append(&mut parts.listen);
        self.destinations.append(&mut parts.destinations);
        self.places.append(&mut parts.places);
        parts.put_into(&mut self.config);
        self
    }

    /// The transports of files listen on the ports and the socket files that the files say, and
    /// their destinations are replicated to. Default: on free ports, and on socket files of their
    /// own among the temporary files, and there is no replication, for the ports that destinations
    /// name mean nothing then.
    pub fn keep_ports(mut self) -> Self {
        self.keep_ports = true;
        self
    }

    /// Transports of files that speak TLS show the certificates that the files name. Default: one of
    /// the server's own making, as [`FakeServer::ca_pem`] says, for a file of a real server names
    /// secrets of a real server.
    #[cfg(feature = "tls")]
    pub fn keep_certificates(mut self) -> Self {
        self.keep_certificates = true;
        self
    }

    /// The name of the instance. Default `amps-testkit`. Instances that replicate to each other
    /// need different names.
    pub fn instance(mut self, name: impl Into<String>) -> Self {
        self.config.instance = name.into();
        self
    }

    /// The group of the instance, as other instances see it. Default: its name.
    pub fn group(mut self, name: impl Into<String>) -> Self {
        self.config.group = Some(name.into());
        self
    }

    /// Sends what is logged to another instance (server.md 7). See [`Pair`](crate::Pair) for two
    /// servers in one test.
    pub fn replicate_to(mut self, destination: DestinationConfig) -> Self {
        self.config.destinations.push(destination);
        self
    }

    /// Listens for other instances that replicate to this one: `127.0.0.1:0` or
    /// `tcp://127.0.0.1:10004`. Repeatable. Default: nowhere.
    pub fn replication_listen(mut self, address: impl Into<String>) -> Self {
        self.replication_listen.push(address.into());
        self
    }

    /// Whether clients are let in at once (`true`, the default), or only when every destination
    /// has sent back all that it has: until then, whoever connects is disconnected (PAIR-03).
    pub fn early_accept(mut self, on: bool) -> Self {
        self.config.early_accept = on;
        self
    }

    pub(crate) const fn has_virtual_clock(&self) -> bool {
        self.plan.clock.is_some()
    }

    pub(crate) fn bell(mut self, bell: Arc<Bell>) -> Self {
        self.plan.bell = bell;
        self
    }

    /// Sets a switch, or the text of a refusal, by its name; [`Setting::all`] lists them.
    ///
    /// [`Setting::all`]: crate::Setting::all
    ///
    /// # Errors
    /// There is no such setting, or it cannot have this value.
    pub fn set(mut self, key: &str, value: &str) -> Result<Self, SetError> {
        self.config.set(key, value)?;
        Ok(self)
    }

    /// Adds a function to what filters, projections, enrichment and whatever else is an expression
    /// can call, by its name in any case. It takes so many arguments, or any number for `None`, and
    /// gets the first value of each; it has to be pure: the same arguments give the same value. In
    /// the place of AMPS's user-defined functions, whose libraries are not loaded.
    ///
    /// ```
    /// use amps_testkit::{FakeServer, SowConfig, Value};
    ///
    /// let twice = |arguments: &[Value<'_>]| match arguments {
    ///     [Value::Int(number)] => Value::Int(number * 2),
    ///     _ => Value::Null,
    /// };
    /// let orders = SowConfig::new("orders").key("/id").enrich("TWICE(/n) AS /m");
    /// let server = FakeServer::builder().function("TWICE", Some(1), twice).sow(orders).start()?;
    /// server.publish("orders", r#"{"id":1,"n":7}"#).unwrap();
    /// assert_eq!(server.logged_messages()[0].body, br#"{"id":1,"n":7,"m":14}"#);
    /// # Ok::<(), amps_testkit::StartError>(())
    /// ```
    pub fn function(
        mut self,
        name: impl Into<String>,
        arity: Option<usize>,
        call: impl Fn(&[Value<'_>]) -> Value<'static> + Send + Sync + 'static,
    ) -> Self {
        self.functions = self.functions.with(name, arity, call);
        self
    }

    /// Adds a topic with a state of the world.
    pub fn sow(mut self, topic: SowConfig) -> Self {
        self.config.sow.push(topic);
        self
    }

    /// Adds a view: a topic whose records are computed from those of another.
    pub fn view(mut self, view: ViewConfig) -> Self {
        self.config.views.push(view);
        self
    }

    /// Adds a conflated topic: a copy of another topic that changes less often.
    pub fn conflated_topic(mut self, topic: ConflatedTopicConfig) -> Self {
        self.config.conflated_topics.push(topic);
        self
    }

    /// Adds a message type that is not built in, or changes one that is. A part of a composite
    /// is a built-in type, or one that was added before.
    pub fn message_type(mut self, message_type: MessageTypeConfig) -> Self {
        self.config.message_types.push(message_type);
        self
    }

    /// Adds something that the server does of its own accord.
    pub fn action(mut self, action: ActionConfig) -> Self {
        self.config.actions.push(action);
        self
    }

    /// Adds a queue.
    pub fn queue(mut self, queue: QueueConfig) -> Self {
        self.config.queues.push(queue);
        self
    }

    /// Gives topics a transaction log: a name, or a regular expression, or a [`LoggedTopic`] for
    /// one message type only. Repeatable. Without any call, every topic has one.
    pub fn txlog(mut self, topics: impl Into<LoggedTopic>) -> Self {
        self.log.get_or_insert_default().push(topics.into());
        self.config.log = LogTopics::Matching(Vec::new());
        self
    }

    /// No transaction log at all. Then there can be no queues, and client names need not be
    /// unique.
    pub fn no_txlog(mut self) -> Self {
        self.log = None;
        self.config.log = LogTopics::None;
        self
    }

    /// How long a message takes from the transaction log to the disk. Until then it is not
    /// persisted. Default 0.
    pub fn txlog_flush_interval(mut self, interval: Duration) -> Self {
        self.config.log_flush_interval = interval;
        self
    }

    /// Keeps the transaction log in a file in this directory, which is made if need be, and
    /// begins with what the file holds: messages with their bookmarks, the sequence number of
    /// each publisher, the logged state of the world, and queue messages that were not
    /// acknowledged. Default: a server that ends forgets everything.
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(path.into());
        self
    }

    /// Listens on an address: `127.0.0.1:0`, `tcp://127.0.0.1:9007/amps`, or with a message
    /// type that the listener is bound to, `tcp://127.0.0.1:0/amps/json`. Repeatable.
    /// Default: a free port of 127.0.0.1, any message type.
    ///
    /// A client may send an HTTP preflight first, and, with the Cargo feature `zlib`, compress;
    /// the server sees what a connection begins with. The other schemes:
    ///
    /// * `tcps`, with the feature `tls`: a certificate of the server's own making for `localhost`,
    ///   127.0.0.1, `::1` and the host of the address, by the authority of
    ///   [`FakeServer::ca_pem`], unless [`TransportConfig`] has another.
    /// * `ws` and `wss`, with the feature `websocket`: WebSocket, and nothing else.
    /// * `unix:///path/to.sock`, or as clients write it,
    ///   `unix://localhost:0/amps/json?path=/path/to.sock`: a socket file, which is removed with the
    ///   server. `unix://` alone is a file of its own among the temporary ones.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen.push((address.into(), TransportConfig::default()));
        self
    }

    /// As [`listen`](Self::listen), with rules of its own.
    pub fn transport(mut self, address: impl Into<String>, transport: TransportConfig) -> Self {
        self.listen.push((address.into(), transport));
        self
    }

    /// Time stands still, at 2026-01-01T00:00:00Z (or, with a [`data_dir`](Self::data_dir), at
    /// the last entry of the log, if that is later), until [`FakeServer::advance`] moves it.
    pub fn virtual_clock(mut self) -> Self {
        self.plan.clock.get_or_insert(VIRTUAL_START);
        self
    }

    /// Refuses every logon, with this reason.
    pub fn refuse_logon(mut self, reason: impl Into<String>) -> Self {
        self.config.authentication = Authentication::Refuse(reason.into());
        self
    }

    /// Lets in this user with this password, and nobody who is not named by such a call.
    pub fn credentials(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        if !matches!(self.config.authentication, Authentication::Passwords(_)) {
            self.config.authentication = Authentication::Passwords(BTreeMap::new());
        }
        if let Authentication::Passwords(passwords) = &mut self.config.authentication {
            passwords.insert(user.into(), password.into());
        }
        self
    }

    /// Lets everybody in, also without a logon: any first command will do.
    pub fn implicit_authentication(mut self) -> Self {
        self.config.authentication = Authentication::Implicit;
        self
    }

    /// Who may log on; the calls above, and [`refuse_logon`](Self::refuse_logon), are short for
    /// some of its values.
    pub fn authentication(mut self, authentication: Authentication) -> Self {
        self.config.authentication = authentication;
        self
    }

    /// Nobody may do anything, not even log on, but what [`entitle`](Self::entitle) permits.
    pub fn closed(mut self) -> Self {
        self.config.closed = true;
        self
    }

    /// Challenges every logon: the client is told this text as its password, and has to answer,
    /// with anything, before it is admitted. Repeatable, for several rounds.
    pub fn challenge(mut self, text: impl Into<String>) -> Self {
        self.config.challenges.push(text.into());
        self
    }

    /// Permits something. From the first call on, what no entitlement permits is refused.
    pub fn entitle(mut self, entitlement: Entitlement) -> Self {
        self.config.entitlements.push(entitlement);
        self
    }

    /// How often the number of records of each topic is published to `/AMPS/SOWStats`.
    /// Default: never.
    pub fn sow_stats_interval(mut self, interval: Duration) -> Self {
        self.config.sow_stats_interval = Some(interval);
        self
    }

    /// When clients are disconnected that do not take what they are sent. Default: never.
    pub fn slow_clients(mut self, limits: SlowClientLimits) -> Self {
        self.config.slow_clients = limits;
        self
    }

    /// How long `persisted` acks are gathered. Default 1 s.
    pub fn ack_conflation(mut self, interval: Duration) -> Self {
        self.config.ack_conflation = interval;
        self
    }

    /// Whether topics with regular expression characters are patterns. Default `true`.
    pub fn regex_topics(mut self, on: bool) -> Self {
        self.config.regex_topics = on;
        self
    }

    /// The longest frame that a client may send, in bytes. Default 200 MiB.
    pub fn max_frame(mut self, bytes: usize) -> Self {
        self.config.max_frame = bytes;
        self
    }

    /// Answers to questions that the documentation leaves open.
    pub fn switches(mut self, switches: Switches) -> Self {
        self.config.switches = switches;
        self
    }

    /// The texts of refusals.
    pub fn reasons(mut self, reasons: Reasons) -> Self {
        self.config.reasons = reasons;
        self
    }

    /// How much is recorded. Default [`JournalMode::Commands`].
    pub fn journal(mut self, mode: JournalMode) -> Self {
        self.plan.journal = mode;
        self
    }

    /// The most entries that the journal keeps; older ones are dropped, and counted.
    /// Default 100,000.
    pub fn journal_cap(mut self, entries: usize) -> Self {
        self.plan.journal_cap = entries.max(1);
        self
    }

    fn take_functions(&mut self) {
        self.config.functions = std::mem::take(&mut self.config.functions).and(&self.functions);
    }

    /// The engine that the server would run, for tests without sockets. It keeps nothing in
    /// files.
    ///
    /// # Errors
    /// The configuration contradicts itself.
    pub fn engine(mut self) -> Result<Engine, StartError> {
        self.take_functions();
        if let Some(error) = self.failed {
            return Err(StartError::File(error));
        }
        let mut config = self.config;
        if let Some(topics) = self.log {
            config.log = LogTopics::Matching(topics);
        }
        Engine::new(config).map_err(|error| match explain(&self.places, &error) {
            Some(finding) => StartError::File(ConfigFileError::new(vec![finding])),
            None => StartError::Config(error),
        })
    }

    /// Starts the server. When this returns, clients can connect.
    ///
    /// # Errors
    /// The configuration contradicts itself, a certificate cannot be used, an address cannot be
    /// bound, or the log's file cannot be used. Nothing listens unless all addresses make sense.
    pub fn start(mut self) -> Result<FakeServer, StartError> {
        self.take_functions();
        let mut listen = std::mem::take(&mut self.transports);
        if self.keep_ports {
            self.config.destinations.append(&mut self.destinations);
        } else {
            listen.iter_mut().for_each(|listen| listen.at.choose());
        }
        if listen.iter().all(|listen| listen.replication) && self.listen.is_empty() {
            self.listen.push(("127.0.0.1:0".to_owned(), TransportConfig::default()));
        }
        #[cfg(feature = "tls")]
        if !self.keep_certificates {
            listen.iter_mut().for_each(|listen| listen.transport.wire.tls.forget_files());
        }
        for (text, transport) in &self.listen {
            listen.push(Listen::parse(text)?.with(transport.clone()));
        }
        let mut fitter = Fitter::new(self.config.max_frame, &listen);
        listen.iter_mut().try_for_each(|listen| fitter.fit(listen))?;
        let language = self.config.language();
        listen.iter().try_for_each(|listen| listen.transport.check(&language))?;
        for text in &self.replication_listen {
            listen.push(Listen::parse_replication(text)?);
        }
        let mut plan = std::mem::take(&mut self.plan);
        plan.ca = fitter.ca();
        let data_dir = self.data_dir.take();
        FakeServer::start(self.engine()?, &listen, plan, data_dir.as_deref())
    }
}
