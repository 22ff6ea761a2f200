//! `amps completions` and `amps man`.

use crate::process::amps;

#[test]
fn there_are_completions_for_each_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ended = amps(&["completions", shell]);
        for word in ["sow_and_subscribe", "password-file", "backlog"] {
            assert!(ended.done().text().contains(word), "{shell}: {word}");
        }
    }
    amps(&["completions", "cmd"]).failed(2);
}

#[test]
fn bash_can_read_its_completions() {
    let script = amps(&["completions", "bash"]);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("amps.bash");
    std::fs::write(&file, &script.done().stdout).unwrap();
    // Systems without bash have nothing to complete there.
    if let Ok(status) = std::process::Command::new("bash").arg("-n").arg(&file).status() {
        assert!(status.success());
    }
}

#[test]
fn the_manual_has_a_page_for_each_command() {
    let page = amps(&["man"]).done().text().to_owned();
    for text in
        [".TH amps 1", ".SH NAME", ".SH SUBCOMMANDS", ".SH \"EXIT STATUS\"", "AMPS_PASSWORD", ".SH EXAMPLES"]
    {
        assert!(page.contains(text), "{text}");
    }
    assert!(amps(&["man", "sow_delete"]).done().text().contains("\\-\\-filter"));
    assert_eq!(amps(&["man", "sow"]).done().text(), amps(&["man", "sow"]).text());
    amps(&["man", "spark"]).failed(2);
    let directory = tempfile::tempdir().unwrap();
    amps(&["man", "--dir", directory.path().to_str().unwrap()]).done();
    let mut names: Vec<String> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let commands = [
        "completions",
        "decode",
        "man",
        "ping",
        "publish",
        "sow",
        "sow_and_subscribe",
        "sow_delete",
        "subscribe",
    ];
    let expected: Vec<String> = commands.iter().map(|command| format!("amps-{command}.1")).collect();
    assert_eq!(names, [expected, vec!["amps.1".to_owned()]].concat());
    amps(&["man", "--dir", "/nowhere/at/all"]).failed(1);
}
