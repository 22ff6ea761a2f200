//! The control port: HTTP/1.1 and JSON on loopback, for those who do not write Rust (server.md
//! 8.5).
//!
//! Owns a thread that lets connections in, and one for each that is in, so that nobody waits for
//! somebody who is slow; there are so many places and no more. Reading order: `http` reads requests and
//! writes answers, `routes` is the table of all paths, `look` and `act` are what
//! they do, by the same handle that a test holds, and `page` is what a browser shows instead of the table. It
//! knows nothing of the engine.
//!
//! Whoever can connect to it can do everything. So it listens on loopback only, and refuses what
//! a browser sends on behalf of another web page (`guard`).

use std::collections::BTreeMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::server::{FakeServer, StartError};

mod act;
mod guard;
mod http;
mod look;
mod page;
mod routes;

/// How long it may take to reach the own port at the end.
const FAREWELL: Duration = Duration::from_secs(1);

/// The most connections that are served at a time.
const MOST_SERVED: usize = 64;

/// The most beyond these that are told so. Others are closed without a word.
const MOST_TURNED_AWAY: usize = 16;

/// The control port of one server. When it is dropped its threads have ended.
pub(crate) struct ControlPort {
    addr: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    ending: AtomicBool,
    inside: Mutex<Inside>,
}

/// The connections that have a thread.
#[derive(Default)]
struct Inside {
    next: u64,
    streams: BTreeMap<u64, TcpStream>,
}

/// The place of one connection. It is free when this is dropped.
struct Place {
    shared: Arc<Shared>,
    number: u64,
    /// Whether it is served, or told that others are.
    is_served: bool,
}

impl Shared {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, if there is one.
    fn enter(self: &Arc<Self>, stream: &TcpStream) -> Option<Place> {
        let stream = stream.try_clone().ok()?;
        let mut inside = self.inside();
        let others = inside.streams.len();
        if others >= MOST_SERVED + MOST_TURNED_AWAY {
            return None;
        }
        let number = inside.next;
        inside.next += 1;
        inside.streams.insert(number, stream);
        Some(Place { shared: Arc::clone(self), number, is_served: others < MOST_SERVED })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.inside().streams.remove(&self.number);
    }
}

impl ControlPort {
    /// Listens on an address of loopback, and serves what `server` can do.
    ///
    /// # Errors
    /// It is no address, or none of loopback, or it cannot be bound.
    pub(crate) fn open(address: &str, server: FakeServer) -> Result<Self, StartError> {
        let wrong = |fault| StartError::Address { text: address.to_owned(), fault };
        let resolved = address.to_socket_addrs().ok().and_then(|mut addrs| addrs.next());
        let addr = resolved.ok_or_else(|| wrong("expected HOST:PORT for the control port"))?;
        if !addr.ip().is_loopback() {
            return Err(wrong("the control port listens on loopback only; write 127.0.0.1:PORT"));
        }
        let bind = |source: io::Error| StartError::Bind { addr, source, place: String::new() };
        let listener = TcpListener::bind(addr).map_err(bind)?;
        let bound = listener.local_addr().map_err(bind)?;
        let shared = Arc::new(Shared::default());
        let serving = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("amps-testkit control".to_owned())
            .spawn(move || let_in(&listener, &serving, &Arc::new(server)))
            .map_err(bind)?;
        Ok(Self { addr: bound, shared, thread: Some(thread) })
    }

    pub(crate) const fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for ControlPort {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::SeqCst);
        for stream in self.shared.inside().streams.values() {
            let _gone_already = stream.shutdown(Shutdown::Both);
        }
        // The thread waits for a connection: here is one.
        let woken = TcpStream::connect_timeout(&self.addr, FAREWELL).is_ok();
        let ended = self.thread.as_ref().is_some_and(JoinHandle::is_finished);
        if let Some(thread) = self.thread.take().filter(|_| woken || ended) {
            let _panicked = thread.join();
        }
    }
}

fn failure() -> http::Answer {
    let text = "the server has failed: its engine has panicked, see its stderr; start it anew";
    http::Refused::new(500, text).into()
}

fn crowded() -> http::Answer {
    let text = format!("{MOST_SERVED} requests are being served; ask again when one of them has ended");
    http::Refused::new(503, text).into()
}

/// Gives each connection a thread, until the port is dropped. When this returns they have ended.
fn let_in(listener: &TcpListener, shared: &Arc<Shared>, server: &Arc<FakeServer>) {
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    loop {
        let accepted = listener.accept();
        threads.retain(|thread| !thread.is_finished());
        let place = accepted.ok().and_then(|(stream, _)| Some((shared.enter(&stream)?, stream)));
        // Behind `enter`, so that whoever is not shut down by the drop is seen here.
        if shared.ending.load(Ordering::SeqCst) {
            break;
        }
        let Some((place, mut stream)) = place else { continue };
        let server = Arc::clone(server);
        let named = thread::Builder::new().name("amps-testkit control".to_owned());
        // If the system has no thread to spare, the connection ends.
        threads.extend(named.spawn(move || serve(&mut stream, &place, &server)));
    }
    for thread in threads {
        let _panicked = thread.join();
    }
}

/// Serves the one request of a connection.
fn serve(stream: &mut TcpStream, place: &Place, server: &FakeServer) {
    let (answer, unread) = match place.is_served {
        false => (crowded(), true),
        true => match http::read(stream) {
            Ok(Some(request)) => {
                let answer = routes::answer(server, &request);
                // Whoever asks that a server ends need not know how it is.
                let failed = !answer.stops && !server.is_running();
                (if failed { failure() } else { answer }, false)
            }
            // It said nothing.
            Ok(None) => return,
            Err(refused) => (refused.into(), true),
        },
    };
    // Whoever asked may have gone.
    let _gone = http::write(stream, &answer, unread);
    if answer.stops {
        server.request_stop();
    }
}
