//! Captures as frames.
//!
//! Owns the layers around them: the file, links, IP, and TCP with what is sent twice or out of order. A
//! conversation begins with its SYN.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use amps_protocol::FrameDecoder;
use amps_transport::Time;
use bytes::BytesMut;
use nom::bytes::complete::take;
use nom::combinator::verify;
use nom::number::Endianness;
use nom::number::complete::{be_u8, be_u16, be_u32, be_u128, u16, u32};
use nom::{IResult, Parser};

use super::write::{LINK_RAW, MAGIC_NANOS};
use super::{MAX_FRAME, Turn};

const MAGIC_MICROS: u32 = 0xa1b2_c3d4;
const LINK_NULL: u32 = 0;
const LINK_ETHERNET: u32 = 1;
const LINK_LINUX: u32 = 113;
const TCP: u8 = 6;

/// Bytes that may wait for one that is missing.
const MOST_WAITING: usize = 16 << 20;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// Why a packet capture cannot be read.
///
/// ```
/// use amps_testkit::{Capture, CaptureError};
///
/// let error = Capture::parse(b"{}").unwrap_err();
/// assert!(matches!(error, CaptureError::NoCapture));
/// assert!(error.to_string().starts_with("this is no packet capture of the classic format"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// The file does not begin as one.
    #[error(
        "this is no packet capture of the classic format (.pcap); convert it, for example with editcap -F pcap"
    )]
    NoCapture,
    /// The packets are of a network that is not known here.
    #[error("packets of link type {0} are not known here; capture on Ethernet, loopback, or raw IP")]
    Link(u32),
    /// The file ends within a packet.
    #[error("the capture ends within the packet at byte {offset}; capture it again, or cut it there")]
    Torn {
        /// Where the packet begins.
        offset: usize,
    },
    /// Packets of a connection are missing.
    #[error("of connection {connection}, {missing} bytes are missing; capture it again without drops")]
    Gap {
        /// The connection, counted from 0.
        connection: usize,
        /// How many, as far as it can be told.
        missing: u32,
    },
    /// A connection carries something else than frames.
    #[error("connection {connection} carries no frames of AMPS: {fault}; leave it out of the capture")]
    NoFrames {
        /// The connection, counted from 0.
        connection: usize,
        /// What is wrong.
        fault: String,
    },
}

type End = (IpAddr, u16);

/// What one packet of TCP says.
struct Segment<'b> {
    from: End,
    to: End,
    sequence: u32,
    flags: u8,
    bytes: &'b [u8],
}

/// One direction of a conversation.
struct Stream {
    /// What comes next; unknown until the SYN of this end.
    next: Option<u32>,
    /// What came too early, by how far it is ahead of everything that came in order.
    early: BTreeMap<u64, Vec<u8>>,
    waiting: usize,
    /// Bytes that came in order.
    taken: u64,
    /// Something came before the beginning was known.
    headless: bool,
    ended: bool,
    decoder: FrameDecoder,
    bytes: BytesMut,
}

impl Default for Stream {
    fn default() -> Self {
        let decoder = FrameDecoder::new(MAX_FRAME);
        Self {
            next: None,
            early: BTreeMap::new(),
            waiting: 0,
            taken: 0,
            headless: false,
            ended: false,
            decoder,
            bytes: BytesMut::new(),
        }
    }
}

impl Stream {
    /// Takes the bytes of a segment, and those that wait for them. `false` if so much waits for what is
    /// missing that it will not come.
    fn take(&mut self, sequence: u32, bytes: &[u8]) -> bool {
        let Some(next) = self.next else {
            self.headless = true;
            return true;
        };
        let ahead = sequence.wrapping_sub(next);
        if ahead >= 1 << 31 {
            // It was sent before, if perhaps not all of it.
            let known = next.wrapping_sub(sequence) as usize;
            self.append(bytes.get(known..).unwrap_or_default());
        } else if ahead == 0 {
            self.append(bytes);
        } else {
            let waiting = self.early.entry(self.taken + u64::from(ahead)).or_default();
            if waiting.len() < bytes.len() {
                self.waiting += bytes.len() - waiting.len();
                *waiting = bytes.to_vec();
            }
            return self.waiting <= MOST_WAITING;
        }
        while let Some(first) = self.early.first_entry().filter(|first| *first.key() <= self.taken) {
            let (at, bytes) = first.remove_entry();
            self.waiting -= bytes.len();
            let known = usize::try_from(self.taken - at).unwrap_or(usize::MAX);
            self.append(bytes.get(known..).unwrap_or_default());
        }
        true
    }

    fn append(&mut self, new: &[u8]) {
        self.bytes.extend_from_slice(new);
        self.taken += new.len() as u64;
        self.next = self.next.map(|next| next.wrapping_add(u32::try_from(new.len()).unwrap_or_default()));
    }

    /// How many bytes are missing, as far as it can be told.
    fn missing(&self) -> Option<u32> {
        if self.headless {
            return Some(1);
        }
        let first = *self.early.keys().next()?;
        Some(u32::try_from(first - self.taken).unwrap_or(u32::MAX))
    }
}

struct Conversation {
    client: End,
    of_client: Stream,
    of_server: Stream,
}

/// The frames of a capture.
pub(super) fn turns(bytes: &[u8]) -> Result<Vec<Turn>, CaptureError> {
    let (mut rest, head) = head(bytes).map_err(|_| CaptureError::NoCapture)?;
    if ![LINK_NULL, LINK_ETHERNET, LINK_RAW, LINK_LINUX].contains(&head.link) {
        return Err(CaptureError::Link(head.link));
    }
    let mut conversations: Vec<Conversation> = Vec::new();
    let mut current: BTreeMap<(End, End), usize> = BTreeMap::new();
    let mut turns = Vec::new();
    while !rest.is_empty() {
        let torn = CaptureError::Torn { offset: bytes.len() - rest.len() };
        let (after, (time, packet)) = record(rest, &head).map_err(|_| torn)?;
        rest = after;
        // What is no TCP is none of ours.
        let Ok((_, segment)) = segment(packet, head.link) else { continue };
        let ends = (segment.from.min(segment.to), segment.from.max(segment.to));
        if segment.flags & (SYN | ACK) == SYN {
            let is_again = current
                .get(&ends)
                .and_then(|&number| conversations.get(number))
                .is_some_and(|known| known.of_client.next == Some(segment.sequence.wrapping_add(1)));
            if !is_again {
                current.insert(ends, conversations.len());
                let (of_client, of_server) = (Stream::default(), Stream::default());
                conversations.push(Conversation { client: segment.from, of_client, of_server });
            }
        }
        let Some(&connection) = current.get(&ends) else { continue };
        let Some(conversation) = conversations.get_mut(connection) else { continue };
        let from_client = segment.from == conversation.client;
        let stream = if from_client { &mut conversation.of_client } else { &mut conversation.of_server };
        let mut sequence = segment.sequence;
        if segment.flags & SYN != 0 {
            sequence = sequence.wrapping_add(1);
            stream.next = stream.next.or(Some(sequence));
        }
        if !segment.bytes.is_empty() && !stream.take(sequence, segment.bytes) {
            return Err(CaptureError::Gap { connection, missing: stream.missing().unwrap_or_default() });
        }
        let no_frames = |fault: String| CaptureError::NoFrames { connection, fault };
        while let Some(frame) =
            stream.decoder.decode(&mut stream.bytes).map_err(|error| no_frames(error.to_string()))?
        {
            turns.push(Turn { time, connection, from_client, closes: false, frame: frame.to_vec() });
        }
        if segment.flags & (FIN | RST) != 0 && !std::mem::replace(&mut stream.ended, true) {
            turns.push(Turn { time, connection, from_client, closes: true, frame: Vec::new() });
        }
    }
    for (connection, conversation) in conversations.iter().enumerate() {
        for stream in [&conversation.of_client, &conversation.of_server] {
            if let Some(missing) = stream.missing() {
                return Err(CaptureError::Gap { connection, missing });
            }
        }
    }
    Ok(turns)
}

struct Head {
    endianness: Endianness,
    nanos_per_unit: u64,
    link: u32,
}

fn head(input: &[u8]) -> IResult<&[u8], Head> {
    let (_, magic) = be_u32(input)?;
    let known = |magic: u32| magic == MAGIC_MICROS || magic == MAGIC_NANOS;
    let endianness = if known(magic) { Endianness::Big } else { Endianness::Little };
    let (input, magic) = verify(u32(endianness), |magic: &u32| known(*magic)).parse(input)?;
    let (input, _) = verify(u16(endianness), |major: &u16| *major == 2).parse(input)?;
    let (input, _) = take(14_usize)(input)?;
    let (input, link) = u32(endianness).parse(input)?;
    let nanos_per_unit = if magic == MAGIC_NANOS { 1 } else { 1_000 };
    // The upper bits say how long the checksum of a packet is.
    Ok((input, Head { endianness, nanos_per_unit, link: link & 0x0fff_ffff }))
}

fn record<'b>(input: &'b [u8], head: &Head) -> IResult<&'b [u8], (Time, &'b [u8])> {
    let word = || u32(head.endianness);
    let (input, (seconds, fraction, length, _)) = (word(), word(), word(), word()).parse(input)?;
    let (input, packet) = take(length)(input)?;
    let nanos = u64::from(seconds) * 1_000_000_000 + u64::from(fraction) * head.nanos_per_unit;
    Ok((input, (Time::from_unix_nanos(nanos), packet)))
}

fn segment(packet: &[u8], link: u32) -> IResult<&[u8], Segment<'_>> {
    let (mut input, _) = match link {
        LINK_NULL => take(4_usize)(packet)?,
        LINK_ETHERNET => take(14_usize)(packet)?,
        LINK_LINUX => take(16_usize)(packet)?,
        _ => take(0_usize)(packet)?,
    };
    // A tag of a virtual network stands in front of the type of what follows, and with it here.
    if link == LINK_ETHERNET && packet.get(12..14) == Some(&[0x81, 0x00]) {
        (input, _) = take(4_usize)(input)?;
    }
    let version = be_u8(input)?.1 >> 4;
    let (bytes, (from, to)) = if version == 4 { v4(input)? } else { v6(input)? };
    let (rest, (source, target, sequence, _)) = (be_u16, be_u16, be_u32, be_u32).parse(bytes)?;
    let (_, (offset, flags)) = (be_u8, be_u8).parse(rest)?;
    let (bytes, _) = take(usize::from(offset >> 4) * 4)(bytes)?;
    Ok((&[], Segment { from: (from, source), to: (to, target), sequence, flags, bytes }))
}

/// From whom to whom, and in front of it what the packet carries, without what fills it up.
fn v4(input: &[u8]) -> IResult<&[u8], (IpAddr, IpAddr)> {
    let (rest, (first, _, total)) = (be_u8, be_u8, be_u16).parse(input)?;
    let (rest, _) = take(5_usize)(rest)?;
    let (rest, _) = verify(be_u8, |protocol: &u8| *protocol == TCP).parse(rest)?;
    let (_, (_, from, to)) = (be_u16, be_u32, be_u32).parse(rest)?;
    // Where a network card cuts packets, the length is not known yet.
    let length = if total == 0 { input.len() } else { usize::from(total) };
    let (_, packet) = take(length)(input)?;
    let (carried, _) = take(usize::from(first & 0x0f) * 4)(packet)?;
    Ok((carried, (Ipv4Addr::from(from).into(), Ipv4Addr::from(to).into())))
}

/// The same for IPv6, without extension headers.
fn v6(input: &[u8]) -> IResult<&[u8], (IpAddr, IpAddr)> {
    let (rest, (_, length)) = (be_u32, be_u16).parse(input)?;
    let (rest, _) = verify(be_u8, |protocol: &u8| *protocol == TCP).parse(rest)?;
    let (rest, (_, from, to)) = (be_u8, be_u128, be_u128).parse(rest)?;
    let length = if length == 0 { rest.len() } else { usize::from(length) };
    let (_, carried) = take(length)(rest)?;
    Ok((carried, (Ipv6Addr::from(from).into(), Ipv6Addr::from(to).into())))
}
