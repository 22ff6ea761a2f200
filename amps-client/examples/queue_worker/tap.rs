//! A small relay in front of one worker's connection. It cuts the connection when asked to,
//! and reads what passes: acknowledgements are checked against the ledger as they go by, so
//! that neither the client nor the server is trusted for it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::spawn;

use amps_protocol::{CommandKind, Endpoint, FrameDecoder, Message};
use bytes::BytesMut;

use crate::BoxError;
use crate::ledger::Ledger;

pub(crate) struct Tap {
    address: SocketAddr,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Tap {
    /// Starts to relay connections to `server` on behalf of a worker.
    pub(crate) fn start(server: &Endpoint, worker: u32, ledger: &Arc<Ledger>) -> Result<Self, BoxError> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let open = Arc::new(Mutex::new(Vec::new()));
        let target = (server.host.clone(), server.port);
        let (connections, ledger) = (Arc::clone(&open), Arc::clone(ledger));
        spawn(move || {
            for client in listener.incoming().flatten() {
                // A server that is away is one that refuses: drop the client's connection.
                let Ok(server) = TcpStream::connect((target.0.as_str(), target.1)) else { continue };
                let (Ok(up), Ok(down)) = (relay_end(&client, &server), relay_end(&server, &client)) else {
                    continue;
                };
                let mut connections = connections.lock().unwrap_or_else(PoisonError::into_inner);
                connections.clear();
                connections.extend([client, server]);
                drop(connections);
                let ledger = Arc::clone(&ledger);
                spawn(move || relay(up, |bytes, seen| watch(bytes, seen, worker, &ledger)));
                spawn(move || relay(down, |_, _| {}));
            }
        });
        Ok(Self { address, open })
    }

    /// The connection string by which the worker reaches the server through this relay.
    pub(crate) fn uri(&self, server: &Endpoint) -> String {
        let user = server.user.as_ref().map_or_else(String::new, |user| {
            let password = server.password.as_ref().map_or("", |password| password.reveal());
            format!("{}:{}@", percent_encode(user), percent_encode(password))
        });
        let message_type = server.message_type.as_ref().map_or_else(String::new, |mt| format!("/{mt}"));
        format!("tcp://{user}{}/amps{message_type}", self.address)
    }

    /// Cuts the connection; `false` if there is none.
    pub(crate) fn cut(&self) -> bool {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in open.iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        let was_open = !open.is_empty();
        open.clear();
        was_open
    }
}

type Ends = (TcpStream, TcpStream);

fn relay_end(from: &TcpStream, to: &TcpStream) -> std::io::Result<Ends> {
    from.set_nodelay(true)?;
    Ok((from.try_clone()?, to.try_clone()?))
}

fn relay((mut from, mut to): Ends, mut look: impl FnMut(&[u8], &mut BytesMut)) {
    let mut buffer = vec![0; 64 * 1024];
    let mut seen = BytesMut::new();
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        look(&buffer[..count], &mut seen);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

/// Looks for acknowledgements among the frames that a worker sends.
fn watch(bytes: &[u8], seen: &mut BytesMut, worker: u32, ledger: &Ledger) {
    seen.extend_from_slice(bytes);
    while let Ok(Some(frame)) = FrameDecoder::default().decode(seen) {
        let Ok(message) = Message::decode(frame) else { continue };
        if message.command() != CommandKind::SowDelete || message.options().is_some() {
            continue;
        }
        let Some(bookmarks) = message.bookmark() else { continue };
        for bookmark in bookmarks.split(|byte| *byte == b',') {
            ledger.acknowledged(worker, bookmark);
        }
    }
}

fn percent_encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
