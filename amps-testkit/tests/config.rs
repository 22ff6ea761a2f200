//! AMPS's own XML configuration: what a file means, and what it is told.

mod support;

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{MAIN_SEPARATOR, PathBuf};
use std::time::Duration;

use amps_testkit::{
    ActionConfig, Authentication, Conditions, Config, ConfigFile, ConfigReader, ExpirationModel, Fairness,
    FakeServer, FindingKind, Leasing, LogTopics, LoggedTopic, MessageLayout, QueueConfig, QueueKind,
    RecoveryPoint, SAMPLE_CONFIG, Schedule, Semantics, SowConfig, StartError, ViewSource,
};

use proptest::prelude::*;
use support::raw_client::RawClient;

const PRODUCTION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/production.xml");

/// A file in a directory of its own.
struct Files(PathBuf);

impl Files {
    fn new(test: &str) -> Self {
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("config").join(test);
        fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }
}

/// The elements, in a configuration that has all it needs.
fn around(elements: &str) -> String {
    format!("<AMPSConfig><Name>a</Name>\n{elements}</AMPSConfig>")
}

fn config(elements: &str) -> Config {
    ConfigFile::parse("a.xml", &around(elements)).unwrap().config()
}

/// All that is wrong with the elements, as the user reads it.
fn faults(elements: &str) -> String {
    let error = match ConfigReader::new().environment(false).strict(true).parse("a.xml", &around(elements)) {
        Err(error) => error,
        Ok(file) => file.verify().expect_err(elements),
    };
    error.to_string()
}

fn production() -> ConfigFile {
    let reader = ConfigReader::new().environment(false).define("SITE", "lon");
    reader.strict(true).read(PRODUCTION).unwrap()
}

#[test]
fn a_production_file_is_accepted_with_every_gap_named() {
    let file = production();
    file.verify().unwrap();
    let shown = |kind: FindingKind| -> Vec<String> {
        let findings = file.findings().iter().filter(|finding| finding.kind == kind);
        findings
            .map(|finding| {
                let text = finding.to_string();
                text.rsplit_once("/tests/data/").map(|(_, text)| text.to_owned()).unwrap()
            })
            .collect()
    };
    let built_in = |line: &&str| {
        !(cfg!(feature = "tls") && line.contains("feature \"tls\"")
            || cfg!(feature = "websocket") && line.contains("feature \"websocket\""))
    };
    let expected: Vec<&str> = include_str!("data/production-warnings.txt").lines().filter(built_in).collect();
    assert_eq!(shown(FindingKind::NotSupported), expected);
    let is_read = |line: &&str| cfg!(feature = "tls") || !line.contains(" Certificate: ");
    let expected: Vec<&str> = include_str!("data/production-notes.txt").lines().filter(is_read).collect();
    assert_eq!(shown(FindingKind::Ignored), expected);
    assert_eq!(shown(FindingKind::Unknown), [""; 0]);
}

#[test]
fn a_production_file_is_understood() {
    let config = production().config();
    assert_eq!(config.instance, "orders-lon-1");
    assert_eq!(
        config.log,
        LogTopics::Matching(vec![
            LoggedTopic::new("^(orders|jobs).*").message_type("json"),
            LoggedTopic::new("fills").message_type("fix-piped"),
        ])
    );
    let names: Vec<&str> = config.sow.iter().map(SowConfig::name).collect();
    assert_eq!(names, ["orders", "sessions", "fills"]);
    let work = QueueConfig::new("work")
        .underlying("jobs")
        .lease(Duration::from_secs(30))
        .max_backlog(100)
        .max_deliveries(5)
        .expiration(Duration::from_secs(86_400));
    assert_eq!(format!("{:?}", config.queues[0]), format!("{work:?}"));
    let layouts: Vec<_> = config.message_types.iter().map(|known| known.layout().clone()).collect();
    let parts = MessageLayout::CompositeLocal(vec!["json".into(), "binary".into()]);
    assert_eq!(layouts, [MessageLayout::Fix { separator: b'|' }, parts]);
    assert_eq!(config.slow_clients.memory, Some(10 << 30));
    assert_eq!(config.slow_clients.capacity_percent, 30);
    assert_eq!(config.sow_stats_interval, Some(Duration::from_secs(10)));
    let dead = ActionConfig::on_expired("work").publish("jobs.dead", "{{AMPS_DATA}}");
    let weekly = Schedule::parse("Saturday at 11:00").unwrap();
    let cleaning = ActionConfig::scheduled(weekly).delete_records("orders", "/status = 'closed'");
    assert_eq!(config.actions, [dead, cleaning]);
}

#[test]
fn a_production_file_is_served_on_free_ports_of_loopback() {
    let server = FakeServer::builder().config(production()).start().unwrap();
    let listeners = server.listeners();
    let names: Vec<&str> = listeners.iter().map(|listening| listening.name.as_str()).collect();
    let (tls, web, unix) = (cfg!(feature = "tls"), cfg!(feature = "websocket"), cfg!(unix));
    let possible = [("any-tls", tls), ("web", web), ("local", unix)];
    let possible = possible.into_iter().filter(|(_, possible)| *possible).map(|(name, _)| name);
    let expected: Vec<&str> =
        ["json-tcp", "any-tcp"].into_iter().chain(possible).chain(["amps-replication"]).collect();
    assert_eq!(names, expected);
    for listening in &listeners {
        match (&listening.addr, &listening.path) {
            (Some(addr), None) => {
                assert!(addr.ip().is_loopback());
                assert!(![0, 9007, 9008, 9010, 9017].contains(&addr.port()));
            }
            (None, Some(path)) => assert!(path.exists() && !path.starts_with("/var/run"), "{path:?}"),
            _ => panic!("{listening:?}"),
        }
        let scheme = match listening.name.as_str() {
            "any-tls" => "tcps://127.0.0.1:",
            "web" => "ws://127.0.0.1:",
            "local" => "unix://localhost:0/amps?path=/",
            _ => "tcp://127.0.0.1:",
        };
        assert!(listening.uri.starts_with(scheme), "{}", listening.uri);
    }
    assert!(listeners[0].uri.ends_with("/amps/json") && listeners[1].uri.ends_with("/amps"));
    assert_eq!(server.ca_pem().is_some(), tls, "the file's certificate is not there");
    server.publish("jobs", r#"{"id":1}"#).unwrap();
    assert_eq!(server.queue("work").unwrap().available.len(), 1);
    server.publish("jobs.direct", r#"{"urgency":9}"#).unwrap();
    server.publish("jobs.direct", r#"{"urgency":1}"#).unwrap();
    assert_eq!(server.queue("urgent").unwrap().available.len(), 1);
}

#[test]
fn every_element_of_a_queue_means_what_the_builder_calls_it() {
    let file = config(
        "<TransactionLog><Topic><Name>.*</Name><MessageType>nvfix</MessageType></Topic></TransactionLog>
        <SOW><GroupLocalQueue>
          <Name>q</Name><MessageType>nvfix</MessageType>
          <UnderlyingTopic>^in/</UnderlyingTopic><DefaultPublishTarget>in/q</DefaultPublishTarget>
          <Semantics>at-least-once</Semantics><LeasePeriod>90s</LeasePeriod>
          <MaxBacklog>2k</MaxBacklog><MaxPerSubscriptionBacklog>7</MaxPerSubscriptionBacklog>
          <Expiration>2h</Expiration><ExpirationModel>earliest</ExpirationModel>
          <Filter>/a &gt; 1</Filter><FairnessModel>fast</FairnessModel><Leasing>strict</Leasing>
          <MaxDeliveries>3</MaxDeliveries><MaxCancels>4</MaxCancels><Priority>/p</Priority>
          <RecoveryPoint>now</RecoveryPoint><DeferredAckExpiration>1h</DeferredAckExpiration>
          <InitialOwner>east</InitialOwner><GroupLocalQueueDomain>d</GroupLocalQueueDomain>
        </GroupLocalQueue></SOW>",
    );
    let expected = QueueConfig::new("q")
        .message_type("nvfix")
        .underlying("^in/")
        .publish_target("in/q")
        .semantics(Semantics::AtLeastOnce)
        .lease(Duration::from_secs(90))
        .total_backlog(2_000)
        .max_backlog(7)
        .expiration(Duration::from_secs(7_200))
        .expiration_model(ExpirationModel::Earliest)
        .filter("/a > 1")
        .fairness(Fairness::Fast)
        .leasing(Leasing::Strict)
        .max_deliveries(3)
        .max_cancels(4)
        .priority("/p")
        .recovery_point(RecoveryPoint::Now)
        .deferred_ack_expiration(Duration::from_secs(3_600))
        .kind(QueueKind::GroupLocal { initial_owner: "east".into(), domain: Some("d".into()) });
    assert_eq!(format!("{:?}", file.queues), format!("[{expected:?}]"));
}

#[test]
fn a_view_over_joined_topics_is_read() {
    let text = around(
        "<SOW>
        <Topic><Name>orders</Name><MessageType>json</MessageType><Key>/id</Key></Topic>
        <Topic><Name>customers</Name><MessageType>nvfix</MessageType><Key>/id</Key></Topic>
        <View><Name>v</Name><MessageType>json</MessageType>
          <UnderlyingTopic><Join>[json].[orders].[/customer] = [nvfix].[customers].[/id]</Join></UnderlyingTopic>
          <Projection><Field>/name</Field></Projection><Grouping><Field>/name</Field></Grouping>
        </View></SOW>",
    );
    let file = ConfigFile::parse("amps.xml", &text).unwrap();
    assert!(file.findings().is_empty(), "{:?}", file.findings());
    file.verify().unwrap();
    let ViewSource::Joins(joins) = file.config().views[0].source().clone() else { panic!("no join") };
    assert_eq!(joins[0].right.topic, "customers");
    assert_eq!(joins[0].right.message_type.as_deref(), Some("nvfix"));
}

#[test]
fn what_is_wrong_is_told_with_its_line_and_what_to_write_instead() {
    let log =
        "<TransactionLog><Topic><Name>jobs</Name><MessageType>json</MessageType></Topic></TransactionLog>";
    let queue = |elements: &str| {
        format!(
            "{log}\n<SOW><Queue><Name>jobs</Name><MessageType>json</MessageType>\n{elements}</Queue></SOW>"
        )
    };
    let topic = |elements: &str| {
        format!("<SOW><Topic><Name>t</Name><MessageType>json</MessageType>\n{elements}</Topic></SOW>")
    };
    let transport = |elements: &str| {
        format!("<Transports><Transport><Name>t</Name><Type>tcp</Type>\n{elements}</Transport></Transports>")
    };
    let amps = "<Protocol>amps</Protocol>";
    let table = [
        (
            queue("<LeasePeriod>30x</LeasePeriod>"),
            "a.xml:4: LeasePeriod: \"30x\" is not an interval; write a number and one of ns, us, ms, s, m, h, d, w, \
             such as 30s",
        ),
        (
            queue("<MaxDeliveries>some</MaxDeliveries>"),
            "a.xml:4: MaxDeliveries: \"some\" is not a count; write a whole number, alone or with k or M, such as 10k",
        ),
        (
            queue("<FairnessModel>random</FairnessModel>"),
            "a.xml:4: FairnessModel: \"random\" is not known; write one of fast, round-robin, proportional",
        ),
        (
            queue("<Semantics>at-most-once</Semantics>\n<FairnessModel>fast</FairnessModel>"),
            "a.xml:5: FairnessModel: does not go with at-most-once; write round-robin, or remove it",
        ),
        (
            queue("<UnderlyingTopic>other</UnderlyingTopic>"),
            "a.xml:4: UnderlyingTopic: the topic \"other\" has no transaction log; add a Topic for it to \
             TransactionLog",
        ),
        (
            "\n<SOW><LocalQueue><Name>q</Name><MessageType>json</MessageType></LocalQueue></SOW>".to_owned(),
            "a.xml:3: LocalQueue: the topic \"q\" has no transaction log; add a Topic for it to TransactionLog",
        ),
        (
            format!("{log}<SOW><Queue><Name>jobs</Name><MessageType>fix</MessageType></Queue></SOW>"),
            "a.xml:2: Queue: the topic \"jobs\" is not logged for fix; add a Topic with this MessageType to \
             TransactionLog",
        ),
        (
            queue("<UnderlyingTopic>.*</UnderlyingTopic>"),
            "a.xml:4: UnderlyingTopic: is a regular expression; add DefaultPublishTarget to the queue",
        ),
        (
            queue("<Priority>/a</Priority>\n<BarrierExpression>/b = 1</BarrierExpression>"),
            "a.xml:5: BarrierExpression: excludes Priority; remove one of them",
        ),
        (
            queue("<TargetQueueDepth>999</TargetQueueDepth>"),
            "a.xml:4: TargetQueueDepth: \"999\" is too little; write 1000 or more",
        ),
        (
            queue("<InitialOwner>x</InitialOwner>"),
            "a.xml:4: InitialOwner: is not known in Queue; remove it, or write GroupLocalQueue",
        ),
        (
            queue("<Filter>/a = 1 &amp;&amp; /b = 2</Filter>"),
            "a.xml:4: Filter: does not parse: expected an operator or the end of the expression near '&&' at \
             offset 7 (AMPS writes AND); correct it",
        ),
        (
            queue("<LeasPeriod>30s</LeasPeriod>"),
            "a.xml:4: LeasPeriod: is not known in Queue; write LeasePeriod",
        ),
        (
            queue("<LeasePeriod>30s</LeasePeriod>\n<LeasePeriod>40s</LeasePeriod>"),
            "a.xml:5: LeasePeriod: is given twice in Queue; keep one",
        ),
        (queue("<LeasePeriod/>"), "a.xml:4: LeasePeriod: is empty; write a value, or remove it"),
        (
            queue("<LeasePeriod><s>30</s></LeasePeriod>"),
            "a.xml:4: s: is not known in LeasePeriod; write text there",
        ),
        (
            queue("<RecoveryPoint>yesterday</RecoveryPoint>"),
            "a.xml:4: RecoveryPoint: \"yesterday\" is no point in the log; write epoch, now, creation, a bookmark, \
             or a timestamp such as 20260102T030405Z",
        ),
        (queue("30s"), "a.xml:3: Queue: \"30s\" is not inside of an element; remove it"),
        (
            queue("<LeasePeriod>${LEASE}</LeasePeriod>"),
            "a.xml:4: LeasePeriod: the variable LEASE is not set; set it in the environment or with \
             -D LEASE=VALUE",
        ),
        (
            topic("<Key>id</Key>"),
            "a.xml:3: Key: \"id\" does not parse: expected a field like /name in the identifier at offset 0; \
             correct it",
        ),
        (
            topic("<Expiration>soon</Expiration>"),
            "a.xml:3: Expiration: \"soon\" is not an expiration; write disabled, enabled, or an interval such as 30s",
        ),
        (
            topic("<Expiration>1h</Expiration>\n<History><Window>1d</Window></History>"),
            "a.xml:4: History: a topic with History cannot expire; write disabled in Expiration\n\
             a.xml:4: History: Granularity is missing; add <Granularity>...</Granularity>",
        ),
        (
            format!("{}\n{}", topic(""), topic("")),
            "a.xml:4: Topic: the topic \"t\" is defined twice; rename one",
        ),
        (
            "<SOW><Topic><Name>t</Name><MessageType>json</MessageType><Key>/id</Key></Topic>\n\
             <ConflatedTopic><Name>t</Name><MessageType>json</MessageType>\
             <UnderlyingTopic>t</UnderlyingTopic><Interval>1s</Interval></ConflatedTopic></SOW>"
                .to_owned(),
            "a.xml:3: ConflatedTopic: the topic \"t\" is defined twice; rename one",
        ),
        (
            "<SOW><Topic><Name>t</Name><MessageType>json</MessageType><Key>/id</Key></Topic>\n\
             <View><Name>t</Name><MessageType>json</MessageType><UnderlyingTopic>t</UnderlyingTopic>\
             <Projection><Field>/id</Field></Projection><Grouping><Field>/id</Field></Grouping></View></SOW>"
                .to_owned(),
            "a.xml:3: View: the topic \"t\" is defined twice; rename one",
        ),
        (
            "<SOW>\n<Topic><MessageType>jsn</MessageType></Topic></SOW>".to_owned(),
            "a.xml:3: Topic: Name is missing; add <Name>...</Name>\n\
             a.xml:3: MessageType: the message type \"jsn\" is not defined; write json",
        ),
        (
            "<SOW><ConflatedTopic><Name>c</Name><MessageType>json</MessageType>\n\
             <UnderlyingTopic>t</UnderlyingTopic><Interval>50ms</Interval></ConflatedTopic></SOW>"
                .to_owned(),
            "a.xml:3: UnderlyingTopic: the topic \"t\" is not defined before this; define it in SOW, further up\n\
             a.xml:3: Interval: \"50ms\" is too short; write 100ms or more",
        ),
        (
            transport("<Protocol>ampz</Protocol><InetAddr>9007</InetAddr>"),
            "a.xml:3: Protocol: \"ampz\" is not known; write amps, or define it in Protocols",
        ),
        (
            transport(&format!("{amps}<InetAddr>localhost</InetAddr>")),
            "a.xml:3: InetAddr: \"localhost\" is not an address; write a port or an address and a port, such as \
             127.0.0.1:9007",
        ),
        (
            format!(
                "{}{}",
                transport(&format!("{amps}<InetAddr>9007</InetAddr>")),
                transport(&format!("{amps}<InetAddr>9008</InetAddr>"))
            ),
            "a.xml:3: Name: the transport \"t\" is defined twice; rename one",
        ),
        (transport(amps), "a.xml:2: Transport: InetAddr is missing; add <InetAddr>...</InetAddr>"),
        (
            "<Authentication>\n<Module>sso</Module></Authentication>".to_owned(),
            "a.xml:3: Module: the module \"sso\" is not defined; define it in Modules, or correct its name",
        ),
        (
            "<MessageTypes><MessageType><Name>m</Name><Module>fixx</Module></MessageType></MessageTypes>"
                .to_owned(),
            "a.xml:2: Module: the module \"fixx\" is not defined; define it in Modules, or correct its name",
        ),
        (
            "<Actions><Action><On><Module>my-module</Module></On></Action></Actions>".to_owned(),
            "a.xml:2: Action: Do is missing; add <Do>...</Do>\n\
             a.xml:2: Module: the module \"my-module\" is not defined; define it in Modules, or correct its name",
        ),
        ("<Transport/>".to_owned(), "a.xml:2: Transport: is not known in AMPSConfig; write Transports"),
        (
            "<Frobnicate/>".to_owned(),
            "a.xml:2: Frobnicate: is not known in AMPSConfig; remove it, or correct its name",
        ),
        (
            "<RegexTopicSupport>yes</RegexTopicSupport>".to_owned(),
            "a.xml:2: RegexTopicSupport: \"yes\" is neither true nor false; write enabled, disabled, true or false",
        ),
    ];
    for (elements, message) in table {
        assert_eq!(faults(&elements), message, "{elements}");
    }
}

#[test]
fn an_unknown_element_is_a_warning_unless_the_reader_is_strict() {
    let text = around("<Frobnicate/>");
    let file = ConfigFile::parse("a.xml", &text).unwrap();
    assert_eq!(file.findings()[0].kind, FindingKind::Unknown);
    assert!(ConfigReader::new().strict(true).parse("a.xml", &text).is_err());
}

#[test]
fn the_sample_is_accepted_without_a_warning() {
    let file = ConfigReader::new().strict(true).parse("sample.xml", SAMPLE_CONFIG).unwrap();
    file.verify().unwrap();
    assert!(file.findings().iter().all(|finding| finding.kind == FindingKind::Ignored));
}

#[test]
fn files_are_included_from_where_they_are() {
    let files = Files::new("include");
    files.write("topics/one.xml", "<Topic><Name>one</Name>\n<MessageType>json</MessageType><Nope/></Topic>");
    files.write("topics/all.xml", "<SOW><Include>one.xml</Include></SOW>");
    let path = files.write("amps.xml", &around("<Include>${WHERE}/all.xml</Include>"));
    let file = ConfigReader::new().define("WHERE", "topics").read(&path).unwrap();
    assert_eq!(file.config().sow[0].name(), "one");
    let finding = file.findings()[0].to_string();
    assert!(finding.ends_with("topics/one.xml:2: Nope: is not known in Topic; write Name"), "{finding}");
}

#[test]
fn the_directory_of_the_file_is_a_variable() {
    let files = Files::new("directory");
    files.write("sow.xml", "<SOW/>");
    let path = files.write("amps.xml", &around("<Include>${AMPS_CONFIG_DIRECTORY}/sow.xml</Include>"));
    ConfigReader::new().environment(false).read(&path).unwrap();
}

#[test]
fn files_that_include_each_other_are_an_error() {
    let files = Files::new("cycle");
    let path = files.write("a.xml", &around("<Include>b.xml</Include>"));
    files.write("b.xml", "<SOW>\n\n<Include>c.xml</Include></SOW>");
    files.write("c.xml", "<Topic>\n<Include>b.xml</Include></Topic>");
    let error = ConfigFile::read(&path).unwrap_err().to_string();
    let expected =
        "c.xml:2: Include: goes round in a circle: b.xml includes c.xml includes b.xml; remove one";
    assert!(error.ends_with(expected), "{error}");
}

#[test]
fn files_that_are_missing_or_unreadable_are_an_error() {
    let files = Files::new("missing");
    let path = files.write("amps.xml", &around("\n<Include>gone.xml</Include>"));
    let error = ConfigFile::read(&path).unwrap_err().to_string();
    assert!(error.contains("amps.xml:3: Include: cannot read \""), "{error}");
    assert!(error.contains("gone.xml\": ") && error.ends_with("; correct the path"), "{error}");

    let error = ConfigFile::read("/nowhere/amps.xml").unwrap_err().to_string();
    assert!(error.starts_with("/nowhere/amps.xml: cannot read \"/nowhere/amps.xml\": "), "{error}");

    let latin = files.0.join("latin.xml");
    fs::write(&latin, b"<AMPSConfig><Name>\xe9</Name></AMPSConfig>").unwrap();
    let error = ConfigFile::read(&latin).unwrap_err().to_string();
    assert!(error.ends_with("it is not UTF-8; correct the path"), "{error}");
}

#[test]
fn what_a_file_says_and_what_a_builder_says_add_up() {
    let text = around(
        "<TransactionLog><Topic><Name>jobs</Name><MessageType>json</MessageType></Topic></TransactionLog>
        <SOW><Queue><Name>work</Name><MessageType>json</MessageType><UnderlyingTopic>tasks</UnderlyingTopic>
        </Queue></SOW>",
    );
    let file = ConfigFile::parse("a.xml", &text).unwrap();
    let message = file.verify().unwrap_err().to_string();
    let error = FakeServer::builder().config(file.clone()).start().unwrap_err();
    assert!(matches!(&error, StartError::File(_)) && error.to_string() == message, "{error}");

    let server =
        FakeServer::builder().config(file).txlog("tasks").queue(QueueConfig::new("jobs")).start().unwrap();
    server.publish("tasks", "1").unwrap();
    server.publish("jobs", "2").unwrap();
    assert_eq!(server.queue("work").unwrap().available.len(), 1);
    assert_eq!(server.queue("jobs").unwrap().available.len(), 1);
}

#[test]
fn a_file_without_a_log_means_none() {
    let text = around("");
    let build = || FakeServer::builder().config(ConfigFile::parse("a.xml", &text).unwrap());
    let error = build().queue(QueueConfig::new("q")).start().unwrap_err();
    assert!(matches!(error, StartError::Config(_)), "{error}");
    build().queue(QueueConfig::new("q")).txlog(".*").start().unwrap();
}

#[test]
fn the_ports_of_a_file_are_used_only_when_told_so() {
    let files = Files::new("ports");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let text = around(&format!(
        "<Transports><Transport><Name>t</Name><Type>tcp</Type><InetAddr>{port}</InetAddr>\
         <Protocol>amps</Protocol></Transport></Transports>"
    ));
    let path = files.write("amps.xml", &text);
    let other = FakeServer::from_config(&path).unwrap();
    assert_ne!(other.addr().port(), port);
    let error = FakeServer::builder().config_file(&path).keep_ports().start().unwrap_err();
    assert!(matches!(error, StartError::Bind { addr, .. } if addr == taken.local_addr().unwrap()), "{error}");
    let message = error.to_string();
    let place = format!("ports{MAIN_SEPARATOR}amps.xml:2: InetAddr: cannot listen on 127.0.0.1:{port}: ");
    assert!(message.contains(&place), "{message}");
    let advice = "; end what listens there, or choose another port (0 is a free one)";
    assert!(message.ends_with(advice), "{message}");
    assert!(matches!(FakeServer::from_config("/nowhere/amps.xml"), Err(StartError::File(_))));
}

#[test]
fn a_transport_has_rules_of_its_own() {
    let transport = |name: &str, elements: &str| {
        format!(
            "<Transport><Name>{name}</Name><Type>tcp</Type><InetAddr>127.0.0.1:0</InetAddr>\
             <Protocol>amps</Protocol>{elements}</Transport>"
        )
    };
    let module = |part: &str, name: &str| format!("<{part}><Module>{name}</Module></{part}>");
    let text = around(&format!(
        "<Authentication><Module>amps-default-authentication-module</Module>\
         <Options><AllowSpoofing>true</AllowSpoofing><RequireUsername>true</RequireUsername></Options>\
         </Authentication>{}<Transports>{}{}{}</Transports>",
        module("Entitlement", "amps-default-no-entitlement-module"),
        transport(
            "open",
            &[
                module("Authentication", "amps-implicit-authentication-module"),
                module("Entitlement", "amps-default-entitlement-module"),
            ]
            .concat()
        ),
        transport("closed", ""),
        transport(
            "night",
            "<InitialState>disabled</InitialState><ClientMessageAgeLimit>30s</ClientMessageAgeLimit>\
             <MessageMemoryLimit>1MB</MessageMemoryLimit><MessageDiskLimit>2MB</MessageDiskLimit>\
             <ClientMaxCapacity>10%</ClientMaxCapacity>"
        ),
    ));
    let file = ConfigFile::parse("a.xml", &text).unwrap();
    assert!(file.findings().is_empty(), "{:?}", file.findings());
    assert!(file.config().closed);
    let trusting = Conditions { allow_spoofing: true, require_user: true, ..Conditions::default() };
    assert_eq!(file.config().authentication, Authentication::Anybody(trusting));

    let server = FakeServer::builder().config(file).start().unwrap();
    let listeners = server.listeners();
    let ask = |listener: &amps_testkit::Listening, logon: bool| {
        let mut client = RawClient::connect_to(listener.addr.unwrap());
        if logon {
            client.send(r#"{"c":"logon","cid":"1","user_id":"u","mt":"json","a":"processed"}"#);
        } else {
            client.send(r#"{"c":"subscribe","cid":"1","sub_id":"s","t":"T","a":"processed"}"#);
        }
        client.receive()
    };
    assert!(ask(&listeners[0], false).contains("success"));
    // CONN-22
    let named = |entry: &amps_testkit::Entry| entry.client.as_ref().is_some_and(|n| n.starts_with("a-open-"));
    assert!(server.journal().iter().any(named), "{:?}", server.journal());
    assert!(ask(&listeners[1], false).contains("logon required"));
    assert!(ask(&listeners[1], true).contains("not entitled"));
    assert!(listeners[2].disabled && TcpStream::connect(listeners[2].addr.unwrap()).is_err());
    server.resume_accepting().unwrap();
    assert!(TcpStream::connect(listeners[2].addr.unwrap()).is_err(), "that was not what closed it");
    assert!(server.enable_transport("night").unwrap());
    assert!(!server.listeners()[2].disabled);
    assert!(ask(&server.listeners()[2], true).contains("not entitled"));
}

#[test]
fn everybody_is_refused_where_the_module_says_so() {
    let file = config(
        "<Authentication><Module>amps-default-no-authentication-module</Module></Authentication>
        <RegexTopicSupport>disabled</RegexTopicSupport>",
    );
    assert_eq!(file.authentication, Authentication::Refuse("auth failure".into()));
    assert!(!file.regex_topics);
}

/// A part of a text, and what to put in its place.
fn edits() -> impl Strategy<Value = Vec<(prop::sample::Index, usize, String)>> {
    let pieces = [
        "", "<", ">", "</", "/>", "&", "&amp;", "${", "}", "\n", "<Name>", "</SOW>", "é", "<!--", "]]>", "9",
    ];
    let piece = prop::sample::select(pieces.to_vec()).prop_map(str::to_owned);
    prop::collection::vec((any::<prop::sample::Index>(), 0_usize..40, piece), 1..6)
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic_and_each_finding_is_one_line(
        edits in edits(),
        sample in prop::bool::ANY,
    ) {
        let topics = include_str!("data/production-topics.xml");
        let mut text = if sample {
            SAMPLE_CONFIG.to_owned()
        } else {
            include_str!("data/production.xml").replace("<Include>production-topics.xml</Include>", topics)
        };
        for (at, length, piece) in edits {
            let places: Vec<usize> = text.char_indices().map(|(place, _)| place).collect();
            let start = at.index(places.len());
            let end = places.get(start + length).copied().unwrap_or(text.len());
            text.replace_range(places[start]..end, &piece);
        }
        let reader = ConfigReader::new().environment(false).define("SITE", "x");
        let findings = match reader.parse("a.xml", &text) {
            Ok(file) => {
                if let Err(error) = file.verify() {
                    prop_assert_eq!(error.findings().len(), 1);
                }
                file.findings().to_vec()
            }
            Err(error) => {
                prop_assert!(error.findings().iter().any(|finding| finding.kind == FindingKind::Error));
                error.findings().to_vec()
            }
        };
        let lines = text.lines().count() + 1;
        for finding in findings {
            prop_assert!(finding.line <= lines, "{}", finding);
            prop_assert_eq!(finding.to_string().lines().count(), 1, "{}", finding);
        }
    }
}
