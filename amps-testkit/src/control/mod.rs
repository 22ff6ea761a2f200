//! The control port: HTTP/1.1 and JSON on loopback, for those who do not write Rust (server.md
//! 8.5).
//!
//! Owns one thread, which serves one request after the other. Reading order: `http` reads
//! requests and writes answers, `routes` is the table of all paths, `look` and `act` are what
//! they do, by the same handle that a test holds. It knows nothing of the engine.
//!
//! Whoever can connect to it can do everything. So it listens on loopback only, and refuses what
//! a browser sends on behalf of a web page.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::server::{FakeServer, StartError};

mod act;
mod http;
mod look;
mod routes;

/// How long it may take to reach the own port at the end.
const FAREWELL: Duration = Duration::from_secs(1);

/// The control port of one server. When it is dropped its thread has ended.
pub(crate) struct ControlPort {
    addr: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    ending: AtomicBool,
    /// The connection that is being served.
    current: Mutex<Option<TcpStream>>,
}

impl Shared {
    fn set_current(&self, stream: Option<TcpStream>) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = stream;
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
            .spawn(move || serve(&listener, &serving, &server))
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
        let current = self.shared.current.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(stream) = current {
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

fn serve(listener: &TcpListener, shared: &Shared, server: &FakeServer) {
    loop {
        let Ok((mut stream, _)) = listener.accept() else {
            if shared.ending.load(Ordering::SeqCst) {
                return;
            }
            continue;
        };
        shared.set_current(stream.try_clone().ok());
        if shared.ending.load(Ordering::SeqCst) {
            return;
        }
        let (answer, unread) = match http::read(&mut stream) {
            Ok(Some(request)) => {
                let answer = routes::answer(server, &request);
                // Whoever asks that a server ends need not know how it is.
                let failed = !answer.stops && !server.is_running();
                (if failed { failure() } else { answer }, false)
            }
            // It said nothing.
            Ok(None) => continue,
            Err(refused) => (refused.into(), true),
        };
        // Whoever asked may have gone.
        let _gone = http::write(&mut stream, &answer, unread);
        shared.set_current(None);
        if answer.stops {
            server.request_stop();
        }
    }
}
