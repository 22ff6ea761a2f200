//! `amps ping`: is there a server, and does it let us in?

use std::io::Write;

use crate::connection::{Link, PATIENCE};
use crate::failure::{Failure, Outcome};
use crate::options::Ping;
use crate::stop::{Cause, Stop};

/// Connects, logs on, and waits for one answer more.
pub(crate) fn run(options: &Ping) -> Result<Outcome, Failure> {
    let stop = Stop::watch(options.connection.timeout);
    let outcome = ping(options, &stop);
    stop.finished();
    match (outcome, stop.cause()) {
        (Err(_), Some(Cause::Signal(signal))) => Ok(Outcome::Signalled(signal)),
        (outcome, _) => outcome,
    }
}

fn ping(options: &Ping, stop: &Stop) -> Result<Outcome, Failure> {
    let link = Link::open(&options.connection, stop)?;
    let aborting = link.client.clone();
    stop.wake_by(move || aborting.abort());
    link.client.flush(stop.at_most(PATIENCE))?;
    stop.wake_nobody();
    let peer = link.client.peer();
    let uri = peer.as_ref().map(|peer| peer.uri()).unwrap_or_default();
    // Who does not read it sees the status.
    let _ = writeln!(std::io::stdout(), "Successfully connected to {uri}");
    let _ = link.close(stop);
    Ok(Outcome::Done)
}
