//! `amps sow_delete`.

use amps_testkit::{FakeServer, QueueConfig, SowConfig};

use crate::process::{amps, amps_reading, at};

fn server() -> FakeServer {
    let server = FakeServer::builder()
        .sow(SowConfig::new("vans").key("/id"))
        .queue(QueueConfig::new("work"))
        .start()
        .unwrap();
    for id in 1..=5 {
        server.publish("vans", format!("{{\"id\":{id}}}")).unwrap();
        server.publish("work", format!("{{\"id\":{id}}}")).unwrap();
    }
    server
}

#[test]
fn records_are_deleted_by_filter_by_key_and_by_what_would_update_them() {
    let server = server();
    let address = at(&server);
    let delete = |input: &str, more: &[&str]| {
        let line = [&["sow_delete", "--server", &address, "--topic", "vans"], more].concat();
        amps_reading(input, &line).done().text().to_owned()
    };
    assert!(delete("", &["-filter", "/id > 4"]).starts_with("Deleted 1 records in "));
    let key = server.sow("vans").remove(0).key;
    assert_eq!(
        delete("", &["--keys", &key, "--json"]),
        "{\"records_deleted\":1,\"matches\":1,\"topic_matches\":4}\n"
    );
    assert!(delete("{\"id\":2}", &["--file", "-"]).starts_with("Deleted 1 records in "));
    assert!(delete("{\"id\":3}\n", &[]).starts_with("Deleted 1 records in "), "as spark does");
    assert_eq!(server.sow("vans").len(), 1);
    assert!(delete("", &["--filter", "1=1"]).starts_with("Deleted 1 records in "));
    assert!(server.sow("vans").is_empty());
}

#[test]
fn messages_leave_a_queue() {
    let server = server();
    amps(&["sow-delete", "--server", &at(&server), "--topic", "work", "--filter", "/id < 4"]).done();
    assert_eq!(server.queue("work").unwrap().available.len(), 2);
}

#[test]
fn what_to_delete_has_to_be_said() {
    let server = server();
    // Of a terminal, which the tests of terminals do; what is no terminal is read.
    assert!(
        amps(&["sow_delete", "--server", &at(&server), "--topic", "vans"])
            .done()
            .text()
            .contains("Deleted 0 ")
    );
    amps(&["sow_delete", "--server", &at(&server), "--topic", "vans", "--filter", "/id >>"]).failed(4);
    assert_eq!(server.sow("vans").len(), 5);
}
