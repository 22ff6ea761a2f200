//! Upgrades and messages, byte by byte.

use proptest::prelude::*;

use super::*;

/// RFC 6455 section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

type Outcome = Result<LayerState, LayerError>;

fn receive(layer: &mut dyn Layer, bytes: &[u8]) -> (Outcome, Vec<u8>, Vec<u8>) {
    let (mut above, mut answer) = (BytesMut::new(), BytesMut::new());
    let outcome = layer.receive(&mut BytesMut::from(bytes), &mut above, &mut answer);
    (outcome, above.to_vec(), answer.to_vec())
}

fn client() -> WebSocket {
    WebSocket::new("h:1", "/amps/json").unwrap()
}

/// Both sides after the upgrade.
fn open(client: &WebSocket, server: WebSocketServer) -> (Box<dyn Layer>, Box<dyn Layer>) {
    let (mut one, mut other) = (client.make("").unwrap(), server.make("").unwrap());
    let mut request = BytesMut::new();
    assert_eq!(one.start(&mut request).unwrap(), LayerState::Handshaking);
    let (state, above, answer) = receive(&mut *other, &request);
    assert_eq!((state.unwrap(), above.len()), (LayerState::Ready, 0));
    assert_eq!(receive(&mut *one, &answer).0.unwrap(), LayerState::Ready);
    (one, other)
}

fn pair() -> (Box<dyn Layer>, Box<dyn Layer>) {
    open(&client(), WebSocketServer::new())
}

fn sent(layer: &mut dyn Layer, bytes: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    layer.send(bytes, &mut out).unwrap();
    out.to_vec()
}

/// A frame above the layer.
fn framed(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}

/// A WebSocket frame: its first byte, and a payload; masked if there is a mask. Written from RFC 6455 section 5.2.
fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let flag = if mask.is_some() { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..126 => bytes.push(flag | length as u8),
        length @ 126..65536 => {
            bytes.push(flag | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(flag | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(mask.into_iter().flatten());
    let mask = mask.unwrap_or_default();
    bytes.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ mask[i % 4]));
    bytes
}

const MASK: Option<[u8; 4]> = Some([1, 0x20, 0x4a, 0xff]);

fn request(lines: &str) -> String {
    format!("GET /any/path?x HTTP/1.1\r\nHost: x\r\n{lines}\r\n")
}

fn upgrade() -> String {
    let lines = "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\n";
    request(&format!("{lines}Sec-WebSocket-Key: {KEY}\r\n"))
}

#[test]
fn the_clients_request_holds_what_the_rules_ask_for() {
    let mut headers = HttpHeaders::new();
    headers.add("Authorization", "Basic x").unwrap();
    let maker = client().with_headers(headers);
    let mut keys = Vec::new();
    for _ in 0..2 {
        let mut out = BytesMut::new();
        maker.make("").unwrap().start(&mut out).unwrap();
        let text = String::from_utf8(out.to_vec()).unwrap();
        let (before, after) = text.split_once("Sec-WebSocket-Key: ").unwrap();
        let expected = "GET /amps/json HTTP/1.1\r\nHost: h:1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                        Sec-WebSocket-Version: 13\r\n";
        assert_eq!(before, expected, "and neither extension nor subprotocol");
        let (key, after) = after.split_once("\r\n").unwrap();
        assert_eq!(after, "Authorization: Basic x\r\n\r\n");
        assert!(is_key(key));
        keys.push(key.to_owned());
    }
    assert_ne!(keys[0], keys[1], "a key of its own for every connection");
}

#[test]
fn a_request_is_granted_at_every_split_and_what_is_behind_it_counts() {
    let expected = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
    );
    let offers = "Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Protocol: x\r\n\r\n";
    let with_offers = [upgrade().trim_end(), "\r\n", offers].concat();
    let whole = [with_offers.as_bytes(), &frame(0x82, b"{}", MASK)].concat();
    for split in 0..=whole.len() {
        let mut layer = WebSocketServer::new().layer();
        let (mut input, mut above, mut answer) = (BytesMut::new(), BytesMut::new(), BytesMut::new());
        for part in [&whole[..split], &whole[split..]] {
            input.extend_from_slice(part);
            layer.receive(&mut input, &mut above, &mut answer).unwrap();
        }
        assert_eq!(answer, expected.as_str(), "everything that was offered is declined");
        assert_eq!(above[..], framed(b"{}"));
    }
}

#[test]
fn a_request_that_is_no_upgrade_is_answered_and_ends_the_connection() {
    for (bytes, status, word) in [
        (request(""), "426 Upgrade Required", "does not ask for an upgrade"),
        (upgrade().replace("13", "8"), "426 Upgrade Required", "Version"),
        (upgrade().replace(KEY, "short=="), "400 Bad Request", "Sec-WebSocket-Key"),
        (upgrade().replace("GET", "POST"), "400 Bad Request", "GET"),
        (upgrade().replace("HTTP/1.1", "HTTP/1.0"), "400 Bad Request", "HTTP/1.1"),
        ("\0\0\0\x05hello".into(), "400 Bad Request", "expected an HTTP request"),
        ([&request("")[..35], &"a: b\r\n".repeat(4000)].concat(), "431 ", "headers"),
    ] {
        let (outcome, above, answer) = receive(&mut *WebSocketServer::new().layer(), bytes.as_bytes());
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert_eq!(answer.contains("Sec-WebSocket-Version: 13\r\n"), status.starts_with("426"));
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())) && above.is_empty());
    }
}

#[test]
fn an_answer_that_is_no_upgrade_or_more_than_that_is_refused() {
    let upgrade =
        |lines: &str| format!("HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n{lines}\r\n");
    let accepted = |lines: &str| upgrade(&format!("Sec-WebSocket-Accept: {ACCEPT}\r\n{lines}"));
    for (answer, trouble, word) in [
        (upgrade("Sec-WebSocket-Accept: wrong\r\n"), LayerTrouble::Handshake, "Accept"),
        (upgrade(""), LayerTrouble::Handshake, "Accept"),
        (accepted("").replace("Upgrade: websocket", "A: b"), LayerTrouble::Handshake, "does not upgrade"),
        (accepted("Sec-WebSocket-Extensions: permessage-deflate\r\n"), LayerTrouble::Handshake, "extension"),
        (accepted("Sec-WebSocket-Protocol: amps\r\n"), LayerTrouble::Handshake, "subprotocol"),
        ("HTTP/1.1 200 OK\r\n\r\n".into(), LayerTrouble::Refused, "HTTP/1.1 200 OK"),
        ("HTTP/1.1 401 No\r\n\r\n".into(), LayerTrouble::Authentication, "HTTP/1.1 401 No"),
        ("HTTP/1.1 407 No\r\n\r\n".into(), LayerTrouble::Authentication, "407"),
        ("\0\0\0\x05hello".into(), LayerTrouble::Protocol, "expected an HTTP answer"),
    ] {
        let stage = Stage::Asking { request: BytesMut::new(), accept: ACCEPT.into() };
        let codec = Codec { prefixed: false, in_kind: false, limit: 9, partial: BytesMut::new() };
        let error = receive(&mut WebSocketLayer { stage, codec }, answer.as_bytes()).0.unwrap_err();
        assert_eq!(error.trouble(), trouble, "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn messages_are_those_of_the_vectors() {
    // protocol.md 16.2, X07 and X08.
    let body = b"{\"c\":\"heartbeat\"}";
    let x07 = [&[0x82, 0x11], &body[..]].concat();
    let x08 = [&[0x82, 0x15, 0, 0, 0, 0x11], &body[..]].concat();
    let (mut client, mut server) = pair();
    assert_eq!(sent(&mut *server, &framed(body)), x07);
    assert_eq!(receive(&mut *client, &x07).1, framed(body));
    assert_eq!(receive(&mut *client, &x08).1, framed(body));
    let (_, mut prefixed) = open(&tests::client(), WebSocketServer::new().with_length_prefix(true));
    assert_eq!(sent(&mut *prefixed, &framed(body)), x08);
}

#[test]
fn a_client_masks_and_is_understood_and_a_prefix_is_a_setting() {
    for prefixed in [false, true] {
        let (mut client, mut server) = open(&client().with_length_prefix(prefixed), WebSocketServer::new());
        let wire = sent(&mut *client, &framed(b"{}"));
        assert_eq!(wire[..2], [0x82, 0x80 | if prefixed { 6 } else { 2 }]);
        assert_eq!(receive(&mut *server, &wire).1, framed(b"{}"));
        let answer = sent(&mut *server, &framed(b"{\"a\":1}"));
        assert_eq!(answer[1], if prefixed { 11 } else { 7 }, "in kind");
        assert_eq!(receive(&mut *client, &answer).1, framed(b"{\"a\":1}"));
    }
    // A client keeps to its setting, whatever comes.
    let (mut client, _) = pair();
    receive(&mut *client, &frame(0x82, &framed(b"{}"), None)).0.unwrap();
    assert_eq!(sent(&mut *client, &framed(b"{}"))[1], 0x82);
}

#[test]
fn one_message_may_hold_several_frames_with_their_lengths() {
    let (mut client, _) = pair();
    let three = [framed(b"{}"), framed(b""), framed(b"{\"a\":1}")].concat();
    assert_eq!(receive(&mut *client, &frame(0x82, &three, None)).1, three);
    // One that is cut off is no frame, so the message is one without a length.
    let cut = &three[..three.len() - 1];
    assert_eq!(receive(&mut *client, &frame(0x82, cut, None)).1, framed(cut));
    assert_eq!(receive(&mut *client, &frame(0x81, b" {}", None)).1, framed(b" {}"));
    assert_eq!(receive(&mut *client, &frame(0x82, b"", None)).1, framed(b""));
}

#[test]
fn text_fragments_and_pings_in_between_are_understood_at_every_split() {
    let message = "{\"ä\":1}";
    let text = message.as_bytes();
    let whole = [
        frame(0x01, &text[..3], MASK),
        frame(0x89, b"still there?", MASK),
        frame(0x00, &text[3..5], MASK),
        frame(0x8a, b"unasked", MASK),
        frame(0x80, &text[5..], MASK),
        frame(0x82, &[b'x'; 300], MASK),
    ]
    .concat();
    for split in 0..=whole.len() {
        let (_, mut server) = pair();
        let (_, mut above, mut answer) = receive(&mut *server, &whole[..split]);
        let (state, more, rest) = receive(&mut *server, &whole[split..]);
        assert_eq!(state.unwrap(), LayerState::Ready);
        above.extend(more);
        answer.extend(rest);
        assert_eq!(above, [framed(text), framed(&[b'x'; 300])].concat());
        assert_eq!(answer, frame(0x8a, b"still there?", None));
    }
}

#[test]
fn frames_are_sent_when_they_are_whole_at_every_split() {
    let frames = [framed(b"{}"), framed(&[7; 70_000]), framed(b""), framed(b"{\"a\":1}")].concat();
    let cuts = (0..40).chain(70_000..=frames.len());
    for split in cuts {
        let (mut client, mut server) = pair();
        let wire = [sent(&mut *client, &frames[..split]), sent(&mut *client, &frames[split..])].concat();
        assert_eq!(receive(&mut *server, &wire).1, frames);
    }
}

#[test]
fn a_close_is_answered_and_ends_what_is_above() {
    let goodbye = frame(0x88, &[&[0x03, 0xe8], &b"bye"[..]].concat(), MASK);
    let (mut client, mut server) = pair();
    let (state, above, answer) = receive(&mut *server, &[frame(0x82, b"{}", MASK), goodbye].concat());
    assert_eq!((state.unwrap(), above), (LayerState::Ended, framed(b"{}")));
    assert_eq!(answer, frame(0x88, &[&[0x03, 0xe8], &b"bye"[..]].concat(), None));
    let mut nothing = BytesMut::new();
    server.finish(&mut nothing);
    assert!(nothing.is_empty(), "it was said already");
    // From the other side.
    let mut wire = BytesMut::new();
    client.finish(&mut wire);
    let (_, mut server) = pair();
    let (state, _, answer) = receive(&mut *server, &wire);
    assert_eq!(state.unwrap(), LayerState::Ended);
    assert_eq!(receive(&mut *client, &answer).0.unwrap(), LayerState::Ended);
    // A client that is told to go answers too.
    let (mut client, mut server) = pair();
    let mut wire = BytesMut::new();
    server.finish(&mut wire);
    let (state, _, answer) = receive(&mut *client, &wire);
    assert_eq!((state.unwrap(), answer[0]), (LayerState::Ended, 0x88));
}

#[test]
fn an_end_without_a_close_is_truncated_and_one_in_the_upgrade_a_handshake_that_failed() {
    let (mut client, mut server) = pair();
    assert_eq!(client.ended().unwrap_err().trouble(), LayerTrouble::Truncated);
    assert_eq!(server.ended().unwrap_err().trouble(), LayerTrouble::Truncated);
    let mut early = WebSocketServer::new().layer();
    assert!(early.send(&framed(b"{}"), &mut BytesMut::new()).is_err(), "nothing can be sent yet");
    assert_eq!(early.ended().unwrap_err().trouble(), LayerTrouble::Handshake);
}

#[test]
fn the_limit_holds_for_whole_and_fragmented_messages_and_for_those_that_are_sent() {
    let limited = || open(&client().with_limit(100), WebSocketServer::new().with_limit(100)).1;
    assert_eq!(receive(&mut *limited(), &frame(0x82, &[b'x'; 100], MASK)).1.len(), 104);
    let prefixed = framed(&[b'x'; 100]);
    assert_eq!(receive(&mut *limited(), &frame(0x82, &prefixed, MASK)).1, prefixed);
    // The announcement is enough.
    let announced = [0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4];
    let fragmented = [frame(0x02, &[b'x'; 90], MASK), frame(0x80, &[b'x'; 15], MASK)].concat();
    for bytes in [&announced[..], &frame(0x82, &[b'x'; 101], MASK), &fragmented] {
        let (outcome, above, answer) = receive(&mut *limited(), bytes);
        let error = outcome.unwrap_err();
        assert_eq!(error.trouble(), LayerTrouble::Limit, "{error}");
        assert!(above.is_empty());
        assert_eq!(answer[..4], [0x88, 2, 0x03, 0xf1], "1009");
    }
    let error = limited().send(&framed(&[0; 101]), &mut BytesMut::new()).unwrap_err();
    assert_eq!(error.trouble(), LayerTrouble::Limit);
}

#[test]
fn whoever_breaks_the_protocol_is_told_so() {
    for (bytes, masked) in [
        (frame(0x82, b"{}", None), true),
        (frame(0x82, b"{}", MASK), false),
        (frame(0xc2, b"{}", MASK), true),
        (frame(0x80, b"{}", MASK), true),
        (frame(0x83, b"{}", MASK), true),
        (frame(0x8b, b"{}", MASK), true),
        (frame(0x09, b"{}", MASK), true),
        (frame(0x89, &[0; 126], MASK), true),
        (frame(0x81, b"\xff", MASK), true),
        ([frame(0x02, b"{", MASK), frame(0x82, b"}", MASK)].concat(), true),
    ] {
        let (mut client, mut server) = pair();
        let layer = if masked { &mut server } else { &mut client };
        let (outcome, _, answer) = receive(&mut **layer, &bytes);
        let error = outcome.unwrap_err();
        assert_eq!(error.trouble(), LayerTrouble::Protocol, "{error}");
        assert_eq!(answer[0], 0x88, "{error}");
    }
}

#[test]
fn nothing_secret_is_shown() {
    let mut headers = HttpHeaders::new();
    headers.add("Authorization", "hunter2").unwrap();
    let maker = client().with_headers(headers);
    let shown = format!("{maker:?} {:?}", maker.make("").unwrap());
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_long_message_in_parts_is_gathered_in_one_place_and_leaves_nothing_behind() {
    const PART: usize = 64 * 1024;
    let codec = || Codec { prefixed: false, in_kind: false, limit: DEFAULT_LIMIT, partial: BytesMut::new() };
    for role in [Role::Client, Role::Server] {
        let mut layer = WebSocketLayer { stage: Stage::Awaiting, codec: codec() };
        layer.open(role);
        let body: Vec<u8> = (0..32u32 << 20).map(|i| (i / 7) as u8).collect();
        let frames = [framed(b"{}"), framed(&body), framed(b"[]")].concat();
        let mut wire = BytesMut::new();
        let mut places = Vec::new();
        for part in frames.chunks(PART) {
            layer.send(part, &mut wire).unwrap();
            places.push(layer.codec.partial.as_ptr());
        }
        let (_last, gathered) = places.split_last().unwrap();
        assert!(gathered.iter().all(|place| *place == gathered[0]), "copied while it was gathered");
        assert!(layer.codec.partial.capacity() <= PART, "the large block is given back");

        let other = if role == Role::Client { Role::Server } else { Role::Client };
        let mut peer = WebSocketLayer { stage: Stage::Awaiting, codec: codec() };
        peer.open(other);
        let (mut above, mut answer) = (BytesMut::new(), BytesMut::new());
        assert_eq!(peer.receive(&mut wire, &mut above, &mut answer).unwrap(), LayerState::Ready);
        assert!(above == frames, "everything arrives, in order");
        assert!(wire.is_empty() && answer.is_empty());
    }
}

#[test]
fn long_messages_have_masks_of_their_own_and_none_follows_the_end() {
    let (mut client, mut server) = pair();
    let zeros = framed(&vec![0; 3 * WRITE_BUFFER]);
    let masks: Vec<_> = (0..2)
        .map(|_| {
            let wire = sent(&mut *client, &zeros);
            assert_eq!((wire[0], wire[1], wire.len()), (0x82, 0x80 | 126, 8 + 3 * WRITE_BUFFER));
            assert!(wire[8..].chunks(4).all(|group| *group == wire[4..8]));
            wire[4..8].to_vec()
        })
        .collect();
    assert_ne!(masks[0], masks[1]);
    assert_eq!(sent(&mut *server, &zeros)[..4], [0x82, 126, 0xc0, 0], "a server masks nothing");
    client.finish(&mut BytesMut::new());
    assert!(client.send(&zeros, &mut BytesMut::new()).is_err());
}

proptest! {
    #[test]
    fn any_frames_in_any_pieces_arrive(
        bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..400), 0..8),
        (send, step) in (1usize..600, 1usize..600),
        prefixed in any::<bool>(),
    ) {
        // Without a length, what looks like frames would be taken for them.
        prop_assume!(prefixed || bodies.iter().all(|body| !holds_whole_frames(body)));
        let (mut client, mut server) = open(&client().with_length_prefix(prefixed), WebSocketServer::new());
        let frames: Vec<u8> = bodies.iter().flat_map(|body| framed(body)).collect();
        let wire: Vec<u8> = frames.chunks(send).flat_map(|piece| sent(&mut *client, piece)).collect();
        let above: Vec<u8> = wire.chunks(step).flat_map(|piece| receive(&mut *server, piece).1).collect();
        prop_assert_eq!(&above, &frames);
        let wire: Vec<u8> = above.chunks(step).flat_map(|piece| sent(&mut *server, piece)).collect();
        let back: Vec<u8> = wire.chunks(send).flat_map(|piece| receive(&mut *client, piece).1).collect();
        prop_assert_eq!(back, frames);
    }

    #[test]
    fn garbage_is_an_error_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let (mut client, mut server) = pair();
        let _either = (receive(&mut *client, &bytes), receive(&mut *server, &bytes));
        let _either = receive(&mut *WebSocketServer::new().layer(), &bytes);
    }
}
