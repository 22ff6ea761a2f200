//! TLS over sockets: whom each side trusts, and the words for every refusal.
#![cfg(feature = "tls")]

mod certificates;
mod common;

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use amps_transport::{
    CloseReason, ConnId, ConnectError, LayerError, LayerTrouble, Target, TlsClient, TlsClientBuilder,
    TlsServer, TlsServerBuilder, TlsSetupError, TlsVersion,
};
use certificates::{Authority, Issued, Purpose, When, self_signed};
use common::{Bench, Event, accept, loopback, target};

/// The address that the tests connect to, as a name in certificates.
const HOST: &str = "127.0.0.1";

fn serving(issued: &Issued) -> TlsServerBuilder {
    TlsServer::builder().certificate_pem(issued.certificate.as_str(), issued.key.as_str())
}

fn trusting(authority: &Authority) -> TlsClientBuilder {
    TlsClient::builder().roots_pem(authority.pem())
}

fn through(client: TlsClientBuilder, address: SocketAddr) -> Target {
    Target { layers: vec![Arc::new(client.build().unwrap())], ..target(address) }
}

/// A listening and a connecting machine.
struct Ends {
    server: Bench,
    client: Bench,
    conn: ConnId,
}

fn meet(client: TlsClientBuilder, server: TlsServerBuilder) -> Ends {
    let bench = Bench::new("server");
    let address = bench.listen_with(vec![Arc::new(server.build().unwrap())]);
    let connecting = Bench::new("client");
    let conn = connecting.connect(through(client, address));
    Ends { server: bench, client: connecting, conn }
}

impl Ends {
    /// Both send something, and receive it.
    fn talk(&self) {
        let conn = self.conn;
        assert!(matches!(self.client.next(), Event::Connected { .. }));
        let accepted = self.server.accepted();
        self.client.ask(move |_, sink| sink.send(conn, b"ping"));
        assert_eq!(self.server.received(4), b"ping");
        self.server.ask(move |_, sink| sink.send(accepted, b"pong"));
        assert_eq!(self.client.received(4), b"pong");
    }

    /// Why the client has no connection.
    fn client_refused(&self) -> LayerError {
        refused(self.client.next())
    }

    /// Why the server has none any more.
    fn server_refused(&self) -> LayerError {
        self.server.accepted();
        closed(self.server.next())
    }
}

fn refused(event: Event) -> LayerError {
    match event {
        Event::ConnectFailed { error: ConnectError::Layer { source, .. }, .. } => source,
        other => panic!("{other:?}"),
    }
}

fn closed(event: Event) -> LayerError {
    match event {
        Event::Closed { reason: CloseReason::Layer(error), .. } => error,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn says(error: &LayerError, words: &[&str]) {
    let text = error.to_string();
    assert!(words.iter().all(|word| text.contains(word)), "{text}");
    assert_eq!((error.layer(), error.trouble()), ("TLS", LayerTrouble::Handshake), "{text}");
}

#[test]
fn whoever_trusts_the_authority_talks_in_either_version() {
    let authority = Authority::new("root");
    let issued = authority.server(&[HOST]);
    meet(trusting(&authority), serving(&issued)).talk();
    meet(trusting(&authority), serving(&issued).maximum(TlsVersion::V1_2)).talk();
    meet(trusting(&authority).minimum(TlsVersion::V1_3), serving(&issued)).talk();
    meet(trusting(&authority), serving(&issued).minimum(TlsVersion::V1_3)).talk();
    // Whoever trusts several.
    meet(trusting(&Authority::new("other")).add_roots(authority.pem()), serving(&issued)).talk();
    // By a name, which is resolved.
    let server = Bench::new("server");
    let layers = serving(&authority.server(&["localhost"])).build().unwrap();
    let mut named = through(trusting(&authority), server.listen_with(vec![Arc::new(layers)]));
    let amps_transport::Address::Tcp { host, .. } = &mut named.address else { unreachable!() };
    *host = "localhost".into();
    let client = Bench::new("client");
    let conn = client.connect(named);
    Ends { server, client, conn }.talk();
}

#[test]
fn versions_that_do_not_meet_are_named() {
    let authority = Authority::new("root");
    let issued = authority.server(&[HOST]);
    let old = serving(&issued).maximum(TlsVersion::V1_2);
    let ends = meet(trusting(&authority).minimum(TlsVersion::V1_3), old);
    says(&ends.client_refused(), &["speaks no version of TLS", "protocol_version"]);
    says(&ends.server_refused(), &["speaks no version of TLS that is allowed here"]);
    let error = serving(&issued).minimum(TlsVersion::V1_3).maximum(TlsVersion::V1_2).build().unwrap_err();
    assert!(error.to_string().contains("minimum (TLS 1.3) and the maximum (TLS 1.2)"), "{error}");
}

#[test]
fn a_server_that_cannot_be_believed_is_refused_and_hears_why() {
    let authority = Authority::new("root");
    let past = authority.issue(&[HOST], When::Past, Purpose::Server);
    let future = authority.issue(&[HOST], When::Future, Purpose::Server);
    let other = authority.server(&["other.example", "10.1.2.3"]);
    let client = authority.issue(&[HOST], When::Now, Purpose::Client);
    let ca = authority.server(&[HOST]);
    for (issued, words, heard) in [
        (&self_signed(&[HOST]), &["not trusted", "self-signed"][..], "does not know its issuer"),
        (&Authority::new("root").server(&[HOST]), &["not trusted", "made anew"], "DecryptError"),
        (
            &Authority::new("unknown").server(&[HOST]),
            &["not trusted", "its issuer"],
            "does not know its issuer",
        ),
        (&past, &["expired on 2001-01-01"], "expired, or is not valid yet"),
        (&future, &["not valid before 3000-01-01"], "expired, or is not valid yet"),
        (&other, &["for other.example, 10.1.2.3, and not for 127.0.0.1"], "BadCertificate"),
        (&client, &["for another purpose"], "UnsupportedCertificate"),
    ] {
        for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
            let ends = meet(trusting(&authority), serving(issued).maximum(version));
            let error = ends.client_refused();
            says(&error, words);
            assert!(std::error::Error::source(&error).is_some());
            says(&ends.server_refused(), &["the client", heard]);
            // Who wants it so gets it nevertheless.
            meet(trusting(&authority).danger_accept_invalid_certificates(), serving(issued)).talk();
        }
    }
    meet(trusting(&authority), serving(&ca)).talk();
}

#[test]
fn the_name_that_counts_can_be_another_than_the_hosts() {
    let authority = Authority::new("root");
    let issued = authority.server(&["amps.example"]);
    meet(trusting(&authority).server_name("amps.example"), serving(&issued)).talk();
    let ends = meet(trusting(&authority).server_name("amps.test"), serving(&issued));
    says(&ends.client_refused(), &["is for amps.example, and not for amps.test"]);
    let error = trusting(&authority).server_name("no name").build().unwrap_err();
    assert!(matches!(&error, TlsSetupError::ServerName { name } if name == "no name"), "{error}");
}

#[test]
fn a_client_shows_its_certificate_where_it_has_to() {
    let (authority, clients) = (Authority::new("root"), Authority::new("clients"));
    let issued = authority.server(&[HOST]);
    let showing =
        |shown: &Issued| trusting(&authority).certificate_pem(shown.certificate.as_str(), shown.key.as_str());
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let requiring = || serving(&issued).maximum(version).require_client_certificates_pem(clients.pem());
        let allowing = || serving(&issued).maximum(version).allow_client_certificates_pem(clients.pem());
        meet(showing(&clients.client()), requiring()).talk();
        meet(showing(&clients.client()), allowing()).talk();
        meet(trusting(&authority), allowing()).talk();
        // A server that does not ask does not care.
        meet(showing(&authority.client()), serving(&issued)).talk();
        let stranger = Authority::new("strangers").client();
        let expired = clients.issue(&["client"], When::Past, Purpose::Client);
        for (client, refusing, heard, said) in [
            (trusting(&authority), requiring(), "requires a certificate", "shown no certificate"),
            (showing(&stranger), requiring(), "not trust the client certificate", "not trusted"),
            (showing(&stranger), allowing(), "not trust the client certificate", "not trusted"),
            (showing(&expired), requiring(), "has expired", "expired on 2001-01-01"),
        ] {
            let ends = meet(client, refusing);
            // In TLS 1.3 the client has done its part before the server looks.
            let error = match ends.client.next() {
                Event::Connected { .. } => closed(ends.client.next()),
                event => refused(event),
            };
            says(&error, &["the server", heard]);
            says(&ends.server_refused(), &["the client", said]);
        }
    }
}

#[test]
fn a_peer_that_does_not_speak_tls_is_quoted() {
    let authority = Authority::new("root");
    for (said, words) in [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".as_slice(), "it speaks HTTP (\"HTTP/1.1 400 Bad Request\")"),
        (b"\0\0\0\x0c{\"c\":\"ack\"}", "it begins with \"\\x00\\x00\\x00\\x0c{"),
        (b"220 mail.example ESMTP\r\n", "it begins with \"220 mail"),
    ] {
        let listener = TcpListener::bind(loopback()).unwrap();
        let client = Bench::new("client");
        client.connect(through(trusting(&authority), listener.local_addr().unwrap()));
        let mut peer = accept(&listener);
        peer.write_all(said).unwrap();
        let error = refused(client.next());
        says(&error, &["the server does not speak TLS", words, "tcp in place of tcps"]);
    }
    for (said, words) in [
        (b"\0\0\0\x0c{\"c\":\"logon\"}".as_slice(), "it begins with"),
        (b"GET /amps/json HTTP/1.1\r\n\r\n", "it speaks HTTP"),
    ] {
        let server = Bench::new("server");
        let layers = serving(&authority.server(&[HOST])).build().unwrap();
        let mut peer = common::connect(server.listen_with(vec![Arc::new(layers)]));
        peer.write_all(said).unwrap();
        server.accepted();
        says(&closed(server.next()), &["the client does not speak TLS", words, "tcps in place of tcp"]);
    }
}

#[test]
fn a_handshake_that_stalls_times_out_and_one_that_is_cut_off_fails() {
    let authority = Authority::new("root");
    let listener = TcpListener::bind(loopback()).unwrap();
    let wanted = || through(trusting(&authority), listener.local_addr().unwrap());
    let client = Bench::new("client");
    client.connect(Target { timeout: Duration::from_millis(100), ..wanted() });
    let _silent = accept(&listener);
    let Event::ConnectFailed { error, .. } = client.next() else { panic!("it connected") };
    assert!(matches!(error, ConnectError::HandshakeTimedOut { layer: "TLS", .. }), "{error}");
    client.connect(wanted());
    let mut peer = accept(&listener);
    // The first bytes of a record, and the end.
    peer.write_all(&[22, 3, 3]).unwrap();
    common::read_some(&mut peer);
    drop(peer);
    says(&refused(client.next()), &["closed the connection in the middle of the handshake"]);
}

#[test]
fn a_target_without_a_name_needs_one() {
    let authority = Authority::new("root");
    let make = |client: TlsClientBuilder| amps_transport::MakeLayer::make(&client.build().unwrap(), "");
    let error = make(trusting(&authority)).unwrap_err();
    says(&error, &["\"\" is no name", "set the server name"]);
    assert!(make(trusting(&authority).server_name("amps.example")).is_ok());
    assert!(make(trusting(&authority).danger_accept_invalid_certificates()).is_ok());
}

#[test]
fn files_that_hold_something_else_are_named_with_what_they_hold() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let authority = Authority::new("root");
    let (issued, other) = (authority.server(&[HOST]), authority.client());
    let certificate = file("server.pem", &issued.certificate);
    let key = file("server.key", &issued.key);
    let ca = file("ca.pem", &authority.pem());
    let both = file("both.pem", &[issued.key.as_str(), issued.certificate.as_str()].concat());
    meet(
        TlsClient::builder().roots_file(&ca).certificate_files(&both, &both),
        TlsServer::builder().certificate_files(&certificate, &key).require_client_certificates_file(&ca),
    )
    .server_refused();
    let text = file("notes.txt", "not a certificate");
    let empty = file("empty.pem", "");
    let other = file("other.key", &other.key);
    let missing = directory.path().join("missing.pem");
    let damaged = file("damaged.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let server = |certificate, key| TlsServer::builder().certificate_files(certificate, key).build().err();
    let roots = |path| TlsClient::builder().roots_file(path).build().err();
    for (error, expected) in [
        (roots(&text), "no certificate in <notes.txt>: it is not PEM"),
        (roots(&empty), "no certificate in <empty.pem>: it is empty"),
        (roots(&key), "no certificate in <server.key>: it holds a PRIVATE KEY"),
        (roots(&missing), "cannot read <missing.pem>: No such file"),
        (roots(&damaged), "certificate 1 in <damaged.pem> cannot be used: "),
        (server(&certificate, &certificate), "no private key in <server.pem>: it holds a CERTIFICATE"),
        (
            server(&certificate, &other),
            "key in <other.key> does not belong to the first certificate in <server.pem>",
        ),
        (server(&key, &key), "no certificate in <server.key>"),
    ] {
        let start = directory.path().join("").display().to_string();
        let text = error.unwrap().to_string().replace(&start, "");
        let plain = expected.replace(['<', '>'], "");
        assert!(text.contains(&plain), "{text}");
    }
}

#[test]
fn the_platforms_roots_are_the_default_and_trust_no_strangers() {
    // A machine without any says so.
    let built = TlsClient::builder().build();
    let client = match built {
        Ok(_) => TlsClient::builder(),
        Err(error) => {
            assert!(matches!(error, TlsSetupError::NoPlatformRoots { .. }), "{error}");
            return;
        }
    };
    let authority = Authority::new("root");
    let issued = authority.server(&[HOST]);
    says(&meet(client.clone(), serving(&issued)).client_refused(), &["not trusted"]);
    meet(client.add_roots(authority.pem()), serving(&issued)).talk();
}

#[cfg(feature = "tls-self-signed")]
#[test]
fn a_server_makes_its_own_certificate_which_only_its_own_authority_vouches_for() {
    let (server, ca) = TlsServer::builder().self_signed([HOST, "localhost"]).unwrap();
    meet(TlsClient::builder().roots_pem(ca.as_str()), server.clone()).talk();
    let (_, stranger) = TlsServer::self_signed([HOST]).unwrap();
    let ends = meet(TlsClient::builder().roots_pem(stranger.to_string()), server);
    says(&ends.client_refused(), &["not trusted", "made anew"]);
    assert!(TlsServer::self_signed(["n\u{f6}t a name"]).is_err());
}
