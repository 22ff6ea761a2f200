//! With programs that we did not write between the client and a server, or in the place of one of them. Where one is
//! missing, its tests say so in one line and do nothing; `cargo xtask interop` installs them.
#![cfg(all(feature = "tls", feature = "websocket", feature = "zlib", unix))]

mod common;

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use amps_client::transport::{HttpHeaders, TlsClient};
use amps_client::{Client, ClientBuilder, Error, ErrorKind, Reconnect};
use amps_testkit::{Drop as Cut, FakeServer};
use common::certificates::Authority;
use common::until;
use tempfile::TempDir;

/// Whether a program is there.
fn installed(program: &str, asked: &[&str]) -> bool {
    let output = Command::new(program).args(asked).output();
    let found = output.is_ok_and(|output| output.status.success());
    if !found {
        println!("skipped: there is no {} on this machine", [&[program], asked].concat().join(" "));
    }
    found
}

/// Ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).spawn().unwrap())
    }

    /// It must end by itself, and well.
    fn ends(mut self, what: &str) {
        assert!(self.0.wait().unwrap().success(), "{what}");
    }

    /// Waits until something holds, unless it ends.
    fn until(&mut self, what: &str, mut holds: impl FnMut() -> bool) {
        until(what, || {
            assert!(self.0.try_wait().unwrap().is_none(), "it ended before {what}");
            holds()
        });
    }
}

/// Several ports at which nobody listens.
fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

fn quick() -> Reconnect {
    Reconnect::new().initial(Duration::from_millis(5)).jitter(0.0)
}

/// Publishes to itself, small and large.
fn echo(client: &Client, what: &str) {
    let mut notes = client.subscribe("notes").start().unwrap();
    for size in [0, 1, 100, 70_000, 1_000_000] {
        let body: Vec<u8> = (0..size).map(|i| b'a' + (i % 26) as u8).collect();
        client.publish("notes", &body).unwrap();
        assert_eq!(notes.next().unwrap().unwrap().data(), body, "{what}");
    }
}

/// The same again after the server has cut the connection, in both ways.
fn converse(builder: ClientBuilder, server: &FakeServer, what: &str) {
    let client = builder.reconnect(quick()).connect().unwrap_or_else(|error| panic!("{what}: {error}"));
    echo(&client, what);
    for cut in [Cut::Fin, Cut::Reset] {
        let logons = client.stats().logons;
        until("the server knows the client", || server.drop_connection("c", cut));
        until("the client is back", || client.stats().logons > logons && client.is_connected());
        echo(&client, what);
    }
    client.close().unwrap();
}

/// An nginx of our own, on ports of its own.
struct Nginx {
    directory: TempDir,
    authority: Authority,
    strangers: Authority,
    encrypted: u16,
    mutual: u16,
    http: u16,
    https: u16,
    _process: Process,
}

impl Nginx {
    /// In front of servers that listen for plain frames (also behind a preflight), and for WebSocket.
    fn start(frames: u16, websocket: u16) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (authority, strangers) = (Authority::new("proxies"), Authority::new("desks"));
        let issued = authority.server(&["127.0.0.1"]);
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
        write("proxy.pem", &issued.certificate);
        write("proxy.key", &issued.key);
        write("desks.pem", &strangers.pem());
        // ann, s3cret
        write("users", "ann:{PLAIN}s3cret\n");
        let [encrypted, mutual, http, https, nobody] = free_ports();
        let module = "/usr/lib/nginx/modules/ngx_stream_module.so";
        // Where it is compiled in there is no such file.
        let module =
            if Path::new(module).exists() { format!("load_module {module};") } else { String::new() };
        let locations = format!(
            "proxy_http_version 1.1; proxy_set_header Host $host; proxy_read_timeout 600s;
             proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;
             location /frames/ {{ proxy_pass http://127.0.0.1:{frames}; }}
             location /web/ {{ proxy_pass http://127.0.0.1:{websocket}; }}
             location /members/ {{
                auth_basic members; auth_basic_user_file users; proxy_pass http://127.0.0.1:{frames};
             }}
             location /forbidden/ {{ return 403; }}
             location /gone/ {{ proxy_pass http://127.0.0.1:{nobody}; }}"
        );
        let secret = "ssl_certificate proxy.pem; ssl_certificate_key proxy.key;";
        write(
            "nginx.conf",
            &format!(
                "{module} daemon off; master_process off; pid nginx.pid; error_log stderr crit;
                 events {{ }}
                 stream {{
                    {secret}
                    server {{ listen 127.0.0.1:{encrypted} ssl; proxy_pass 127.0.0.1:{frames}; }}
                    server {{
                        listen 127.0.0.1:{mutual} ssl; proxy_pass 127.0.0.1:{frames};
                        ssl_verify_client on; ssl_client_certificate desks.pem;
                    }}
                 }}
                 http {{
                    access_log off; client_body_temp_path body; proxy_temp_path proxied;
                    fastcgi_temp_path fast; uwsgi_temp_path uwsgi; scgi_temp_path scgi; {secret}
                    server {{ listen 127.0.0.1:{http}; {locations} }}
                    server {{ listen 127.0.0.1:{https} ssl; {locations} }}
                 }}"
            ),
        );
        let mut command = Command::new("nginx");
        command.arg("-p").arg(directory.path()).arg("-c").arg("nginx.conf").args(["-e", "stderr"]);
        let mut process = Process::start(&mut command);
        process.until("nginx listens", || TcpStream::connect(("127.0.0.1", https)).is_ok());
        Self { directory, authority, strangers, encrypted, mutual, http, https, _process: process }
    }

    fn client(&self, uri: String) -> ClientBuilder {
        let tls = TlsClient::builder().roots_pem(self.authority.pem()).build().unwrap();
        Client::builder("c").server(uri).tls(tls)
    }

    fn refusal(&self, place: &str) -> Error {
        let uri = format!("tcp://127.0.0.1:{}/{place}/amps/json?http_preflight=true", self.http);
        self.client(uri).connect().unwrap_err()
    }
}

/// A server for frames, one for WebSocket, and nginx in front of both; nothing where there is no nginx.
fn behind_nginx() -> Option<(FakeServer, FakeServer, Nginx)> {
    if !installed("nginx", &["-v"]) {
        return None;
    }
    let frames = FakeServer::builder().start().unwrap();
    let websocket = FakeServer::builder().listen("ws://127.0.0.1:0/amps").start().unwrap();
    let nginx = Nginx::start(frames.addr().port(), websocket.addr().port());
    Some((frames, websocket, nginx))
}

/// C-10-2-1
#[test]
fn nginx_terminates_tls() {
    let Some((server, _, nginx)) = behind_nginx() else { return };
    for more in ["", "?compression=zlib", "?http_preflight=true"] {
        let uri = format!("tcps://127.0.0.1:{}/amps/json{more}", nginx.encrypted);
        converse(nginx.client(uri), &server, &format!("tcps, nginx, tcp {more}"));
    }
}

/// C-10-2-3
#[test]
fn nginx_asks_for_certificates() {
    let Some((server, _, nginx)) = behind_nginx() else { return };
    let uri = format!("tcps://127.0.0.1:{}/amps/json", nginx.mutual);
    let shown = nginx.strangers.client();
    let tls = TlsClient::builder().roots_pem(nginx.authority.pem());
    let tls = tls.certificate_pem(shown.certificate, shown.key).build().unwrap();
    converse(Client::builder("c").server(&*uri).tls(tls), &server, "mutual TLS with nginx");
    // Nginx takes a connection without one, and closes it then.
    let error = nginx.client(uri).connect().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Disconnected | ErrorKind::Connection), "{error}");
}

#[test]
fn nginx_passes_web_socket_on() {
    let Some((_, server, nginx)) = behind_nginx() else { return };
    for (scheme, port) in [("ws", nginx.http), ("wss", nginx.https)] {
        let uri = format!("{scheme}://127.0.0.1:{port}/web/amps/json");
        converse(nginx.client(uri), &server, &format!("{scheme}, nginx, ws"));
    }
}

/// C-10-3-1
#[test]
fn nginx_passes_a_preflight_on() {
    let Some((server, _, nginx)) = behind_nginx() else { return };
    for (scheme, port, more) in
        [("tcp", nginx.http, ""), ("tcps", nginx.https, ""), ("tcps", nginx.https, "&compression=zlib")]
    {
        let uri = format!("{scheme}://127.0.0.1:{port}/frames/amps/json?http_preflight=true{more}");
        converse(nginx.client(uri), &server, &format!("{scheme}, nginx, preflight {more}"));
    }
    let mut headers = HttpHeaders::new();
    headers.add("Authorization", "Basic YW5uOnMzY3JldA==").unwrap();
    let uri = format!("tcp://127.0.0.1:{}/members/amps/json?http_preflight=true", nginx.http);
    converse(nginx.client(uri).http_headers(headers), &server, "nginx knows ann");
    assert!(nginx.directory.path().is_dir());
}

/// C-10-3-2
#[test]
fn what_nginx_refuses_is_told_by_its_kind() {
    let Some((_, _, nginx)) = behind_nginx() else { return };
    for (place, kind, status) in [
        ("members", ErrorKind::Authentication, "401"),
        ("forbidden", ErrorKind::Authentication, "403"),
        ("nowhere", ErrorKind::ConnectionRefused, "404"),
        ("gone", ErrorKind::ConnectionRefused, "502"),
    ] {
        let error = nginx.refusal(place);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(status), "{error}");
    }
}

#[test]
fn socat_leads_from_a_socket_file_to_tcp() {
    if !installed("socat", &["-V"]) {
        return;
    }
    let (server, directory) = (FakeServer::builder().start().unwrap(), tempfile::tempdir().unwrap());
    let path = directory.path().join("in.sock");
    let mut command = Command::new("socat");
    command.arg(format!("UNIX-LISTEN:{},fork", path.display())).arg(format!("TCP:{}", server.addr()));
    let mut socat = Process::start(&mut command);
    socat.until("socat listens", || UnixStream::connect(&path).is_ok());
    let uri = format!("unix://localhost:0/amps/json?path={}", path.display());
    converse(Client::builder("c").server(uri), &server, "unix, socat, tcp");
}

#[test]
fn socat_leads_from_tcp_to_a_socket_file() {
    if !installed("socat", &["-V"]) {
        return;
    }
    let (directory, [port]) = (tempfile::tempdir().unwrap(), free_ports());
    let path = directory.path().join("amps.sock");
    let server = FakeServer::builder().listen(format!("unix://{}", path.display())).start().unwrap();
    let mut command = Command::new("socat");
    command.arg(format!("TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr"));
    let mut socat = Process::start(command.arg(format!("UNIX-CONNECT:{}", path.display())));
    socat.until("socat listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let uri = format!("tcp://127.0.0.1:{port}/amps/json");
    converse(Client::builder("c").server(uri), &server, "tcp, socat, unix");
}

/// Python, with the libraries that the chore has installed.
fn python() -> String {
    std::env::var("AMPS_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

fn script(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(python());
    command.arg(format!("{}/tests/interop/{name}", env!("CARGO_MANIFEST_DIR"))).args(arguments);
    command
}

/// A server in Python, and its port.
fn serve(name: &str) -> (Process, u16) {
    let mut child = script(name, &["listen"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let port = line.trim().parse().unwrap();
    (Process(child), port)
}

#[test]
fn pythons_zlib_talks_to_the_fake_server_and_to_the_client() {
    if !installed(&python(), &["-c", "import zlib"]) {
        return;
    }
    let server = FakeServer::builder().start().unwrap();
    let port = server.addr().port().to_string();
    Process::start(&mut script("zlib_peer.py", &["connect", "127.0.0.1", &port])).ends("as a client");
    let (process, port) = serve("zlib_peer.py");
    let uri = format!("tcp://127.0.0.1:{port}/amps/json?compression=zlib");
    let client = Client::builder("c").server(uri).connect().unwrap();
    echo(&client, "zlib of Python");
    client.close().unwrap();
    process.ends("as a server");
}

#[test]
fn a_web_socket_library_of_others_talks_to_the_fake_server_and_to_the_client() {
    if !installed(&python(), &["-c", "import websockets"]) {
        return;
    }
    let plain = FakeServer::builder().listen("ws://127.0.0.1:0/amps").start().unwrap();
    let uri = plain.uri("json");
    Process::start(&mut script("websocket_peer.py", &["connect", &uri])).ends("as a client");
    let encrypted = FakeServer::builder().listen("wss://127.0.0.1:0/amps").start().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let roots = directory.path().join("roots.pem");
    std::fs::write(&roots, encrypted.ca_pem().unwrap()).unwrap();
    let (uri, roots) = (encrypted.uri("json"), roots.display().to_string());
    Process::start(&mut script("websocket_peer.py", &["connect", &uri, &roots]))
        .ends("as a client, encrypted");
    let (process, port) = serve("websocket_peer.py");
    let client = Client::builder("c").server(format!("ws://127.0.0.1:{port}/desk/amps/json"));
    let client = client.connect().unwrap();
    echo(&client, "the library websockets");
    client.close().unwrap();
    process.ends("as a server");
}
