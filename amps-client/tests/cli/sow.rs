//! `amps sow` and `amps sow_and_subscribe`.

use amps_client::CommandKind;
use amps_testkit::{FakeServer, SowConfig};
use serde_json::Value;

use crate::process::{Running, amps, at, placed, program};

fn server() -> FakeServer {
    let server = FakeServer::builder().sow(SowConfig::new("vans").key("/id")).start().unwrap();
    for id in 1..=5 {
        server.publish("vans", format!("{{\"id\":{id}}}")).unwrap();
    }
    server
}

#[test]
fn a_query_ends_with_its_result() {
    let server = server();
    let address = at(&server);
    let line = ["sow", "-server", &address, "-topic", "vans", "-orderby", "/id DESC"];
    let more = ["-topn", "3", "-batchsize", "2", "-filter", "/id < 5"];
    assert_eq!(
        amps(&[&line[..], &more].concat()).done().lines(),
        [r#"{"id":4}"#, r#"{"id":3}"#, r#"{"id":2}"#]
    );
    assert_eq!(amps(&[&line[..], &["--count", "1"]].concat()).done().lines(), [r#"{"id":5}"#]);
    assert_eq!(amps(&[&line[..], &["--filter", "/id > 9"]].concat()).done().text(), "");
}

#[test]
fn records_have_their_keys() {
    let server = server();
    let line =
        ["sow", "--server", &at(&server), "--topic", "vans", "--filter", "/id = 2", "--format", "{sowkey}"];
    let key = amps(&line).done().text().trim_end().to_owned();
    assert_eq!(server.sow("vans").iter().filter(|record| record.key == key).count(), 1);
    let json = amps(&["sow", "--server", &at(&server), "--topic", "vans", "--filter", "/id = 2", "--json"]);
    let record: Value = serde_json::from_str(json.done().text()).unwrap();
    assert_eq!((record["sowkey"].as_str(), &record["data"]["id"]), (Some(key.as_str()), &Value::from(2)));
    assert_eq!(record["command"], "sow");
}

#[test]
fn records_are_followed_by_what_changes() {
    for name in ["sow_and_subscribe", "sow-and-subscribe"] {
        let server = server();
        let mut running = Running::start(program(&[
            name,
            "--server",
            &at(&server),
            "--topic",
            "vans",
            "--orderby",
            "/id",
            "--options",
            "oof",
            "--filter",
            "/id > 3",
            "--count",
            "4",
            "--format",
            "{command} {data}",
        ]));
        placed(&server, CommandKind::SowAndSubscribe, 1);
        assert_eq!(running.line(), r#"sow {"id":4}"#);
        assert_eq!(running.line(), r#"sow {"id":5}"#);
        server.publish("vans", r#"{"id":6}"#).unwrap();
        assert_eq!(running.line(), r#"publish {"id":6}"#);
        let client = amps_client::Client::builder("d").server(server.uri("json")).connect().unwrap();
        client.sow_delete(&amps_client::SowDelete::by_filter("vans", "/id = 6")).unwrap();
        assert!(running.end().done().text().starts_with("oof "));
    }
}

#[test]
fn deltas_follow_the_records() {
    let server = server();
    let mut running = Running::start(program(&[
        "sow_and_subscribe",
        "--server",
        &at(&server),
        "--topic",
        "vans",
        "--filter",
        "/id = 1",
        "--delta",
        "--count",
        "2",
    ]));
    assert_eq!(running.line(), r#"{"id":1}"#);
    server.publish("vans", r#"{"id":1,"load":2}"#).unwrap();
    assert_eq!(running.line(), r#"{"id":1,"load":2}"#);
    running.end().done();
}

#[test]
fn a_copy_of_deltas_is_updated_by_deltas() {
    let (server, other) =
        (server(), FakeServer::builder().sow(SowConfig::new("vans").key("/id")).start().unwrap());
    let mut running = Running::start(program(&[
        "sow_and_subscribe",
        "--server",
        &at(&server),
        "--topic",
        "vans",
        "--filter",
        "/id = 1",
        "--delta",
        "--count",
        "3",
        "--copy",
        &at(&other),
    ]));
    running.line();
    for load in ["\"load\":2", "\"at\":\"A\""] {
        let client = amps_client::Client::builder("d").server(server.uri("json")).connect().unwrap();
        client.delta_publish("vans", format!("{{\"id\":1,{load}}}")).unwrap();
        running.line();
    }
    running.end().done();
    assert_eq!(other.sow("vans")[0].body, br#"{"id":1,"load":2,"at":"A"}"#);
}
