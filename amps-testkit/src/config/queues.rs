//! `SOW`: queues (server.md 6.1).

use std::time::Duration;

use amps_protocol::{Bookmark, Position};
use fancy_regex::Regex;

use crate::engine::filter::{Expression, Filter};
use crate::engine::{ExpirationModel, Fairness, Leasing, QueueConfig, QueueKind, RecoveryPoint, Semantics};

use super::reader::{Reader, Subject};
use super::schema;
use super::scope::Scope;
use super::units;
use super::xml::Element;

/// The least that `TargetQueueDepth` can be.
const LEAST_TARGET_DEPTH: u64 = 1_000;

pub(super) fn queue(reader: &mut Reader, scope: &mut Scope, element: &Element) -> Option<QueueConfig> {
    reader.check(element, schema::QUEUE);
    let name = reader.topic_name(element);
    let message_type = scope.required_type(reader, element);
    let (name, message_type) = (name?, message_type?);
    reader.syntax(element, "UnderlyingTopic", Regex::new);
    let parts = ["UnderlyingTopic", "Filter", "FairnessModel"];
    reader.remember(Subject::Queue, &name, element, &parts);
    let mut queue = QueueConfig::new(&name).message_type(&message_type).kind(kind(reader, element));
    scope.topics.push((message_type, name));

    queue.underlying = reader.optional(element, "UnderlyingTopic");
    queue.publish_target = reader.optional(element, "DefaultPublishTarget");
    queue.lease = reader.value(element, "LeasePeriod", units::interval);
    queue.expiration = reader.value(element, "Expiration", queue_expiration).flatten();
    queue.filter = reader.optional(element, "Filter");
    let semantics = [("at-least-once", Semantics::AtLeastOnce), ("at-most-once", Semantics::AtMostOnce)];
    if let Some(semantics) = reader.choice(element, "Semantics", &semantics) {
        queue = queue.semantics(semantics);
    }
    if let Some(most) = reader.value(element, "MaxBacklog", units::count) {
        queue = queue.total_backlog(usize::try_from(most).unwrap_or(usize::MAX));
    }
    if let Some(most) = reader.value(element, "MaxPerSubscriptionBacklog", units::small_count) {
        queue = queue.max_backlog(most);
    }
    let models = [
        ("default", ExpirationModel::Default),
        ("queue", ExpirationModel::Queue),
        ("latest", ExpirationModel::Latest),
        ("earliest", ExpirationModel::Earliest),
    ];
    if let Some(model) = reader.choice(element, "ExpirationModel", &models) {
        queue = queue.expiration_model(model);
    }
    queue.fairness = reader.choice(
        element,
        "FairnessModel",
        &[
            ("fast", Fairness::Fast),
            ("round-robin", Fairness::RoundRobin),
            ("proportional", Fairness::Proportional),
        ],
    );
    let leasing = [("strict", Leasing::Strict), ("sublet", Leasing::Sublet)];
    if let Some(leasing) = reader.choice(element, "Leasing", &leasing) {
        queue = queue.leasing(leasing);
    }
    if let Some(most) = reader.value(element, "MaxDeliveries", units::small_count) {
        queue = queue.max_deliveries(most);
    }
    if let Some(most) = reader.value(element, "MaxCancels", units::small_count) {
        queue = queue.max_cancels(most);
    }
    if let Some(period) = reader.value(element, "DeferredAckExpiration", units::interval) {
        queue = queue.deferred_ack_expiration(period);
    }
    order(reader, element, &mut queue);
    Some(queue)
}

fn queue_expiration(text: &str) -> Result<Option<Duration>, String> {
    if text.eq_ignore_ascii_case("disabled") { Ok(None) } else { units::interval(text).map(Some) }
}

/// What the tag says, and the elements that only one of them has.
fn kind(reader: &mut Reader, element: &Element) -> QueueKind {
    if element.name == "GroupLocalQueue" {
        let initial_owner = reader.required(element, "InitialOwner").unwrap_or_default();
        return QueueKind::GroupLocal {
            initial_owner,
            domain: reader.optional(element, "GroupLocalQueueDomain"),
        };
    }
    for name in ["InitialOwner", "GroupLocalQueueDomain"] {
        if let Some(child) = element.get(name) {
            let text = format!("is not known in {}; remove it, or write GroupLocalQueue", element.name);
            reader.error(child, text);
        }
    }
    if element.name == "LocalQueue" { QueueKind::Local } else { QueueKind::Distributed }
}

/// What changes the order of delivery, and where the queue begins.
fn order(reader: &mut Reader, element: &Element, queue: &mut QueueConfig) {
    reader.expression(element, "Priority", Expression::parse_in);
    reader.expression(element, "BarrierExpression", Filter::parse_in);
    queue.priority = reader.optional(element, "Priority");
    queue.barrier = reader.optional(element, "BarrierExpression");
    queue.target_depth = reader.value(element, "TargetQueueDepth", |text| {
        let depth = units::count(text)?;
        let enough = depth >= LEAST_TARGET_DEPTH;
        enough.then_some(depth).ok_or_else(|| format!("\"{text}\" is too little; write 1000 or more"))
    });
    queue.recovery_point = reader.value(element, "RecoveryPoint", recovery_point).unwrap_or_default();
    let exclusive = ["Priority", "BarrierExpression", "TargetQueueDepth"];
    let given: Vec<&Element> = exclusive.iter().filter_map(|name| element.get(name)).collect();
    if let [first, second, ..] = given.as_slice() {
        reader.error(second, format!("excludes {}; remove one of them", first.name));
    }
}

fn recovery_point(text: &str) -> Result<RecoveryPoint, String> {
    match text.to_ascii_lowercase().as_str() {
        "epoch" => Ok(RecoveryPoint::Epoch),
        "now" => Ok(RecoveryPoint::Now),
        "creation" => Ok(RecoveryPoint::Creation),
        _ => {
            let readable = Bookmark::from(text.as_bytes()).position() != Position::Opaque;
            readable.then(|| RecoveryPoint::At(text.to_owned())).ok_or_else(|| {
                format!(
                    "\"{text}\" is no point in the log; write epoch, now, creation, a bookmark, or a \
                     timestamp such as 20260102T030405Z"
                )
            })
        }
    }
}
