//! The options of a `heartbeat` command, which are positional (protocol.md O-10).

use core::fmt;

use nom::branch::alt;
use nom::bytes::complete::{tag, tag_no_case};
use nom::character::complete::{one_of, space0, u64 as number};
use nom::combinator::{all_consuming, map, opt, value};
use nom::sequence::{delimited, terminated};
use nom::{IResult, Parser};

/// What the options of a `heartbeat` command ask for. They are positional, not a list:
/// `start,5` is one instruction (protocol.md O-10).
///
/// ```
/// use amps_protocol::HeartbeatRequest;
///
/// assert_eq!(HeartbeatRequest::parse("start,5"), Some(HeartbeatRequest::Start(5)));
/// assert_eq!(HeartbeatRequest::Start(5).to_string(), "start,5");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeartbeatRequest {
    /// Begin, or begin anew, with this interval in seconds; 0 ends it.
    Start(u64),
    /// A sign of life.
    Beat,
    /// End.
    Stop,
}

impl HeartbeatRequest {
    /// Reads `start,5` (also `start=5` and `start,5s`), `beat` or `stop`; `None` if it is
    /// none of them.
    pub fn parse(text: &str) -> Option<Self> {
        all_consuming(delimited(space0, request, space0)).parse(text).ok().map(|(_, request)| request)
    }
}

fn request(input: &str) -> IResult<&str, HeartbeatRequest, ()> {
    let separator = delimited(space0, one_of(",="), space0);
    let seconds = terminated(number, (space0, opt(tag_no_case("s"))));
    let start = map((tag("start"), separator, seconds), |(_, _, seconds)| HeartbeatRequest::Start(seconds));
    let beat = value(HeartbeatRequest::Beat, tag("beat"));
    alt((start, beat, value(HeartbeatRequest::Stop, tag("stop")))).parse(input)
}

impl fmt::Display for HeartbeatRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(seconds) => write!(f, "start,{seconds}"),
            Self::Beat => f.write_str("beat"),
            Self::Stop => f.write_str("stop"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_observed_spelling_is_read() {
        for text in ["start,5", "start=5", "start,5s", " start , 5 S "] {
            assert_eq!(HeartbeatRequest::parse(text), Some(HeartbeatRequest::Start(5)), "{text}");
        }
        assert_eq!(HeartbeatRequest::parse("beat "), Some(HeartbeatRequest::Beat));
        assert_eq!(HeartbeatRequest::parse("stop"), Some(HeartbeatRequest::Stop));
        for text in ["", "start", "start,", "start,-1", "start5", "startle,5", "beats", "start,5,6"] {
            assert_eq!(HeartbeatRequest::parse(text), None, "{text}");
        }
    }
}
