//! Every way to reach a server: what goes over the wire before the first frame, and what is said when it fails.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use amps_client::transport::{HttpHeaders, HttpProxy};
use amps_client::{Client, ClientBuilder, ErrorKind};
use common::{PATIENCE, aside};

/// Reads an HTTP request, to the empty line.
fn request(stream: &mut TcpStream) -> String {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut all, mut byte) = (Vec::new(), [0]);
    while !all.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        all.push(byte[0]);
    }
    String::from_utf8(all).unwrap()
}

/// Reads a frame, and returns its header and body.
fn frame(stream: &mut impl Read) -> String {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut frame).unwrap();
    String::from_utf8(frame).unwrap()
}

fn framed(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_be_bytes()[..], text.as_bytes()].concat()
}

/// The answer to a logon.
fn welcome(logon: &str) -> Vec<u8> {
    let message = amps_protocol::Message::decode(logon.as_bytes()).unwrap();
    let cid = message.command_id().unwrap();
    framed(&format!(r#"{{"c":"ack","cid":"{cid}","a":"processed","status":"success","version":"5.3.5.0"}}"#))
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn connecting(builder: ClientBuilder) -> std::thread::JoinHandle<amps_client::Result<Client>> {
    aside(move || builder.connect())
}

/// C-10-3-1 C-10-3-3
#[test]
fn a_preflight_comes_first_with_its_headers_and_frames_may_follow_at_once() {
    let (listener, address) = listen();
    let mut headers = HttpHeaders::new();
    headers.add_line("Cookie: session=1").unwrap().add("X-Desk", "7").unwrap();
    let uri = format!("tcp://{address}/rooms/amps/json?http_preflight=true");
    let client = connecting(Client::builder("c").server(uri).http_headers(headers));
    let (mut stream, _) = listener.accept().unwrap();
    let asked = request(&mut stream);
    assert!(asked.starts_with("GET /rooms/amps/json HTTP/1.1\r\n"), "{asked}");
    for line in ["Connection: Upgrade", "Upgrade: websocket", "Cookie: session=1", "X-Desk: 7"] {
        assert!(asked.contains(&format!("\r\n{line}\r\n")), "{line} is missing in {asked}");
    }
    assert!(!asked.contains("Sec-WebSocket-Key"));
    stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n").unwrap();
    let logon = frame(&mut stream);
    assert!(logon.contains(r#""c":"logon""#), "{logon}");
    stream.write_all(&welcome(&logon)).unwrap();
    client.join().unwrap().unwrap();
}

#[test]
fn what_comes_with_the_answer_of_a_preflight_belongs_to_the_frames() {
    let (listener, address) = listen();
    let client =
        connecting(Client::builder("c").server(format!("tcp://{address}/amps/json?http_preflight=true")));
    let (mut stream, _) = listener.accept().unwrap();
    request(&mut stream);
    // The first command of a client has the number 1.
    let early = framed(r#"{"c":"ack","cid":"1","a":"processed","status":"success","version":"5.3.5.0"}"#);
    stream.write_all(&[b"HTTP/1.1 101 Go on\r\n\r\n".as_slice(), &early].concat()).unwrap();
    let logon = frame(&mut stream);
    assert!(logon.contains(r#""cid":"1""#), "{logon}");
    stream.write_all(&welcome(&logon)).unwrap();
    client.join().unwrap().unwrap();
}

/// C-10-3-2
#[test]
fn a_refused_preflight_is_told_by_its_kind_and_nothing_is_logged_on() {
    for (status, kind) in [
        ("403 Forbidden", ErrorKind::Authentication),
        ("407 Proxy Authentication Required", ErrorKind::Authentication),
        ("502 Bad Gateway", ErrorKind::ConnectionRefused),
    ] {
        let (listener, address) = listen();
        let client =
            connecting(Client::builder("c").server(format!("tcp://{address}/amps?http_preflight=true")));
        let (mut stream, _) = listener.accept().unwrap();
        request(&mut stream);
        stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes()).unwrap();
        let error = client.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(status), "{error}");
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.is_empty(), "no logon");
    }
}

#[test]
fn a_preflight_that_nobody_answers_times_out() {
    let (listener, address) = listen();
    let builder = Client::builder("c").server(format!("tcp://{address}/amps?http_preflight=true"));
    let client = connecting(builder.connect_timeout(Duration::from_millis(100)));
    let (mut stream, _) = listener.accept().unwrap();
    request(&mut stream);
    assert_eq!(client.join().unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
}

#[test]
fn a_proxy_is_asked_for_the_server_with_credentials_that_nobody_prints() {
    let (listener, address) = listen();
    let mut more = HttpHeaders::new();
    more.add("X-Desk", "7").unwrap();
    let proxy =
        HttpProxy::new("127.0.0.1", address.port()).credentials("ann", "s3cret").unwrap().headers(more);
    assert!(!format!("{proxy:?}").contains("s3cret"));
    let builder = Client::builder("c").server("tcp://amps.invalid:9007/amps/json").proxy(proxy);
    assert!(!format!("{builder:?}").contains("s3cret"));
    let client = connecting(builder);
    let (mut stream, _) = listener.accept().unwrap();
    let asked = request(&mut stream);
    assert!(asked.starts_with("CONNECT amps.invalid:9007 HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("\r\nProxy-Authorization: Basic YW5uOnMzY3JldA==\r\n"), "{asked}");
    assert!(asked.contains("\r\nX-Desk: 7\r\n"), "{asked}");
    stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
    let logon = frame(&mut stream);
    stream.write_all(&welcome(&logon)).unwrap();
    client.join().unwrap().unwrap();
    let (listener, address) = listen();
    let builder = Client::builder("c").server("tcp://amps.invalid:9007/amps/json");
    let client = connecting(builder.proxy(HttpProxy::new("127.0.0.1", address.port())));
    let (mut stream, _) = listener.accept().unwrap();
    request(&mut stream);
    stream.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").unwrap();
    assert_eq!(client.join().unwrap().unwrap_err().kind(), ErrorKind::Authentication);
}

/// C-1-2-5
#[cfg(unix)]
#[test]
fn a_socket_file_is_reached_by_its_path() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("amps.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let uri = format!("unix://localhost:0/amps/json?path={}", path.display());
    let client = connecting(Client::builder("c").server(&uri));
    let (mut stream, _) = listener.accept().unwrap();
    let logon = frame(&mut stream);
    stream.write_all(&welcome(&logon)).unwrap();
    let client = client.join().unwrap().unwrap();
    let info = client.connection_info().unwrap();
    assert_eq!((info.scheme(), info.uri(), info.peer_addr()), ("unix", &*uri, None));
}

#[cfg(unix)]
#[test]
fn a_path_that_no_system_takes_is_refused_before_anything_is_opened() {
    let uri = format!("unix://localhost:0/amps/json?path=/{}", "x".repeat(200));
    let error = Client::builder("c").server(uri).build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("at most 103"), "{error}");
}

/// C-1-3-4
#[test]
fn the_family_that_is_preferred_is_tried_first() {
    // One port in both families, so that the name decides nothing.
    let Ok(six) = TcpListener::bind("[::1]:0") else {
        println!("skipped: no IPv6 on this machine");
        return;
    };
    let port = six.local_addr().unwrap().port();
    let Ok(four) = TcpListener::bind(("127.0.0.1", port)) else {
        println!("skipped: the port is taken in the other family");
        return;
    };
    let resolved: Vec<SocketAddr> =
        std::net::ToSocketAddrs::to_socket_addrs(&("localhost", port)).unwrap().collect();
    if !resolved.iter().any(SocketAddr::is_ipv6) {
        println!("skipped: localhost has one family on this machine");
        return;
    }
    for (parameter, listener) in [("", &four), ("?ip_protocol_prefer=ipv6", &six)] {
        let client =
            connecting(Client::builder("c").server(format!("tcp://localhost:{port}/amps/json{parameter}")));
        let (mut stream, _) = listener.accept().unwrap();
        let logon = frame(&mut stream);
        stream.write_all(&welcome(&logon)).unwrap();
        client.join().unwrap().unwrap();
    }
}

#[test]
fn a_transport_of_a_feature_that_is_off_names_it() {
    let off: &[(&str, &str, bool)] = &[
        ("tcps://h:1/amps", "tls", cfg!(feature = "tls")),
        ("wss://h:1/amps", "websocket", cfg!(all(feature = "tls", feature = "websocket"))),
        ("ws://h:1/amps", "websocket", cfg!(feature = "websocket")),
        ("tcp://h:1/amps?compression=zlib", "zlib", cfg!(feature = "zlib")),
    ];
    for (uri, feature, on) in off {
        match Client::builder("c").server(*uri).build() {
            Ok(_) => assert!(on, "{uri}"),
            Err(error) => {
                assert!(!on, "{uri}: {error}");
                assert_eq!(error.kind(), ErrorKind::TransportType);
                assert!(error.to_string().contains(&format!("`{feature}`")), "{error}");
            }
        }
    }
}

/// Each of these fails before anything is sent, with words that name the part that is wrong.
#[test]
fn a_connection_string_that_cannot_be_is_refused_with_the_part_that_is_wrong() {
    use ErrorKind as E;
    let (options, uri) = (E::InvalidTransportOptions, E::InvalidUri);
    let long = format!("unix://localhost:0/amps?path=/run/{}", "x".repeat(200));
    for (bad, kind, part) in [
        ("udp://h:1/amps", E::TransportType, "unknown transport \"udp\""),
        ("tcp://h:1/fix", E::Protocol, "unsupported protocol \"fix\""),
        ("tcp://h:1/rooms/amps/json", E::Protocol, "before it only with ws, wss or http_preflight"),
        ("tcp://h/amps", uri, "no port"),
        ("tcp://h:99999/amps", uri, "at byte 8: the port"),
        ("unix://localhost:0/amps/json", uri, "the parameter \"path\""),
        (&long, E::InvalidArgument, "parameter path has 205 bytes"),
        ("tcp://h:1/amps?tcp_sndbuf=2147483648", E::InvalidArgument, "SO_SNDBUF cannot be 2147483648"),
        ("tcp://h:1/amps?tcp_rcvbuf=2147483648", E::InvalidArgument, "SO_RCVBUF"),
        ("tcp://h:1/amps?tcp_linger=4294967295", E::InvalidArgument, "SO_LINGER"),
        ("unix://h:0/amps?path=/x&compression=zlib", options, "\"compression\" does not apply"),
        ("unix://h:0/amps?path=/x&http_preflight=true", options, "\"http_preflight\" does not apply"),
        ("unix://h:0/amps?path=/x&tcp_nodelay=true", options, "\"tcp_nodelay\" does not apply"),
        ("ws://h:1/amps?compression=zlib", options, "\"compression\" does not apply"),
        ("wss://h:1/amps?http_preflight=true", options, "\"http_preflight\" does not apply"),
        ("tcp://h:1/amps?path=/x", options, "\"path\" does not apply"),
        ("tcp://h:1/amps?compression=lz4", options, "\"compression\""),
        ("tcp://h:1/amps?http_preflight=2", options, "\"http_preflight\""),
        ("tcp://h:1/amps?tcp_nodelay=maybe", options, "\"tcp_nodelay\""),
        ("tcp://h:1/amps?tcp_keepalive=maybe", options, "\"tcp_keepalive\""),
        ("tcp://h:1/amps?tcp_linger=x", options, "\"tcp_linger\""),
        ("tcp://h:1/amps?tcp_sndbuf=many", options, "\"tcp_sndbuf\""),
        ("tcp://h:1/amps?tcp_rcvbuf=-1", options, "\"tcp_rcvbuf\""),
        ("tcp://h:1/amps?bind=here", options, "\"bind\""),
        ("tcp://h:1/amps?ip_protocol_prefer=ipv5", options, "\"ip_protocol_prefer\""),
        ("tcp://h:1/amps?nodelay=true", options, "unknown parameter \"nodelay\""),
        ("tcp://h:1/amps?pretty=true&pretty=true", options, "\"pretty\" appears twice"),
        ("unix://h:0/amps?path=/x%00y", E::InvalidArgument, "parameter path contains a zero byte"),
        ("ws://h:1/ä/amps/json", E::InvalidArgument, "path"),
    ] {
        let error = Client::builder("c").server(bad).build().unwrap_err();
        assert_eq!(error.kind(), kind, "{bad}: {error}");
        assert!(error.to_string().contains(part), "{bad}: {error}");
    }
}

/// Says something else than what was agreed on, or nothing, and sees what the client makes of it.
fn met_with(uri: &str, answer: &[u8]) -> amps_client::Error {
    let (listener, address) = listen();
    let uri = uri.replace("AT", &address.to_string());
    let builder = Client::builder("c").server(uri);
    let patience = if answer.is_empty() { Duration::from_millis(100) } else { PATIENCE };
    let client = connecting(builder.connect_timeout(patience));
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(stream.read(&mut [0; 16]).unwrap() > 0, "the client speaks first");
    stream.write_all(answer).unwrap();
    client.join().unwrap().unwrap_err()
}

#[test]
fn a_handshake_that_stalls_is_given_up_however_the_server_is_reached() {
    for (uri, on) in [
        ("tcp://AT/amps?http_preflight=true", true),
        ("tcps://AT/amps", cfg!(feature = "tls")),
        ("tcps://AT/amps?http_preflight=true", cfg!(feature = "tls")),
        ("ws://AT/amps", cfg!(feature = "websocket")),
        ("wss://AT/amps", cfg!(all(feature = "tls", feature = "websocket"))),
    ] {
        if on {
            let error = met_with(uri, b"");
            assert_eq!(error.kind(), ErrorKind::TimedOut, "{uri}: {error}");
        }
    }
}

/// Of a port that speaks something else.
#[test]
fn garbage_in_place_of_a_handshake_is_quoted() {
    for (uri, on) in [
        ("tcp://AT/amps?http_preflight=true", true),
        ("tcps://AT/amps", cfg!(feature = "tls")),
        ("ws://AT/amps", cfg!(feature = "websocket")),
    ] {
        if on {
            let error = met_with(uri, b"SSH-2.0-OpenSSH_9.2\r\n");
            assert_eq!(error.kind(), ErrorKind::Connection, "{uri}: {error}");
            assert!(error.to_string().contains("SSH-2.0"), "{uri}: {error}");
        }
    }
}

/// A fatal alert of TLS: handshake_failure, internal_error.
#[cfg(feature = "tls")]
#[test]
fn an_alert_is_told_in_words() {
    for (number, words) in [(40, "handshake_failure"), (80, "InternalError")] {
        let error = met_with("tcps://AT/amps", &[21, 3, 3, 0, 2, 2, number]);
        assert_eq!(error.kind(), ErrorKind::Connection, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

/// Ten thousand times as much as came by the wire ends at the limit for a frame, before it is held.
#[cfg(feature = "zlib")]
#[test]
fn a_frame_that_inflates_beyond_the_limit_ends_the_connection() {
    use amps_transport::MakeLayer as _;
    let (listener, address) = listen();
    let uri = format!("tcp://{address}/amps?compression=zlib");
    let client = connecting(Client::builder("c").server(uri).max_frame(1 << 20));
    let (mut stream, _) = listener.accept().unwrap();
    let mut bomb = [&100_000_000_u32.to_be_bytes()[..], &vec![b' '; 10_000_000]].concat();
    let (mut wire, mut layer) = (bytes::BytesMut::new(), amps_transport::Zlib::new().make("").unwrap());
    layer.send(&bomb, &mut wire).unwrap();
    bomb.clear();
    assert!(wire.len() < 100_000, "{}", wire.len());
    stream.write_all(&wire).unwrap();
    let error = client.join().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    assert!(error.to_string().contains("100000000"), "{error}");
}
