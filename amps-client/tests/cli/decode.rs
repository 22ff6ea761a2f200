//! `amps decode`: captures from files and from stdin.

use crate::process::{Running, amps, amps_reading, program};

fn frame(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_be_bytes()[..], text.as_bytes()].concat()
}

#[test]
fn a_capture_is_read_from_a_file_or_from_stdin() {
    let capture =
        [frame(r#"{"c":"logon","cid":"0","pw":"hunter2"}"#), frame(r#"{"c":"p","t":"t"}{"id":1}"#)].concat();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("capture");
    std::fs::write(&file, &capture).unwrap();
    let expected = "        0 logon cid=0 pw=<hidden>\n       42 publish t=t, 8 bytes\n";
    assert_eq!(amps(&["decode", file.to_str().unwrap()]).done().text(), expected);
    assert_eq!(amps_reading(capture.clone(), &["decode"]).done().text(), expected);
    assert_eq!(amps_reading(capture.clone(), &["decode", "-"]).done().text(), expected);
    let json = amps_reading(capture, &["decode", "--json"]);
    let lines = json.done().lines();
    assert_eq!(lines[1], r#"{"command":"publish","topic":"t","length":8,"data":{"id":1}}"#);
    assert!(!lines[0].contains("hunter2"));
}

#[test]
fn frames_are_shown_as_they_come() {
    let mut running = Running::start(program(&["decode", "--body"]));
    running.write(&frame(r#"{"c":"p","t":"t"}1"#));
    assert_eq!(running.line(), "        0 publish t=t, 1 bytes 1");
    running.write(&frame(r#"{"c":"p","t":"t"}2"#));
    assert_eq!(running.line(), "       22 publish t=t, 1 bytes 2");
    running.end().done();
}

#[test]
fn a_damaged_capture_is_a_failure_that_says_where() {
    let ended = amps_reading([frame("{}"), frame("{\"c\":")].concat(), &["decode"]);
    assert!(ended.failed(1).contains("1 bad frame;"));
    assert_eq!(ended.lines().len(), 2);
    assert!(amps_reading("\u{0}\u{0}", &["decode"]).failed(1).contains("bad frame"));
    amps(&["decode", "/nowhere/at/all"]).failed(2);
    assert!(amps(&["decode", "/"]).failed(1).contains("directory"));
}

#[test]
fn a_reader_that_has_enough_is_no_failure() {
    let mut running = Running::start(program(&["decode"]));
    running.feed(frame(r#"{"c":"p","t":"t"}1"#).repeat(100_000));
    running.line();
    running.close_stdout();
    let ended = running.end_open();
    assert_eq!((ended.status, ended.stderr.as_str()), (0, ""));
}
