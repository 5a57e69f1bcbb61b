//! What needs no QEMU: help, dry runs, completions, the manual.

mod support;

use std::process::{Command, Stdio};

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

const VERBS: [&str; 13] = [
    "run",
    "qmp",
    "events",
    "qom",
    "tui",
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

#[test]
fn unusable_arguments_have_status_2_and_say_why_on_standard_error() {
    for words in [
        &[][..],
        &["nonesuch"],
        &["run", "--smp", "many"],
        &["events", "s", "A B"],
        &["qom", "get", "s", "/machine"],
        &["tui"],
        &["tui", "s"],
        &["tui", "s", "--replay", "t"],
        &["qom", "mount", "s", "/mnt", "machine"],
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
fn a_real_bash_completes_verbs_and_options() {
    let script = "source <(\"$0\" completion bash); COMP_WORDS=(qemu-machine \"$1\"); \
                  COMP_CWORD=1; _qemu__machine qemu-machine \"$1\" qemu-machine; \
                  echo \"${COMPREPLY[@]}\"";
    let output = Command::new("bash")
        .args(["-c", script, BINARY, "ev"])
        .output()
        .unwrap();
    assert_eq!(text(&output.stdout), "events\n", "{output:?}");
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        assert!(
            said(&["completion", shell]).contains("screenshot"),
            "{shell}"
        );
    }
}
