//! Messages in a ZIP archive, as AMPS writes the records of a topic: the first is the file `1`, the second `2`, ….
//!
//! Owns what such an archive looks like. Members are read one at a time, and none is larger than a message may be.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use zip::ZipArchive;
use zip::result::ZipError;

use crate::failure::Failure;

/// By so many bytes an archive is known.
pub(crate) const BEGINNING: usize = 4;

/// How archives begin; the second is one without members.
const BEGINNINGS: [&[u8; BEGINNING]; 2] = [b"PK\x03\x04", b"PK\x05\x06"];

/// Whether this is how an archive begins.
pub(crate) fn begins(bytes: &[u8]) -> bool {
    BEGINNINGS.iter().any(|beginning| bytes.starts_with(*beginning))
}

/// An archive that is read from its first message on.
pub(crate) struct Archive {
    zip: ZipArchive<BufReader<File>>,
    /// The number of the last message that was read.
    read: usize,
}

impl Archive {
    /// The archive in a file; `None` if the file is none, and then it is read from its beginning.
    pub(crate) fn in_file(path: &Path, file: &File) -> Result<Option<Self>, Failure> {
        let unread = |error: io::Error| Failure::unopened(path, &error);
        let mut beginning = Vec::new();
        file.take(BEGINNING as u64).read_to_end(&mut beginning).map_err(unread)?;
        let mut file = file;
        file.seek(SeekFrom::Start(0)).map_err(unread)?;
        if !begins(&beginning) {
            return Ok(None);
        }
        let file = file.try_clone().map_err(unread)?;
        let damaged = |error: ZipError| {
            let text = format!("cannot read {}: it begins as a ZIP archive, but {error}", path.display());
            Failure::usage(text)
        };
        let zip = ZipArchive::new(BufReader::new(file)).map_err(damaged)?;
        let archive = Self { zip, read: 0 };
        // Known before anything is published.
        match (1..=archive.zip.len()).find(|number| archive.zip.index_for_name(&number.to_string()).is_none())
        {
            None => Ok(Some(archive)),
            Some(missing) => Err(Failure::usage(format!(
                "cannot read {}: the archive has {} files, and none of them is called \"{missing}\"; messages are \
                 the files 1, 2, 3 and so on",
                path.display(),
                archive.zip.len()
            ))),
        }
    }

    /// The next message, and the bytes that it takes in the archive; `None` after the last.
    pub(crate) fn next(&mut self, longest: usize) -> Result<Option<(Vec<u8>, u64)>, String> {
        if self.read == self.zip.len() {
            return Ok(None);
        }
        self.read += 1;
        let number = self.read;
        let member = self.zip.by_name(&number.to_string());
        let member = member.map_err(|error| format!("message {number} of the archive: {error}"))?;
        let packed = member.compressed_size();
        let mut message = Vec::new();
        // One byte more than there may be: what an archive says of sizes need not be true.
        let most = u64::try_from(longest).unwrap_or(u64::MAX).saturating_add(1);
        let read = member.take(most).read_to_end(&mut message);
        read.map_err(|error| format!("message {number} of the archive: {error}"))?;
        if message.len() > longest {
            return Err(format!("message {number} of the archive has more than {longest} bytes"));
        }
        Ok(Some((message, packed)))
    }
}
