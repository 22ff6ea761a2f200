//! `amps subscribe`, `amps sow` and `amps sow_and_subscribe`: prints messages.
//!
//! Owns the loop from a stream to stdout, and its invariant: a message is acknowledged, or noted in a store, after
//! stdout and the copy have taken it, and not before. So what is printed may come again, and nothing is lost.

use std::collections::VecDeque;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::{Duration, Instant};

use amps_client::bookmarks::MOST_RECENT;
use amps_client::{
    BookmarkStore, ClientBuilder, Command, CommandKind, Error, FileBookmarkStore, MemoryBookmarkStore,
    Message, Subscription,
};

use crate::connection::{Link, Wish, name_of_store};
use crate::copy::Target;
use crate::failure::{CONNECTION, Failure, OTHER, Outcome, TIMED_OUT, one_line};
use crate::options::{Connection, Draining, Printing, Query, Selection, Sow, SowAndSubscribe, Subscribe};
use crate::output::Output;
use crate::printer::Printer;
use crate::stop::{Cause, Stop};

/// Who waits for messages would not notice otherwise that the server, or the way to it, is gone. Twice that in silence is
/// a lost connection.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// What is placed, and how it is read.
struct Request<'a> {
    connection: &'a Connection,
    printing: &'a Printing,
    command: Command,
    draining: Option<&'a Draining>,
    store: Option<Arc<dyn BookmarkStore>>,
    name: Option<String>,
    /// A lost connection is made again, also to a single server.
    lasting: bool,
    /// Its messages say what changed, and no more.
    deltas: bool,
    /// Its end is the end of the work.
    finite: bool,
}

/// Prints what is published from now on, or from a bookmark on.
pub(crate) fn subscribe(options: &Subscribe) -> Result<Outcome, Failure> {
    let topic = options.selection.topic.as_str();
    let mut command = if options.delta { Command::delta_subscribe(topic) } else { Command::subscribe(topic) };
    command = drained(selected(command, &options.selection), &options.draining, &options.printing);
    let mut store: Option<Arc<dyn BookmarkStore>> = None;
    if let Some(path) = &options.store {
        let opened = FileBookmarkStore::open(path).map_err(|error| Failure::from(Error::Store(error)))?;
        store = Some(Arc::new(opened));
        // Unlike an id of the library's making, it is the same next time.
        command = command.sub_id(topic.replace(',', "_"));
    }
    let bookmark = options.bookmark.as_deref().or(store.is_some().then_some(MOST_RECENT));
    if let Some(bookmark) = bookmark {
        command = command.bookmark(place(bookmark));
        if options.connection.server.len() > 1 && store.is_none() {
            // So that a reconnect goes on where it was.
            store = Some(Arc::new(MemoryBookmarkStore::new()));
        }
    }
    run(Request {
        lasting: options.store.is_some(),
        connection: &options.connection,
        printing: &options.printing,
        command,
        draining: Some(&options.draining),
        store,
        name: options.store.as_deref().map(name_of_store),
        deltas: options.delta,
        finite: false,
    })
}

/// Prints the records of a topic.
pub(crate) fn sow(options: &Sow) -> Result<Outcome, Failure> {
    let mut command = selected(Command::sow(options.selection.topic.as_str()), &options.selection);
    command = queried(command, &options.query);
    if let Some(bookmark) = &options.bookmark {
        command = command.bookmark(place(bookmark));
    }
    run(Request {
        connection: &options.connection,
        printing: &options.printing,
        command,
        draining: None,
        store: None,
        name: None,
        lasting: false,
        deltas: false,
        finite: true,
    })
}

/// Prints the records of a topic, then what changes.
pub(crate) fn sow_and_subscribe(options: &SowAndSubscribe) -> Result<Outcome, Failure> {
    let topic = options.selection.topic.as_str();
    let command = if options.delta {
        Command::sow_and_delta_subscribe(topic)
    } else {
        Command::sow_and_subscribe(topic)
    };
    let mut command = queried(selected(command, &options.selection), &options.query);
    command = drained(command, &options.draining, &options.printing);
    if let Some(bookmark) = &options.bookmark {
        command = command.bookmark(place(bookmark));
    }
    run(Request {
        connection: &options.connection,
        printing: &options.printing,
        command,
        draining: Some(&options.draining),
        store: None,
        name: None,
        lasting: false,
        deltas: options.delta,
        finite: false,
    })
}

fn selected(mut command: Command, selection: &Selection) -> Command {
    if let Some(filter) = &selection.filter {
        command = command.filter(filter);
    }
    if let Some(options) = &selection.options {
        command = command.options(options);
    }
    command
}

fn queried(mut command: Command, query: &Query) -> Command {
    if let Some(order) = &query.orderby {
        command = command.order_by(order);
    }
    if let Some(records) = query.topn {
        command = command.top_n(records);
    }
    if let Some(records) = query.batchsize {
        command = command.batch_size(records);
    }
    command
}

/// No more is leased than is going to be printed.
fn drained(command: Command, draining: &Draining, printing: &Printing) -> Command {
    let count = printing.count.and_then(|count| u32::try_from(count).ok()).unwrap_or(u32::MAX);
    match draining.backlog {
        Some(backlog) => command.max_backlog(backlog.min(count)),
        None => command,
    }
}

/// Words for the places that have one.
fn place(bookmark: &str) -> String {
    match bookmark {
        "epoch" => "0",
        "now" => "0|1|",
        "most_recent" => MOST_RECENT,
        other => other,
    }
    .to_owned()
}

fn run(request: Request<'_>) -> Result<Outcome, Failure> {
    let stop = Stop::watch(request.connection.timeout);
    let mut reading = match Reading::new(&request, &stop) {
        Ok(reading) => reading,
        Err(failure) => {
            return match stop.cause() {
                Some(Cause::Signal(signal)) => Ok(Outcome::Signalled(signal)),
                _ => Err(failure),
            };
        }
    };
    let outcome = reading.all(request);
    stop.finished();
    match (outcome, stop.cause()) {
        (Ok(()), None) => {
            reading.summarise(io::stderr().is_terminal());
            Ok(Outcome::Done)
        }
        (_, Some(Cause::Signal(signal))) => {
            reading.summarise(true);
            Ok(Outcome::Signalled(signal))
        }
        (Ok(()), Some(Cause::OutputGone)) => Ok(Outcome::Done),
        (Ok(()), Some(Cause::TimedOut)) if reading.done => Ok(Outcome::Done),
        (Ok(()), Some(Cause::TimedOut)) => Err(reading.too_late()),
        (Err(failure), _) => Err(failure),
    }
}

/// A message that stdout may not have taken yet.
struct Printed {
    message: Message,
    /// Where its last byte is in all that was printed.
    end: u64,
}

struct Reading<'a> {
    stop: &'a Stop,
    printer: Printer,
    output: Output,
    copy: Option<Target>,
    /// What went wrong with the copy and is not told yet.
    uncopied: Option<Failure>,
    deltas: bool,
    acks: bool,
    notes: bool,
    wanted: Option<u64>,
    received: u64,
    printed: VecDeque<Printed>,
    /// The count is reached, or the query is answered.
    done: bool,
}

impl<'a> Reading<'a> {
    fn new(request: &Request<'_>, stop: &'a Stop) -> Result<Self, Failure> {
        let output =
            Output::stdout().map_err(|error| Failure::new(OTHER, format!("cannot use stdout: {error}")))?;
        Ok(Self {
            stop,
            printer: Printer::new(request.printing),
            output,
            copy: Target::copy(request.printing.copy.as_ref(), request.connection, stop)?,
            uncopied: None,
            deltas: request.deltas,
            acks: request.draining.is_some_and(|draining| draining.ack),
            notes: request.store.is_some(),
            wanted: request.printing.count,
            received: 0,
            printed: VecDeque::new(),
            done: false,
        })
    }

    /// From the connection to its end.
    fn all(&mut self, request: Request<'_>) -> Result<(), Failure> {
        let store = request.store;
        let wish = Wish {
            option: "--server",
            servers: &request.connection.server,
            lasting: request.lasting,
            name: request.name,
        };
        let batch = request.draining.and_then(|draining| draining.backlog).unwrap_or(1);
        let more = |mut builder: ClientBuilder| {
            if let Some(store) = store {
                builder = builder.shared_bookmark_store(store);
            }
            builder = builder.heartbeat(HEARTBEAT);
            // Acknowledgements go out when stdout has taken what they are for; see `settle`.
            builder.ack_batch_size(batch as usize)
        };
        let link = Link::open_with(wish, request.connection, self.stop, more)?;
        let mut command = request.command;
        if self.printer.wants_timestamps() {
            command = command.flag("timestamp");
        }
        let aborting = link.client.clone();
        self.stop.wake_by(move || aborting.abort());
        let placed = link.client.execute(&command);
        self.stop.wake_nobody();
        let mut stream = placed?;
        self.stop.watch_output();

        let read = self.read(&mut stream, &link, request.finite);
        let settled = self.settle(&link);
        drop(stream);
        let closed = if self.acks { link.close(self.stop) } else { link.close(self.stop).or(Ok(())) };
        let copied = self.copy.as_ref().map_or(Ok(()), |copy| copy.close(self.stop));
        read.and(settled).and(closed).and(copied)
    }

    fn read(&mut self, stream: &mut Subscription, link: &Link, finite: bool) -> Result<(), Failure> {
        let closer = stream.closer();
        while self.stop.cause().is_none() {
            // What was printed is written before anybody waits.
            let idle = self.output.printed() == self.output.taken();
            stream.set_timeout(if idle { self.stop.remaining() } else { Some(Duration::ZERO) });
            if idle {
                // To end the subscription ends its leases: only here is nothing printed and not acknowledged.
                let closer = closer.clone();
                self.stop.wake_by(move || closer.close());
            }
            let next = stream.next();
            if idle {
                self.stop.wake_nobody();
                if matches!(self.stop.cause(), Some(Cause::Signal(_) | Cause::OutputGone)) {
                    // A message that came at the last moment is not printed, and goes back to its queue.
                    return Ok(());
                }
            }
            match next {
                Some(Ok(message)) => {
                    self.take(message);
                    if self.wanted.is_some_and(|wanted| self.received >= wanted) {
                        self.done = true;
                        return Ok(());
                    }
                    if self.printer.on_terminal || self.output.is_full() {
                        self.settle(link)?;
                    }
                }
                Some(Err(Error::Idle { .. })) => self.settle(link)?,
                Some(Err(notice @ Error::Resumed)) => eprintln!("amps: {}", one_line(&notice.to_string())),
                Some(Err(error)) => return Err(self.broken_off(error)),
                None if self.stop.cause().is_some() => return Ok(()),
                None if finite => {
                    self.done = true;
                    return Ok(());
                }
                None => return Err(Failure::new(CONNECTION, "the server ended the subscription")),
            }
        }
        Ok(())
    }

    fn take(&mut self, message: Message) {
        let kind = message.command();
        if !matches!(
            kind,
            CommandKind::Publish | CommandKind::DeltaPublish | CommandKind::Sow | CommandKind::Oof
        ) {
            return;
        }
        self.received += 1;
        self.printer.print(&message, self.output.buffer());
        if let Some(copy) = self.copy.as_mut().filter(|_| kind != CommandKind::Oof) {
            let topic = message.topic().map(ToString::to_string).unwrap_or_default();
            if let Err(failure) = copy.publish(&topic, message.data(), self.deltas) {
                self.uncopied.get_or_insert(failure);
            }
        }
        if self.acks || self.notes {
            self.printed.push_back(Printed { message, end: self.output.printed() });
        }
    }

    /// Writes what was printed, then acknowledges what stdout and the copy have.
    fn settle(&mut self, link: &Link) -> Result<(), Failure> {
        let written = self.output.flush();
        self.copied()?;
        let taken = self.output.taken();
        while self.printed.front().is_some_and(|printed| printed.end <= taken) {
            let Some(printed) = self.printed.pop_front() else { break };
            if self.acks {
                printed.message.ack();
            }
            if self.notes {
                printed.message.discard()?;
            }
        }
        if self.acks {
            link.client.flush_acks();
        }
        match written {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.stop.stop(Cause::OutputGone);
                Ok(())
            }
            Err(error) => Err(Failure::new(OTHER, format!("cannot write to stdout: {error}"))),
        }
    }

    /// Waits until the copy has what was printed.
    fn copied(&mut self) -> Result<(), Failure> {
        let Some(copy) = &self.copy else { return Ok(()) };
        let copied = self.uncopied.take().map_or(Ok(()), Err);
        let copied = copied.and_then(|()| copy.flush(self.stop)).and_then(|()| copy.verdict());
        copied.map_err(|failure| failure.within("--copy"))
    }

    fn broken_off(&self, error: Error) -> Failure {
        let failure = Failure::from(error);
        match self.wanted {
            Some(wanted) => failure.within(&format!("after {} of {wanted} messages", self.received)),
            None => failure,
        }
    }

    fn too_late(&self) -> Failure {
        let of = self.wanted.map_or_else(String::new, |wanted| format!(" of {wanted}"));
        let text = format!("the time was over after {}{of} messages; allow more time", self.received);
        Failure::new(TIMED_OUT, text)
    }

    fn summarise(&self, wanted: bool) {
        if wanted {
            let rate = self.received as f64 / Instant::now().duration_since(self.stop.began()).as_secs_f64();
            eprintln!("Total messages received: {} ({rate:.2}/s)", self.received);
        }
    }
}
