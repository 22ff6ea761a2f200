//! Several clients in one process (client.md 10.5).

mod common;

use amps_client::ErrorKind;
use common::{PATIENCE, until};

/// C-10-5-1
#[test]
fn clients_have_connections_of_their_own_and_end_each_by_itself() {
    let server = common::fake_server().start().unwrap();
    let connect = |name: &str| common::client(name).server(common::uri(&server)).connect().unwrap();
    let (one, two) = (connect("one"), connect("two"));
    let names = || {
        let mut names: Vec<_> = server.connections().into_iter().filter_map(|c| c.client_name).collect();
        names.sort();
        names
    };
    assert_eq!(names(), ["one", "two"]);
    let mut stream = two.subscribe("t").start().unwrap();
    one.close().unwrap();
    until("the end of the first", || names() == ["two"]);
    two.publish("t", "still here").unwrap();
    assert_eq!(stream.next_within(PATIENCE).unwrap().unwrap().data(), b"still here");
    assert_eq!(one.publish("t", "x").unwrap_err().kind(), ErrorKind::Disconnected);
}
