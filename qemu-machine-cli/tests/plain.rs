//! What needs no QEMU: help, dry runs, completions, the manual.

#[path = "plain/config.rs"]
mod config;
mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::{BINARY, Scratch, command, conforms, finish, json, json_schema, text};

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

const VERBS: [&str; 34] = [
    "run",
    "ps",
    "status",
    "stop",
    "kill",
    "reset",
    "pause",
    "resume",
    "logs",
    "sweep",
    "template",
    "clone",
    "freeze",
    "pool",
    "exec",
    "shell",
    "console",
    "copy",
    "qmp",
    "events",
    "qom",
    "tui",
    "agent",
    "screenshot",
    "type",
    "key",
    "mouse",
    "wait-screen",
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
    let listed = all.lines().filter_map(|line| line.strip_prefix("  "));
    let listed = listed.filter(|line| line.starts_with(|first: char| first.is_ascii_lowercase()));
    let listed = listed.filter_map(|line| line.split_whitespace().next());
    let others = ["help", "qemu-machine"];
    let listed: Vec<&str> = listed.filter(|it| !others.contains(it)).collect();
    assert_eq!(listed, VERBS);
    for verb in VERBS {
        assert!(all.contains(&format!("  {verb} ")), "{verb}");
        assert!(
            said(&[verb, "--help"]).contains("Usage: qemu-machine "),
            "{verb}"
        );
        let manual = said(&["man", verb]).replace("\\-", "-");
        assert!(manual.contains(&format!("qemu-machine-{verb}")), "{verb}");
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
    let is_quick = (0..200).any(|_| start() < Duration::from_millis(100));
    assert!(is_quick, "each took 100 ms or more");
}

#[test]
fn the_help_of_every_verb_fits_a_screen_and_has_examples() {
    for verb in VERBS.map(Some).into_iter().chain([None]) {
        let words = verb.iter().copied().chain(["--help"]);
        let mut help = command();
        // What clap takes for the width of the terminal.
        let help = help.args(words).env("COLUMNS", "80").output().unwrap();
        let help = text(&help.stdout);
        // A usage is one line.
        let wrapped = help.lines().filter(|line| !line.starts_with("Usage: "));
        let (lines, columns) = (help.lines().count(), wrapped.map(str::len).max());
        // The list of the verbs is longer.
        let limit = if verb.is_some() { 40 } else { 62 };
        assert!(
            lines <= limit && columns <= Some(84),
            "{verb:?}: {lines} lines: {help}"
        );
        assert!(help.contains("\nExample"), "{help}");
    }
    let all = said(&["run", "--help-all"]);
    assert!(
        all.contains("--transcript") && all.contains("--expect-regex"),
        "{all}"
    );
    assert_eq!(said(&["help", "run"]), said(&["run", "-h"]));
    assert_eq!(said(&["help"]), said(&["--help"]));
}

#[test]
fn unusable_arguments_have_status_2_and_say_why_on_standard_error() {
    for words in [
        &[][..],
        &["nonesuch"],
        &["run", "--smp", "many"],
        &["events", "s", "A B"],
        &["mouse", "s", "move", "nan", "0"],
        &["run", "--login", "root:secret"],
        &["qom", "get", "s", "/machine"],
        &["tui"],
        &["tui", "s"],
        &["tui", "s", "--replay", "t"],
        &["qom", "mount", "s", "/mnt", "machine"],
    ] {
        let output = finish(command().args(words));
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
        let stderr = text(&output.stderr);
        let is_named = stderr.starts_with("qemu-machine: error: ");
        assert!(is_named || words.is_empty(), "{stderr}");
    }
}

#[test]
fn the_usage_of_a_verb_has_all_that_it_takes() {
    for verb in ["stop", "kill", "reset", "pause", "resume"] {
        let help = said(&[verb, "--help"]);
        let usage = format!("Usage: qemu-machine {verb} [OPTIONS] <NAME>...\n");
        assert!(help.contains(&usage), "{help}");
        let usage = format!(" qemu-machine {verb} [OPTIONS] --all\n");
        assert!(help.contains(&usage), "{help}");
    }
    assert!(!said(&["shell", "--help"]).contains("--agent"));
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
    let form = said(&[&run[..], &["--dry-run=json"]].concat());
    let form = conforms("run", form.as_bytes()).remove(0);
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

#[test]
fn a_verb_prints_the_schema_of_its_json_without_other_arguments() {
    let mut printing = Vec::new();
    for verb in VERBS {
        // It has all options, also those that the help hides.
        let help = said(&["man", verb]).replace("\\-", "-");
        if !help.contains("--json-schema") {
            assert!(!help.contains("--json"), "{verb} has JSON without a schema");
            continue;
        }
        let printed = json(said(&[verb, "--json-schema"]).as_bytes());
        assert_eq!(printed, json_schema::kept(verb), "{verb}");
        printing.push(format!("{verb}.json"));
    }
    let files = fs::read_dir(json_schema::folder()).unwrap().flatten();
    let mut files: Vec<String> = files
        .map(|file| file.file_name().into_string().unwrap())
        .collect();
    files.sort();
    printing.sort();
    assert_eq!(printing, files);
    for (verb, task) in [("qom", "list"), ("agent", "info"), ("template", "show")] {
        assert!(said(&[verb, task, "--help"]).contains("--json-schema"));
        let printed = json(said(&[verb, task, "--json-schema"]).as_bytes());
        assert_eq!(printed, json_schema::kept(verb));
    }
    let words = ["events", "--json-schema", "--json"];
    assert_eq!(finish(command().args(words)).status.code(), Some(2));
}

#[test]
fn a_value_that_begins_with_a_hyphen_is_said_how_to_give() {
    let refused = |words: &[&str]| {
        let output = finish(command().args(words));
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        text(&output.stderr)
    };
    let table = [
        (&["run", "--name", "-x"][..], "'--name=-x'"),
        (&["run", "--name", "--zz=y"], "'--name=--zz=y'"),
        (
            &["run", "--name", "--memroy"],
            "similar argument exists: '--memory'",
        ),
        (&["template", "list", "--store", "-xy"], "'--store=-xy'"),
        // These have no such value.
        (&["run", "--console", "-x"], "'-- -x'"),
        (&["status", "web", "-x"], "'-- -x'"),
    ];
    for (words, right) in table {
        let error = refused(words);
        let tips = error.matches("as a value, use ").count();
        assert!(error.contains(right) && tips == 1, "{words:?}: {error}");
    }
}

#[test]
fn a_store_that_cannot_be_made_is_said_with_what_to_set() {
    let scratch = Scratch::new();
    let file = scratch.join("file");
    fs::write(&file, "").unwrap();
    let said = |words: &[&str]| {
        let mut command = command();
        let output = finish(command.args(words).env("XDG_CACHE_HOME", &file));
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        text(&output.stderr)
    };
    let directory = file.join("qemu-machine/templates");
    let failure = format!("cannot make the store {}: ", directory.display());
    let advice = "\n  advice: set XDG_CACHE_HOME to a directory that can be written";
    for words in [&["template", "list"][..], &["clone", "web"]] {
        let error = said(words);
        let has_all = error.contains(&failure) && error.contains(advice);
        assert!(has_all && error.contains("with --store"), "{error}");
    }
    let error = said(&["run", "--freezable"]);
    assert!(
        error.contains(advice) && !error.contains("--store"),
        "{error}"
    );
    let store = directory.to_str().unwrap();
    let error = said(&["template", "list", "--store", store]);
    let missing = format!("there is no store of templates at {store}");
    assert!(
        error.contains(&missing) && !error.contains("advice"),
        "{error}"
    );
}

#[test]
fn every_schema_is_held_against_a_real_output_by_some_test() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let folders = [tests.clone(), tests.join("plain"), tests.join("real")];
    let files = folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap());
    let sources = files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap_or_default());
    let sources = sources.collect::<String>();
    for schema in fs::read_dir(json_schema::folder()).unwrap().flatten() {
        let verb = schema.path().with_extension("");
        let call = format!("conforms({:?}, ", verb.file_name().unwrap());
        assert!(sources.contains(&call), "no test has {call}…)");
    }
}

#[test]
fn what_a_schema_does_not_describe_is_found() {
    let schema = json_schema::kept("replay");
    let line = |text: &str| json(text.as_bytes());
    let good = r#"{"seconds": 0.5, "direction": "sent", "message": {"a": 1}}"#;
    assert_eq!(json_schema::check(&schema, &line(good)), Ok(()));
    for bad in [
        r#"{"seconds": 0.5, "direction": "sent"}"#,
        r#"{"seconds": "0.5", "direction": "sent", "message": 1}"#,
        r#"{"seconds": 0.5, "direction": "up", "message": 1}"#,
        r#"{"seconds": 0.5, "direction": "sent", "message": 1, "more": 1}"#,
        "[]",
    ] {
        assert!(json_schema::check(&schema, &line(bad)).is_err(), "{bad}");
    }
}

#[test]
fn a_store_of_templates_that_others_can_write_to_is_refused() {
    let scratch = Scratch::new();
    let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    let list = |words: &[&str]| {
        let mut list = command();
        list.env_remove("HOME").env_remove("XDG_CACHE_HOME");
        let list = list
            .env("TMPDIR", scratch.path())
            .args(["template", "list"]);
        let listed = list.args(words).output().unwrap();
        (listed.status.code(), text(&listed.stderr))
    };
    // Without a home it is in a private directory.
    assert_eq!(list(&["-q"]), (Some(0), String::new()));
    let names = scratch.names();
    let [name] = &names[..] else {
        panic!("{names:?}");
    };
    let private = scratch.join(name);
    assert_eq!(private.metadata().unwrap().mode() & 0o777, 0o700);
    mode(&private, 0o755);
    let (code, said) = list(&["-q"]);
    assert_eq!(code, Some(1));
    assert!(
        said.contains("is open to other users; set XDG_CACHE_HOME or HOME"),
        "{said}"
    );

    mode(&private, 0o777);
    let (code, said) = list(&["--store", private.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(said.contains("every user can write to it"), "{said}");
}
