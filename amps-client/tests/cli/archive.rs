//! ZIP archives in place of text, as AMPS writes the records of a topic.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use amps_testkit::{FakeServer, SowConfig};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::process::{amps, amps_reading, at, logged};

/// An archive with these files, packed and not by turns.
fn archive(directory: &Path, files: &[(&str, &[u8])]) -> PathBuf {
    let path = directory.join("records.zip");
    let mut zip = ZipWriter::new(File::create(&path).unwrap());
    for (at, (name, body)) in files.iter().enumerate() {
        let method = if at % 2 == 0 { CompressionMethod::Deflated } else { CompressionMethod::Stored };
        zip.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        zip.write_all(body).unwrap();
    }
    zip.finish().unwrap();
    path
}

fn place() -> (FakeServer, TempDir) {
    let server = FakeServer::builder().sow(SowConfig::new("vans").key("/id")).start().unwrap();
    (server, tempfile::tempdir().unwrap())
}

#[test]
fn each_file_is_a_message_in_the_order_of_their_numbers() {
    let (server, directory) = place();
    let mut files: Vec<(String, Vec<u8>)> = (1..=120)
        .map(|id| (id.to_string(), format!("{{\"id\":{id},\r\n\"text\":\"two lines\"}}").into()))
        .collect();
    files.push(("121".into(), vec![b'x'; 300_000]));
    files.reverse();
    let listed: Vec<(&str, &[u8])> = files.iter().map(|(name, body)| (&**name, &**body)).collect();
    let path = archive(directory.path(), &listed);
    let publish = amps(&["publish", "-server", &at(&server), "-topic", "t", "-file", path.to_str().unwrap()]);
    assert!(publish.done().text().starts_with("total messages published: 121 ("));
    files.reverse();
    let bodies: Vec<Vec<u8>> = files.into_iter().map(|(_, body)| body).collect();
    assert!(logged(&server, "t") == bodies);
}

#[test]
fn the_records_of_an_archive_can_be_deleted() {
    let (server, directory) = place();
    (1..=3).for_each(|id| _ = server.publish("vans", format!("{{\"id\":{id}}}")).unwrap());
    let path = archive(directory.path(), &[("1", b"{\"id\":1}"), ("2", b"{\"id\":3}")]);
    let line = ["sow_delete", "-server", &at(&server), "-topic", "vans", "-file", path.to_str().unwrap()];
    assert!(amps(&line).done().text().starts_with("Deleted 2 records in "));
    assert_eq!(server.sow("vans").len(), 1);
}

#[test]
fn what_is_no_such_archive_is_told_before_anything_is_published() {
    let (server, directory) = place();
    let address = at(&server);
    let failed = |path: &Path| {
        let line = ["publish", "--server", &address, "--topic", "t", "--file", path.to_str().unwrap()];
        amps(&line).failed(2).to_owned()
    };
    let path = archive(directory.path(), &[("1", b"{}"), ("3", b"{}")]);
    assert!(failed(&path).contains("none of them is called \"2\""));
    let path = archive(directory.path(), &[("1", b"{}"), ("records/2", b"{}")]);
    assert!(failed(&path).contains("called \"2\""));
    let whole = fs::read(archive(directory.path(), &[("1", b"{\"id\":1}")])).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert!(failed(&path).contains("it begins as a ZIP archive, but"));
    assert!(logged(&server, "t").is_empty());
}

#[test]
fn a_message_that_is_damaged_ends_it_and_an_archive_without_any_is_nothing() {
    let (server, directory) = place();
    let address = at(&server);
    let body = "{\"id\":1}".repeat(100);
    let path = archive(directory.path(), &[("1", body.as_bytes()), ("2", body.as_bytes())]);
    let mut bytes = fs::read(&path).unwrap();
    // The second is not packed: what it holds is there to be found.
    let at = bytes.windows(body.len()).position(|window| window == body.as_bytes()).unwrap();
    bytes[at] = b'[';
    fs::write(&path, bytes).unwrap();
    let line = ["publish", "--server", &address, "--topic", "t", "--file", path.to_str().unwrap()];
    let ended = amps(&line);
    assert_eq!(ended.status, 1, "{ended:?}");
    assert!(ended.stderr.contains("message 2 of the archive"), "{ended:?}");

    let path = archive(directory.path(), &[]);
    let line = ["publish", "--server", &address, "--topic", "none", "--file", path.to_str().unwrap()];
    assert!(amps(&line).done().text().starts_with("total messages published: 0 ("));
}

#[test]
fn an_archive_on_stdin_is_refused_unless_a_delimiter_says_that_it_is_messages() {
    let (server, directory) = place();
    let address = at(&server);
    let bytes = fs::read(archive(directory.path(), &[("1", b"{\"id\":1}"), ("2", b"{\"id\":2}")])).unwrap();
    for command in ["publish", "sow_delete"] {
        let line = [command, "--server", &address, "--topic", "vans"];
        assert!(amps_reading(bytes.clone(), &line).failed(2).contains("name the file by --file"));
    }
    assert!(logged(&server, "vans").is_empty());
    let line =
        ["publish", "--server", &address, "--topic", "bytes", "--type", "binary", "--delimiter", "|||"];
    amps_reading(bytes.clone(), &line).done();
    assert_eq!(logged(&server, "bytes"), [bytes]);
}
