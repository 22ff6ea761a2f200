//! The table of all paths.
//!
//! Owns which methods there are on which path, and what is said where there are none. `GET /`
//! prints it, except for browsers.

use serde_json::{Value, json};

use super::http::{Answer, Refused, Request};
use super::{act, look, page};
use crate::form::FaultError;
use crate::server::FakeServer;
use crate::similar;

/// What was asked, as those who answer see it.
pub(super) struct Call<'r> {
    /// What stands in the path where the table has a name in braces.
    pub(super) names: Vec<&'r str>,
    /// What follows the question mark.
    pub(super) query: &'r [(String, String)],
    /// An empty object if nothing was sent.
    pub(super) body: Value,
    /// Whether it is a browser that wants something to show.
    pub(super) wants_page: bool,
}

impl Call<'_> {
    pub(super) fn name(&self, place: usize) -> &str {
        self.names.get(place).copied().unwrap_or_default()
    }
}

pub(super) type Outcome = Result<Answer, Refused>;

struct Route {
    method: &'static str,
    path: &'static str,
    /// What the body has; none for a request without one.
    body: &'static str,
    about: &'static str,
    answer: Handler,
}

/// As GET, without the body.
const HEAD: &str = "HEAD";

type Handler = fn(&FakeServer, &Call<'_>) -> Outcome;

const fn get(path: &'static str, answer: Handler, about: &'static str) -> Route {
    Route { method: "GET", path, body: "", about, answer }
}

const fn post(path: &'static str, body: &'static str, answer: Handler, about: &'static str) -> Route {
    Route { method: "POST", path, body, about, answer }
}

const ROUTES: &[Route] = &[
    get("/", list, "what there is; in a browser, a page that shows the server while it works"),
    get("/overview", page::overview, "what the page shows: the first or last few of everything, cut short"),
    get("/state", look::state, "everything that the server holds, at one moment"),
    get("/state/connections", look::connections, "the connections with their subscriptions"),
    get("/state/subscriptions", look::subscriptions, "the subscriptions of all connections"),
    get("/state/topics", look::topics, "the topics with a state of the world"),
    get("/state/sow/{topic}", look::sow, "the records of a topic"),
    get("/state/log", look::log, "the transaction log, oldest first"),
    get("/state/queues", look::queues, "the queues with their messages"),
    get("/state/queues/{name}", look::queue, "a queue with its messages"),
    get("/state/sequences", look::sequences, "the sequence numbers of publishers"),
    get("/state/links", look::links, "the links to other instances"),
    get("/state/timers", look::timers, "what waits for the clock, the earliest first"),
    get("/state/counters", look::counters, "totals since the start"),
    get("/next_timer", look::next_timer, "what the clock does next"),
    get("/journal", look::journal, "what happened; ?since=SEQUENCE leaves out what came before"),
    get("/lint", look::lint, "what clients should perhaps not have done"),
    get("/faults", look::faults, "the scripted faults, and how often they fired"),
    post(
        "/faults",
        r#"{"when": {"outbound": 3}, "then": {"drop_mid_frame": 7}}"#,
        act::add_fault,
        "adds a scripted fault",
    ),
    Route {
        method: "DELETE",
        path: "/faults/{id}",
        body: "",
        about: "takes a fault away, with what it does lastingly",
        answer: act::remove_fault,
    },
    post("/clock/advance", r#"{"by": "30s"}"#, act::advance, "moves the virtual clock"),
    post("/clock/set", r#"{"to": "20260101T000030Z"}"#, act::set_clock, "moves the virtual clock to a time"),
    post(
        "/publish",
        r#"{"topic": "orders", "json": {"id": 1}}"#,
        act::publish,
        "publishes; body instead of json for any other text, and message_type, publisher, sequence, key, correlation, expiration, delta",
    ),
    post(
        "/seed",
        r#"{"records": [], "log": [], "queue": [], "sequences": {"app": 7}}"#,
        act::seed,
        "puts messages in place, each as for /publish, with a time and a bookmark of choice",
    ),
    post(
        "/expect",
        r#"{"frame": {"command": "publish", "topic": "orders"}, "times": 2}"#,
        act::expect,
        "expects frames of clients; at_least or never instead of times, or {\"nothing_else\": true}",
    ),
    post("/verify", "", act::verify, "whether all that was expected has come; 409 says what has not"),
    post(
        "/settle",
        r#"{"timeout": "5s"}"#,
        act::settle,
        "waits until all that clients have sent is processed",
    ),
    post(
        "/disconnect/{client}",
        r#"{"how": "fin"}"#,
        act::disconnect,
        "ends the connections of a client; fin or reset",
    ),
    post(
        "/disconnect",
        r#"{"how": "fin"}"#,
        act::disconnect_some,
        "ends all connections, or with {\"connection\": 3} the one with this index",
    ),
    post("/transport/{name}/enable", "", act::enable_transport, "opens a listener again"),
    post("/transport/{name}/disable", "", act::disable_transport, "closes a listener, and its connections"),
    post(
        "/entitlements/reset/{user}",
        r#"{"entitlements": [{"kind": "read", "topic": "orders"}]}"#,
        act::reset_entitlements,
        "gives a user other rights, and ends the user's connections",
    ),
    post(
        "/queue/{name}/proxied_transfer",
        r#"{"on": true}"#,
        act::proxied_transfer,
        "takes over messages of a queue whose owner is gone",
    ),
    post("/reset", "", act::reset, "goes back to the start, as between two tests"),
    post("/stop", "", act::stop, "ends the server"),
];

/// Answers one request.
pub(super) fn answer(server: &FakeServer, request: &Request) -> Answer {
    let outcome = find(request).and_then(|(route, call)| (route.answer)(server, &call));
    Answer { head_only: request.method == HEAD, ..outcome.unwrap_or_else(Answer::from) }
}

fn find(request: &Request) -> Result<(&'static Route, Call<'_>), Refused> {
    let on_path = ROUTES.iter().filter_map(|route| Some((route, names(route.path, &request.path)?)));
    let on_path: Vec<_> = on_path.collect();
    let Some((_, names)) = on_path.first() else { return Err(no_path(&request.path)) };
    let method = if request.method == HEAD { "GET" } else { &*request.method };
    let Some((route, _)) = on_path.iter().find(|(route, _)| route.method == method) else {
        let methods: Vec<&str> = on_path.iter().map(|(route, _)| route.method).collect();
        let (path, methods) = (format!("/{}", request.path.join("/")), methods.join(", "));
        let text = format!("{path} does not take {}; use {methods}", request.method);
        return Err(Refused { status: 405, text, allow: Some(methods) });
    };
    if let Some((key, _)) = request.query.iter().find(|(key, _)| route.path != "/journal" || key != "since") {
        let text = format!("{} takes no parameter \"{key}\"; leave it out", route.path);
        return Err(Refused::new(400, text));
    }
    let body = match &request.body[..] {
        [] => json!({}),
        body => serde_json::from_slice(body)
            .map_err(|error| Refused::new(400, format!("the body is not JSON: {error}")))?,
    };
    let wants_page = request.wants_page;
    Ok((route, Call { names: names.clone(), query: &request.query, body, wants_page }))
}

/// What stands where the pattern has a name in braces; `None` if it is another path.
fn names<'r>(pattern: &str, path: &'r [String]) -> Option<Vec<&'r str>> {
    let parts: Vec<&str> = pattern.split('/').filter(|part| !part.is_empty()).collect();
    if parts.len() != path.len() {
        return None;
    }
    let mut names = Vec::new();
    for (part, given) in parts.iter().zip(path) {
        if part.starts_with('{') {
            names.push(given.as_str());
        } else if part != given {
            return None;
        }
    }
    Some(names)
}

fn no_path(path: &[String]) -> Refused {
    let written = format!("/{}", path.join("/"));
    let closest = similar(&written, ROUTES.iter().map(|route| route.path));
    let hint =
        closest.map_or("GET / lists what there is".to_owned(), |path| format!("the closest is {path}"));
    Refused::new(404, format!("there is no {written}; {hint}"))
}

fn list(_: &FakeServer, call: &Call<'_>) -> Outcome {
    if call.wants_page {
        return Ok(Answer::page(page::PAGE, page::POLICY));
    }
    let describe = |route: &Route| {
        let mut entry = json!({"method": route.method, "path": route.path, "about": route.about});
        if let (Some(members), Ok(body)) = (entry.as_object_mut(), serde_json::from_str::<Value>(route.body))
        {
            members.insert("body".to_owned(), body);
        }
        entry
    };
    Ok(json!({"paths": ROUTES.iter().map(describe).collect::<Vec<Value>>()}).into())
}

impl From<FaultError> for Refused {
    fn from(error: FaultError) -> Self {
        let text = if error.key().is_empty() { format!("the body{error}") } else { error.to_string() };
        Self::new(400, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_of_a_body_is_json_and_no_path_is_there_twice() {
        for (place, route) in ROUTES.iter().enumerate() {
            assert!(
                route.body.is_empty() || serde_json::from_str::<Value>(route.body).is_ok(),
                "{}",
                route.path
            );
            let twin = |other: &Route| other.method == route.method && other.path == route.path;
            assert!(!ROUTES[..place].iter().any(twin), "{} {}", route.method, route.path);
        }
    }
}
