//! The names that a file defines, for those who refer to them.

use std::collections::BTreeMap;

use crate::engine::{BUILT_IN_TYPES, MessageLayout, MessageTypeConfig};

use super::reader::Reader;
use super::schema;
use super::units;
use super::xml::Element;

/// The byte behind a field of FIX, unless `FieldSeparator` says otherwise.
const FIX_SEPARATOR: u8 = 1;

/// The versions whose FIX tags events may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tags {
    Old,
    Default,
    Unified,
}

const TAGS: &[(&str, Tags)] = &[("2", Tags::Old), ("4", Tags::Default), ("5", Tags::Unified)];

/// What is known so far.
#[derive(Debug, Default)]
pub(super) struct Scope {
    pub(super) message_types: Vec<MessageTypeConfig>,
    /// Modules with a library.
    pub(super) modules: Vec<String>,
    /// Configured protocols, and what they are based on.
    pub(super) protocols: BTreeMap<String, String>,
    /// Everything in `SOW` so far: message type and name.
    pub(super) topics: Vec<(String, String)>,
}

impl Scope {
    pub(super) fn modules(&mut self, reader: &mut Reader, modules: &Element) {
        reader.check(modules, schema::MODULES);
        for module in modules.all(&["Module"]) {
            reader.check(module, schema::MODULE);
            self.modules.extend(reader.required(module, "Name"));
            reader.required(module, "Library");
            reader.ignored(module, "the library is not loaded");
        }
    }

    pub(super) fn protocols(&mut self, reader: &mut Reader, protocols: &Element) {
        reader.check(protocols, schema::PROTOCOLS);
        for protocol in protocols.all(&["Protocol"]) {
            reader.check(protocol, schema::PROTOCOL);
            let name = reader.required(protocol, "Name");
            let module = reader.required(protocol, "Module");
            self.protocols.extend(name.zip(module));
        }
    }

    pub(super) fn message_types(&mut self, reader: &mut Reader, types: &Element) {
        reader.check(types, schema::MESSAGE_TYPES);
        for element in types.all(&["MessageType"]) {
            reader.check(element, schema::MESSAGE_TYPE);
            let Some(name) = reader.required(element, "Name") else { continue };
            let module = match element.get("Module") {
                None => Some(name.clone()),
                Some(child) => reader.text(child),
            };
            let layout = module.and_then(|module| self.layout(reader, element, &module));
            let Some(layout) = layout else { continue };
            if self.message_types.iter().any(|known| known.name == name) {
                reader.error(element, format!("the message type \"{name}\" is defined twice; rename one"));
                continue;
            }
            // A definition that repeats what is built in changes nothing.
            let built_in = match name.as_str() {
                "json" => layout == MessageLayout::Json,
                "xml" => layout == MessageLayout::Xml,
                "fix" => layout == MessageLayout::Fix { separator: FIX_SEPARATOR },
                "nvfix" => layout == MessageLayout::Nvfix { separator: FIX_SEPARATOR },
                _ => layout == MessageLayout::Opaque && BUILT_IN_TYPES.contains(&name.as_str()),
            };
            if !built_in && layout == MessageLayout::Opaque {
                let what = "to the server, messages of this type are bytes without fields";
                reader.not_supported(element, what);
            }
            let tags = reader.choice(element, "AMPSVersionCompliance", TAGS);
            let unified = tags == Some(Tags::Unified);
            if let (Some(Tags::Old), Some(child)) = (tags, element.get("AMPSVersionCompliance")) {
                reader.not_supported(child, "events have the tags of version 4");
            }
            self.message_types.push(MessageTypeConfig::new(name, layout).unified_tags(unified));
        }
    }

    fn layout(&self, reader: &mut Reader, element: &Element, module: &str) -> Option<MessageLayout> {
        let separator = reader.value(element, "FieldSeparator", units::byte).unwrap_or(FIX_SEPARATOR);
        let early = reader.value(element, "EarlyTerminationOptimization", units::boolean).unwrap_or(true);
        if let (Some(child), true) = (element.get("EarlyTerminationOptimization"), module != "json") {
            reader.ignored(child, "only messages of the module json are read in part");
        }
        let mut parts = Vec::new();
        for part in element.all(&["MessageType"]) {
            let Some(name) = reader.text(part) else { continue };
            if self.knows_type(&name) {
                parts.push(name);
            } else {
                self.unknown_type(reader, part, &name);
            }
        }
        let composite = matches!(module, "composite-local" | "composite-global");
        if composite && element.get("MessageType").is_none() {
            reader.error(element, "MessageType is missing; add one for each part of the composite");
        } else if let (false, Some(part)) = (composite, element.get("MessageType")) {
            let module = element.get("Module").unwrap_or(part);
            reader.error(module, "has no parts; write composite-local or composite-global");
        }
        Some(match module {
            "json" if early => MessageLayout::Json,
            "json" => MessageLayout::JsonLast,
            "fix" => MessageLayout::Fix { separator },
            "nvfix" => MessageLayout::Nvfix { separator },
            "xml" => MessageLayout::Xml,
            "composite-local" => MessageLayout::CompositeLocal(parts),
            "composite-global" => MessageLayout::CompositeGlobal(parts),
            "bflat" | "msgpack" | "bson" | "binary" | "protobuf" | "struct" | "soapfix" => {
                MessageLayout::Opaque
            }
            module if self.modules.iter().any(|known| known == module) => MessageLayout::Opaque,
            module => {
                let at = element.get("Module").unwrap_or(element);
                self.unknown_module(reader, at, module);
                return None;
            }
        })
    }

    pub(super) fn unknown_module(&self, reader: &mut Reader, at: &Element, module: &str) {
        let text =
            format!("the module \"{module}\" is not defined; define it in Modules, or correct its name");
        reader.error(at, text);
    }

    fn knows_type(&self, name: &str) -> bool {
        BUILT_IN_TYPES.contains(&name) || self.message_types.iter().any(|known| known.name == name)
    }

    fn unknown_type(&self, reader: &mut Reader, at: &Element, name: &str) {
        let configured = self.message_types.iter().map(|known| known.name.as_str());
        let similar = crate::similar(name, BUILT_IN_TYPES.iter().copied().chain(configured));
        let instead = similar
            .map_or_else(|| "define it in MessageTypes".to_owned(), |similar| format!("write {similar}"));
        reader.error(at, format!("the message type \"{name}\" is not defined; {instead}"));
    }

    /// The message type in a child, which has to be defined.
    pub(super) fn message_type(&self, reader: &mut Reader, parent: &Element) -> Option<String> {
        let child = parent.get("MessageType")?;
        let name = reader.text(child)?;
        if !self.knows_type(&name) {
            self.unknown_type(reader, child, &name);
            return None;
        }
        Some(name)
    }

    /// As [`Scope::message_type`], where the child has to be there.
    pub(super) fn required_type(&self, reader: &mut Reader, parent: &Element) -> Option<String> {
        if parent.get("MessageType").is_none() {
            reader.required(parent, "MessageType");
        }
        self.message_type(reader, parent)
    }

    /// Reports a child that refers to a topic that is not defined before (VIEW-01, CT-01).
    pub(super) fn refer(&self, reader: &mut Reader, at: &Element, topic: &str) {
        if !self.topics.iter().any(|(_, name)| name == topic) {
            let text =
                format!("the topic \"{topic}\" is not defined before this; define it in SOW, further up");
            reader.error(at, text);
        }
    }
}
