//! What transcripts of a pair do not show: time, manual steps, chains, and what is refused.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use amps_testkit::{
    ConfigError, ConfigFile, DestinationConfig, Direction, FakeServer, FakeServerBuilder, LinkState, Pair,
    ReplicatedTopic, Side, StartError, SyncMode,
};
use support::data_dir::DataDir;

fn pair() -> Pair {
    Pair::start(FakeServerBuilder::default().virtual_clock()).unwrap()
}

fn bodies(pair: &Pair, side: Side) -> Vec<String> {
    let messages = pair.server(side).logged_messages();
    messages.into_iter().map(|message| String::from_utf8(message.body).unwrap()).collect()
}

/// PAIR-08
#[test]
fn without_auto_nothing_is_replicated_but_while_the_clock_is_moved() {
    let pair = pair();
    pair.auto(false);
    pair.publish(Side::A, "T", "1").unwrap();
    pair.publish(Side::A, "T", "2").unwrap();
    assert_eq!((bodies(&pair, Side::B).len(), pair.server(Side::A).links()[0].waiting), (0, 2));
    pair.deliver(Direction::AToB, 1);
    assert_eq!(bodies(&pair, Side::B), ["1"]);
    pair.advance(Duration::ZERO);
    assert_eq!(bodies(&pair, Side::B), ["1", "2"]);
    pair.publish(Side::B, "T", "3").unwrap();
    assert_eq!(bodies(&pair, Side::A).len(), 2);
    pair.auto(true);
    assert_eq!(bodies(&pair, Side::A), ["1", "2", "3"]);
}

/// PAIR-02
#[test]
fn entries_arrive_after_the_lag_of_their_link_each_at_its_time() {
    let pair = pair();
    pair.lag(Direction::AToB, Duration::from_millis(50));
    let start = pair.server(Side::A).now();
    pair.publish(Side::A, "T", "1").unwrap();
    let next = pair.server(Side::A).next_timer().unwrap();
    assert_eq!(next.at.saturating_since(start), Duration::from_millis(50));
    assert_eq!(next.kind.to_string(), "an entry may be sent to B");
    pair.advance(Duration::from_millis(20));
    pair.publish(Side::A, "T", "2").unwrap();
    pair.publish(Side::B, "T", "3").unwrap();
    assert_eq!(bodies(&pair, Side::A), ["1", "2", "3"], "the other direction has no lag");
    pair.advance(Duration::from_millis(29));
    assert_eq!(bodies(&pair, Side::B), ["3"]);
    // One step of the clock, and still each has the time of its own arrival.
    pair.advance(Duration::from_secs(1));
    let messages = pair.server(Side::B).logged_messages();
    let after: Vec<_> = messages.iter().map(|message| message.at.saturating_since(start)).collect();
    assert_eq!(bodies(&pair, Side::B), ["3", "1", "2"]);
    assert_eq!(after, [20, 50, 70].map(Duration::from_millis));
    let since: Vec<_> = messages
        .iter()
        .filter_map(|message| Some(message.via.as_ref()?.since.saturating_since(start)))
        .collect();
    assert_eq!(since, [0, 20].map(Duration::from_millis));
}

#[test]
fn a_pair_keeps_its_logs_in_files_and_comes_back_from_them() {
    let data = [DataDir::new(), DataDir::new()];
    let start = || {
        let [a, b] = [&data[0], &data[1]]
            .map(|data| FakeServerBuilder::default().virtual_clock().data_dir(data.path()));
        Pair::start_with(a, b).unwrap()
    };
    let pair = start();
    pair.publish(Side::A, "T", "1").unwrap();
    pair.partition();
    pair.publish(Side::A, "T", "2").unwrap();
    pair.publish(Side::B, "T", "3").unwrap();
    drop(pair);

    let pair = start();
    assert_eq!(bodies(&pair, Side::A), ["1", "2", "3"]);
    assert_eq!(bodies(&pair, Side::B), ["1", "3", "2"]);
    // What B has of A does not go back (PAIR-06).
    assert_eq!(pair.server(Side::B).links()[0].sent, 1);
    pair.kill(Side::A, false);
    drop(pair);

    let pair = start();
    assert_eq!(bodies(&pair, Side::A), ["1", "3", "2"], "A was killed with its log, and got that of B");
}

#[test]
fn a_server_that_is_down_is_shown_as_such() {
    let pair = pair();
    pair.kill(Side::B, true);
    pair.publish(Side::A, "T", "1").unwrap();
    let link = &pair.server(Side::A).links()[0];
    assert_eq!(
        (link.connected, link.state, link.waiting, link.mode),
        (false, LinkState::Up, 1, SyncMode::Sync)
    );
    assert_eq!(link.peer.as_deref(), Some("B"));
    assert!(TcpStream::connect(pair.server(Side::B).addr()).is_err());
    pair.restart(Side::B).unwrap();
    assert!(pair.server(Side::A).links()[0].connected && pair.server(Side::B).is_accepting());
}

#[test]
fn destinations_that_cannot_be_are_refused() {
    let start = |destination: DestinationConfig| FakeServer::builder().replicate_to(destination).start();
    let message = |result: Result<FakeServer, StartError>| result.unwrap_err().to_string();
    assert_eq!(
        message(start(DestinationConfig::new("B").address("10004"))),
        "destination \"B\": \"10004\" is no address; expected HOST:PORT"
    );
    assert_eq!(
        message(start(DestinationConfig::new("B").address("127.0.0.1:0"))),
        "destination \"B\": \"127.0.0.1:0\" is no address; expected HOST:PORT"
    );
    let topic = ReplicatedTopic::new("(");
    let error = start(DestinationConfig::new("B").topic(topic)).unwrap_err();
    assert!(matches!(&error, StartError::Config(ConfigError::Pattern { .. })), "{error}");
    let builder = FakeServer::builder().txlog("orders");
    let topic = ReplicatedTopic::new("trades");
    assert_eq!(
        message(builder.clone().replicate_to(DestinationConfig::new("B").topic(topic)).start()),
        "destination \"B\": its topic \"trades\" has no transaction log; add one with a txlog pattern"
    );
    assert_eq!(
        message(FakeServer::builder().no_txlog().replicate_to(DestinationConfig::new("B")).start()),
        "destination \"B\": there is no transaction log to replicate; add one"
    );
    let twice = builder.replicate_to(DestinationConfig::new("B")).replicate_to(DestinationConfig::new("B"));
    assert_eq!(message(twice.start()), "destination \"B\" is configured twice");
    let nowhere = FakeServer::builder().replication_listen("tcp://nowhere").start();
    assert_eq!(message(nowhere), "cannot listen on \"tcp://nowhere\": expected HOST:PORT");
}

fn file(replication: &str) -> Result<ConfigFile, amps_testkit::ConfigFileError> {
    let text = format!(
        "<AMPSConfig><Name>A</Name><Group>east</Group>
        <TransactionLog><Topic><Name>.*</Name><MessageType>json</MessageType></Topic></TransactionLog>
        <Replication><Destination>
        {replication}
        </Destination></Replication></AMPSConfig>"
    );
    ConfigFile::parse("a.xml", &text)
}

#[test]
fn a_destination_of_a_file_means_what_the_builder_calls_it() {
    let config = file(
        "<Name>B</Name><Group>west</Group><SyncType>async</SyncType>
        <Topic><MessageType>json</MessageType><Name>^orders</Name><PassThrough>.*</PassThrough></Topic>
        <Transport><Type>amps-replication</Type><InetAddr>localhost:10004</InetAddr><InetAddr>10005</InetAddr></Transport>
        <Transport><Type>amps-replication</Type><InetAddr>far-away:10006</InetAddr></Transport>",
    );
    let config = config.unwrap().config();
    let expected = DestinationConfig::new("B")
        .group("west")
        .mode(SyncMode::Async)
        .topic(ReplicatedTopic::new("^orders").message_type("json").pass_through(".*"))
        .address("127.0.0.1:10004")
        .address("127.0.0.1:10005")
        .address("127.0.0.1:10006");
    assert_eq!((config.destinations, config.group.as_deref()), (vec![expected], Some("east")));
}

#[test]
fn a_destination_of_a_file_that_cannot_be_is_told_with_its_line() {
    let whole = |sync: &str, topic: &str, transport: &str| {
        let message = |error: amps_testkit::ConfigFileError| error.to_string();
        let text = format!(
            "<Name>B</Name><SyncType>{sync}</SyncType>\n<Topic><MessageType>json</MessageType>{topic}</Topic>\n\
             <Transport>{transport}</Transport>"
        );
        match file(&text) {
            Ok(file) => file.verify().map_err(message),
            Err(error) => Err(message(error)),
        }
    };
    let (topic, transport) =
        ("<Name>T</Name>", "<Type>amps-replication</Type><InetAddr>localhost:1</InetAddr>");
    assert_eq!(whole("sync", topic, transport), Ok(()));
    let table = [
        (
            whole("maybe", topic, transport),
            "a.xml:4: SyncType: \"maybe\" is not known; write one of sync, async",
        ),
        (whole("sync", "", transport), "a.xml:5: Topic: Name is missing; add <Name>...</Name>"),
        (
            whole("sync", topic, "<Type>tcp</Type><InetAddr>1</InetAddr>"),
            "a.xml:6: Type: \"tcp\" is not known; write amps-replication",
        ),
        (
            whole("sync", topic, "<Type>amps-replication</Type><InetAddr>b:0</InetAddr>"),
            "a.xml:6: InetAddr: \"b:0\" names no port; write the one that it listens on",
        ),
        (
            whole("sync", topic, "<Type>amps-replication</Type>"),
            "a.xml:6: Transport: InetAddr is missing; add <InetAddr>...</InetAddr>",
        ),
    ];
    for (outcome, expected) in table {
        assert_eq!(outcome, Err(expected.to_owned()));
    }
    let without_log = "<AMPSConfig><Name>A</Name>\n<Replication><Destination><Name>B</Name>\n\
         <SyncType>sync</SyncType><Topic><MessageType>json</MessageType><Name>T</Name></Topic>\n\
         <Transport><Type>amps-replication</Type><InetAddr>1</InetAddr></Transport>\n\
         </Destination></Replication></AMPSConfig>";
    let error = ConfigFile::parse("a.xml", without_log).unwrap().verify().unwrap_err();
    assert_eq!(error.to_string(), "a.xml:2: Destination: there is no TransactionLog to replicate; add one");
}

/// The ports that a file names mean nothing when its transports get free ones.
#[test]
fn a_file_replicates_only_when_its_ports_are_kept() {
    let text = "<Name>B</Name><SyncType>sync</SyncType>
        <Topic><MessageType>json</MessageType><Name>T</Name></Topic>
        <Transport><Type>amps-replication</Type><InetAddr>10004</InetAddr></Transport>";
    let server = |file: ConfigFile| FakeServer::builder().config(file);
    assert_eq!(server(file(text).unwrap()).start().unwrap().links(), []);
    assert_eq!(server(file(text).unwrap()).keep_ports().start().unwrap().links()[0].destination, "B");
}

/// A transport is for clients or for other instances, and never for both.
#[test]
fn nobody_is_taken_for_who_belongs_to_the_other_port() {
    let pair = pair();
    let server = pair.server(Side::A);
    let client = r#"{"c":"logon","cid":"1","client_name":"p","mt":"json","a":"processed"}"#;
    let instance = r#"{"c":"group_begin","client_name":"C","user_id":"C","version":"amps-testkit/1"}"#;
    for (address, frame) in [(server.replication_addr().unwrap(), client), (server.addr(), instance)] {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(&(frame.len() as u32).to_be_bytes()).unwrap();
        stream.write_all(frame.as_bytes()).unwrap();
        let mut rest = Vec::new();
        // It ends in one way or the other, and nothing was said.
        let ended =
            stream.read_to_end(&mut rest).map_or_else(|error| error.kind(), |_| ErrorKind::ConnectionReset);
        assert_eq!((ended, rest.as_slice()), (ErrorKind::ConnectionReset, &b""[..]));
    }
    pair.publish(Side::A, "T", "1").unwrap();
    assert_eq!(bodies(&pair, Side::B), ["1"]);
}

#[test]
fn a_server_that_is_stopped_publishes_nothing() {
    let pair = pair();
    pair.stop(Side::A);
    let refused = pair.publish(Side::A, "T", "1").unwrap_err();
    assert!(refused.to_string().ends_with("the server is stopped"), "{refused}");
    pair.restart(Side::A).unwrap();
    pair.publish(Side::A, "T", "2").unwrap();
    assert_eq!(pair.server(Side::B).logged_messages().len(), 1);
}
