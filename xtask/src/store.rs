//! `cargo xtask store`: what is in the file of a publish store or a bookmark store.

use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::Path;

use amps_client::{StoreEnd, inspect_store};

/// Prints each record, unless `brief`, and what they add up to. The file is not changed.
///
/// # Errors
/// The file cannot be read, is no store, or is damaged.
pub fn print(file: &Path, brief: bool) -> Result<(), String> {
    print_to(BufWriter::new(io::stdout().lock()), file, brief)
}

fn print_to(mut out: impl Write, file: &Path, brief: bool) -> Result<(), String> {
    let mut written = Ok(());
    let report = inspect_store(file, |record| {
        if !brief && written.is_ok() {
            written = writeln!(out, "{record}");
        }
    });
    let report = report.map_err(|error| error.to_string())?;
    match written.and_then(|()| writeln!(out, "{report}")).and_then(|()| out.flush()) {
        // Whoever reads this has seen enough.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error.to_string()),
        _ => {}
    }
    match report.end {
        StoreEnd::Damaged { offset, .. } => Err(format!("{} is damaged at byte {offset}", file.display())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use amps_client::{FilePublishStore, Progress, PublishStore};

    use super::*;

    #[test]
    fn a_store_is_printed_and_damage_is_a_failure() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("orders");
        let mut store = FilePublishStore::open(&path).unwrap();
        store.attach("order-entry", Progress::new(|| {})).unwrap();
        store.append(1, br#"{"c":"p","t":"orders"}{"id":1}"#).unwrap();
        store.close().unwrap();

        let mut printed = Vec::new();
        print_to(&mut printed, &path, false).unwrap();
        let printed = String::from_utf8(printed).unwrap();
        assert!(printed.contains("  message 1: p to \"orders\", 8 bytes of data\n"), "{printed}");
        let header = "publish store of the client \"order-entry\", format version 1\n";
        assert!(printed.contains(header), "{printed}");
        let live = "live: 1 messages, 30 bytes, from 1 to 1; persisted up to 0; the next number is 2\n";
        assert!(printed.contains(live) && printed.ends_with("end: whole\n"), "{printed}");

        let mut brief = Vec::new();
        print_to(&mut brief, &path, true).unwrap();
        assert!(brief.starts_with(b"publish store"));

        let mut bytes = std::fs::read(&path).unwrap();
        bytes[60] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let error = print_to(&mut Vec::new(), &path, true).unwrap_err();
        assert!(error.contains("is damaged at byte"), "{error}");
        assert!(print_to(&mut Vec::new(), &directory.path().join("nowhere"), true).is_err());
    }
}
