//! What goes to stdout.
//!
//! Owns a buffer, and the knowledge of how much of what was printed stdout has taken: what it has not taken is not
//! acknowledged. The standard library's own buffer knows nothing of that.

use std::fs::File;
use std::io::{self, Write};
use std::time::Duration;

/// Printed bytes that are held back at most.
const ROOM: usize = 64 << 10;
/// How long to leave a stdout alone that takes nothing and does not wait.
const NOT_NOW: Duration = Duration::from_millis(5);

/// Stdout, or something in its place.
pub(crate) struct Output<W = File> {
    to: W,
    buffer: Vec<u8>,
    /// Bytes at the front of the buffer that are written.
    written: usize,
    /// Bytes that stdout has taken since the start.
    taken: u64,
}

impl Output {
    /// Stdout itself.
    pub(crate) fn stdout() -> io::Result<Self> {
        #[cfg(unix)]
        let own = std::os::fd::AsFd::as_fd(&io::stdout()).try_clone_to_owned()?;
        #[cfg(windows)]
        let own = std::os::windows::io::AsHandle::as_handle(&io::stdout()).try_clone_to_owned()?;
        Ok(Self::to(File::from(own)))
    }
}

impl<W: Write> Output<W> {
    pub(crate) const fn to(to: W) -> Self {
        Self { to, buffer: Vec::new(), written: 0, taken: 0 }
    }

    /// Where to append what is to be printed.
    pub(crate) const fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Bytes that were printed, whether they are taken or not.
    pub(crate) fn printed(&self) -> u64 {
        self.taken + (self.buffer.len() - self.written) as u64
    }

    /// Bytes that stdout has taken.
    pub(crate) const fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether it is time to write.
    pub(crate) fn is_full(&self) -> bool {
        self.buffer.len() >= ROOM
    }

    /// Writes what was printed. After an error, [`taken`](Self::taken) tells how far it came.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while let Some(rest) = self.buffer.get(self.written..).filter(|rest| !rest.is_empty()) {
            match self.to.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.written += count;
                    self.taken += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Another process that has the same end of the pipe has set it so.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(NOT_NOW),
                Err(error) => return Err(error),
            }
        }
        self.buffer.clear();
        self.written = 0;
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes, three at a time, and is gone then.
    struct Pipe(usize);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let count = bytes.len().min(3).min(self.0);
            self.0 -= count;
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn it_knows_what_was_taken_when_the_pipe_breaks() {
        let mut output = Output::to(Pipe(7));
        output.buffer().extend_from_slice(b"four");
        output.flush().unwrap();
        assert_eq!((output.printed(), output.taken()), (4, 4));
        output.buffer().extend_from_slice(b"four");
        assert_eq!((output.printed(), output.taken()), (8, 4));
        assert_eq!(output.flush().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!((output.printed(), output.taken()), (8, 7));
    }
}
