//! `amps sow_delete`: deletes records, or messages of a queue.

use std::io::{IsTerminal, Write};

use amps_client::{DeleteStats, SowDelete};

use crate::connection::Link;
use crate::failure::{CONNECTION, Failure, Outcome, TIMED_OUT};
use crate::input::{Event, Input};
use crate::options::SowDelete as Options;
use crate::stop::{Cause, Stop};

/// Deletes by filter, by keys, or by the messages in a file.
pub(crate) fn run(options: &Options) -> Result<Outcome, Failure> {
    let input = if options.filter.is_some() || options.keys.is_some() {
        None
    } else if options.file.is_none() && std::io::stdin().is_terminal() {
        let text = "say what to delete: --filter, --keys or --file; --filter 1=1 deletes every record";
        return Err(Failure::usage(text));
    } else {
        Some(Input::open(options.file.as_deref())?)
    };
    let stop = Stop::watch(options.connection.timeout);
    let outcome = delete(options, input, &stop);
    stop.finished();
    match (outcome, stop.cause()) {
        (Err(_), Some(Cause::Signal(signal))) => Ok(Outcome::Signalled(signal)),
        (outcome, _) => outcome,
    }
}

fn delete(options: &Options, input: Option<Input>, stop: &Stop) -> Result<Outcome, Failure> {
    let link = Link::open(&options.connection, stop)?;
    let mut total = DeleteStats::default();
    let deleted = all(options, input, &link, stop, &mut total);
    stop.wake_nobody();
    // However it ended: what is deleted is deleted.
    report(options, total, stop);
    match (&deleted, stop.cause()) {
        (Ok(_), _) => _ = link.close(stop),
        // The signal is the status, and this the reason why the sum may be too small.
        (Err(failure), Some(Cause::Signal(_))) => _ = failure.report(),
        (Err(_), _) => {}
    }
    match (deleted?, stop.cause()) {
        (Read::All, _) | (Read::Some, None) => Ok(Outcome::Done),
        (Read::Some, Some(Cause::Signal(signal))) => Ok(Outcome::Signalled(signal)),
        (Read::Some, Some(Cause::TimedOut | Cause::OutputGone)) => {
            Err(Failure::new(TIMED_OUT, "stopped before everything was deleted; allow more time"))
        }
    }
}

/// How much of the input was dealt with.
enum Read {
    All,
    /// There was a reason to stop.
    Some,
}

/// Deletes until there is nothing more, or has to stop; what the server said is in the total.
fn all(
    options: &Options,
    input: Option<Input>,
    link: &Link,
    stop: &Stop,
    total: &mut DeleteStats,
) -> Result<Read, Failure> {
    let aborting = link.client.clone();
    let mut add = |delete: &SowDelete| -> Result<(), Failure> {
        let stats = link.client.sow_delete(delete).map_err(|error| unanswered(error.into()))?;
        total.records_deleted += stats.records_deleted;
        total.matches += stats.matches;
        total.topic_matches += stats.topic_matches;
        Ok(())
    };
    if let Some(filter) = &options.filter {
        stop.wake_by(move || aborting.abort());
        add(&SowDelete::by_filter(&options.topic, filter))?;
    } else if let Some(keys) = &options.keys {
        stop.wake_by(move || aborting.abort());
        add(&SowDelete::by_keys(&options.topic, keys.split(',').map(str::trim)))?;
    } else if let Some(input) = input {
        let (events, waking) = input.start(options.delimiter.as_ref());
        stop.wake_by(move || _ = waking.try_send(Event::Stop));
        // A full channel has no room for the event that tells of it.
        while stop.cause().is_none() {
            let event = match stop.remaining() {
                Some(left) => events.recv_timeout(left).unwrap_or(Event::Stop),
                None => events.recv().unwrap_or(Event::End),
            };
            match event {
                Event::Messages(messages, _) => {
                    for message in messages.iter().filter(|message| !message.is_empty()) {
                        if stop.cause().is_some() {
                            return Ok(Read::Some);
                        }
                        add(&SowDelete::by_data(&options.topic, message))?;
                    }
                }
                Event::Failed(failure) => return Err(failure),
                Event::End => return Ok(Read::All),
                // The next turn looks why.
                Event::Stop => {}
            }
        }
        return Ok(Read::Some);
    }
    Ok(Read::All)
}

/// Nobody knows what a delete did that has no answer.
fn unanswered(failure: Failure) -> Failure {
    match failure.status() {
        CONNECTION | TIMED_OUT => failure.within("the last delete has no answer and is not counted"),
        _ => failure,
    }
}

fn report(options: &Options, stats: DeleteStats, stop: &Stop) {
    let DeleteStats { records_deleted, matches, topic_matches, .. } = stats;
    let milliseconds = stop.began().elapsed().as_millis();
    let line = if options.json {
        format!(
            "{{\"records_deleted\":{records_deleted},\"matches\":{matches},\"topic_matches\":{topic_matches}}}"
        )
    } else {
        format!("Deleted {records_deleted} records in {milliseconds}ms.")
    };
    // Who does not read it sees the status.
    let _ = writeln!(std::io::stdout(), "{line}");
}
