//! Messages on a terminal.
//!
//! Owns colours, and that nothing which came over the wire reaches a terminal as a control sequence.

use std::io::IsTerminal;

use amps_client::RawMessage;
use anstyle::{AnsiColor, Style};

use crate::options::Color;
use crate::template::word;

const DIM: Style = Style::new().dimmed();
const KEY: Style = AnsiColor::Cyan.on_default();
const TEXT: Style = AnsiColor::Green.on_default();
const OTHER: Style = AnsiColor::Yellow.on_default();

/// Whether to use colours on stdout.
pub(crate) fn colours(when: Color) -> bool {
    match when {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
            let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
            std::io::stdout().is_terminal() && !set("NO_COLOR") && !dumb
        }
    }
}

/// Appends a message: where it is from, then what it says.
pub(crate) fn write<B: AsRef<[u8]>>(message: &RawMessage<B>, colours: bool, out: &mut Vec<u8>) {
    let mut about = String::new();
    let mut add = |text: String| {
        about.push_str(&text);
        about.push(' ');
    };
    if message.command() != amps_client::CommandKind::Publish {
        add(word(message));
    }
    let fields = [message.topic(), message.sow_key(), message.bookmark()];
    fields.into_iter().flatten().for_each(|field| add(field.escape_ascii().to_string()));
    if let Some(reason) = message.oof_reason().and(message.reason()) {
        add(format!("({})", reason.escape_ascii()));
    }
    painted(&about, DIM, colours, out);
    data(message.data(), colours, out);
}

/// Appends a body: JSON in colours, text as it is, the rest escaped.
pub(crate) fn data(data: &[u8], colours: bool, out: &mut Vec<u8>) {
    let Ok(text) = std::str::from_utf8(data) else {
        return out.extend_from_slice(data.escape_ascii().to_string().as_bytes());
    };
    let is_json = colours && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    if is_json {
        return json(text, out);
    }
    visible(text, out);
}

/// Text without its control characters, which are escaped.
fn visible(text: &str, out: &mut Vec<u8>) {
    for c in text.chars() {
        if c.is_control() {
            out.extend_from_slice(c.escape_default().to_string().as_bytes());
        } else {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}

/// JSON, which it is, token by token.
fn json(text: &str, out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => string_length(rest),
            '{' | '}' | '[' | ']' | ':' | ',' => 1,
            c if c.is_whitespace() => 1,
            _ => rest.find(['{', '}', '[', ']', ':', ',', ' ', '\n', '\r', '\t']).unwrap_or(rest.len()),
        };
        let (token, behind) = rest.split_at(length.max(1));
        match first {
            '"' if behind.trim_start().starts_with(':') => painted(token, KEY, true, out),
            '"' => painted(token, TEXT, true, out),
            '\n' | '\r' | '\t' => out.push(b' '),
            '{' | '}' | '[' | ']' | ':' | ',' | ' ' => out.extend_from_slice(token.as_bytes()),
            _ => painted(token, OTHER, true, out),
        }
        rest = behind;
    }
}

/// Bytes of the string that a text begins with, its quotes included.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn painted(text: &str, style: Style, colours: bool, out: &mut Vec<u8>) {
    if !colours {
        return visible(text, out);
    }
    out.extend_from_slice(style.render().to_string().as_bytes());
    visible(text, out);
    out.extend_from_slice(style.render_reset().to_string().as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(frame: &[u8], colours: bool) -> String {
        let mut out = Vec::new();
        write(&RawMessage::decode(frame).unwrap(), colours, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_message_says_where_it_is_from() {
        assert_eq!(
            shown(br#"{"c":"p","t":"orders","k":"9","bm":"7|1|"}{"id":1}"#, false),
            r#"orders 9 7|1| {"id":1}"#
        );
        assert_eq!(shown(br#"{"c":"oof","t":"t","reason":"match"}{}"#, false), "oof t (match) {}");
    }

    #[test]
    fn colours_change_no_character() {
        let frame = "{\"c\":\"p\",\"t\":\"t\"}{\"k\\\"\":[\"é\",1.5,true, null]}".as_bytes();
        let coloured = shown(frame, true);
        assert!(coloured.contains("\u{1b}["));
        let mut plain = String::new();
        let mut rest = coloured.as_str();
        while let Some((before, behind)) = rest.split_once('\u{1b}') {
            plain.push_str(before);
            rest = behind.split_once('m').unwrap().1;
        }
        assert_eq!(plain + rest, shown(frame, false));
    }

    #[test]
    fn no_control_sequence_gets_through() {
        for colours in [false, true] {
            for frame in
                [&b"{\"c\":\"p\",\"t\":\"t\"}\x1b[2J\xc2\x9b"[..], b"{\"c\":\"p\",\"t\":\"t\"}\xff\x1b[2J"]
            {
                assert!(!shown(frame, colours).contains("\u{1b}[2J"));
                assert!(!shown(frame, colours).contains('\u{9b}'));
            }
        }
    }
}
