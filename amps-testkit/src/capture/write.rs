//! The journal as a packet capture.
//!
//! Owns the packets that are made up around the frames: every connection has an address of its own in
//! 10.0.0.0/8, and the server is 10.255.255.254. Times are the server's.
//!
//! ```text
//! file   = magic of nanoseconds , version 2.4 , zone , accuracy , longest packet , link type "raw IP" , { packet } ;
//! packet = seconds , nanoseconds , length , length , IPv4 header , TCP header , bytes ;
//! ```

use std::collections::BTreeMap;
use std::io::{self, Write};

use amps_transport::Time;

use super::framed;
use crate::engine::Disconnect;
use crate::journal::{Entry, What};

/// The magic number of files whose times are in nanoseconds.
pub(super) const MAGIC_NANOS: u32 = 0xa1b2_3c4d;
/// Packets begin with their IP header.
pub(super) const LINK_RAW: u32 = 101;

const SERVER: [u8; 4] = [10, 255, 255, 254];
const SERVER_PORT: u16 = 9007;
const CLIENT_PORT: u16 = 40_000;
/// The most that one packet carries; an IPv4 packet has at most 65,535 bytes.
const MOST_IN_A_PACKET: usize = 60_000;
const NANOS: u64 = 1_000_000_000;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

/// What each end of a connection has sent so far.
#[derive(Default)]
struct Flow {
    client: u32,
    server: u32,
}

/// Writes entries as a capture.
pub(crate) fn write(out: &mut impl Write, entries: &[Entry]) -> io::Result<()> {
    out.write_all(&MAGIC_NANOS.to_le_bytes())?;
    out.write_all(&[2, 0, 4, 0])?;
    for word in [0, 0, 1 << 18, LINK_RAW] {
        out.write_all(&u32::to_le_bytes(word))?;
    }
    let mut flows: BTreeMap<u64, Flow> = BTreeMap::new();
    for entry in entries {
        let (from_client, message) = match &entry.what {
            What::Received(message) => (true, Some(message)),
            What::Sent(message) => (false, Some(message)),
            What::Closed(reason) => (*reason == Disconnect::ConnectionClosed, None),
            _ => continue,
        };
        let (time, connection) = (entry.time, entry.connection);
        if message.is_some() && !flows.contains_key(&connection) {
            let flow = flows.entry(connection).or_default();
            send(out, time, connection, flow, true, SYN, &[])?;
            send(out, time, connection, flow, false, SYN | ACK, &[])?;
        }
        // A connection that ends without having said anything is not shown.
        let Some(flow) = flows.get_mut(&connection) else { continue };
        match message {
            None => {
                send(out, time, connection, flow, from_client, FIN | ACK, &[])?;
                flows.remove(&connection);
            }
            Some(message) => {
                for piece in framed(message.frame()).chunks(MOST_IN_A_PACKET) {
                    send(out, time, connection, flow, from_client, PSH | ACK, piece)?;
                }
            }
        }
    }
    Ok(())
}

fn send(
    out: &mut impl Write,
    time: Time,
    connection: u64,
    flow: &mut Flow,
    from_client: bool,
    flags: u8,
    bytes: &[u8],
) -> io::Result<()> {
    let [.., a, b, c] = (connection + 1).to_be_bytes();
    let (client, server) = (([10, a, b, c], CLIENT_PORT), (SERVER, SERVER_PORT));
    let (from, to) = if from_client { (client, server) } else { (server, client) };
    let (sent, acked) =
        if from_client { (&mut flow.client, flow.server) } else { (&mut flow.server, flow.client) };

    let mut tcp = [from.1.to_be_bytes(), to.1.to_be_bytes()].concat();
    tcp.extend_from_slice(&sent.to_be_bytes());
    tcp.extend_from_slice(&if flags & ACK == 0 { 0 } else { acked }.to_be_bytes());
    tcp.extend_from_slice(&[5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
    tcp.extend_from_slice(bytes);
    // Of at most MOST_IN_A_PACKET bytes and the header.
    let length = u16::try_from(tcp.len()).unwrap_or(u16::MAX);
    let pseudo = [&from.0[..], &to.0, &[0, 6], &length.to_be_bytes(), &tcp].concat();
    put(&mut tcp, 16, checksum(&pseudo));

    let mut ip = vec![0x45, 0];
    ip.extend_from_slice(&length.saturating_add(20).to_be_bytes());
    ip.extend_from_slice(&[0, 0, 0x40, 0, 64, 6, 0, 0]);
    ip.extend_from_slice(&from.0);
    ip.extend_from_slice(&to.0);
    let sum = checksum(&ip);
    put(&mut ip, 10, sum);

    // SYN and FIN count as a byte.
    let counted = bytes.len() + usize::from(flags & (SYN | FIN) != 0);
    *sent = sent.wrapping_add(u32::try_from(counted).unwrap_or(u32::MAX));
    let nanos = time.as_unix_nanos();
    let whole = u32::try_from(ip.len() + tcp.len()).unwrap_or(u32::MAX);
    // The format has 32 bits of seconds, up to the year 2106.
    for word in [(nanos / NANOS) as u32, (nanos % NANOS) as u32, whole, whole] {
        out.write_all(&word.to_le_bytes())?;
    }
    out.write_all(&ip)?;
    out.write_all(&tcp)
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(place) = bytes.get_mut(at..at + 2) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

/// The sum of the Internet's headers.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| {
        let high = pair.first().copied().unwrap_or_default();
        u32::from(u16::from_be_bytes([high, pair.get(1).copied().unwrap_or_default()]))
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::checksum;

    #[test]
    fn a_header_with_its_checksum_sums_up_to_nothing() {
        let header =
            [0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0, 0, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0, 0xc7];
        assert_eq!(checksum(&header), 0xb861);
        let mut whole = header;
        whole[10..12].copy_from_slice(&0xb861_u16.to_be_bytes());
        assert_eq!(checksum(&whole), 0);
    }
}
