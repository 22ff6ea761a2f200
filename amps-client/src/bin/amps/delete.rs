//! `amps sow_delete`: deletes records, or messages of a queue.

use std::io::{IsTerminal, Write};

use amps_client::{DeleteStats, SowDelete};

use crate::connection::Link;
use crate::failure::{Failure, OTHER, Outcome, TIMED_OUT};
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
    let aborting = link.client.clone();
    let mut total = DeleteStats::default();
    let mut add = |delete: &SowDelete| -> Result<(), Failure> {
        let stats = link.client.sow_delete(delete)?;
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
        let (events, waking) = input.start(&options.delimiter.clone().unwrap_or_default());
        stop.wake_by(move || _ = waking.try_send(Event::Stop));
        loop {
            // A full channel has no room for the event that tells of it.
            stopped(stop)?;
            let event = match stop.remaining() {
                Some(left) => events.recv_timeout(left).unwrap_or(Event::Stop),
                None => events.recv().unwrap_or(Event::End),
            };
            match event {
                Event::Messages(messages, _) => {
                    for message in messages.iter().filter(|message| !message.is_empty()) {
                        stopped(stop)?;
                        add(&SowDelete::by_data(&options.topic, message))?;
                    }
                }
                Event::Failed(text) => return Err(Failure::new(OTHER, text)),
                Event::End => break,
                // The next turn looks why.
                Event::Stop => {}
            }
        }
    }
    stop.wake_nobody();
    report(options, total, stop);
    let _ = link.close(stop);
    Ok(Outcome::Done)
}

/// The reason to stop, as an error: the records behind it were not deleted.
fn stopped(stop: &Stop) -> Result<(), Failure> {
    match stop.cause() {
        None => Ok(()),
        Some(_) => Err(Failure::new(TIMED_OUT, "stopped before everything was deleted; allow more time")),
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
