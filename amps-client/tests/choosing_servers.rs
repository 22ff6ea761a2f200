//! Which server is next, who says so, and when nobody is left.

mod common;

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use amps_client::{
    Authenticator, AuthenticatorError, Client, CommandKind, ConnectionInfo, DefaultServerChooser,
    DelayStrategy, Error, ErrorKind, Reconnect, Server, ServerChooser,
};
use amps_testkit::Drop;
use common::{PATIENCE, Peer, aside, errors};

fn quick() -> Reconnect {
    Reconnect::new().initial(Duration::from_millis(5)).jitter(0.0)
}

/// A port at which nobody listens.
fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("tcp://{}/amps/json", listener.local_addr().unwrap())
}

/// Tells a test everything that it is asked and told.
struct Watched {
    servers: DefaultServerChooser,
    seen: Mutex<Sender<String>>,
}

fn watched(uris: &[&str]) -> (Watched, Receiver<String>) {
    let servers = DefaultServerChooser::new();
    for uri in uris {
        servers.add(*uri).unwrap();
    }
    let (sender, seen) = channel();
    (Watched { servers, seen: Mutex::new(sender) }, seen)
}

impl Watched {
    fn say(&self, text: String) {
        let _ = self.seen.lock().unwrap().send(text);
    }
}

impl ServerChooser for Watched {
    fn current(&self) -> Option<Server> {
        self.servers.current()
    }
    fn report_failure(&self, error: &Error, info: &ConnectionInfo) {
        self.say(format!("{} failed: {:?}", info.port(), error.kind()));
        self.servers.report_failure(error, info);
    }
    fn report_success(&self, info: &ConnectionInfo) {
        assert!(info.local_addr().is_some() && info.server_version().is_some());
        self.say(format!("{} succeeded", info.port()));
        self.servers.report_success(info);
    }
    fn error(&self) -> String {
        self.servers.error()
    }
}

fn port(uri: &str) -> &str {
    uri.rsplit_once(':').unwrap().1.split('/').next().unwrap()
}

/// C-7-1-1 C-7-2-1
#[test]
fn a_server_that_fails_is_followed_by_the_next_and_a_loss_counts_as_a_failure() {
    let why = "it tells servers by their ports, and asks for the socket's address";
    let refusing = common::plain_fake_server(why).refuse_logon("not today").start().unwrap();
    let willing = common::plain_fake_server(why).start().unwrap();
    let (a, b) = (refusing.uri("json"), willing.uri("json"));
    let (chooser, seen) = watched(&[&a, &b]);
    let client = Client::builder("c").server_chooser(chooser).reconnect(quick()).connect().unwrap();
    let next = || seen.recv_timeout(PATIENCE).unwrap();
    assert!(next().starts_with(&format!("{} failed", port(&a))));
    assert_eq!(next(), format!("{} succeeded", port(&b)));
    assert_eq!(client.connection_info().unwrap().uri(), b);
    willing.drop_connection("c", Drop::Reset);
    assert_eq!(next(), format!("{} failed: Disconnected", port(&b)));
    assert!(next().starts_with(&format!("{} failed", port(&a))), "after the last comes the first");
    assert_eq!(next(), format!("{} succeeded", port(&b)));
}

/// C-7-2-2
#[test]
fn without_a_server_connecting_fails_at_once() {
    let builder = common::client("c").server_chooser(DefaultServerChooser::new()).reconnect(Reconnect::new());
    let error = builder.connect().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connection);
    assert_eq!(error.to_string(), "there is no server to try: the list of servers is empty; add one");
}

struct Token(&'static str);

impl Authenticator for Token {
    fn authenticate(&self, _: &str, _: &str) -> Result<String, AuthenticatorError> {
        Ok(self.0.to_owned())
    }
    fn retry(&self, _: &str, _: &str) -> Result<String, AuthenticatorError> {
        Err("never asked".into())
    }
}

/// C-7-2-3
#[test]
fn each_server_sees_its_own_credentials() {
    let peers = [Peer::new(), Peer::new()];
    let servers = DefaultServerChooser::new();
    servers.add_with_authenticator(peers[0].uri(), Token("for a")).unwrap();
    servers.add_with_authenticator(peers[1].uri(), Token("for b")).unwrap();
    let builder = common::client("c").server_chooser(servers).reconnect(quick()).heartbeat(Duration::ZERO);
    let connecting = aside(move || builder.connect());
    let mut line = peers[0].accept();
    let logon = line.expect(CommandKind::Logon);
    assert_eq!(logon.get(amps_protocol::Field::Password).unwrap().to_string(), "for a");
    line.refuse(&logon, "auth failure");
    let mut line = peers[1].accept();
    let logon = line.expect(CommandKind::Logon);
    assert_eq!(logon.get(amps_protocol::Field::Password).unwrap().to_string(), "for b");
    line.ack(&logon);
    connecting.join().unwrap().unwrap();
}

/// C-7-1-3 C-7-3-3
#[test]
fn an_outage_beyond_its_limit_is_given_up() {
    let connect = |policy: Reconnect| {
        let began = Instant::now();
        let builder = common::client("c").server(nobody()).reconnect(policy);
        let error = builder.connect_deadline(Duration::from_millis(500)).connect().unwrap_err();
        (error.kind(), began.elapsed() >= Duration::from_millis(100))
    };
    let (kind, waited) = connect(quick());
    assert_eq!((kind, waited), (ErrorKind::TimedOut, true));
    let (kind, waited) = connect(quick().give_up_after(Duration::from_millis(100)));
    assert_eq!((kind, waited), (ErrorKind::ConnectionRefused, true));
}

/// C-7-1-4
#[test]
fn closing_does_not_wait_for_the_next_attempt() {
    let peer = Peer::new();
    let policy = Reconnect::new().initial(Duration::from_secs(3600)).max(Duration::from_secs(3600));
    let (builder, errors) = errors(peer.client("c").reconnect(policy).heartbeat(Duration::ZERO));
    let (client, line) = peer.connect(builder);
    let uri = peer.uri();
    drop((line, peer));
    // The loss, and then the attempt at a server that is gone: the next is an hour away.
    errors.recv_timeout(PATIENCE).unwrap();
    drop(uri);
    client.close().unwrap();
    assert!(!client.is_connected());
}

/// Waits as it is told, and says what it was asked.
struct Script {
    waits: Vec<Result<Duration, String>>,
    asked: Sender<String>,
}

impl DelayStrategy for Script {
    fn wait(&mut self, server: &str) -> Result<Duration, String> {
        let _ = self.asked.send(server.to_owned());
        self.waits.remove(0)
    }
    fn reset(&mut self) {}
}

#[test]
fn a_strategy_is_asked_before_every_attempt_and_may_end_them() {
    let (asked, asked_for) = channel();
    let waits = vec![Ok(Duration::ZERO), Ok(Duration::from_millis(1)), Err("it is late".to_owned())];
    let (a, b) = (nobody(), nobody());
    let secret = common::with_user(&a, "ann:secret");
    let builder = common::client("c").servers([&secret, &b]).reconnect(Reconnect::new());
    let error = builder.delay_strategy(Script { waits, asked }).connect().unwrap_err();
    assert_eq!(error.to_string(), "there is no server to try: it is late");
    let asked: Vec<String> = asked_for.iter().collect();
    assert_eq!(asked.len(), 3);
    assert!(asked[1] == b && asked[0] == asked[2] && !asked[0].contains("secret"), "{asked:?}");
}

#[test]
fn a_chooser_that_panics_ends_the_attempts_with_its_words() {
    struct Panics;
    impl ServerChooser for Panics {
        fn current(&self) -> Option<Server> {
            panic!("no map")
        }
        fn report_failure(&self, _: &Error, _: &ConnectionInfo) {}
    }
    let error = common::client("c").server_chooser(Panics).reconnect(quick()).connect().unwrap_err();
    assert!(error.to_string().contains("no map"), "{error}");
}

#[test]
fn what_excludes_each_other_is_found_when_the_client_is_built() {
    let kind = |builder: amps_client::ClientBuilder| builder.build().unwrap_err().kind();
    let servers = DefaultServerChooser::new();
    let invalid = ErrorKind::InvalidArgument;
    assert_eq!(kind(common::client("c").server_chooser(servers.clone())), invalid);
    let both =
        common::client("c").server_chooser(servers.clone()).server("tcp://h:1/amps").reconnect(quick());
    assert_eq!(kind(both), invalid);
    assert!(servers.add("tcp://h").is_err(), "a string that cannot be used is refused at once");
}

#[test]
fn a_list_may_change_while_it_is_used() {
    let first = common::fake_server().start().unwrap();
    let second = common::fake_server().start().unwrap();
    let servers = DefaultServerChooser::new();
    servers.add(common::uri(&first)).unwrap();
    let builder = common::client("c").server_chooser(servers.clone()).reconnect(quick());
    let client = builder.connect().unwrap();
    servers.add(common::uri(&second)).unwrap();
    servers.remove(&common::uri(&first));
    first.drop_connection("c", Drop::Reset);
    common::until("the client is at the second", || {
        client.is_connected()
            && client.connection_info().is_some_and(|info| info.uri() == common::uri(&second))
    });
}

#[test]
fn a_chooser_has_no_say_in_the_credentials_of_other_servers() {
    let chosen = Peer::new();
    let other = Peer::new();
    let servers = DefaultServerChooser::new();
    servers.add_with_authenticator(chosen.uri(), Token("for the chosen one")).unwrap();
    let builder = common::client("c").server_chooser(servers).reconnect(quick()).heartbeat(Duration::ZERO);
    let (client, _line) = chosen.connect(builder);
    client.abort();
    let uri = common::with_user(&other.uri(), "me:mine");
    let connecting = aside({
        let client = client.clone();
        move || client.connect_to([uri])
    });
    let mut line = other.accept();
    let logon = line.expect(CommandKind::Logon);
    assert_eq!(logon.get(amps_protocol::Field::Password).unwrap().to_string(), "mine");
    line.ack(&logon);
    connecting.join().unwrap().unwrap();
}

#[test]
fn who_has_given_up_may_connect_again() {
    let servers = DefaultServerChooser::new();
    servers.add(nobody()).unwrap();
    let policy = quick().give_up_after(Duration::from_millis(20));
    let client = common::client("c").server_chooser(servers.clone()).reconnect(policy).build().unwrap();
    client.connect().unwrap_err();
    let server = common::fake_server().start().unwrap();
    servers.add(common::uri(&server)).unwrap();
    client.connect().unwrap();
}
