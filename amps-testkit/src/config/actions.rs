//! `Actions`: what the server does of its own accord.
//!
//! One of them is supported: to publish what expires in a queue under another topic.

use crate::engine::QueueConfig;

use super::reader::Reader;
use super::schema;
use super::scope::Scope;
use super::xml::Element;

/// What of a `Do` no client sees: it keeps house.
const INVISIBLE: &[&str] =
    &["journal", "-log", "statistics", "minidump", "echo", "compact", "vacuum", "archive", "diagnostics"];

pub(super) fn action(reader: &mut Reader, scope: &Scope, element: &Element, queues: &mut [QueueConfig]) {
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
    if let Some((queue, target)) = dead_letter(element) {
        let queue = queues.iter_mut().find(|candidate| {
            candidate.name == queue && element_type(element) == Some(candidate.message_type.as_str())
        });
        if let Some(queue) = queue {
            queue.dead_letter = Some(target.to_owned());
            return;
        }
    }
    let visible = element.all(&["Do"]).any(|step| {
        let module = text(step, "Module").unwrap_or_default();
        !INVISIBLE.iter().any(|part| module.contains(part))
    });
    if visible {
        reader.not_supported(element, "nothing is done");
    } else {
        reader.ignored(element, "nothing is done");
    }
}

/// A queue, and the topic that a message goes to which expires there, whatever the reason.
fn dead_letter(action: &Element) -> Option<(&str, &str)> {
    let (on, act) = (only(action, "On")?, only(action, "Do")?);
    let expected = text(on, "Module")? == "amps-action-on-sow-expire-message"
        && text(act, "Module")? == "amps-action-do-publish-message"
        && action.get("If").is_none();
    let (when, what) = (on.get("Options")?, act.get("Options")?);
    let whole = text(what, "Data")? == "{{AMPS_DATA}}"
        && when.get("Reason").is_none()
        && text(when, "MessageType")? == text(what, "MessageType")?;
    (expected && whole).then_some(())?;
    Some((text(when, "Topic")?, text(what, "Topic")?))
}

fn element_type(action: &Element) -> Option<&str> {
    text(action.get("On")?.get("Options")?, "MessageType")
}

fn only<'e>(element: &'e Element, name: &'e str) -> Option<&'e Element> {
    let mut found = element.children.iter().filter(|child| child.name == name);
    found.next().filter(|_| found.next().is_none())
}

fn text<'e>(element: &'e Element, name: &'e str) -> Option<&'e str> {
    element.get(name)?.text.as_deref().ok()
}
