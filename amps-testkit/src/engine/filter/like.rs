//! Patterns: the right side of `LIKE` and the second argument of `REGEXP_*`.
//!
//! AMPS runs PCRE on bytes. Here the engine is `fancy-regex` in its ASCII byte mode: it
//! has look-around and back-references, and a subject need not be UTF-8 ("." is one byte).
//! The pattern is first rewritten where the dialect of that engine differs from PCRE. A
//! search that exceeds the backtracking limit of the engine counts as no match.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::fmt::Write as _;
use std::ops::Range;

use fancy_regex::{BytesMode, Regex, RegexBuilder};

/// A compiled pattern.
#[derive(Debug)]
pub(super) enum Pattern {
    /// `r'...'`: these bytes, literally (TYP-05).
    Verbatim(Box<[u8]>),
    Regex(Box<Regex>),
}

impl Pattern {
    pub(super) fn verbatim(text: &str) -> Self {
        Self::Verbatim(text.as_bytes().into())
    }

    /// Compiles a pattern, or says why it is none.
    pub(super) fn compile(text: &str) -> Result<Self, String> {
        RegexBuilder::new(&translate(text))
            .unicode_mode(false)
            .bytes_mode(BytesMode::Ascii)
            .build()
            .map(|regex| Self::Regex(Box::new(regex)))
            .map_err(|error| error.to_string())
    }

    pub(super) fn is_match(&self, subject: &[u8]) -> bool {
        match self {
            Self::Verbatim(_) => self.find(subject).is_some(),
            Self::Regex(regex) => regex.is_match(subject).unwrap_or(false),
        }
    }

    pub(super) fn find(&self, subject: &[u8]) -> Option<Range<usize>> {
        match self {
            Self::Verbatim(text) => find(subject, text).map(|start| start..start + text.len()),
            Self::Regex(regex) => {
                regex.find_iter(subject).next().and_then(Result::ok).map(|found| found.range())
            }
        }
    }

    /// Every match replaced by the same bytes.
    pub(super) fn replace(&self, subject: &[u8], replacement: &[u8]) -> Vec<u8> {
        match self {
            Self::Verbatim(text) => replace(subject, text, replacement),
            Self::Regex(regex) => {
                let mut out = Vec::with_capacity(subject.len());
                let mut copied = 0;
                for found in regex.find_iter(subject).map_while(Result::ok) {
                    let range = found.range();
                    out.extend_from_slice(subject.get(copied..range.start).unwrap_or_default());
                    out.extend_from_slice(replacement);
                    copied = range.end;
                }
                out.extend_from_slice(subject.get(copied..).unwrap_or_default());
                out
            }
        }
    }
}

/// Where `part` first is in `text`; an empty part is at the start.
pub(super) fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    if part.is_empty() {
        return Some(0);
    }
    text.windows(part.len()).position(|window| window == part)
}

/// Every occurrence of `from` replaced, left to right; an empty `from` occurs nowhere.
pub(super) fn replace(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    if !from.is_empty() {
        while let Some(start) = find(rest, from) {
            out.extend_from_slice(&rest[..start]);
            out.extend_from_slice(to);
            rest = &rest[start + from.len()..];
        }
    }
    out.extend_from_slice(rest);
    out
}

/// PCRE as `fancy-regex` understands it.
///
/// What differs: `$` also matches before a final newline, `\h` is a blank, `\0` starts
/// an octal escape, `\Q...\E` quotes, a class has no `&&`, no `~~` and no nested class, and
/// outside ASCII a character of a class is as many bytes. The flag `A` at the start of
/// the pattern anchors it.
fn translate(text: &str) -> String {
    let (flags, text) = leading_flags(text);
    let anchored = flags.contains('A');
    let flags: String = flags.chars().filter(|flag| *flag != 'A').collect();
    let mut out = String::with_capacity(text.len() + 16);
    if !flags.is_empty() {
        out.push_str("(?");
        out.push_str(&flags);
        out.push(')');
    }
    if anchored {
        out.push_str("\\A(?:");
    }
    let mut in_class = false;
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let tail = &rest[next.len_utf8()..];
        rest = tail;
        match (next, in_class) {
            ('\\', _) => rest = translate_escape(tail, in_class, &mut out),
            ('[', false) => {
                in_class = true;
                let negation = if tail.starts_with('^') { "^" } else { "" };
                rest = &tail[negation.len()..];
                out.push('[');
                out.push_str(negation);
                if let Some(after) = rest.strip_prefix(']') {
                    out.push_str("\\]");
                    rest = after;
                }
            }
            ('[', true) => match posix_class(tail) {
                Some((class, after)) => {
                    out.push('[');
                    out.push_str(class);
                    rest = after;
                }
                None => out.push_str("\\["),
            },
            (']', true) => {
                in_class = false;
                out.push(']');
            }
            ('&' | '~', true) => {
                out.push('\\');
                out.push(next);
            }
            (other, true) if !other.is_ascii() => {
                for byte in other.encode_utf8(&mut [0; 4]).bytes() {
                    hexadecimal(byte, &mut out);
                }
            }
            ('$', false) => out.push_str("(?:$|(?=\\n\\z))"),
            (other, _) => out.push(other),
        }
    }
    if anchored {
        out.push(')');
    }
    out
}

/// The flags of a `(?flags)` at the very start, and the pattern after it.
fn leading_flags(text: &str) -> (&str, &str) {
    text.strip_prefix("(?")
        .and_then(|rest| rest.split_once(')'))
        .filter(|(flags, _)| !flags.is_empty() && flags.bytes().all(|flag| b"imsxUA-".contains(&flag)))
        .unwrap_or(("", text))
}

/// `:alpha:]` at the start of `text`, and what follows it.
fn posix_class(text: &str) -> Option<(&str, &str)> {
    let name = text.strip_prefix(':')?;
    let length = name.find(|letter: char| !letter.is_ascii_lowercase() && letter != '^')?;
    name[length..].starts_with(":]").then(|| text.split_at(length + 3))
}

/// Translates what follows a backslash; gives what comes after that.
fn translate_escape<'t>(text: &'t str, in_class: bool, out: &mut String) -> &'t str {
    let Some(escaped) = text.chars().next() else {
        out.push('\\'); // the engine reports it
        return text;
    };
    let rest = &text[escaped.len_utf8()..];
    match escaped {
        'Q' => {
            let (quoted, after) = rest.split_once("\\E").unwrap_or((rest, ""));
            for byte in quoted.bytes() {
                hexadecimal(byte, out);
            }
            return after;
        }
        'E' => {}
        '0' => {
            let length = rest.bytes().take(2).take_while(|digit| (b'0'..=b'7').contains(digit)).count();
            let (digits, after) = rest.split_at(length);
            hexadecimal(u8::from_str_radix(digits, 8).unwrap_or(0), out);
            return after;
        }
        'h' => out.push_str(if in_class { " \\t" } else { "[ \\t]" }),
        'H' if !in_class => out.push_str("[^ \\t]"),
        other if !other.is_ascii_alphanumeric() => {
            for byte in other.encode_utf8(&mut [0; 4]).bytes() {
                hexadecimal(byte, out);
            }
        }
        other => {
            out.push('\\');
            out.push(other);
        }
    }
    rest
}

fn hexadecimal(byte: u8, out: &mut String) {
    // Writing to a String cannot fail.
    let _ = write!(out, "\\x{byte:02X}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, subject: &[u8]) -> bool {
        Pattern::compile(pattern).unwrap().is_match(subject)
    }

    #[test]
    fn look_around_and_back_references_work() {
        assert!(matches(r"(.)\1", b"balloon"));
        assert!(!matches(r"(.)\1", b"abc"));
        assert!(matches(r"^(?!x).*$", b"yx"));
        assert!(!matches(r"^(?!x).*$", b"xy"));
        assert!(matches(r"(?<=a)b", b"ab"));
    }

    #[test]
    fn a_subject_is_bytes() {
        assert!(matches("^caf.$", b"caf\xe9"));
        assert!(matches(r"\xe9", b"caf\xe9"));
        assert!(matches(r"^(.)\1$", b"\xff\xff"));
        assert!(matches("é", "é".as_bytes()));
        assert!(matches("^[é]+$", "é".as_bytes()));
        assert!(!matches(r"\w", "é".as_bytes()));
    }

    #[test]
    fn pcre_is_translated() {
        assert!(matches("x$", b"x\n"));
        assert!(!matches("x$", b"x\ny"));
        assert!(matches("(?m)x$", b"x\ny"));
        assert!(!matches(r"^\h$", b"f"));
        assert!(matches(r"^\012$", b"\n"));
        assert!(matches(r"^\Qa+\E$", b"a+"));
        assert!(matches("^[[a]$", b"["));
        assert!(matches("^[]a]$", b"]"));
        assert!(matches("^[a&&b]$", b"&"));
        assert!(matches("^[[:alpha:]]+$", b"abc"));
        assert!(matches(r"^it\'s \<$", b"it's <"));
        assert!(matches(r"^\+\.\[\$$", b"+.[$"));
        assert!(matches("(?A)b", b"bc") && !matches("(?A)b|d", b"cd"));
        assert!(matches("(?i)QUICK", b"quick"));
        assert!(matches("(?x) a b # c", b"ab"));
        assert_eq!(Pattern::compile("(?U)a+").unwrap().find(b"aaa"), Some(0..1));
    }

    #[test]
    fn replacing() {
        assert_eq!(Pattern::compile("[ab]+").unwrap().replace(b"xaby", b"$0"), b"x$0y");
        assert_eq!(Pattern::verbatim("++").replace(b"C++", b"-"), b"C-");
        assert_eq!(replace(b"aaa", b"", b"x"), b"aaa");
    }

    #[test]
    fn a_bad_pattern_is_an_error() {
        for bad in ["(", "a**b(", "[", "\\"] {
            assert!(Pattern::compile(bad).is_err(), "{bad}");
        }
    }
}
