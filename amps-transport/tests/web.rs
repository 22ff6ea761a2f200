//! Preflight, proxies, compression and WebSocket over sockets, byte by byte too, and what can go wrong.

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use amps_transport::{
    CloseMode, CloseReason, ConnectError, Detect, HttpConnect, HttpHeaders, Layer, LayerError, LayerState,
    LayerTrouble, Layers, MakeLayer, Preflight, Target,
};
use bytes::{Buf, BytesMut};
use common::{Bench, Event, accept, connect, loopback, pattern, read_to_end, target};

/// Passes one byte at a time upwards.
#[derive(Clone, Copy, Debug)]
struct OneByOne;

impl MakeLayer for OneByOne {
    fn make(&self, _: &str) -> Result<Box<dyn Layer>, LayerError> {
        Ok(Box::new(*self))
    }
}

impl Layer for OneByOne {
    fn receive(
        &mut self,
        below: &mut BytesMut,
        above: &mut BytesMut,
        _: &mut BytesMut,
    ) -> Result<LayerState, LayerError> {
        if !below.is_empty() {
            above.extend_from_slice(&[below.get_u8()]);
        }
        Ok(LayerState::Ready)
    }

    fn send(&mut self, above: &[u8], below: &mut BytesMut) -> Result<(), LayerError> {
        below.extend_from_slice(above);
        Ok(())
    }
}

fn layer(make: impl MakeLayer + 'static) -> Arc<dyn MakeLayer> {
    Arc::new(make)
}

fn one_by_one(layers: &Layers) -> Layers {
    [vec![layer(OneByOne)], layers.clone()].concat()
}

fn preflight() -> Arc<dyn MakeLayer> {
    layer(Preflight::new("localhost:9007", "/amps/json").unwrap())
}

/// A frame as they lie above these layers.
fn framed(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}

/// Frames of many sizes.
fn frames() -> Vec<u8> {
    let lengths = [2, 0, 125, 126, 1000, 65_535, 65_536, 300_000];
    lengths.iter().flat_map(|&length| framed(&[b"{", &pattern(length)[..]].concat())).collect()
}

/// Sends frames both ways between a machine with `client` and one that listens with `server`, until the client ends
/// it in an orderly way.
fn talk(client: &Layers, server: &Layers, frames: &[u8]) {
    let (there, here) = (Bench::new("server"), Bench::new("client"));
    let address = there.listen_with(server.clone());
    let conn = here.connect(Target { layers: client.clone(), ..target(address) });
    assert!(matches!(here.next(), Event::Connected { .. }), "{client:?}");
    let accepted = there.accepted();
    let out = frames.to_vec();
    here.order(move |_, sink| sink.send(conn, &out));
    assert!(there.received(frames.len()) == frames, "{client:?}");
    let out = frames.to_vec();
    there.order(move |_, sink| sink.send(accepted, &out));
    assert!(here.received(frames.len()) == frames, "{client:?}");
    here.order(move |_, sink| sink.close(conn, CloseMode::Flush));
    let (more, reason) = there.until_closed(accepted);
    assert!(more.is_empty() && matches!(reason, CloseReason::EndOfStream), "{client:?}: {reason}");
}

fn talk_in_every_way(client: &Layers) {
    let frames = frames();
    let server = vec![layer(Detect::new())];
    talk(client, &server, &frames);
    let few = &frames[..2000];
    let few = &few[..whole(few)];
    talk(&one_by_one(client), &one_by_one(&server), few);
}

/// How many bytes of these are whole frames.
fn whole(mut bytes: &[u8]) -> usize {
    let before = bytes.len();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let Some(next) = rest.get(u32::from_be_bytes(*length) as usize..) else { break };
        bytes = next;
    }
    before - bytes.len()
}

/// Writes one byte at a time.
fn dribble(mut peer: &TcpStream, bytes: &[u8]) {
    for byte in bytes {
        peer.write_all(&[*byte]).unwrap();
    }
}

/// The head of a request or answer.
fn head(mut peer: &TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        peer.read_exact(&mut byte).unwrap();
        bytes.push(byte[0]);
    }
    String::from_utf8(bytes).unwrap()
}

/// A connection to a proxy that answers like this, and its error.
fn refused(ways: Arc<dyn MakeLayer>, answer: &[u8]) -> ConnectError {
    let listener = TcpListener::bind(loopback()).unwrap();
    let bench = Bench::new("refused");
    bench.connect(Target { layers: vec![ways], ..target(listener.local_addr().unwrap()) });
    let mut peer = accept(&listener);
    head(&peer);
    peer.write_all(answer).unwrap();
    match bench.next() {
        Event::ConnectFailed { error, .. } => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn plain_and_preflight_connections_reach_the_same_listener() {
    talk_in_every_way(&vec![]);
    talk_in_every_way(&vec![preflight()]);
}

#[test]
fn a_preflight_arrives_and_bytes_right_behind_the_answer_are_kept() {
    let mut headers = HttpHeaders::new();
    headers.add_line("Cookie: a=1").unwrap().add("Token", "v").unwrap();
    let ways = Preflight::new("east:9007", "/route/amps/json").unwrap().with_headers(headers);
    let listener = TcpListener::bind(loopback()).unwrap();
    let bench = Bench::new("preflight");
    let layers = vec![layer(ways)];
    let conn = bench.connect(Target { layers, ..target(listener.local_addr().unwrap()) });
    let mut peer = accept(&listener);
    assert_eq!(
        head(&peer),
        "GET /route/amps/json HTTP/1.1\r\nHost: east:9007\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Cookie: a=1\r\nToken: v\r\n\r\n"
    );
    assert!(bench.try_next().is_none(), "not yet");
    dribble(&peer, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n");
    peer.write_all(b"\r\n\0\0\0\x02{}").unwrap();
    assert!(matches!(bench.next(), Event::Connected { .. }));
    assert_eq!(bench.received(6), b"\0\0\0\x02{}");
    bench.order(move |_, sink| sink.send(conn, b"\0\0\0\x01x"));
    let mut frame = [0; 5];
    peer.read_exact(&mut frame).unwrap();
    assert_eq!(&frame, b"\0\0\0\x01x");
}

#[test]
fn a_proxy_says_no_in_many_ways() {
    let through = HttpConnect::new("server:9007").unwrap();
    for ways in [preflight(), layer(through)] {
        for (answer, trouble, words) in [
            (
                &b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n"[..],
                LayerTrouble::Authentication,
                "407 Proxy Authentication Required",
            ),
            (b"HTTP/1.1 401 Unauthorized\r\n\r\n", LayerTrouble::Authentication, "401 Unauthorized"),
            (
                b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\nno",
                LayerTrouble::Refused,
                "502 Bad Gateway",
            ),
            (b"SSH-2.0-OpenSSH_9.2\r\n", LayerTrouble::Protocol, "SSH-2.0-OpenSSH_9.2"),
        ] {
            let error = refused(Arc::clone(&ways), answer);
            let ConnectError::Layer { source, .. } = &error else { panic!("{error}") };
            assert_eq!(source.trouble(), trouble, "{error}");
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}

#[test]
fn a_proxy_that_says_nothing_is_waited_for_only_so_long_and_one_that_leaves_not_at_all() {
    let listener = TcpListener::bind(loopback()).unwrap();
    let address = listener.local_addr().unwrap();
    let bench = Bench::new("silent");
    let asking = || Target { layers: vec![preflight()], ..target(address) };
    bench.connect(Target { timeout: Duration::from_millis(100), ..asking() });
    let silent = accept(&listener);
    let Event::ConnectFailed { error, .. } = bench.next() else { panic!("it connected") };
    assert!(matches!(error, ConnectError::HandshakeTimedOut { .. }), "{error}");
    drop(silent);
    bench.connect(asking());
    let leaves = accept(&listener);
    head(&leaves);
    drop(leaves);
    let Event::ConnectFailed { error, .. } = bench.next() else { panic!("it connected") };
    assert!(error.to_string().contains("HTTP preflight: the connection was closed"), "{error}");
}

#[test]
fn a_way_through_a_proxy_leads_to_the_server() {
    let server = Bench::new("server");
    let behind = server.listen_with(vec![layer(Detect::new())]);
    let proxy = TcpListener::bind(loopback()).unwrap();
    let mut headers = HttpHeaders::new();
    headers.add_basic("Proxy-Authorization", "Aladdin", "open sesame").unwrap();
    let through = HttpConnect::new(&behind.to_string()).unwrap().with_headers(headers);
    let client = Bench::new("client");
    let layers = vec![layer(through), preflight()];
    let conn = client.connect(Target { layers, ..target(proxy.local_addr().unwrap()) });
    let mut here = accept(&proxy);
    assert_eq!(
        head(&here),
        format!(
            "CONNECT {behind} HTTP/1.1\r\nHost: {behind}\r\n\
             Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n"
        )
    );
    let mut there = connect(behind);
    here.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
    there.write_all(head(&here).as_bytes()).unwrap();
    here.write_all(head(&there).as_bytes()).unwrap();
    assert!(matches!(client.next(), Event::Connected { .. }));
    client.order(move |_, sink| sink.send(conn, b"\0\0\0\x02{}"));
    let mut frame = [0; 6];
    here.read_exact(&mut frame).unwrap();
    there.write_all(&frame).unwrap();
    server.accepted();
    assert_eq!(server.received(6), b"\0\0\0\x02{}");
}

#[test]
fn a_listener_answers_with_the_refusal_that_it_is_told() {
    let server = Bench::new("server");
    let address = server.listen_with(vec![layer(Detect::new().with_http_refusal(Some(407)))]);
    let client = Bench::new("client");
    client.connect(Target { layers: vec![preflight()], ..target(address) });
    let Event::ConnectFailed { error: ConnectError::Layer { source, .. }, .. } = client.next() else {
        panic!("it connected");
    };
    assert_eq!(source.trouble(), LayerTrouble::Authentication, "{source}");
    server.accepted();
    assert!(matches!(server.next(), Event::Closed { reason: CloseReason::Layer(_), .. }));
}

#[test]
fn an_http_client_gets_an_answer_and_an_end() {
    let server = Bench::new("server");
    let address =
        server.listen_with(vec![layer(Detect::new().with_preflight(false).with_http_refusal(Some(404)))]);
    let peer = connect(address);
    dribble(&peer, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let answer = String::from_utf8(read_to_end(&peer)).unwrap();
    assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\nConnection: close\r\n"), "{answer}");
}

#[cfg(feature = "zlib")]
mod compressed {
    use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

    use amps_transport::Zlib;

    use super::*;

    #[test]
    fn compressed_connections_carry_everything_with_and_without_a_preflight() {
        talk_in_every_way(&vec![layer(Zlib::new())]);
        talk_in_every_way(&vec![preflight(), layer(Zlib::new().with_level(1))]);
    }

    #[test]
    fn a_stream_that_is_cut_off_is_a_normal_end_and_a_corrupt_one_names_its_place() {
        let server = Bench::new("server");
        let address = server.listen_with(vec![layer(Zlib::new())]);
        let (cut, mut wire) = (connect(address), BytesMut::new());
        Zlib::new().make("").unwrap().send(b"\0\0\0\x02{}", &mut wire).unwrap();
        dribble(&cut, &wire);
        let conn = server.accepted();
        assert_eq!(server.received(6), b"\0\0\0\x02{}");
        drop(cut);
        assert!(matches!(server.until_closed(conn).1, CloseReason::EndOfStream));
        let mut corrupt = connect(address);
        wire[2] |= 0b110;
        corrupt.write_all(&wire).unwrap();
        let conn = server.accepted();
        let CloseReason::Layer(error) = server.until_closed(conn).1 else { panic!("it was accepted") };
        assert!(error.to_string().contains("corrupt at its byte 3"), "{error}");
    }

    #[test]
    fn a_bomb_reaches_the_machine_in_bounded_pieces_and_can_be_stopped() {
        const LIMIT: usize = 1_000_000;
        let mut wire = BytesMut::new();
        Zlib::new().with_level(9).make("").unwrap().send(&vec![0; 20_000_000], &mut wire).unwrap();
        assert!(wire.len() < 50_000);
        let mut held = 0;
        let server = Bench::with("server", move |conn, bytes, sink| {
            held += bytes.len();
            assert!(bytes.len() <= 256 * 1024, "{}", bytes.len());
            bytes.clear();
            if held > LIMIT {
                sink.close(conn, CloseMode::Reset);
            }
        });
        let address = server.listen_with(vec![layer(Detect::new())]);
        let mut peer = connect(address);
        peer.write_all(&wire).unwrap();
        // The machine has closed the connection: nothing is answered, and it is not read to its end.
        let mut byte = [0];
        assert!(!matches!(peer.read(&mut byte), Ok(1)));
        server.accepted();
        let mut total = 0;
        while let Some(event) = server.try_next() {
            if let Event::Received { bytes, .. } = event {
                total += bytes.len();
            }
        }
        assert!(total > LIMIT && total < 2 * LIMIT, "{total}");
    }

    /// A compressor and decompressor that is not ours: echoes what it inflates, as one compressed stream.
    struct Python {
        child: Child,
        input: ChildStdin,
        output: ChildStdout,
    }

    const ECHO: &str = "
import sys, os, zlib
inflate, deflate = zlib.decompressobj(), zlib.compressobj(wbits=int(sys.argv[1]))
while True:
    came = os.read(0, 65536)
    if not came:
        break
    out = inflate.decompress(came)
    sys.stdout.buffer.write(deflate.compress(out) + deflate.flush(zlib.Z_SYNC_FLUSH))
    sys.stdout.buffer.flush()
assert inflate.eof, 'the trailer is missing'
sys.stdout.buffer.write(deflate.flush(zlib.Z_FINISH))
";

    fn python(window: u8) -> Option<Python> {
        let mut command = Command::new("python3");
        command.args(["-c", ECHO, &window.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let Ok(mut child) = command.spawn() else {
            println!("skipped: there is no python3");
            return None;
        };
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Some(Python { child, input, output })
    }

    #[test]
    fn pythons_zlib_understands_and_is_understood() {
        for window in [15, 9] {
            let Some(Python { mut child, mut input, mut output }) = python(window) else { return };
            let mut one = Zlib::new().make("").unwrap();
            for part in [&frames()[..], b"\0\0\0\x02{}"] {
                let (mut wire, mut below, mut plain) = (BytesMut::new(), BytesMut::new(), BytesMut::new());
                one.send(part, &mut wire).unwrap();
                let writer = std::thread::spawn(move || input.write_all(&wire).map(|()| input).unwrap());
                let mut some = [0; 65536];
                while plain.len() < part.len() {
                    if below.is_empty() {
                        let count = output.read(&mut some).unwrap();
                        assert!(count > 0);
                        below.extend_from_slice(&some[..count]);
                    }
                    one.receive(&mut below, &mut plain, &mut BytesMut::new()).unwrap();
                }
                assert!(plain == part);
                input = writer.join().unwrap();
            }
            let mut last = BytesMut::new();
            one.finish(&mut last);
            input.write_all(&last).unwrap();
            drop(input);
            let (mut rest, mut plain) = (Vec::new(), BytesMut::new());
            output.read_to_end(&mut rest).unwrap();
            one.receive(&mut BytesMut::from(&rest[..]), &mut plain, &mut BytesMut::new()).unwrap();
            assert!(plain.is_empty() && child.wait().unwrap().success());
        }
    }
}

#[cfg(feature = "websocket")]
mod web_socket {
    use amps_transport::{WebSocket, WebSocketServer};

    use super::*;

    fn client() -> WebSocket {
        WebSocket::new("localhost:9008", "/amps/json").unwrap()
    }

    /// A peer that was granted an upgrade by a listening machine, in its own words.
    fn upgraded(address: std::net::SocketAddr) -> TcpStream {
        let mut peer = connect(address);
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        let request = format!(
            "GET /amps HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        );
        peer.write_all(request.as_bytes()).unwrap();
        assert!(head(&peer).contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        peer
    }

    /// A short frame of a client, masked with zeros.
    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        [&[first, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat()
    }

    #[test]
    fn web_socket_connections_carry_everything_in_both_forms() {
        for prefixed in [false, true] {
            let ways = vec![layer(client().with_length_prefix(prefixed))];
            talk_in_every_way(&ways);
            talk(&ways, &vec![layer(WebSocketServer::new())], &frames());
        }
    }

    #[test]
    fn a_fragmented_message_and_pings_byte_by_byte() {
        let server = Bench::new("server");
        let mut peer = upgraded(server.listen_with(vec![layer(WebSocketServer::new())]));
        dribble(&peer, &[masked(0x01, b"{\"a"), masked(0x89, b"hi"), masked(0x80, b"\":1}")].concat());
        let conn = server.accepted();
        assert_eq!(server.received(11), framed(b"{\"a\":1}"));
        let mut pong = [0; 4];
        peer.read_exact(&mut pong).unwrap();
        assert_eq!(&pong, b"\x8a\x02hi");
        peer.write_all(&masked(0x88, &[0x03, 0xe8])).unwrap();
        assert!(
            matches!(server.until_closed(conn).1, CloseReason::EndOfStream),
            "although the socket is open"
        );
        assert_eq!(read_to_end(&peer), b"\x88\x02\x03\xe8");
    }

    #[test]
    fn an_oversized_message_is_refused_when_it_is_announced() {
        let server = Bench::new("server");
        let mut peer = upgraded(server.listen_with(vec![layer(WebSocketServer::new().with_limit(1000))]));
        peer.write_all(&[0x82, 0xfe, 0x10, 0, 1, 2, 3, 4]).unwrap();
        let conn = server.accepted();
        let CloseReason::Layer(error) = server.until_closed(conn).1 else { panic!("it was accepted") };
        assert_eq!(error.trouble(), LayerTrouble::Limit, "{error}");
        assert_eq!(read_to_end(&peer), b"\x88\x02\x03\xf1", "1009");
    }

    #[test]
    fn whoever_leaves_without_a_close_is_cut_off() {
        let server = Bench::new("server");
        drop(upgraded(server.listen_with(vec![layer(WebSocketServer::new())])));
        let conn = server.accepted();
        let CloseReason::Layer(error) = server.until_closed(conn).1 else { panic!("as if in order") };
        assert_eq!(error.trouble(), LayerTrouble::Truncated, "{error}");
    }

    #[test]
    fn a_browser_without_web_socket_is_told_to_upgrade() {
        let server = Bench::new("server");
        let peer = connect(server.listen_with(vec![layer(WebSocketServer::new())]));
        dribble(&peer, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        let answer = String::from_utf8(read_to_end(&peer)).unwrap();
        assert!(answer.starts_with("HTTP/1.1 426 Upgrade Required\r\n"), "{answer}");
    }

    #[test]
    fn a_server_that_does_not_upgrade_refuses() {
        for (answer, trouble) in [
            (&b"HTTP/1.1 401 Unauthorized\r\n\r\n"[..], LayerTrouble::Authentication),
            (b"HTTP/1.1 200 OK\r\n\r\n", LayerTrouble::Refused),
            (b"HTTP/1.1 101 x\r\n\r\n", LayerTrouble::Handshake),
            (b"\0\0\0\x02{}", LayerTrouble::Protocol),
        ] {
            let error = refused(layer(client()), answer);
            let ConnectError::Layer { source, .. } = &error else { panic!("{error}") };
            assert_eq!(source.trouble(), trouble, "{error}");
        }
    }
}
