//! Two sides of one log (PAIR-09).

mod support;

use std::net::TcpStream;

use amps_testkit::{FakeServer, Mirror, QueueConfig, Side};
use support::raw_client::RawClient;

fn connect(mirror: &Mirror, side: Side, name: &str) -> RawClient {
    let mut client = RawClient::connect_to(mirror.addr(side));
    assert!(client.log_on(name).contains("success"));
    client
}

#[test]
fn both_sides_have_one_order_and_the_same_bookmarks() {
    let mirror = Mirror::start(FakeServer::builder()).unwrap();
    let mut readers = [Side::A, Side::B].map(|side| connect(&mirror, side, side.name()));
    for reader in &mut readers {
        let ack = reader.ask(r#"{"c":"subscribe","cid":"1","sub_id":"s","t":"T","bm":"0","a":"processed"}"#);
        assert!(ack.contains("success"));
    }
    let mut writers =
        [Side::A, Side::B].map(|side| connect(&mirror, side, &format!("writer at {}", side.name())));
    for n in 1..=20 {
        for writer in &mut writers {
            writer.send(&format!(r#"{{"c":"p","t":"T","s":{n}}}{n}"#));
        }
    }
    let [of_a, of_b] = readers.each_mut().map(|reader| (0..40).map(|_| reader.receive()).collect::<Vec<_>>());
    assert_eq!(of_a, of_b);
}

#[test]
fn a_client_goes_to_the_other_side_and_is_known_there() {
    let mirror = Mirror::start(FakeServer::builder().queue(QueueConfig::new("work"))).unwrap();
    let mut client = connect(&mirror, Side::A, "a");
    client.send(r#"{"c":"p","t":"work","s":7}1"#);
    client.quiet();
    client.send(r#"{"c":"subscribe","sub_id":"s","t":"work"}"#);
    client.receive();
    mirror.kill(Side::A);
    client.ends();
    assert!(TcpStream::connect(mirror.addr(Side::A)).is_err());

    // Its sequence number is known, and its lease has ended with its connection.
    let mut client = RawClient::connect_to(mirror.addr(Side::B));
    assert!(client.log_on("a").contains(r#""s":7"#));
    client.send(r#"{"c":"subscribe","sub_id":"s","t":"work"}"#);
    assert!(client.receive().ends_with('1'));
    mirror.restart(Side::A).unwrap();
    connect(&mirror, Side::A, "b").quiet();
}
