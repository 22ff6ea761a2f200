//! The same conversation over every transport, and what certificates decide.
#![cfg(all(feature = "tls", feature = "websocket", feature = "zlib", unix))]

mod common;

use std::time::Duration;

use amps_client::transport::TlsClient;
use amps_client::{Client, ClientBuilder, DisconnectCause, Error, ErrorKind, Reconnect};
use amps_testkit::{Drop, FakeServer, QueueConfig, TransportConfig};
use common::certificates::{Authority, Purpose, When};
use common::{PATIENCE, until};

/// Where to listen, what to add to the connection string, and whether certificates are asked for.
const WAYS: &[(&str, &str, bool)] = &[
    ("tcp://127.0.0.1:0/amps", "", false),
    ("tcp://127.0.0.1:0/amps", "compression=zlib", false),
    ("tcp://127.0.0.1:0/amps", "http_preflight=true", false),
    ("tcp://127.0.0.1:0/amps", "http_preflight=true&compression=zlib", false),
    ("tcps://127.0.0.1:0/amps", "", true),
    ("tcps://127.0.0.1:0/amps", "http_preflight=true&compression=zlib", true),
    ("unix", "", false),
    ("ws://127.0.0.1:0/amps", "", false),
    ("wss://127.0.0.1:0/amps", "", true),
];

/// A server that listens in one way, and a client's builder for it.
fn serve(listen: &str, parameters: &str, directory: &std::path::Path) -> (FakeServer, ClientBuilder) {
    let listen = match listen {
        "unix" => format!("unix://{}", directory.join("amps.sock").display()),
        other => other.to_owned(),
    };
    let server = FakeServer::builder().queue(QueueConfig::new("work")).listen(listen).start().unwrap();
    let uri = server.uri("json");
    let more = if uri.contains('?') { '&' } else { '?' };
    let uri = if parameters.is_empty() { uri } else { format!("{uri}{more}{parameters}") };
    let mut builder = Client::builder("c").server(uri);
    if let Some(roots) = server.ca_pem() {
        builder = builder.tls(TlsClient::builder().roots_pem(roots).build().unwrap());
    }
    let policy = Reconnect::new().initial(Duration::from_millis(5)).jitter(0.0);
    (server, builder.reconnect(policy))
}

#[test]
fn the_same_conversation_works_in_every_way() {
    for (listen, parameters, encrypted) in WAYS {
        let what = format!("{listen} {parameters}");
        let directory = tempfile::tempdir().unwrap();
        let (server, builder) = serve(listen, parameters, directory.path());
        assert_eq!(server.ca_pem().is_some(), *encrypted, "{what}");
        let client = builder.connect().unwrap_or_else(|error| panic!("{what}: {error}"));
        let mut notes = client.subscribe("notes").resume_silently().start().unwrap();
        let bodies: Vec<Vec<u8>> = [0, 1, 100, 70_000, 1_000_000]
            .map(|size| (0..size).map(|i| b'a' + (i % 26) as u8).collect())
            .into();
        for _ in 0..2 {
            for body in &bodies {
                client.publish("notes", body).unwrap();
            }
            for body in &bodies {
                assert_eq!(notes.next().unwrap().unwrap().data(), body, "{what}");
            }
            // All over again on a new connection.
            let logons = client.stats().logons;
            assert!(server.drop_connection("c", Drop::Fin), "{what}");
            until("the client is back", || client.stats().logons > logons && client.is_connected());
            client.flush(PATIENCE).unwrap();
        }
        let work = client.subscribe("work").max_backlog(10).auto_ack(true).start().unwrap();
        for i in 0..50 {
            client.publish("work", format!("{i}")).unwrap();
        }
        let taken: Vec<String> =
            work.take(50).map(|message| message.unwrap().data_str().unwrap().to_owned()).collect();
        assert_eq!(taken.len(), 50, "{what}");
        client.close().unwrap();
    }
}

/// C-10-2-1 C-10-2-2
#[test]
fn a_certificate_that_nobody_vouches_for_is_refused_before_anything_is_said() {
    let server = FakeServer::builder().listen("tcps://127.0.0.1:0/amps").start().unwrap();
    let strangers = TlsClient::builder().roots_pem(Authority::new("strangers").pem()).build().unwrap();
    let error = Client::builder("c").server(server.uri("json")).tls(strangers).connect().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connection, "{error}");
    assert!(error.to_string().contains("TLS"), "{error}");
    assert!(server.connections().iter().all(|connection| connection.client_name.is_none()), "no logon");
    let trusting = TlsClient::builder().roots_pem(server.ca_pem().unwrap()).build().unwrap();
    Client::builder("c").server(server.uri("json")).tls(trusting).connect().unwrap();
}

/// C-10-2-3
#[test]
fn a_server_may_ask_for_a_certificate() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let directory = tempfile::tempdir().unwrap();
    let roots = directory.path().join("roots.pem");
    std::fs::write(&roots, ours.pem()).unwrap();
    let transport = TransportConfig::new("inside").tls_self_signed().require_client_certificates(&roots);
    let server = FakeServer::builder().transport("tcps://127.0.0.1:0/amps", transport).start().unwrap();
    let attempt = |shown: Option<&Authority>| {
        let mut tls = TlsClient::builder().roots_pem(server.ca_pem().unwrap());
        if let Some(authority) = shown {
            let issued = authority.issue(&["desk-7"], When::Now, Purpose::Client);
            tls = tls.certificate_pem(issued.certificate, issued.key);
        }
        Client::builder("c").server(server.uri("json")).tls(tls.build().unwrap()).connect()
    };
    attempt(Some(&ours)).unwrap();
    for shown in [None, Some(&theirs)] {
        let error = attempt(shown).unwrap_err();
        // With TLS 1.3 the server judges after the connection is there.
        let late = matches!(&error, Error::Disconnected { cause: DisconnectCause::Socket(_) });
        assert!(late || error.kind() == ErrorKind::Connection, "{error}");
        assert!(error.to_string().contains("certificate"), "{error}");
    }
}
