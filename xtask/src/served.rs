//! The fake server as a process of its own that ends with whoever started it.
//!
//! It is what `amps-testkit serve` runs; besides, it does what it is told on its stdin.

use std::path::PathBuf;
use std::process::exit;
use std::sync::mpsc::channel;

use amps_testkit::{FakeServer, JournalMode, LogCut, QueueConfig};

use crate::process::{listen, say};

/// Ends the connections of all clients at once: the listener goes away and is back.
pub(crate) const STORM: &str = "storm";

/// The queue that there is.
pub(crate) const QUEUE: &str = "work";

/// Messages that a log in memory keeps: more than are published between two storms.
const KEPT_IN_MEMORY: usize = 200_000;

/// Serves until stdin ends: `ADDRESS [DIRECTORY]`. Says `ready`, and `dropped N` after each storm.
///
/// # Errors
/// The server cannot start.
pub(crate) fn serve(address: &str, data: Option<PathBuf>) -> Result<(), String> {
    let mut builder = FakeServer::builder()
        .journal(JournalMode::Off)
        .listen(format!("tcp://{address}/amps"))
        .txlog(".*")
        .queue(QueueConfig::new(QUEUE).max_backlog(100));
    let in_memory = data.is_none();
    if let Some(directory) = data {
        builder = builder.data_dir(directory);
    }
    let server = builder.start().map_err(|error| error.to_string())?;
    say("ready");
    let (sender, told) = channel();
    listen(move |line| match line {
        Some(line) => _ = sender.send(line.to_owned()),
        // Not after the server has stopped in order: nothing waits for it any more.
        None => exit(0),
    })?;
    for line in told {
        if line == STORM {
            // Such a process lives for hours.
            if in_memory {
                server.truncate_before(LogCut::Newest(KEPT_IN_MEMORY));
            }
            let dropped = server.connections().len();
            for listening in server.listeners() {
                // It is there, and its port is free: it was its own.
                server.disable_transport(&listening.name);
                server.enable_transport(&listening.name).map_err(|error| error.to_string())?;
            }
            say(&format!("dropped {dropped}"));
        }
    }
    Ok(())
}
