//! What needs no QEMU: help, dry runs, completions, the manual.

mod support;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::{BINARY, command, finish, json, text};

fn said(words: &[&str]) -> String {
    let output = finish(command().args(words));
    assert_eq!(
        output.status.code(),
        Some(0),
        "{words:?}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

const VERBS: [&str; 11] = [
    "run",
    "qmp",
    "events",
    "agent",
    "screenshot",
    "schema",
    "accel",
    "doctor",
    "replay",
    "completion",
    "man",
];

#[test]
fn every_verb_has_help_and_a_manual() {
    let all = said(&["--help"]);
    for verb in VERBS {
        assert!(all.contains(&format!("  {verb} ")), "{verb}");
        assert!(
            said(&[verb, "--help"]).contains("Usage: qemu-machine "),
            "{verb}"
        );
        assert!(
            said(&["man", verb]).contains(&format!("qemu\\-machine\\-{verb}")),
            "{verb}"
        );
    }
    assert!(said(&["man"]).contains(".TH"));
    assert!(said(&["--version"]).starts_with("qemu-machine "));
    assert_eq!(
        finish(command().args(["man", "nonesuch"])).status.code(),
        Some(2)
    );
}

/// The bar is 10 ms for a release build; the bench measures that.
#[test]
fn the_command_starts_at_once() {
    let start = || {
        let begun = Instant::now();
        said(&["--version"]);
        begun.elapsed()
    };
    // One of many finds a free processor, however busy the host is.
    let fastest = (0..20).map(|_| start()).min().unwrap();
    assert!(fastest < Duration::from_millis(100), "{fastest:?}");
}

#[test]
fn unusable_arguments_have_status_2_and_say_why_on_standard_error() {
    for words in [
        &[][..],
        &["nonesuch"],
        &["run", "--smp", "many"],
        &["events", "s", "A B"],
    ] {
        let output = finish(command().args(words));
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }
}

#[test]
fn a_dry_run_is_printed_in_three_forms() {
    let run = [
        "run", "--qemu", "qemu-x", "--append", "a b", "--kernel", "k", "--memory", "1G",
    ];
    let words = said(&[&run[..], &["--dry-run"]].concat());
    let words: Vec<&str> = words.lines().collect();
    assert_eq!(words[0], "qemu-x");
    assert!(
        words.windows(2).any(|it| it == ["-append", "a b"]),
        "{words:?}"
    );
    let line = said(&[&run[..], &["--dry-run=shell"]].concat());
    assert!(
        line.contains("-append 'a b'") && line.contains("stdio"),
        "{line}"
    );
    let form = json(said(&[&run[..], &["--dry-run=json"]].concat()).as_bytes());
    assert_eq!(form["command_line"].as_array().unwrap().len(), words.len());
}

#[test]
fn a_users_whole_command_line_is_kept_as_it_is() {
    let words = [
        "run",
        "--dry-run",
        "--",
        "/opt/qemu-system-arm",
        "-M",
        "virt",
        "disk,1.img",
    ];
    let dry = said(&words);
    assert!(dry.starts_with("/opt/qemu-system-arm\n"), "{dry}");
    assert!(
        dry.ends_with("\n-M\nvirt\ndisk,1.img\n") && !dry.contains("-serial"),
        "{dry}"
    );
    let watched = said(&[&["run", "--console"], &words[1..]].concat());
    assert!(watched.contains("\n-serial\n"), "{watched}");
}

#[test]
fn nobody_at_standard_output_is_no_panic() {
    for words in [&["--help"][..], &["man", "run"], &["completion", "bash"]] {
        let script = "\"$0\" \"$@\" | true; exit ${PIPESTATUS[0]}";
        let mut shell = Command::new("bash");
        let shell = shell
            .args(["-c", script, BINARY])
            .args(words)
            .stderr(Stdio::piped());
        let output = shell.output().unwrap();
        assert!(
            !text(&output.stderr).contains("panicked"),
            "{words:?}: {output:?}"
        );
        assert!(
            [Some(0), Some(141)].contains(&output.status.code()),
            "{words:?}: {output:?}"
        );
    }
}

#[test]
fn every_shell_has_a_completion_script() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(
            said(&["completion", shell]).contains("screenshot"),
            "{shell}"
        );
    }
}
