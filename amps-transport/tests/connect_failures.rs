//! A connection that does not come about is reported once, with its cause.

mod common;

use std::net::TcpListener;
use std::time::Duration;

use amps_transport::{ConnectError, Target};
use common::{Bench, Event, LIMIT, loopback, target};

fn failure(bench: &Bench, target: Target) -> ConnectError {
    let wanted = bench.connect(target);
    match bench.next() {
        Event::ConnectFailed { conn, error } if conn == wanted => error,
        other => panic!("{other:?} instead of ConnectFailed"),
    }
}

#[test]
fn refused() {
    let address = TcpListener::bind(loopback()).unwrap().local_addr().unwrap();
    let error = failure(&Bench::new("refused"), target(address));
    assert!(
        matches!(&error, ConnectError::Refused { address: text } if *text == address.to_string()),
        "{error}"
    );
}

#[test]
fn a_name_that_does_not_exist() {
    let target = Target::tcp("no-such-host.invalid", 9, LIMIT);
    let error = failure(&Bench::new("no-host"), target);
    assert!(
        matches!(&error, ConnectError::Resolve { host, .. } if host == "no-such-host.invalid"),
        "{error}"
    );
}

#[test]
fn a_name_that_exists() {
    let listener = TcpListener::bind(loopback()).unwrap();
    let bench = Bench::new("localhost");
    let target = Target::tcp("localhost", listener.local_addr().unwrap().port(), LIMIT);
    let wanted = bench.connect(target);
    assert!(matches!(bench.next(), Event::Connected { conn, .. } if conn == wanted));
}

#[test]
fn an_address_that_cannot_be_bound() {
    let mut target = target("127.0.0.1:9".parse().unwrap());
    // For documentation only, so no interface has it.
    target.socket.bind = Some("192.0.2.1".parse().unwrap());
    let error = failure(&Bench::new("bind"), target);
    assert!(matches!(error, ConnectError::Bind { .. }), "{error}");
    assert!(error.to_string().starts_with("cannot bind to 192.0.2.1 for 127.0.0.1:9"), "{error}");
}

/// An address of the other family is not the host's fault.
#[test]
fn an_address_to_bind_of_another_family() {
    let mut target = target("127.0.0.1:9".parse().unwrap());
    target.socket.bind = Some("::1".parse().unwrap());
    let error = failure(&Bench::new("bind-family"), target);
    assert!(matches!(error, ConnectError::BindFamily { .. }), "{error}");
}

/// A full backlog makes Linux ignore those who knock.
#[cfg(target_os = "linux")]
#[test]
fn nobody_answers() {
    use socket2::{Domain, Socket, Type};

    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&loopback().into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let knock = || std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200));
    let mut waiting = Vec::new();
    while let Ok(peer) = knock() {
        waiting.push(peer);
        assert!(waiting.len() < 100);
    }
    let timeout = Duration::from_millis(50);
    let error = failure(&Bench::new("silence"), Target { timeout, ..target(address) });
    assert!(matches!(error, ConnectError::TimedOut { timeout: t, .. } if t == timeout), "{error}");
}

#[test]
fn no_time_at_all() {
    let address = TcpListener::bind(loopback()).unwrap().local_addr().unwrap();
    let error = failure(&Bench::new("no-time"), Target { timeout: Duration::ZERO, ..target(address) });
    assert!(matches!(error, ConnectError::TimedOut { .. }), "{error}");
}

/// Nothing is heard of a connection that was given up, and of no other by mistake.
#[test]
fn closed_before_it_is_established() {
    let listener = TcpListener::bind(loopback()).unwrap();
    let target = target(listener.local_addr().unwrap());
    let bench = Bench::new("given-up");
    let wanted = bench.ask(move |_, sink| {
        let given_up = sink.connect(target.clone());
        sink.close(given_up, amps_transport::CloseMode::Flush);
        sink.connect(target)
    });
    assert!(matches!(bench.next(), Event::Connected { conn, .. } if conn == wanted));
}
