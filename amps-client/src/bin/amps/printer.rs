//! How messages are printed.
//!
//! Owns the choice between a template, JSON, what people read, and bare bodies.

use std::io::IsTerminal;

use amps_client::RawMessage;

use crate::escapes::Delimiter;
use crate::human;
use crate::json;
use crate::options::Printing;
use crate::template::{Tag, Template};

enum Form {
    Data,
    Template(Template),
    Json,
    /// With colours or without.
    Human(bool),
}

/// Prints messages in one form.
pub(crate) struct Printer {
    form: Form,
    delimiter: Delimiter,
    /// People read it as it comes.
    pub(crate) on_terminal: bool,
}

impl Printer {
    pub(crate) fn new(options: &Printing) -> Self {
        let on_terminal = std::io::stdout().is_terminal();
        let colours = human::colours(options.color);
        let form = match (&options.format, options.json) {
            (Some(template), _) => Form::Template(template.clone()),
            (None, true) => Form::Json,
            // Whoever sets a delimiter has a program read it.
            (None, false) if (on_terminal || colours) && options.delimiter.is_none() => Form::Human(colours),
            (None, false) => Form::Data,
        };
        Self { form, delimiter: options.delimiter.clone().unwrap_or_default(), on_terminal }
    }

    /// Whether the server has to send the time of each message.
    pub(crate) fn wants_timestamps(&self) -> bool {
        matches!(&self.form, Form::Template(template) if template.shows(Tag::Timestamp))
    }

    /// Appends a message, and what stands behind it.
    pub(crate) fn print<B: AsRef<[u8]>>(&self, message: &RawMessage<B>, out: &mut Vec<u8>) {
        match &self.form {
            Form::Data => out.extend_from_slice(message.data()),
            Form::Template(template) => template.write(message, out),
            Form::Json => json::write(message, out),
            Form::Human(colours) => human::write(message, *colours, out),
        }
        out.extend_from_slice(self.delimiter.bytes());
    }
}
