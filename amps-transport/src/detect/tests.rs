//! First bytes of every kind, at every split.

use super::*;

const PLAIN: &[u8] = b"\0\0\0\x02{}";
const REQUEST: &[u8] =
    b"GET /x/amps/json HTTP/1.1\r\nHost: h:1\r\nConnection: Upgrade\r\nUpgrade: amps\r\n\r\n";
const GRANTED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: amps\r\n\r\n";

/// Everything that came of some input: what the machine sees, what was answered, and the state.
#[derive(Debug, PartialEq)]
struct Seen {
    above: Vec<u8>,
    answer: Vec<u8>,
    state: LayerState,
}

fn made(detect: &Detect) -> Box<dyn Layer> {
    let mut layer = detect.make("").unwrap();
    let expected = if detect.plain { LayerState::Ready } else { LayerState::Handshaking };
    assert_eq!(layer.start(&mut BytesMut::new()).unwrap(), expected);
    layer
}

/// Feeds pieces as a stack does: what is left is offered again, and after the end the rest goes past the layer.
fn feed(layer: &mut dyn Layer, pieces: &[&[u8]]) -> Result<Seen, LayerError> {
    let (mut below, mut above, mut answer) = (BytesMut::new(), BytesMut::new(), BytesMut::new());
    let mut state = LayerState::Ready;
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        below.extend_from_slice(piece);
        if state != LayerState::Transparent {
            state = layer.receive(&mut below, &mut above, &mut answer)?;
        }
    }
    if state == LayerState::Transparent {
        above.extend_from_slice(&below);
    }
    Ok(Seen { above: above.to_vec(), answer: answer.to_vec(), state })
}

/// The same at every split of the input.
fn seen(detect: &Detect, input: &[u8]) -> Result<Seen, LayerError> {
    let whole = feed(&mut *made(detect), &[input]);
    for split in 1..input.len() {
        let parts = feed(&mut *made(detect), &[&input[..split], &input[split..]]);
        match (&whole, &parts) {
            (Ok(whole), Ok(parts)) => assert_eq!(whole, parts, "at {split}"),
            (Err(whole), Err(parts)) => assert_eq!(whole.trouble(), parts.trouble(), "at {split}"),
            _ => panic!("{whole:?}, but {parts:?} at {split}"),
        }
    }
    whole
}

#[test]
fn what_is_nothing_else_is_plain_from_the_first_byte() {
    for input in [PLAIN, b"GE\0\0", b"GETX", b"\x0c\x80\0\0", b"\x08\x1d", b"x\x9d", b"{"] {
        let expected = Seen { above: input.to_vec(), answer: vec![], state: LayerState::Transparent };
        assert_eq!(seen(&Detect::new(), input).unwrap(), expected, "{input:?}");
    }
}

#[test]
fn a_preflight_is_granted_with_its_token_and_what_follows_is_kept() {
    let input = [REQUEST, PLAIN].concat();
    let expected = Seen { above: PLAIN.to_vec(), answer: GRANTED.to_vec(), state: LayerState::Transparent };
    assert_eq!(seen(&Detect::new(), &input).unwrap(), expected);
    let bare = feed(&mut *made(&Detect::new()), &[b"GET /amps HTTP/1.1\r\n\r\n"]).unwrap();
    assert!(bare.answer.starts_with(b"HTTP/1.1 101 "), "a request without Upgrade is one too");
}

#[test]
fn what_is_not_allowed_is_answered_or_ends_the_connection() {
    let none = Detect::new().with_preflight(false).with_http_refusal(Some(407));
    let (mut answer, mut above) = (BytesMut::new(), BytesMut::new());
    let error = made(&none).receive(&mut BytesMut::from(REQUEST), &mut above, &mut answer).unwrap_err();
    assert_eq!(error.trouble(), LayerTrouble::Refused);
    assert!(answer.starts_with(b"HTTP/1.1 407 Proxy Authentication Required\r\n"));

    let only_http = Detect::new().with_plain(false);
    let error = seen(&only_http, PLAIN).unwrap_err();
    assert_eq!(error.trouble(), LayerTrouble::Refused);
    assert!(error.to_string().contains(r"\x00\x00\x00\x02{}"), "{error}");
    let behind = seen(&only_http, &[REQUEST, PLAIN].concat()).unwrap();
    assert_eq!(behind.above, PLAIN, "behind a preflight it is allowed");

    let error = seen(&Detect::new(), b"GET \0 nonsense").unwrap_err();
    assert_eq!(error.trouble(), LayerTrouble::Protocol);
}

#[test]
fn whoever_says_nothing_leaves_in_order_and_whoever_stops_in_between_does_not() {
    made(&Detect::new()).ended().unwrap();
    for (input, in_order) in [(&b"GE"[..], false), (&REQUEST[..30], false), (REQUEST, true), (PLAIN, true)] {
        let mut layer = made(&Detect::new());
        feed(&mut *layer, &[input]).unwrap();
        assert_eq!(layer.ended().is_ok(), in_order, "{input:?}");
    }
}

#[test]
fn to_speak_first_means_plain_and_in_the_middle_is_too_early() {
    let (mut layer, mut out) = (made(&Detect::new()), BytesMut::new());
    layer.send(PLAIN, &mut out).unwrap();
    assert_eq!(out, PLAIN);
    assert_eq!(feed(&mut *layer, &[REQUEST]).unwrap().above, REQUEST, "it is decided");

    let mut layer = made(&Detect::new());
    assert_eq!(feed(&mut *layer, &[b"GE"]).unwrap().state, LayerState::Handshaking);
    assert!(layer.send(PLAIN, &mut out).is_err());
}

#[cfg(feature = "zlib")]
mod compressed {
    use super::*;

    fn wire(level: u32) -> Vec<u8> {
        let mut out = BytesMut::new();
        Zlib::new().with_level(level).layer().send(PLAIN, &mut out).unwrap();
        out.to_vec()
    }

    #[test]
    fn compressed_bytes_are_known_by_their_head_alone_or_behind_a_preflight() {
        for level in [0, 1, 6, 9] {
            let expected = Seen { above: PLAIN.to_vec(), answer: vec![], state: LayerState::Ready };
            assert_eq!(seen(&Detect::new(), &wire(level)).unwrap(), expected);
            let expected = Seen { answer: GRANTED.to_vec(), ..expected };
            assert_eq!(seen(&Detect::new(), &[REQUEST, &wire(level)].concat()).unwrap(), expected);
        }
    }

    #[test]
    fn the_answer_to_compressed_bytes_is_compressed() {
        let mut layer = made(&Detect::new());
        feed(&mut *layer, &[&wire(6)]).unwrap();
        let mut out = BytesMut::new();
        layer.send(PLAIN, &mut out).unwrap();
        assert_eq!(out[..], wire(6));
        layer.finish(&mut out);
        assert!(out.len() > wire(6).len(), "with its trailer");
    }

    #[test]
    fn if_it_is_not_allowed_it_is_plain() {
        let expected = Seen { above: wire(6), answer: vec![], state: LayerState::Transparent };
        assert_eq!(seen(&Detect::new().with_zlib(None), &wire(6)).unwrap(), expected);
    }

    #[test]
    fn every_window_but_the_smallest_is_known() {
        for window in 0..8u8 {
            let method = window << 4 | 8;
            let flags = (0..31).find(|flags| (u32::from(method) * 256 + flags) % 31 == 0).unwrap() as u8;
            assert_eq!(is_zlib_head(method, flags), window > 0);
            assert!(!is_zlib_head(method, flags + 1) && !is_zlib_head(method, flags | 0x20));
        }
    }
}

#[cfg(feature = "websocket")]
mod web_socket {
    use super::*;
    use crate::websocket::WebSocket;

    #[test]
    fn a_request_with_a_key_is_web_socket_if_that_is_allowed() {
        let mut client = WebSocket::new("h:1", "/amps").unwrap().make("").unwrap();
        let (mut up, mut plain) = (BytesMut::new(), BytesMut::new());
        client.start(&mut up).unwrap();
        let request = up.split();
        let seen_there = seen(&Detect::new(), &request).unwrap();
        assert_eq!(seen_there.state, LayerState::Ready);
        let mut server = made(&Detect::new());
        let mut answer = BytesMut::from(&feed(&mut *server, &[&request]).unwrap().answer[..]);
        client.receive(&mut answer, &mut plain, &mut up).unwrap();
        client.send(PLAIN, &mut up).unwrap();
        assert_eq!(feed(&mut *server, &[&up]).unwrap().above, PLAIN);

        let without = Detect::new().with_websocket(None);
        let mut answer = BytesMut::new();
        let error = made(&without).receive(&mut request.clone(), &mut plain, &mut answer).unwrap_err();
        assert_eq!(error.trouble(), LayerTrouble::Refused);
        assert!(answer.starts_with(b"HTTP/1.1 400 "), "{answer:?}");
    }

    #[test]
    fn a_request_without_a_key_is_told_to_upgrade_where_only_web_socket_is_served() {
        let only = Detect::new().with_plain(false).with_preflight(false);
        let mut answer = BytesMut::new();
        let mut input = BytesMut::from("GET / HTTP/1.1\r\n\r\n");
        made(&only).receive(&mut input, &mut BytesMut::new(), &mut answer).unwrap_err();
        assert!(
            answer.starts_with(b"HTTP/1.1 426 Upgrade Required\r\nConnection: Upgrade\r\n"),
            "{answer:?}"
        );
    }
}
