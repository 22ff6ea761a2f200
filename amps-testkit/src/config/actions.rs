//! `Actions`: what the server does of its own accord.
//!
//! Understood are: when something expires, is published, or a time comes; to publish, and to
//! delete records. What keeps house where no client sees it is ignored.

use crate::engine::{ActionConfig, ActionStep, ActionTrigger, ExpiryReason, Schedule};
use crate::filter::Filter;

use super::reader::Reader;
use super::schema;
use super::scope::Scope;
use super::units;
use super::xml::Element;

/// What of a `Do` no client sees: it keeps house.
const INVISIBLE: &[&str] = &[
    "journal",
    "-log",
    "statistics",
    "minidump",
    "echo",
    "compact",
    "vacuum",
    "archive",
    "diagnostics",
    "files",
];

pub(super) fn action(reader: &mut Reader, scope: &Scope, element: &Element) -> Option<ActionConfig> {
    reader.check(element, schema::ACTION);
    for name in ["On", "Do"] {
        if element.get(name).is_none() {
            reader.error(element, format!("{name} is missing; add <{name}>...</{name}>"));
        }
    }
    for step in element.all(&["On", "If", "Do"]) {
        reader.check(step, schema::STEP);
        let Some(module) = reader.required(step, "Module") else { continue };
        let known = module.starts_with("amps-action-") || scope.modules.contains(&module);
        if let (false, Some(child)) = (known, step.get("Module")) {
            scope.unknown_module(reader, child, &module);
        }
    }
    let is_visible = |step: &&Element| {
        let module = text(step, "Module").unwrap_or_default();
        !INVISIBLE.iter().any(|part| module.contains(part))
    };
    let visible: Vec<&Element> = element.all(&["Do"]).filter(is_visible).collect();
    if visible.is_empty() {
        reader.ignored(element, "nothing is done");
        return None;
    }
    if element.get("If").is_some() || element.all(&["On"]).count() != 1 {
        reader.not_supported(element, "nothing is done");
        return None;
    }
    let Some((trigger, message_type)) = element.get("On").and_then(|on| trigger(reader, on)) else {
        reader.not_supported(element, "nothing is done");
        return None;
    };
    let mut action = ActionConfig::new(trigger);
    action.place = format!("{}:{}: {}", element.place.file, element.place.line, element.name);
    if let Some(message_type) = message_type {
        action = action.message_type(message_type);
    }
    for act in visible {
        match step(reader, act) {
            Some(step) => action = action.then(step),
            None => reader.not_supported(act, "this step is left out"),
        }
    }
    (!action.steps.is_empty()).then_some(action)
}

/// What makes it run, and the message type that this is about.
fn trigger(reader: &mut Reader, on: &Element) -> Option<(ActionTrigger, Option<String>)> {
    let options = on.get("Options")?;
    let message_type = reader.optional(options, "MessageType");
    let trigger = match text(on, "Module")? {
        "amps-action-on-sow-expire-message" => {
            let reasons = reader.value(options, "Reason", reasons).unwrap_or_default();
            ActionTrigger::Expired { topic: reader.required(options, "Topic")?, reasons }
        }
        "amps-action-on-publish-message" => {
            reader.expression(options, "Filter", Filter::parse_in);
            let filter = reader.optional(options, "Filter");
            ActionTrigger::Published { topic: reader.required(options, "Topic")?, filter }
        }
        "amps-action-on-schedule" => {
            ActionTrigger::Scheduled(reader.value(options, "Every", Schedule::parse)?)
        }
        _ => return None,
    };
    Some((trigger, message_type))
}

fn reasons(text: &str) -> Result<Vec<ExpiryReason>, String> {
    let all = [
        ExpiryReason::TimeLimit,
        ExpiryReason::ForcedExpire,
        ExpiryReason::MaxCancels,
        ExpiryReason::MaxDeliveries,
    ];
    let reason = |name: &str| {
        let known = all.into_iter().find(|reason| reason.as_str() == name.trim());
        known.ok_or_else(|| {
            let names: Vec<&str> = all.iter().map(|reason| reason.as_str()).collect();
            format!("\"{name}\" is no reason; write some of {}", names.join(", "))
        })
    };
    text.split(',').map(reason).collect()
}

fn step(reader: &mut Reader, act: &Element) -> Option<ActionStep> {
    let options = act.get("Options")?;
    match text(act, "Module")? {
        "amps-action-do-publish-message" => Some(ActionStep::Publish {
            message_type: reader.required(options, "MessageType")?,
            topic: reader.required(options, "Topic")?,
            data: reader.required(options, "Data")?,
            delta: reader.value(options, "Delta", units::boolean).unwrap_or_default(),
        }),
        "amps-action-do-delete-sow" => Some(ActionStep::DeleteRecords {
            message_type: reader.required(options, "MessageType")?,
            topic: reader.required(options, "Topic")?,
            filter: reader.required(options, "Filter")?,
        }),
        _ => None,
    }
}

fn text<'e>(element: &'e Element, name: &'e str) -> Option<&'e str> {
    element.get(name)?.text.as_deref().ok()
}
