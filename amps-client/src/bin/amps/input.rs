//! Messages from a file or from stdin.
//!
//! Owns how bytes are cut into messages, and the thread that reads: who waits for input has to be wakened by a
//! signal as well.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use memchr::memmem::Finder;

use crate::archive::{Archive, BEGINNING, begins};
use crate::escapes::Delimiter;
use crate::failure::{Failure, OTHER};

/// Bytes that are read at a time.
const CHUNK: usize = 64 << 10;
/// Reads that may wait to be published. So many may hold one message that is as long as can be, not more: that takes
/// thousands of reads.
const AHEAD: usize = 8;
/// Nothing of an archive waits: each of its messages may be as long as can be, so the next is unpacked while one is
/// published, and is kept back until somebody asks for it.
const ARCHIVE_AHEAD: usize = 0;
/// How long to leave an input alone that has nothing and does not wait.
const NOT_NOW: Duration = Duration::from_millis(5);
/// About what a server accepts; without a delimiter in so many bytes there is none.
const LONGEST: usize = 200 << 20;

/// What the reading thread, or whoever ends the reading, tells.
#[derive(Debug)]
pub(crate) enum Event {
    /// Messages that were read, and the bytes that were read for them.
    Messages(Vec<Vec<u8>>, u64),
    /// There is nothing more.
    End,
    /// Reading failed.
    Failed(Failure),
    /// There is a reason to stop.
    Stop,
}

/// Something to read from.
pub(crate) struct Input {
    from: Source,
    /// Bytes, where that is known.
    pub(crate) size: Option<u64>,
    name: String,
}

enum Source {
    /// Messages with delimiters between them.
    Stream(Box<dyn Read + Send>),
    Archive(Archive),
}

impl Input {
    /// A file, or stdin.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path.filter(|path| *path != Path::new("-")) else {
            return Ok(Self {
                from: Source::Stream(Box::new(io::stdin())),
                size: None,
                name: "stdin".into(),
            });
        };
        let file = File::open(path).map_err(|error| Failure::unopened(path, &error))?;
        let about = file.metadata().map_err(|error| Failure::unopened(path, &error))?;
        if about.is_dir() {
            let text = format!("cannot read {}: it is a directory; name a file", path.display());
            return Err(Failure::usage(text));
        }
        let size = about.is_file().then_some(about.len());
        let archive = if about.is_file() { Archive::in_file(path, &file)? } else { None };
        let from = archive.map_or_else(|| Source::Stream(Box::new(file)), Source::Archive);
        Ok(Self { from, size, name: path.display().to_string() })
    }

    /// Begins to read, lines if no delimiter is given; also gives the end by which others wake who waits.
    pub(crate) fn start(self, delimiter: Option<&Delimiter>) -> (Receiver<Event>, SyncSender<Event>) {
        let Self { from, name, .. } = self;
        let ahead = match from {
            Source::Stream(_) => AHEAD,
            Source::Archive(_) => ARCHIVE_AHEAD,
        };
        let (sender, events) = sync_channel(ahead);
        let reading = sender.clone();
        let splitter = Splitter::new(&delimiter.cloned().unwrap_or_default());
        let text = delimiter.is_none();
        // It waits for input, perhaps for ever, and ends with the process.
        let read = move || {
            let end = match from {
                Source::Stream(stream) => read(stream, &name, splitter, text, &reading),
                Source::Archive(archive) => unpack(archive, &name, &reading),
            };
            let _ = reading.send(end);
        };
        match std::thread::Builder::new().name("amps-input".into()).spawn(read) {
            Ok(_) => (events, sender),
            Err(error) => {
                // With room for it: nobody listens yet.
                let (sender, events) = sync_channel(AHEAD);
                let _ = sender.send(failed(format!("cannot start a thread: {error}")));
                (events, sender)
            }
        }
    }
}

fn failed(text: String) -> Event {
    Event::Failed(Failure::new(OTHER, text))
}

/// The messages of an archive, a few at a time.
fn unpack(mut archive: Archive, name: &str, events: &SyncSender<Event>) -> Event {
    let (mut messages, mut unpacked, mut bytes) = (Vec::new(), 0, 0);
    loop {
        let next = match archive.next(LONGEST) {
            Ok(next) => next,
            Err(text) => return failed(format!("cannot read {name}: {text}")),
        };
        let end = next.is_none();
        if let Some((message, packed)) = next {
            unpacked += message.len();
            bytes += packed;
            messages.push(message);
        }
        if (end || unpacked >= CHUNK)
            && events.send(Event::Messages(std::mem::take(&mut messages), bytes)).is_err()
        {
            return Event::End;
        }
        if unpacked >= CHUNK {
            (unpacked, bytes) = (0, 0);
        }
        if end {
            return Event::End;
        }
    }
}

/// The messages of a stream, and with `text` not of one that only a program can read.
fn read(
    mut stream: Box<dyn Read + Send>,
    name: &str,
    mut splitter: Splitter,
    text: bool,
    events: &SyncSender<Event>,
) -> Event {
    let mut chunk = vec![0; CHUNK];
    let mut beginning = Vec::new();
    loop {
        let count = match stream.read(&mut chunk) {
            Ok(0) => {
                let rest: Vec<Vec<u8>> = splitter.rest().into_iter().collect();
                let _ = events.send(Event::Messages(rest, 0));
                return Event::End;
            }
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // Another process that has the same terminal has set it so.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                std::thread::sleep(NOT_NOW);
                continue;
            }
            Err(error) => return failed(format!("cannot read {name}: {error}")),
        };
        let bytes = chunk.get(..count).unwrap_or_default();
        // There is no line break in how an archive begins: if it is one, nothing of it has left.
        if text && beginning.len() < BEGINNING {
            beginning.extend(bytes.iter().take(BEGINNING - beginning.len()));
            if begins(&beginning) {
                return Event::Failed(Failure::usage(format!(
                    "{name} is a ZIP archive, which is not read from a pipe: name the file by --file, or say with \
                     --delimiter that these bytes are messages"
                )));
            }
        }
        let messages = splitter.push(bytes);
        if splitter.waiting() > LONGEST {
            return failed(format!("{name}: no delimiter within {LONGEST} bytes; check --delimiter"));
        }
        if events.send(Event::Messages(messages, count as u64)).is_err() {
            return Event::End;
        }
    }
}

/// Cuts bytes into messages, however they are chopped.
pub(crate) struct Splitter {
    finder: Finder<'static>,
    lines: bool,
    buffer: Vec<u8>,
    /// Up to here there is no delimiter.
    searched: usize,
}

impl Splitter {
    pub(crate) fn new(delimiter: &Delimiter) -> Self {
        let finder = Finder::new(delimiter.bytes()).into_owned();
        Self { finder, lines: delimiter.is_lines(), buffer: Vec::new(), searched: 0 }
    }

    /// Bytes of a message that has no end yet.
    fn waiting(&self) -> usize {
        self.buffer.len()
    }

    /// The messages that have an end now.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.buffer.extend_from_slice(bytes);
        let length = self.finder.needle().len();
        let mut messages = Vec::new();
        let mut begin = 0;
        while let Some(found) = self.buffer.get(self.searched..).and_then(|rest| self.finder.find(rest)) {
            let end = self.searched + found;
            messages.push(self.message(begin, end));
            begin = end + length;
            self.searched = begin;
        }
        self.buffer.drain(..begin);
        // A delimiter may be cut in two.
        self.searched = (self.buffer.len() + 1).saturating_sub(length);
        messages
    }

    /// What stands behind the last delimiter, if anything.
    pub(crate) fn rest(&mut self) -> Option<Vec<u8>> {
        if self.buffer.is_empty() {
            return None;
        }
        let rest = self.message(0, self.buffer.len());
        self.buffer.clear();
        Some(rest)
    }

    fn message(&self, begin: usize, end: usize) -> Vec<u8> {
        let message = self.buffer.get(begin..end).unwrap_or_default();
        let message = if self.lines { message.strip_suffix(b"\r").unwrap_or(message) } else { message };
        message.to_vec()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(delimiter: &Delimiter, pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut splitter = Splitter::new(delimiter);
        let mut messages: Vec<Vec<u8>> = pieces.iter().flat_map(|piece| splitter.push(piece)).collect();
        messages.extend(splitter.rest());
        messages
    }

    #[test]
    fn lines_may_end_in_either_way_and_the_last_one_not_at_all() {
        let lines = cut(&Delimiter::default(), &[b"1\n2\r\n\n3\r", b"\n4"]);
        assert_eq!(lines, [&b"1"[..], b"2", b"", b"3", b"4"]);
        assert_eq!(cut(&Delimiter::default(), &[b"1\n"]), [b"1"]);
        assert_eq!(cut(&Delimiter::default(), &[b""]), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn a_delimiter_that_is_given_is_taken_literally() {
        assert_eq!(cut(&Delimiter::parse("10").unwrap(), &[b"1\r\n2"]), [&b"1\r"[..], b"2"]);
        assert_eq!(cut(&Delimiter::parse("--").unwrap(), &[b"a-b-", b"-c"]), [&b"a-b"[..], b"c"]);
    }

    /// What a reader who asks for everything gets, if each read gives one byte.
    fn read_by_bytes(bytes: &'static [u8], delimiter: Option<&Delimiter>) -> Result<Vec<Vec<u8>>, Failure> {
        struct Bytes(&'static [u8]);
        impl Read for Bytes {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.0.read(&mut buffer[..1])
            }
        }
        let from = Source::Stream(Box::new(Bytes(bytes)));
        let (events, _waking) = Input { from, size: None, name: "stdin".into() }.start(delimiter);
        let mut all = Vec::new();
        loop {
            match events.recv().unwrap() {
                Event::Messages(messages, _) => all.extend(messages),
                Event::End => return Ok(all),
                Event::Failed(failure) => return Err(failure),
                Event::Stop => panic!("nobody stops it"),
            }
        }
    }

    #[test]
    fn an_archive_in_a_stream_is_told_however_it_is_chopped() {
        for archive in [&b"PK\x03\x04\x14\n1\n"[..], b"PK\x05\x06\0\0"] {
            let failure = read_by_bytes(archive, None).unwrap_err();
            assert_eq!(failure.status(), crate::failure::USAGE);
            assert!(failure.text().starts_with("stdin is a ZIP archive"), "{failure:?}");
            let lines = Delimiter::parse("\\n").unwrap();
            assert_eq!(read_by_bytes(archive, Some(&lines)).unwrap().concat()[..4], archive[..4]);
        }
        // Text that begins so, and an archive's beginning behind other text.
        assert_eq!(read_by_bytes(b"PK", None).unwrap(), [b"PK"]);
        let behind = b"1\nPK\x03\x04";
        assert_eq!(read_by_bytes(behind, None).unwrap(), [&behind[..1], &behind[2..]]);
    }

    #[test]
    fn nothing_of_an_archive_waits_but_what_the_reader_holds() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("records.zip");
        let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
        for name in ["1", "2", "3"] {
            zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            io::Write::write_all(&mut zip, &vec![b'x'; CHUNK]).unwrap();
        }
        zip.finish().unwrap();
        let (events, waking) = Input::open(Some(&path)).unwrap().start(None);
        for _ in 1..=3 {
            let Ok(Event::Messages(messages, _)) = events.recv() else { panic!("there are three") };
            assert_eq!(messages, [vec![b'x'; CHUNK]]);
            // There is no place where anything could wait, this event included.
            assert!(waking.try_send(Event::Stop).is_err());
        }
    }

    proptest! {
        #[test]
        fn how_the_bytes_are_chopped_never_matters(
            text in prop::collection::vec(prop::sample::select(b"ab|;".to_vec()), 0..60),
            size in 1_usize..7,
        ) {
            let delimiter = Delimiter::parse("|;").unwrap();
            let pieces: Vec<&[u8]> = text.chunks(size).collect();
            prop_assert_eq!(cut(&delimiter, &pieces), cut(&delimiter, &[&text]));
        }
    }
}
