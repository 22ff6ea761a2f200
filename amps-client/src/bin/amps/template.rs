//! What `--format` says: text with tags, the tags being those of `spark`.
//!
//! Owns the tags and what each shows of a message.

use amps_client::{CommandKind, RawMessage};
use nom::branch::alt;
use nom::bytes::complete::{tag, take_while1};
use nom::character::complete::anychar;
use nom::combinator::{all_consuming, map};
use nom::multi::many0;
use nom::sequence::delimited;
use nom::{IResult, Parser};

use crate::escapes::escape;

/// A field of a message that a template may show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    Bookmark,
    Command,
    CorrelationId,
    Data,
    Expiration,
    LeasePeriod,
    Length,
    SowKey,
    UserId,
    Timestamp,
    Topic,
}

const TAGS: &[(&str, Tag)] = &[
    ("bookmark", Tag::Bookmark),
    ("command", Tag::Command),
    ("correlation_id", Tag::CorrelationId),
    ("data", Tag::Data),
    ("expiration", Tag::Expiration),
    ("lease_period", Tag::LeasePeriod),
    ("length", Tag::Length),
    ("sowkey", Tag::SowKey),
    ("user_id", Tag::UserId),
    ("timestamp", Tag::Timestamp),
    ("topic", Tag::Topic),
];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Vec<u8>),
    Tag(Tag),
}

/// A template that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template(Vec<Part>);

impl Template {
    /// Reads a template. Braces that hold no name are text.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (_, found) =
            all_consuming(many0(part)).parse(text).map_err(|_| "it cannot be read".to_owned())?;
        let mut parts: Vec<Part> = Vec::new();
        let mut text = Vec::new();
        for one in found {
            match one {
                Found::Byte(byte) => text.push(byte),
                Found::Char(c) => text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                Found::Name(name) => {
                    let known = TAGS.iter().find(|(known, _)| *known == name);
                    let (_, tag) = known.ok_or_else(|| {
                        let names: Vec<&str> = TAGS.iter().map(|(name, _)| *name).collect();
                        format!("there is no tag {{{name}}}; there are {{{}}}", names.join("} {"))
                    })?;
                    parts.push(Part::Text(std::mem::take(&mut text)));
                    parts.push(Part::Tag(*tag));
                }
            }
        }
        parts.push(Part::Text(text));
        Ok(Self(parts))
    }

    pub(crate) fn shows(&self, tag: Tag) -> bool {
        self.0.contains(&Part::Tag(tag))
    }

    /// Appends what it makes of a message.
    pub(crate) fn write<B: AsRef<[u8]>>(&self, message: &RawMessage<B>, out: &mut Vec<u8>) {
        for part in &self.0 {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Tag(tag) => show(*tag, message, out),
            }
        }
    }
}

/// The word for a command, as the official documentation writes it.
pub(crate) fn word<B: AsRef<[u8]>>(message: &RawMessage<B>) -> String {
    match message.command() {
        CommandKind::Publish => "publish".to_owned(),
        CommandKind::Unknown | CommandKind::Missing => {
            message.get(amps_protocol::Field::Command).map(ToString::to_string).unwrap_or_default()
        }
        known => known.token().to_owned(),
    }
}

fn show<B: AsRef<[u8]>>(tag: Tag, message: &RawMessage<B>, out: &mut Vec<u8>) {
    let text = match tag {
        Tag::Bookmark => message.bookmark(),
        Tag::CorrelationId => message.correlation_id(),
        Tag::LeasePeriod => message.lease(),
        Tag::SowKey => message.sow_key(),
        Tag::UserId => message.user_id(),
        Tag::Timestamp => message.timestamp(),
        Tag::Topic => message.topic(),
        Tag::Data => return out.extend_from_slice(message.data()),
        Tag::Command => return out.extend_from_slice(word(message).as_bytes()),
        Tag::Length => return number(message.data().len() as u64, out),
        Tag::Expiration => {
            return message.expiration().into_iter().for_each(|seconds| number(seconds, out));
        }
    };
    out.extend_from_slice(text.map_or(&[][..], |text| text));
}

fn number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(number.to_string().as_bytes());
}

enum Found<'a> {
    Byte(u8),
    Char(char),
    Name(&'a str),
}

fn part(input: &str) -> IResult<&str, Found<'_>, ()> {
    let name = take_while1(|c: char| c.is_ascii_alphanumeric() || c == '_');
    alt((
        map(escape, Found::Byte),
        map(delimited(tag("{"), name, tag("}")), Found::Name),
        map(anychar, Found::Char),
    ))
    .parse(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(template: &str, frame: &str) -> String {
        let message = RawMessage::decode(frame.as_bytes()).unwrap();
        let mut out = Vec::new();
        Template::parse(template).unwrap().write(&message, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_tag_of_spark_shows_its_field() {
        let frame = r#"{"c":"p","t":"orders","bm":"7|1|","x":"bWFyaw==","e":5,"lp":"L","k":"9","user_id":"ann","ts":"T"}{"id":1}"#;
        let all = "{bookmark} {command} {correlation_id} {data} {expiration} {lease_period} {length} {sowkey} {user_id} {timestamp} {topic}";
        assert_eq!(shown(all, frame), r#"7|1| publish bWFyaw== {"id":1} 5 L 8 9 ann T orders"#);
    }

    #[test]
    fn what_a_message_lacks_is_empty() {
        assert_eq!(shown("[{bookmark}{expiration}{sowkey}]", r#"{"c":"oof","t":"t"}"#), "[]");
    }

    #[test]
    fn escapes_are_undone_and_other_braces_are_text() {
        assert_eq!(shown(r#"{"d":{data},\t\{data}}\n"#, r#"{"c":"p"}1"#), "{\"d\":1,\t{data}}\n");
        assert_eq!(shown("{ data } é {}", r#"{"c":"p"}1"#), "{ data } é {}");
    }

    #[test]
    fn a_misspelt_tag_is_an_error_that_lists_the_tags() {
        assert!(Template::parse("{bookmrk}").unwrap_err().contains("{bookmark}"));
    }
}
