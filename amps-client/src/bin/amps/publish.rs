//! `amps publish`: messages from a file or from stdin, at a rate or as fast as possible.
//!
//! Owns the pace, the progress on a terminal, and the summary, which comes when the server has everything.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::copy::Target;
use crate::failure::{CONNECTION, Failure, Outcome, TIMED_OUT};
use crate::input::{Event, Input};
use crate::options::Publish;
use crate::stop::{Cause, Stop};

/// Publishes everything that there is.
pub(crate) fn run(options: &Publish) -> Result<Outcome, Failure> {
    // Before anything is connected: a name that is wrong is told at once.
    let input = Input::open(options.input.file.as_deref())?;
    let stop = Stop::watch(options.connection.timeout);
    let outcome = publish(options, input, &stop);
    stop.finished();
    match (outcome, stop.cause()) {
        (Err(failure), Some(Cause::Signal(signal))) => {
            let _ = failure.report();
            Ok(Outcome::Signalled(signal))
        }
        (outcome, _) => outcome,
    }
}

struct Work<'a> {
    options: &'a Publish,
    targets: Vec<Target>,
    stop: &'a Stop,
    began: Instant,
    sent: u64,
    empty: u64,
    progress: ProgressBar,
}

fn publish(options: &Publish, input: Input, stop: &Stop) -> Result<Outcome, Failure> {
    let mut targets = vec![Target::open(&options.connection, stop)?];
    targets.extend(Target::copy(options.copy.as_ref(), &options.connection, stop)?);
    let progress = progress(&input);
    let mut work = Work { options, targets, stop, began: Instant::now(), sent: 0, empty: 0, progress };
    let read = work.all(input);
    work.progress.finish_and_clear();
    work.end(read)
}

impl Work<'_> {
    /// Publishes until the input ends, or has to.
    fn all(&mut self, input: Input) -> Result<(), Failure> {
        let (events, waking) = input.start(self.options.input.delimiter.as_ref());
        self.stop.wake_by(move || _ = waking.try_send(Event::Stop));
        let mut read = 0;
        // A full channel has no room for the event that tells to stop, and its batches may be empty: the middle of
        // a long message.
        while self.stop.cause().is_none() {
            let event = match self.stop.remaining() {
                Some(left) => events.recv_timeout(left),
                None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match event.unwrap_or(Event::Stop) {
                Event::Messages(messages, bytes) => {
                    for message in &messages {
                        if self.stop.cause().is_some() {
                            return Ok(());
                        }
                        self.one(message)?;
                        if self.options.rate.is_some() {
                            self.progress.inc(message.len() as u64);
                            self.progress.set_message(self.rate());
                        }
                    }
                    read += bytes;
                    self.progress.set_position(read);
                    self.progress.set_message(self.rate());
                }
                Event::Failed(failure) => return Err(failure),
                Event::End | Event::Stop => return Ok(()),
            }
        }
        Ok(())
    }

    fn one(&mut self, message: &[u8]) -> Result<(), Failure> {
        if message.is_empty() {
            self.empty += 1;
            return Ok(());
        }
        if let Some(rate) = self.options.rate {
            let due = Duration::try_from_secs_f64(self.sent as f64 / rate).unwrap_or(Duration::MAX);
            self.began.checked_add(due).into_iter().for_each(|moment| self.stop.wait_until(moment));
            if self.stop.cause().is_some() {
                return Ok(());
            }
        }
        for target in &mut self.targets {
            target.publish(&self.options.topic, message, self.options.delta)?;
        }
        self.sent += 1;
        Ok(())
    }

    /// Waits for the server, says what it has, and what went wrong.
    fn end(self, read: Result<(), Failure>) -> Result<Outcome, Failure> {
        let cause = self.stop.cause();
        let mut flushed = Ok(());
        for target in &self.targets {
            flushed = flushed.and(target.flush(self.stop).map_err(|failure| unconfirmed(failure, self.stop)));
        }
        self.stop.wake_nobody();
        if self.empty > 0 {
            let (count, s) = (self.empty, if self.empty == 1 { "" } else { "s" });
            eprintln!("amps: {count} empty message{s} not published");
        }
        let accepted = self.targets.first().map_or(0, Target::accepted);
        // Who does not read it sees the status.
        if flushed.is_ok() {
            let rate = accepted as f64 / self.began.elapsed().as_secs_f64();
            let _ = writeln!(std::io::stdout(), "total messages published: {accepted} ({rate:.2}/s)");
        }
        let verdict = self.targets.iter().try_for_each(Target::verdict);
        for target in &self.targets {
            if flushed.is_err() {
                target.abandon();
            } else {
                // Everything is there: how the connection ends is of no interest.
                let _ = target.close(self.stop);
            }
        }
        flushed.and(verdict).and(read)?;
        match cause {
            Some(Cause::Signal(signal)) => Ok(Outcome::Signalled(signal)),
            Some(Cause::TimedOut) => {
                Err(Failure::new(TIMED_OUT, "the time was over before the input; allow more time"))
            }
            Some(Cause::OutputGone) | None => Ok(Outcome::Done),
        }
    }

    fn rate(&self) -> String {
        format!("{:.0} messages/s", self.sent as f64 / self.began.elapsed().as_secs_f64())
    }
}

/// Nobody knows what became of the messages.
fn unconfirmed(failure: Failure, stop: &Stop) -> Failure {
    if failure.status() == CONNECTION && matches!(stop.cause(), Some(Cause::TimedOut)) {
        return Failure::new(TIMED_OUT, failure.text());
    }
    failure.within("not every message is known to have arrived")
}

/// A bar where people look, and where it is known how much there is.
fn progress(input: &Input) -> ProgressBar {
    let Some(size) = input.size.filter(|_| std::io::stderr().is_terminal()) else {
        return ProgressBar::hidden();
    };
    let bar = ProgressBar::new(size);
    let template = "{bar:30} {bytes}/{total_bytes}, {msg}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}
