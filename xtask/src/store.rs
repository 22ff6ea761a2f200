//! `cargo xtask store`: what is in the file of a publish store or a bookmark store.

use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::Path;

use amps_client::{StoreEnd, inspect_store};

/// Prints each record, unless `brief`, and what they add up to. The file is not changed.
///
/// # Errors
/// The file cannot be read, is no store, or is damaged.
pub fn print(file: &Path, brief: bool) -> Result<(), String> {
    let mut out = BufWriter::new(io::stdout().lock());
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
