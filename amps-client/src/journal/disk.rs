//! What a journal needs of a file system.
//!
//! Owns the trait that a simulated disk stands behind as well, and the real one: reads and writes
//! at an offset, exclusive locks that end with the handle, and a rename that takes the place of
//! another file. It knows nothing of formats. There is no memory map: a file that somebody cuts
//! off would then kill the process.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// A file system.
pub(crate) trait Disk: Send + Sync {
    /// Opens a file for reading and writing, makes it if there is none, and locks it against everybody
    /// else. An error of the kind `WouldBlock` says that somebody has it.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// The same, and the file is empty.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name, and what had that name none. Who has it open keeps it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file, if it is there.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Forces the names in the directory of this file onto the disk.
    fn sync_directory(&self, of: &Path) -> io::Result<()>;
}

/// An open file, locked until it is dropped.
pub(crate) trait DiskFile: Send + Sync {
    /// Fills the buffer from this offset on; an error if the file ends before.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes all of it. Where that fails, any part may be there.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts it off, or fills it up with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Forces it onto the disk.
    fn sync(&self) -> io::Result<()>;

    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;
}

/// The disk of this machine.
#[derive(Debug)]
pub(crate) struct RealDisk;

/// How often a file is opened again that lost its name between being opened and being locked.
const OPENED_AGAIN: usize = 16;

impl Disk for RealDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        for _ in 0..OPENED_AGAIN {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
            lock(&file)?;
            // Its owner may have put another file in its place meanwhile, and let this one go.
            if is_at(&file, path)? {
                return Ok(Arc::new(RealFile(file)));
            }
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        lock(&file)?;
        file.set_len(0)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn sync_directory(&self, of: &Path) -> io::Result<()> {
        // Elsewhere directories cannot be opened, and names are on the disk when the system likes.
        if cfg!(not(unix)) {
            return Ok(());
        }
        let directory = of.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    }
}

/// Opens a file to read it, without a lock.
pub(crate) fn open_to_look(path: &Path) -> io::Result<impl DiskFile> {
    Ok(RealFile(File::open(path)?))
}

fn lock(file: &File) -> io::Result<()> {
    #[cfg(unix)]
    rustix::fs::flock(file, rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
    #[cfg(not(unix))]
    if !fs4::fs_std::FileExt::try_lock_exclusive(file)? {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    Ok(())
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let open = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(named) => Ok((open.dev(), open.ino()) == (named.dev(), named.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(not(unix))]
fn is_at(_file: &File, _path: &Path) -> io::Result<bool> {
    Ok(true)
}

struct RealFile(File);

impl DiskFile for RealFile {
    #[cfg(unix)]
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.0, buffer, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, mut offset: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            match std::os::windows::fs::FileExt::seek_read(&self.0, buffer, offset)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => {
                    offset += read as u64;
                    buffer = buffer.get_mut(read..).unwrap_or_default();
                }
            }
        }
        Ok(())
    }

    #[cfg(unix)]
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.0, bytes, offset)
    }

    #[cfg(windows)]
    fn write_at(&self, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match std::os::windows::fs::FileExt::seek_write(&self.0, bytes, offset)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => {
                    offset += written as u64;
                    bytes = bytes.get(written..).unwrap_or_default();
                }
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        // The length counts as data here: the system writes what is needed to read the file back.
        self.0.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}
