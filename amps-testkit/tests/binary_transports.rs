//! The `amps-testkit` program on listeners that are not plain TCP.
#![cfg(unix)]

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use support::data_dir::DataDir;

/// Ends the process with the test, however that ends.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Serves, and returns the ready lines of so many listeners.
fn serve(arguments: &[&str], listeners: usize) -> (Process, Vec<String>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_amps-testkit"));
    command.arg("serve").args(arguments).stdout(Stdio::piped());
    let mut process = Process(command.spawn().unwrap());
    let lines = BufReader::new(process.0.stdout.as_mut().unwrap()).lines();
    let lines = lines.take(listeners).map(Result::unwrap).collect();
    (process, lines)
}

/// The exit code, and what it says.
fn refused(arguments: &[&str]) -> (Option<i32>, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_amps-testkit")).arg("serve").args(arguments).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

fn dir() -> DataDir {
    let dir = DataDir::new();
    std::fs::create_dir_all(dir.path()).unwrap();
    dir
}

#[test]
fn a_socket_file_is_announced_and_goes_with_the_process() {
    let dir = dir();
    let path = dir.path().join("amps.sock");
    let (mut process, lines) = serve(&["--listen", &format!("unix://{}", path.display())], 1);
    assert_eq!(lines, [format!("ready any-unix unix://localhost:0/amps?path={}", path.display())]);
    drop(std::os::unix::net::UnixStream::connect(&path).unwrap());
    let id = process.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    assert_eq!(process.0.wait().unwrap().code(), Some(0));
    assert!(!path.exists());

    std::fs::write(&path, "taken").unwrap();
    let (code, stderr) = refused(&["--listen", &format!("unix://{}", path.display())]);
    assert_eq!(code, Some(3));
    assert!(stderr.contains(&format!("cannot listen on {}: ", path.display())), "{stderr}");
}

#[cfg(not(feature = "tls"))]
#[test]
fn what_needs_another_build_says_so() {
    for arguments in [&["--listen", "tcps://127.0.0.1:0"][..], &["--tls-self-signed"]] {
        let (code, stderr) = refused(arguments);
        assert_eq!(code, Some(2), "{stderr}");
        assert!(stderr.contains("Cargo feature \"tls\""), "{stderr}");
    }
}

#[cfg(all(feature = "tls", feature = "websocket"))]
mod encrypted {
    use std::sync::Arc;

    use amps_testkit::Listening;
    use amps_transport::{TlsClient, WebSocket};

    use super::*;
    use crate::support::channel::Channel;

    /// The listener that a line announces.
    fn announced(line: &str) -> Listening {
        let (name, uri) = line.strip_prefix("ready ").unwrap().split_once(' ').unwrap();
        let addr = uri.split("://").nth(1).unwrap().split('/').next().unwrap().parse().unwrap();
        Listening { name: name.into(), addr: Some(addr), path: None, uri: uri.into(), disabled: false }
    }

    #[test]
    fn the_authority_is_there_before_the_ready_line() {
        let dir = dir();
        let ca = dir.path().join("ca.pem");
        let schemes = ["tcps", "wss", "ws"];
        let uris = schemes.map(|scheme| format!("{scheme}://127.0.0.1:0"));
        let mut arguments = vec!["--tls-self-signed", "--tls-ca-out", ca.to_str().unwrap()];
        uris.iter().for_each(|uri| arguments.extend(["--listen", uri]));
        let (_process, lines) = serve(&arguments, 3);
        let tls = TlsClient::builder().roots_file(&ca).build().unwrap();
        for (line, scheme) in lines.iter().zip(schemes) {
            assert!(line.starts_with(&format!("ready any-{scheme} {scheme}://127.0.0.1:")), "{line}");
            let listening = announced(line);
            let web = || Arc::new(WebSocket::new(&listening.addr.unwrap().to_string(), "/amps").unwrap());
            let tls = Arc::new(tls.clone());
            let layers: amps_transport::Layers = match scheme {
                "tcps" => vec![tls],
                "wss" => vec![tls, web()],
                _ => vec![web()],
            };
            let mut client = Channel::with(&listening, &layers, usize::MAX).unwrap();
            assert!(client.log_on("a").contains("success"));
        }
    }

    #[test]
    fn a_certificate_comes_from_files_and_mistakes_exit_with_2() {
        let dir = dir();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let file = |name: &str, text: String| {
            std::fs::write(dir.path().join(name), text).unwrap();
            dir.path().join(name).display().to_string()
        };
        let certificate = file("server.pem", made.cert.pem());
        let key = file("server.key", made.signing_key.serialize_pem());
        let tls = ["--tls-certificate", &certificate, "--tls-key", &key];
        let listen = ["--listen", "tcps://127.0.0.1:0"];
        let (_process, lines) = serve(&[&listen[..], &tls].concat(), 1);
        let trusting =
            TlsClient::builder().roots_file(&certificate).server_name("localhost").build().unwrap();
        let mut client = Channel::with(&announced(&lines[0]), &vec![Arc::new(trusting)], usize::MAX).unwrap();
        assert!(client.log_on("a").contains("success"));

        let swapped = ["--tls-certificate", &key, "--tls-key", &key];
        let out = ["--tls-ca-out", "nowhere/ca.pem"];
        for (arguments, code, text) in [
            ([&listen[..], &swapped].concat(), 2, "no certificate in "),
            ([&listen[..], &tls, &out].concat(), 2, "no certificate is of the server's own making"),
            ([&listen[..], &out].concat(), 1, "--tls-ca-out: cannot write nowhere/ca.pem: "),
            (tls.to_vec(), 2, "the --tls options are about --listen tcps://"),
            ([&listen[..], &tls[..2]].concat(), 2, "--tls-key"),
        ] {
            let (came, stderr) = refused(&arguments);
            assert_eq!(came, Some(code), "{stderr}");
            assert!(stderr.contains(text), "{stderr}");
        }
    }
}
