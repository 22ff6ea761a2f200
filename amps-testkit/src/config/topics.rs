//! `SOW`: topics, views and conflated topics.

use std::time::Duration;

use fancy_regex::Regex;

use crate::engine::filter::{Assignment, Filter, Path, Projection};
use crate::engine::{
    ConflatedTopicConfig, Join, JoinField, RecoveryPoint, SowConfig, SowExpiration, SowHistory, ViewConfig,
    ViewSource,
};

use super::reader::{Reader, Subject};
use super::schema;
use super::scope::Scope;
use super::units;
use super::xml::Element;

/// The shortest interval of a conflated topic (CT-01).
const SHORTEST_CONFLATION: Duration = Duration::from_millis(100);

pub(super) fn topic(reader: &mut Reader, scope: &mut Scope, element: &Element) -> Option<SowConfig> {
    reader.check(element, schema::SOW_TOPIC);
    let name = reader.topic_name(element);
    let message_type = scope.required_type(reader, element);
    let (name, message_type) = (name?, message_type?);
    reader.remember(Subject::Topic, &name, element, &[]);
    reader.syntax(element, "Key", Path::parse);
    reader.syntax(element, "Pattern", Regex::new);
    let mut topic = SowConfig::new(&name).message_type(&message_type);
    for key in reader.texts(element, "Key") {
        topic = topic.key(key);
    }
    if let Some(domain) = reader.optional(element, "KeyDomain") {
        topic = topic.key_domain(domain);
    }
    if let Some(pattern) = reader.optional(element, "Pattern") {
        topic = topic.pattern(pattern);
    }
    if let Some(child) = element.get("KeyGenerator") {
        let what = match element.get("Key") {
            Some(_) => "keys are made of the Key fields",
            None => "publishers have to give the key of each record; write Key, if fields can make it",
        };
        reader.not_supported(child, what);
    }
    let expiration = reader.value(element, "Expiration", sow_expiration).unwrap_or_default();
    topic = topic.expiration(expiration);
    if let Some(child) = element.get("History") {
        if expiration != SowExpiration::Disabled {
            reader.error(child, "a topic with History cannot expire; write disabled in Expiration");
        }
        if element.get("Pattern").is_some() {
            reader.error(child, "a topic with a Pattern cannot have a History; remove one");
        }
        if let Some(history) = history(reader, child) {
            topic = topic.history(history);
        }
    }
    for field in reader.fields(element, "Preprocessing") {
        topic = topic.preprocess(field);
    }
    for field in reader.fields(element, "Enrichment") {
        topic = topic.enrich(field);
    }
    if let Some(child) = element.get("Preprocessing") {
        reader.expression(child, "Field", Assignment::parse_alone);
    }
    if let Some(child) = element.get("Enrichment") {
        reader.expression(child, "Field", Assignment::parse_in);
    }
    let durabilities = [("persistent", false), ("transient", true)];
    let durability = reader.choice(element, "Durability", &durabilities);
    if let Some(transient) = durability.or_else(|| reader.choice(element, "Duration", &durabilities)) {
        topic = topic.transient(transient);
    }
    let points = [("epoch", RecoveryPoint::Epoch), ("now", RecoveryPoint::Now)];
    if let Some(point) = reader.choice(element, "RecoveryPoint", &points) {
        topic = topic.recovery_point(point);
    }
    scope.topics.push((message_type, name));
    Some(topic)
}

fn sow_expiration(text: &str) -> Result<SowExpiration, String> {
    match text.to_ascii_lowercase().as_str() {
        "disabled" => Ok(SowExpiration::Disabled),
        "enabled" => Ok(SowExpiration::Enabled),
        _ => units::interval(text).map(SowExpiration::After).map_err(|_| {
            format!("\"{text}\" is not an expiration; write disabled, enabled, or an interval such as 30s")
        }),
    }
}

fn history(reader: &mut Reader, element: &Element) -> Option<SowHistory> {
    reader.check(element, schema::HISTORY);
    for name in ["Window", "Granularity"] {
        if element.get(name).is_none() {
            reader.required(element, name);
        }
    }
    let window = reader.value(element, "Window", units::interval);
    let granularity = reader.value(element, "Granularity", units::interval);
    Some(SowHistory { window: window?, granularity: granularity? })
}

pub(super) fn view(reader: &mut Reader, scope: &mut Scope, element: &Element) -> Option<ViewConfig> {
    reader.check(element, schema::VIEW);
    let name = reader.topic_name(element);
    let message_type = scope.required_type(reader, element);
    for part in ["UnderlyingTopic", "Projection", "Grouping"] {
        if element.get(part).is_none() {
            reader.required(element, part);
        }
    }
    let source = element.get("UnderlyingTopic").and_then(|child| view_source(reader, scope, child));
    for (part, what) in [("Projection", "field"), ("Grouping", "identifier")] {
        let Some(child) = element.get(part) else { continue };
        if child.get("Field").is_none() {
            reader.error(child, format!("Field is missing; add <Field>...</Field> with each {what}"));
        }
    }
    let (projection, grouping) = (reader.fields(element, "Projection"), reader.fields(element, "Grouping"));
    if let Some(child) = element.get("Projection") {
        reader.expression(child, "Field", Projection::parse_in);
    }
    if let Some(child) = element.get("Grouping") {
        reader.syntax(child, "Field", Path::parse);
    }
    reader.expression(element, "Filter", Filter::parse_in);
    let filter = reader.optional(element, "Filter");
    if let (Some(ViewSource::Joins(_)), Some(child)) = (&source, element.get("Filter")) {
        reader
            .error(child, "a view of joined topics has no filter; remove it, or filter a view of one topic");
    }
    let conflation = reader.choice(element, "Conflation", &[("none", false), ("inline", true)]);
    let domain = reader.optional(element, "KeyDomain");
    let nulls = reader.value(element, "JoinNullEquivalency", units::boolean);

    let (name, message_type, source) = (name?, message_type?, source?);
    reader.remember(Subject::Topic, &name, element, &[]);
    scope.topics.push((message_type.clone(), name.clone()));
    let mut view = ViewConfig::new(name, source)
        .message_type(message_type)
        .inline_conflation(conflation.unwrap_or_default())
        .join_null_equivalency(nulls.unwrap_or_default());
    view.projection = projection;
    view.grouping = grouping;
    view.filter = filter;
    view.domain = domain;
    Some(view)
}

fn view_source(reader: &mut Reader, scope: &Scope, element: &Element) -> Option<ViewSource> {
    if element.children.is_empty() {
        let topic = reader.text(element)?;
        scope.refer(reader, element, &topic);
        return Some(ViewSource::Topic(topic));
    }
    reader.check(element, schema::JOINS);
    let mut joins = Vec::new();
    for child in element.all(&["Join"]) {
        let Some(text) = reader.text(child) else { continue };
        let Some(join) = join(&text) else {
            let text = format!(
                "\"{text}\" is not a join; write [topic].[/field] = [topic].[/field], with types in front"
            );
            reader.error(child, text);
            continue;
        };
        scope.refer(reader, child, &join.left.topic);
        scope.refer(reader, child, &join.right.topic);
        joins.push(join);
    }
    Some(ViewSource::Joins(joins))
}

/// `[topic].[/field] = [type].[topic].[/field]`
fn join(text: &str) -> Option<Join> {
    let (left, right) = text.split_once("]=").or_else(|| text.split_once("] ="))?;
    let left = format!("{left}]");
    Some(Join { left: join_field(&left)?, right: join_field(right)? })
}

fn join_field(text: &str) -> Option<JoinField> {
    let inside = text.trim().strip_prefix('[')?.strip_suffix(']')?;
    let parts: Vec<&str> = inside.split("].[").map(str::trim).collect();
    let field = match parts.as_slice() {
        [topic, field] => JoinField::new(*topic, *field),
        [message_type, topic, field] => JoinField::new(*topic, *field).message_type(*message_type),
        _ => return None,
    };
    let sound = Path::parse(&field.field).is_ok() && !field.topic.is_empty();
    sound.then_some(field)
}

pub(super) fn conflated_topic(
    reader: &mut Reader,
    scope: &mut Scope,
    element: &Element,
) -> Option<ConflatedTopicConfig> {
    reader.check(element, schema::CONFLATED_TOPIC);
    let name = reader.topic_name(element);
    let message_type = scope.required_type(reader, element);
    let underlying = reader.required(element, "UnderlyingTopic");
    if let (Some(child), Some(topic)) = (element.get("UnderlyingTopic"), &underlying) {
        scope.refer(reader, child, topic);
    }
    let interval = reader.value(element, "Interval", |text| {
        let interval = units::interval(text)?;
        let long_enough = interval >= SHORTEST_CONFLATION;
        long_enough.then_some(interval).ok_or_else(|| format!("\"{text}\" is too short; write 100ms or more"))
    });
    reader.expression(element, "Filter", Filter::parse_in);
    let filter = reader.optional(element, "Filter");
    if let Some(child) = element.get("Enrichment") {
        reader.expression(child, "Field", Assignment::parse_in);
    }
    let enrichment = reader.fields(element, "Enrichment");
    let format = reader.optional(element, "TopicFormat");

    let (name, message_type) = (name?, message_type?);
    reader.remember(Subject::Topic, &name, element, &[]);
    scope.topics.push((message_type.clone(), name.clone()));
    let mut topic = ConflatedTopicConfig::new(name, underlying?).message_type(message_type);
    if let Some(interval) = interval {
        topic = topic.interval(interval);
    }
    topic.filter = filter;
    topic.enrichment = enrichment;
    topic.topic_format = format;
    Some(topic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_name_topics_and_fields() {
        let plain = join("[orders].[/customer/id]=[customers].[/id]").unwrap();
        assert_eq!(plain.left, JoinField::new("orders", "/customer/id"));
        assert_eq!(plain.right, JoinField::new("customers", "/id"));
        let typed = join("[nvfix].[orders].[/c] = [json].[customers].[/id]").unwrap();
        assert_eq!(typed.right, JoinField::new("customers", "/id").message_type("json"));
        for text in
            ["", "[a].[/b]", "[a].[/b] = [c]", "[a].[b] = [c].[/d]", "a./b = c./d", "[].[/a]=[b].[/c]"]
        {
            assert_eq!(join(text), None, "{text}");
        }
    }
}
