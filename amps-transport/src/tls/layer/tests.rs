//! Two ends of TLS without a socket, in pieces of every size.

use std::sync::Arc;

use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::*;
use crate::tls::{TlsVersion, provider, versions};

type Client = TlsLayer<UnbufferedClientConnection>;
type Server = TlsLayer<UnbufferedServerConnection>;

/// A server that cuts its records so small; `None`: as large as they may be.
fn ends(version: TlsVersion, fragment: Option<usize>) -> (Client, Server) {
    let CertifiedKey::<KeyPair> { cert, signing_key } = generate_simple_self_signed(["peer".into()]).unwrap();
    let versions = versions(version, version).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let mut server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    server.max_fragment_size = fragment;
    let name = ServerName::try_from("peer").unwrap();
    let client = UnbufferedClientConnection::new(Arc::new(client), name).unwrap();
    let server = UnbufferedServerConnection::new(Arc::new(server)).unwrap();
    (TlsLayer::new(client), TlsLayer::new(server))
}

/// What is on its way to one end, and what it has read.
#[derive(Default)]
struct Half {
    wire: BytesMut,
    input: BytesMut,
    plain: BytesMut,
}

/// Hands over up to `step` bytes; the answer goes to `back`.
fn hand_over<S: Session>(
    half: &mut Half,
    to: &mut TlsLayer<S>,
    back: &mut BytesMut,
    step: usize,
) -> Result<LayerState, LayerError> {
    let count = step.min(half.wire.len());
    half.input.extend_from_slice(&half.wire.split_to(count));
    to.receive(&mut half.input, &mut half.plain, back)
}

fn shake_hands(client: &mut Client, server: &mut Server, step: usize) -> (Half, Half) {
    let (mut up, mut down) = (Half::default(), Half::default());
    let mut states = (client.start(&mut up.wire).unwrap(), server.start(&mut down.wire).unwrap());
    while states != (LayerState::Ready, LayerState::Ready) {
        states.1 = hand_over(&mut up, server, &mut down.wire, step).unwrap();
        states.0 = hand_over(&mut down, client, &mut up.wire, step).unwrap();
    }
    (up, down)
}

#[test]
fn bytes_arrive_whatever_the_pieces_are() {
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        for step in [1, 2, 7, 1000, 100_000] {
            let (mut client, mut server) = ends(version, None);
            let (mut up, mut down) = shake_hands(&mut client, &mut server, step);
            let message: Vec<u8> = (0..40_000u32).map(|i| (i / 3) as u8).collect();
            client.send(&message, &mut up.wire).unwrap();
            server.send(&message[1..], &mut down.wire).unwrap();
            client.finish(&mut up.wire);
            server.finish(&mut down.wire);
            let mut rest = BytesMut::new();
            while hand_over(&mut up, &mut server, &mut rest, step).unwrap() != LayerState::Ended {}
            while hand_over(&mut down, &mut client, &mut rest, step).unwrap() != LayerState::Ended {}
            assert_eq!(up.plain, message);
            assert_eq!(down.plain, message[1..]);
            assert!(rest.is_empty(), "each has said already that it ends");
            assert!(client.ended().is_ok() && server.ended().is_ok());
        }
    }
}

#[test]
fn what_is_sent_between_the_pieces_of_a_message_of_the_handshake_arrives() {
    // The tickets that follow the handshake come in records of 10 bytes.
    let (mut client, mut server) = ends(TlsVersion::V1_3, Some(32));
    let (mut up, mut down) = (Half::default(), Half::default());
    let mut ready = client.start(&mut up.wire).unwrap();
    let mut sent = Vec::new();
    let mut held = 0;
    while ready != LayerState::Ready || !down.wire.is_empty() || !up.wire.is_empty() {
        hand_over(&mut up, &mut server, &mut down.wire, 10_000).unwrap();
        ready = hand_over(&mut down, &mut client, &mut up.wire, 1).unwrap();
        if ready == LayerState::Ready && sent.len() < 1000 {
            held += usize::from(!client.pieces.is_empty());
            sent.push(sent.len() as u8);
            client.send(&sent[sent.len() - 1..], &mut up.wire).unwrap();
        }
    }
    assert!(held > 100, "{held}");
    assert_eq!(up.plain, sent);
    client.finish(&mut up.wire);
    assert_eq!(hand_over(&mut up, &mut server, &mut down.wire, 1000).unwrap(), LayerState::Ended);
}

#[test]
fn a_message_of_the_handshake_that_is_too_long_is_refused_before_it_has_come() {
    let (_, mut server) = ends(TlsVersion::V1_3, None);
    // A ClientHello of 16 MiB.
    let mut input = BytesMut::from(&[22, 3, 1, 0, 8, 1, 0xff, 0xff, 0xff, 3, 3, 0, 0][..]);
    let error = server.receive(&mut input, &mut BytesMut::new(), &mut BytesMut::new()).unwrap_err();
    assert_eq!(error.trouble(), LayerTrouble::Protocol, "{error}");
}

#[test]
fn an_end_without_a_word_is_a_truncation_and_an_early_one_a_failed_handshake() {
    let (mut client, mut server) = ends(TlsVersion::V1_3, None);
    assert_eq!(client.ended().unwrap_err().trouble(), LayerTrouble::Handshake);
    shake_hands(&mut client, &mut server, 100);
    assert_eq!(client.ended().unwrap_err().trouble(), LayerTrouble::Truncated);
    assert_eq!(server.ended().unwrap_err().trouble(), LayerTrouble::Truncated);
}

#[test]
fn a_changed_bit_is_noticed_and_the_peer_told() {
    let (mut client, mut server) = ends(TlsVersion::V1_3, None);
    let (mut up, mut down) = shake_hands(&mut client, &mut server, 1000);
    client.send(b"hello", &mut up.wire).unwrap();
    *up.wire.last_mut().unwrap() ^= 1;
    let error = hand_over(&mut up, &mut server, &mut down.wire, 1000).unwrap_err();
    assert_eq!(error.trouble(), LayerTrouble::Protocol);
    assert!(error.to_string().contains("cannot be decrypted"), "{error}");
    assert!(up.plain.is_empty());
    let error = hand_over(&mut down, &mut client, &mut up.wire, 1000).unwrap_err();
    assert!(error.to_string().contains("BadRecordMac"), "{error}");
    // Both are of no more use, and say nothing more.
    let mut nothing = BytesMut::new();
    server.finish(&mut nothing);
    assert!(nothing.is_empty());
    assert!(server.send(b"x", &mut nothing).is_err() && nothing.is_empty());
}

#[test]
fn whole_records_are_counted() {
    let record = [23, 3, 3, 0, 2, 1, 2];
    assert_eq!(whole_records(&[]), 0);
    assert_eq!(whole_records(&record[..6]), 0);
    assert_eq!(whole_records(&record), 7);
    assert_eq!(whole_records(&[&record[..], &record[..4]].concat()), 7);
    assert_eq!(whole_records(&[&record[..], &record[..]].concat()), 14);
}
