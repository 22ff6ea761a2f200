//! Whatever is published, deleted or expires: what subscribers can build from what they are told
//! is what a naive model of the world says (AC-SOW-08). Out-of-focus messages, deltas, windows,
//! results over groups, views and joins are compared after every step.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use amps_protocol::{CommandKind, Message};
use amps_testkit::{FakeServer, Join, JoinField, SowConfig, SowExpiration, ViewConfig, ViewSource};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use support::in_process::InProcess;
use support::stage::Stage;

/// How long a record lives that nobody touches.
const LIFE: u64 = 20;

#[derive(Clone, Debug)]
enum Operation {
    Publish {
        id: u8,
        cat: u8,
        v: i32,
    },
    Delta {
        id: u8,
        cat: Option<u8>,
        v: Option<i32>,
    },
    DeleteMatching {
        cat: u8,
    },
    DeleteById {
        id: u8,
    },
    Label {
        cat: u8,
        name: u8,
    },
    Unlabel {
        cat: u8,
    },
    Advance {
        seconds: u64,
    },
    /// Somebody else begins to listen.
    Listen {
        kind: usize,
    },
    /// A window moves.
    Turn {
        skip: usize,
        size: usize,
    },
    /// A filter is replaced.
    Refocus {
        cat: u8,
    },
}

fn operation() -> impl Strategy<Value = Operation> {
    let (id, cat, v) = (0u8..6, 0u8..3, -5i32..5);
    prop_oneof![
        6 => (id.clone(), cat.clone(), v.clone()).prop_map(|(id, cat, v)| Operation::Publish { id, cat, v }),
        4 => (id.clone(), prop::option::of(cat.clone()), prop::option::of(v))
            .prop_map(|(id, cat, v)| Operation::Delta { id, cat, v }),
        1 => cat.clone().prop_map(|cat| Operation::DeleteMatching { cat }),
        2 => id.prop_map(|id| Operation::DeleteById { id }),
        2 => (cat.clone(), 0u8..3).prop_map(|(cat, name)| Operation::Label { cat, name }),
        1 => cat.clone().prop_map(|cat| Operation::Unlabel { cat }),
        2 => (0u64..15).prop_map(|seconds| Operation::Advance { seconds }),
        2 => (0usize..KINDS.len()).prop_map(|kind| Operation::Listen { kind }),
        1 => (0usize..3, 1usize..4).prop_map(|(skip, size)| Operation::Turn { skip, size }),
        1 => cat.prop_map(|cat| Operation::Refocus { cat }),
    ]
}

/// What the world is, as anybody would write it.
#[derive(Default)]
struct Model {
    now: u64,
    /// By id: the category, the value, and when it expires.
    items: BTreeMap<u8, (u8, i32, u64)>,
    labels: BTreeMap<u8, u8>,
}

impl Model {
    fn put(&mut self, id: u8, cat: u8, v: i32) {
        self.items.insert(id, (cat, v, self.now + LIFE));
    }

    fn advance(&mut self, seconds: u64) {
        self.now += seconds;
        let now = self.now;
        self.items.retain(|_, (.., expires)| *expires > now);
    }

    fn bodies(&self, wanted: impl Fn(u8) -> bool) -> Vec<Value> {
        let items = self.items.iter().filter(|(_, (cat, ..))| wanted(*cat));
        items.map(|(id, (cat, v, _))| json!({"id": id, "cat": cat, "v": v})).collect()
    }

    fn window(&self, skip: usize, size: usize) -> Vec<Value> {
        let mut sorted: Vec<_> = self.items.iter().map(|(id, (cat, v, _))| (*v, *id, *cat)).collect();
        sorted.sort_unstable();
        let shown = sorted.into_iter().skip(skip).take(size);
        shown.map(|(v, id, cat)| json!({"id": id, "cat": cat, "v": v})).collect()
    }

    fn groups(&self) -> Vec<Value> {
        let mut groups: BTreeMap<u8, (i32, i32, i32)> = BTreeMap::new();
        for (cat, v, _) in self.items.values() {
            let (count, sum, most) = groups.entry(*cat).or_insert((0, 0, i32::MIN));
            (*count, *sum, *most) = (*count + 1, *sum + v, (*most).max(*v));
        }
        groups
            .into_iter()
            .map(|(cat, (n, sum, hi))| json!({"cat": cat, "n": n, "sum": sum, "hi": hi}))
            .collect()
    }

    fn first_groups(&self, size: usize) -> Vec<Value> {
        let mut groups = self.groups();
        groups.sort_by_key(|group| (-group["sum"].as_i64().unwrap(), group["cat"].as_u64()));
        groups.truncate(size);
        groups
    }

    /// Groups without a field to group by but the value itself: smallest, greatest and all of it.
    fn extremes(&self) -> Vec<Value> {
        let values = || self.items.values().map(|(_, v, _)| *v);
        let kinds: std::collections::BTreeSet<i32> = values().collect();
        let found = values().min().zip(values().max()).map(|(lo, hi)| {
            let sum: i32 = values().sum();
            let avg = f64::from(sum) / f64::from(u32::try_from(self.items.len()).unwrap());
            json!({"lo": lo, "hi": hi, "avg": avg, "kinds": kinds.len()})
        });
        found.into_iter().collect()
    }

    fn joined(&self) -> Vec<Value> {
        let items = self.items.iter();
        items.map(|(id, (cat, v, _))| json!({"id": id, "v": v, "name": self.labels.get(cat)})).collect()
    }
}

/// What a subscriber asked for, and what it should see.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Focused(u8),
    Deltas(u8),
    Page {
        skip: usize,
        size: usize,
    },
    Groups,
    /// The groups with the greatest sums.
    FirstGroups(usize),
    /// One group of all records.
    Extremes,
    View,
    Joined,
}

const KINDS: [Kind; 9] = [
    Kind::Focused(1),
    Kind::Focused(2),
    Kind::Deltas(1),
    Kind::Page { skip: 1, size: 2 },
    Kind::Groups,
    Kind::FirstGroups(2),
    Kind::Extremes,
    Kind::View,
    Kind::Joined,
];

impl Kind {
    fn command(self, id: &str) -> Value {
        let (command, topic) = match self {
            Self::Deltas(_) => ("sow_and_delta_subscribe", "items"),
            Self::View => ("sow_and_subscribe", "totals"),
            Self::Joined => ("sow_and_subscribe", "joined"),
            _ => ("sow_and_subscribe", "items"),
        };
        let mut command =
            json!({"c": command, "cid": id, "sub_id": id, "t": topic, "bs": 3, "o": "oof", "a": "processed"});
        match self {
            Self::Focused(cat) | Self::Deltas(cat) => command["f"] = json!(format!("/cat = {cat}")),
            Self::Page { skip, size } => {
                command["orderby"] = json!("/v ASC, /id ASC");
                command["o"] = json!(format!("oof,top_n={size},skip_n={skip}"));
            }
            Self::Groups => {
                command["o"] = json!(
                    "oof,projection=[/cat AS /cat,COUNT(/id) AS /n,SUM(/v) AS /sum,MAX(/v) AS /hi],grouping=[/cat]"
                );
            }
            Self::FirstGroups(size) => {
                command["orderby"] = json!("/sum DESC, /cat");
                command["o"] = json!(format!(
                    "oof,top_n={size},skip_n=0,projection=[/cat AS /cat,COUNT(/id) AS /n,SUM(/v) AS /sum,MAX(/v) AS /hi],grouping=[/cat]"
                ));
            }
            Self::Extremes => {
                command["o"] = json!(
                    "oof,projection=[MIN(/v) AS /lo,MAX(/v) AS /hi,AVG(/v) AS /avg,COUNT_DISTINCT(/v) AS /kinds],grouping=[/none]"
                );
            }
            Self::View | Self::Joined => {}
        }
        command
    }

    fn expected(self, model: &Model) -> Vec<Value> {
        match self {
            Self::Focused(cat) | Self::Deltas(cat) => model.bodies(|other| other == cat),
            Self::Page { skip, size } => model.window(skip, size),
            Self::Groups | Self::View => model.groups(),
            Self::FirstGroups(size) => model.first_groups(size),
            Self::Extremes => model.extremes(),
            Self::Joined => model.joined(),
        }
    }
}

/// A subscriber, and the world as it was told.
struct Listener {
    conn: usize,
    id: String,
    kind: Kind,
    world: BTreeMap<String, Map<String, Value>>,
}

impl Listener {
    /// Takes in everything that it was sent.
    fn listen(&mut self, stage: &mut InProcess) {
        while let Some(frame) = stage.poll(self.conn) {
            let message = Message::decode(&frame[..]).unwrap();
            let body = |data: &[u8]| serde_json::from_slice::<Map<String, Value>>(data).unwrap();
            let key = || String::from_utf8(message.sow_key().unwrap().to_vec()).unwrap();
            match message.command() {
                CommandKind::Ack => {
                    assert!(String::from_utf8_lossy(&frame).contains("success"), "{message:?}");
                }
                CommandKind::GroupBegin | CommandKind::GroupEnd => {}
                CommandKind::Sow => {
                    for record in message.records() {
                        let record = record.unwrap();
                        let key = String::from_utf8(record.sow_key().unwrap().to_vec()).unwrap();
                        let old = self.world.insert(key, body(record.data()));
                        assert_eq!(old, None, "told twice: {message:?}");
                    }
                }
                CommandKind::Publish => {
                    // A delta says only what is new; everything else says all.
                    let known = self.world.entry(key()).or_default();
                    if !matches!(self.kind, Kind::Deltas(_)) {
                        known.clear();
                    }
                    known.extend(body(message.data()));
                }
                CommandKind::Oof => {
                    let known = self.world.remove(&key());
                    assert!(known.is_some(), "what left was not there: {message:?}");
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn check(&self, model: &Model) {
        let sorted = |mut values: Vec<Value>| {
            values.sort_by_key(ToString::to_string);
            values
        };
        let seen = self.world.values().cloned().map(Value::Object).collect();
        assert_eq!(sorted(seen), sorted(self.kind.expected(model)), "{:?} ({})", self.kind, self.id);
    }
}

fn send(stage: &mut InProcess, conn: usize, header: &Value, body: &str) {
    let text = format!("{header}{body}");
    let mut bytes = (text.len() as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    stage.send(conn, &bytes, 1);
}

fn connect(stage: &mut InProcess, name: usize) {
    stage.connect();
    send(stage, name, &json!({"c": "logon", "mt": "json", "client_name": format!("c{name}")}), "");
}

fn server() -> InProcess {
    let life = SowExpiration::After(Duration::from_secs(LIFE));
    let totals = ViewConfig::new("totals", ViewSource::Topic("items".into()))
        .group_by("/cat")
        .field("/cat AS /cat")
        .field("COUNT(/id) AS /n")
        .field("SUM(/v) AS /sum")
        .field("MAX(/v) AS /hi");
    let join = Join { left: JoinField::new("items", "/cat"), right: JoinField::new("labels", "/cat") };
    let joined = ViewConfig::new("joined", ViewSource::Joins(vec![join]))
        .group_by("[items]./id")
        .field("[items]./id AS /id")
        .field("[items]./v AS /v")
        .field("[labels]./name AS /name");
    let builder = FakeServer::builder()
        .sow(SowConfig::new("items").key("/id").expiration(life))
        .sow(SowConfig::new("labels").key("/cat"))
        .view(totals)
        .view(joined);
    InProcess::start(builder, None)
}

fn run(operations: &[Operation]) {
    let mut stage = server();
    let mut model = Model::default();
    connect(&mut stage, 0);
    let mut listeners: Vec<Listener> = Vec::new();
    for operation in operations {
        let publish = |topic: &str| json!({"c": "publish", "t": topic});
        let delete = |topic: &str| json!({"c": "sow_delete", "t": topic});
        match *operation {
            Operation::Publish { id, cat, v } => {
                model.put(id, cat, v);
                let body = json!({"id": id, "cat": cat, "v": v}).to_string();
                send(&mut stage, 0, &publish("items"), &body);
            }
            Operation::Delta { id, cat, v } => {
                let Some(&(old_cat, old_v, _)) = model.items.get(&id) else { continue };
                model.put(id, cat.unwrap_or(old_cat), v.unwrap_or(old_v));
                let mut body = json!({"id": id});
                cat.into_iter().for_each(|cat| body["cat"] = json!(cat));
                v.into_iter().for_each(|v| body["v"] = json!(v));
                send(&mut stage, 0, &json!({"c": "delta_publish", "t": "items"}), &body.to_string());
            }
            Operation::DeleteMatching { cat } => {
                model.items.retain(|_, (other, ..)| *other != cat);
                let mut header = delete("items");
                header["f"] = json!(format!("/cat = {cat}"));
                send(&mut stage, 0, &header, "");
            }
            Operation::DeleteById { id } => {
                model.items.remove(&id);
                send(&mut stage, 0, &delete("items"), &json!({"id": id}).to_string());
            }
            Operation::Label { cat, name } => {
                model.labels.insert(cat, name);
                send(&mut stage, 0, &publish("labels"), &json!({"cat": cat, "name": name}).to_string());
            }
            Operation::Unlabel { cat } => {
                model.labels.remove(&cat);
                send(&mut stage, 0, &delete("labels"), &json!({"cat": cat}).to_string());
            }
            Operation::Advance { seconds } => {
                model.advance(seconds);
                stage.advance(Duration::from_secs(seconds));
            }
            Operation::Listen { kind } => {
                let (conn, id, kind) = (listeners.len() + 1, format!("s{}", listeners.len()), KINDS[kind]);
                connect(&mut stage, conn);
                send(&mut stage, conn, &kind.command(&id), "");
                listeners.push(Listener { conn, id, kind, world: BTreeMap::new() });
            }
            Operation::Turn { skip, size } => {
                let page = |listener: &&mut Listener| matches!(listener.kind, Kind::Page { .. });
                let Some(listener) = listeners.iter_mut().find(page) else { continue };
                listener.kind = Kind::Page { skip, size };
                replace(&mut stage, listener);
            }
            Operation::Refocus { cat } => {
                let focused = |listener: &&mut Listener| matches!(listener.kind, Kind::Focused(_));
                let Some(listener) = listeners.iter_mut().find(focused) else { continue };
                listener.kind = Kind::Focused(cat);
                replace(&mut stage, listener);
            }
        }
        for listener in &mut listeners {
            listener.listen(&mut stage);
            listener.check(&model);
        }
    }
}

fn replace(stage: &mut InProcess, listener: &Listener) {
    let mut command = listener.kind.command(&listener.id);
    command["o"] = json!(format!("{},replace", command["o"].as_str().unwrap()));
    send(stage, listener.conn, &command, "");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_subscribers_are_told_is_what_the_world_is(operations in prop::collection::vec(operation(), 1..60)) {
        run(&operations);
    }
}
