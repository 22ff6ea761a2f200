//! Recovery points that are kept elsewhere (client.md 7.12).

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use amps_client::bookmarks::MessageId;
use amps_client::{
    BookmarkStore, Client, CommandKind, ConflatingRecoveryPointAdapter, ErrorKind, MemoryBookmarkStore,
    RecoveryPointAdapter, SowRecoveryPointAdapter, StoreError, StoredPoint,
};
use amps_testkit::SowConfig;
use common::{PATIENCE, Peer, aside};

const TOPIC: &str = "/ADMIN/bookmark_store";

const fn id(sequence: u64) -> MessageId {
    MessageId { publisher: 7, sequence }
}

fn process(store: &dyn BookmarkStore, sub: &str, sequence: u64) {
    store.arrived(sub, id(sequence)).unwrap();
    store.discard(sub, id(sequence)).unwrap();
}

fn stored(sub_id: &str, bookmark: &str) -> StoredPoint {
    StoredPoint { sub_id: sub_id.to_owned(), bookmark: bookmark.to_owned() }
}

/// Notes everything that it is told.
#[derive(Default)]
struct Notebook {
    begins_with: Vec<StoredPoint>,
    updates: Mutex<Vec<StoredPoint>>,
    other_calls: Mutex<Vec<String>>,
    /// So many updates fail.
    failures: Mutex<usize>,
    called: Mutex<()>,
}

impl Notebook {
    fn note(&self, call: impl Into<String>) -> Result<(), StoreError> {
        self.other_calls.lock().unwrap().push(call.into());
        Ok(())
    }

    fn last(&self, sub: &str) -> Option<String> {
        let updates = self.updates.lock().unwrap();
        updates.iter().rfind(|point| point.sub_id == sub).map(|point| point.bookmark.clone())
    }
}

impl RecoveryPointAdapter for Notebook {
    fn recovered(&self) -> Result<Vec<StoredPoint>, StoreError> {
        Ok(self.begins_with.clone())
    }

    fn update(&self, point: StoredPoint) -> Result<(), StoreError> {
        let _alone = self.called.try_lock().expect("it is never called twice at the same time");
        let mut failures = self.failures.lock().unwrap();
        if *failures > 0 {
            *failures -= 1;
            return Err(StoreError::other("the database is away"));
        }
        self.updates.lock().unwrap().push(point);
        Ok(())
    }

    fn purge(&self) -> Result<(), StoreError> {
        self.note("purge")
    }

    fn purge_sub(&self, sub_id: &str) -> Result<(), StoreError> {
        self.note(format!("purge_sub {sub_id}"))
    }

    fn prune(&self) -> Result<(), StoreError> {
        self.note("prune")
    }

    fn close(&self) -> Result<(), StoreError> {
        self.note("close")
    }
}

/// RP-9
#[test]
fn a_store_begins_with_what_its_adapter_has() {
    let points = vec![stored("s", "1|5|"), stored("t", "20240101T000000Z"), stored("now", "0|1|")];
    let store =
        MemoryBookmarkStore::new().with_adapter(Notebook { begins_with: points, ..Notebook::default() });
    store.attach("order-worker").unwrap();
    let points = ["s", "t", "now", "u"].map(|sub| store.recovery_point(sub));
    assert_eq!(
        points.each_ref().map(|point| point.bookmark.as_str()),
        ["1|5|", "20240101T000000Z", "0|1|", ""]
    );
    assert_eq!(points.map(|point| point.progress), [true, false, false, false]);
}

/// RP-2
#[test]
fn an_adapter_hears_of_each_move_and_of_nothing_else() {
    let notebook = Arc::new(Notebook::default());
    let store = MemoryBookmarkStore::new().with_adapter(Arc::clone(&notebook));
    store.attach("order-worker").unwrap();
    store.begin("s", "0").unwrap();
    for sequence in 1..=3 {
        store.arrived("s", id(sequence)).unwrap();
    }
    store.discard("s", id(2)).unwrap();
    assert_eq!(*notebook.updates.lock().unwrap(), [stored("s", "0")]);
    store.discard("s", id(1)).unwrap();
    store.persisted("s", id(9)).unwrap();
    store.discard("s", id(3)).unwrap();
    let updates = notebook.updates.lock().unwrap().clone();
    assert_eq!(updates, [stored("s", "0"), stored("s", "7|2|"), stored("s", "7|9|")]);
    store.purge_sub("s").unwrap();
    store.purge().unwrap();
    store.prune().unwrap();
    store.close().unwrap();
    assert_eq!(*notebook.other_calls.lock().unwrap(), ["purge_sub s", "purge", "prune", "close"]);
}

/// C-7-12-2
#[test]
fn a_conflating_adapter_passes_on_few_points_and_in_the_end_the_last() {
    let notebook = Arc::new(Notebook::default());
    let conflating = ConflatingRecoveryPointAdapter::new(Arc::clone(&notebook)).update_threshold(10);
    let store = MemoryBookmarkStore::new().with_adapter(conflating);
    store.attach("order-worker").unwrap();
    for sequence in 1..=100 {
        process(&store, "s", sequence);
    }
    store.close().unwrap();
    let count = notebook.updates.lock().unwrap().len();
    assert!((1..=11).contains(&count), "{count} updates");
    assert_eq!(notebook.last("s").unwrap(), "7|100|");
    assert_eq!(*notebook.other_calls.lock().unwrap(), ["close"]);
}

/// RP-6: never at the same time, which the notebook asserts, and errors go to a listener.
#[test]
fn a_conflating_adapter_calls_one_at_a_time_and_tries_again_what_failed() {
    let notebook = Arc::new(Notebook { failures: Mutex::new(3), ..Notebook::default() });
    let errors = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&errors);
    let conflating = ConflatingRecoveryPointAdapter::new(Arc::clone(&notebook))
        .update_threshold(1)
        .timeout(Duration::ZERO)
        .update_interval(Duration::from_millis(1))
        .on_error(move |error| heard.lock().unwrap().push(error.to_string()));
    let store = MemoryBookmarkStore::new().with_adapter(conflating);
    store.attach("order-worker").unwrap();
    let store = &store;
    std::thread::scope(|scope| {
        for sub in ["a", "b", "c", "d"] {
            scope.spawn(move || (1..=200).for_each(|sequence| process(store, sub, sequence)));
        }
    });
    // Whatever has failed until now is tried again.
    while store.close().is_err() {}
    let told = errors.lock().unwrap().len();
    assert!(told <= 3, "{told} errors");
    let last = ["a", "b", "c", "d"].map(|sub| notebook.last(sub).unwrap());
    assert_eq!(last, ["7|200|"; 4]);
    store.close().unwrap();
    assert_eq!(*notebook.other_calls.lock().unwrap(), ["close"], "once");
}

/// C-7-12-3
#[test]
fn a_discard_becomes_one_record_with_escaped_texts() {
    let peer = Peer::new();
    let (keeper, mut line) = peer.connect(peer.client("keeper"));
    let tracked = "worker \"1\"\\\u{e9}";
    let points = SowRecoveryPointAdapter::new(keeper, tracked).unwrap().topic("points");
    points.update(stored("sub\n\"x\"", "7|1|,9|2|")).unwrap();
    points.update(stored("next", "7|2|")).unwrap();
    let record = line.expect(CommandKind::Publish);
    assert_eq!(record.topic().unwrap(), "points");
    let fields: serde_json::Value = serde_json::from_slice(record.data()).unwrap();
    let expected = serde_json::json!({"clientName": tracked, "subId": "sub\n\"x\"", "bookmark": "7|1|,9|2|"});
    assert_eq!(fields, expected);
    assert!(line.expect(CommandKind::Publish).data().ends_with(br#""subId":"next","bookmark":"7|2|"}"#));
}

fn unconnected(name: &str) -> Client {
    common::client(name).server("tcp://localhost:9007/amps/json").build().unwrap()
}

/// C-7-12-4
#[test]
fn the_client_whose_points_are_kept_cannot_keep_them() {
    let refused = SowRecoveryPointAdapter::new(unconnected("order-worker"), "order-worker").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Usage);
}

#[test]
fn names_of_fields_must_be_names() {
    let points = || SowRecoveryPointAdapter::new(unconnected("keeper"), "w").unwrap();
    assert!(points().fields("client", "sub_id", "b2").is_ok());
    for [client, sub, bookmark] in
        [["a b", "s", "b"], ["", "s", "b"], ["c", "s'", "b"], ["c", "2", "b"], ["c", "b", "b"]]
    {
        let refused = points().fields(client, sub, bookmark).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    }
}

/// RP-7, RP-8: against a server that evaluates the filters.
#[test]
fn points_in_a_topic_are_those_of_one_client_whatever_its_name() {
    let server = common::fake_server()
        .sow(SowConfig::new(TOPIC).key("/clientName").key("/subId"))
        .sow(SowConfig::new("elsewhere").key("/c").key("/s"))
        .start()
        .unwrap();
    let connect = |name: &str| common::client(name).server(common::uri(&server)).connect().unwrap();
    let keeper = connect("keeper");
    let names = [
        "plain",
        "o'brien",
        "say \"hi\"",
        r"back\slash",
        r"\x41",
        "' OR 1=1 OR '",
        "tab\there",
        "\u{e9}t\u{e9}",
        "A",
    ];
    let open = |name: &str| {
        let points = SowRecoveryPointAdapter::new(keeper.clone(), name).unwrap().timeout(PATIENCE);
        let store = MemoryBookmarkStore::new().with_adapter(points);
        store.attach(name).unwrap();
        store
    };
    for (at, name) in names.iter().enumerate() {
        let store = open(name);
        process(&store, "a", 10 + at as u64);
        process(&store, name, 100 + at as u64);
        process(&store, "gone", 1);
        store.purge_sub("gone").unwrap();
        store.close().unwrap();
    }
    for (at, name) in names.iter().enumerate() {
        let store = open(name);
        assert_eq!(store.recovery_point("a").bookmark, format!("7|{}|", 10 + at), "{name}");
        assert_eq!(store.recovery_point(name).bookmark, format!("7|{}|", 100 + at), "{name}");
        assert_eq!(store.recovery_point("gone").bookmark, "", "{name}");
    }
    open("' OR 1=1 OR '").purge().unwrap();
    let left = names.map(|name| !open(name).recovery_point("a").bookmark.is_empty());
    assert_eq!(left, [true, true, true, true, true, false, true, true, true]);

    let points = SowRecoveryPointAdapter::new(keeper.clone(), "w").unwrap().topic("elsewhere");
    let points = points.fields("c", "s", "b").unwrap();
    points.update(stored("x", "1|2|")).unwrap();
    assert_eq!(points.recovered().unwrap(), [stored("x", "1|2|")]);
    points.close().unwrap();
    assert!(keeper.is_connected(), "it may serve others");

    let own = connect("own");
    SowRecoveryPointAdapter::new(own.clone(), "w").unwrap().close_client(true).close().unwrap();
    assert!(!own.is_connected());
}

/// The client does not start from nothing instead.
#[test]
fn records_that_cannot_be_read_and_a_topic_that_is_not_there_are_errors() {
    let server =
        common::fake_server().sow(SowConfig::new(TOPIC).key("/clientName").key("/subId")).start().unwrap();
    let keeper = common::client("keeper").server(common::uri(&server)).connect().unwrap();
    for (record, says) in [
        (r#"{"clientName":"a","subId":"s"}"#, "no text in the field bookmark"),
        (r#"{"clientName":"b","subId":7,"bookmark":"1|2|"}"#, "no text in the field subId"),
    ] {
        keeper.publish(TOPIC, record).unwrap();
        let name = record[15..16].to_owned();
        let store = MemoryBookmarkStore::new()
            .with_adapter(SowRecoveryPointAdapter::new(keeper.clone(), name.as_str()).unwrap());
        let refused = store.attach(&name).unwrap_err().to_string();
        assert!(refused.contains(says), "{refused}");
    }
    let points = SowRecoveryPointAdapter::new(keeper.clone(), "w").unwrap().topic("nowhere");
    assert!(points.recovered().is_err());

    let peer = Peer::new();
    let (keeper, mut line) = peer.connect(peer.client("keeper"));
    let points = SowRecoveryPointAdapter::new(keeper, "w").unwrap().timeout(Duration::from_millis(20));
    let reading = aside(move || points.recovered());
    let query = line.expect(CommandKind::Sow);
    assert_eq!(query.filter().unwrap(), "/clientName = 'w'");
    assert!(reading.join().unwrap().is_err(), "no answer is not the same as no points");
}
