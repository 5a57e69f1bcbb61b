//! Whole configurations: what they mean for a run, and what is wrong in them.

use std::collections::BTreeSet;
use std::path::Path;

use super::keys::Keys;
use super::resolve;

/// The words of a target before and after `--`, beside these options of the
/// command line.
fn words(text: &str, target: &str, given: &[&str]) -> Result<(Vec<String>, Vec<String>), String> {
    let keys = Keys::of(&crate::arguments::command());
    let given: BTreeSet<String> = given.iter().map(|it| (*it).to_owned()).collect();
    let merged = resolve(text, Path::new("/vm"), target, &given, &keys);
    let merged = merged.map_err(|fault| fault.render(Path::new("c.toml"), text))?;
    let text = |word: std::ffi::OsString| word.into_string().unwrap();
    Ok((
        merged.words().map(text).collect(),
        merged.arguments().map(text).collect(),
    ))
}

const WHOLE: &str = r#"
[defaults]
memory = "512M"
timeout = 60
args = ["-nodefaults"]

[target.base]
arch = "x86_64"
kernel = "build/bzImage"
console = true
drive = ["a.img", "/b.img", "file=c.img,if=virtio"]
steps = [{ login = "root:file:secret" }, { exec = "uname -r" }]
args = ["-no-reboot", "-smp", 2]

[target.smoke]
description = "boots"
extends = "base"
memory = "1G"
qemu = "./qemu-system-arm"
steps = [{ expect = "a\\n" }, { send = "-b" }]

[target.quiet]
extends = "smoke"
console = false
steps = []
"#;

#[test]
fn a_target_is_over_its_base_and_that_over_the_defaults() {
    let (smoke, arguments) = words(WHOLE, "smoke", &[]).unwrap();
    assert_eq!(
        smoke,
        [
            "--console",
            "--drive=/vm/a.img",
            "--drive=/b.img",
            "--drive=file=c.img,if=virtio",
            "--kernel=/vm/build/bzImage",
            "--memory=1G",
            // It replaces the base's `arch`, which it excludes.
            "--qemu=/vm/./qemu-system-arm",
            "--expect=a\\n",
            "--send=-b",
            "--timeout=60",
        ]
    );
    assert_eq!(arguments, ["-nodefaults", "-no-reboot", "-smp", "2"]);
}

#[test]
fn a_flag_is_turned_off_and_a_list_emptied() {
    let (quiet, _) = words(WHOLE, "quiet", &[]).unwrap();
    let is_there = |start: &str| quiet.iter().any(|word| word.starts_with(start));
    assert!(!is_there("--console") && !is_there("--expect"), "{quiet:?}");
    assert!(is_there("--memory=1G"), "{quiet:?}");
}

#[test]
fn the_command_line_is_over_all() {
    let given = ["memory", "interact", "arch", "exec"];
    let (left, _) = words(WHOLE, "smoke", &given).unwrap();
    // One step replaces all, and an option what it excludes.
    let is_there = |start: &str| left.iter().any(|word| word.starts_with(start));
    for gone in ["--memory", "--console", "--qemu", "--expect", "--send"] {
        assert!(!is_there(gone), "{gone}: {left:?}");
    }
    assert!(is_there("--kernel") && is_there("--timeout"), "{left:?}");
}

#[test]
fn a_password_is_read_for_the_target_that_is_run_alone() {
    let fault = words(WHOLE, "base", &[]).unwrap_err();
    assert!(
        fault.starts_with("c.toml:12:20: --login: cannot read"),
        "{fault}"
    );
    assert!(words(WHOLE, "base", &["exec"]).is_ok());
}

/// A text, and what is said about it.
const FAULTS: &[(&str, &str)] = &[
    ("[target.a", "1:10: "),
    (
        "[tragets.a]",
        "1:2: there is no table 'tragets'; did you mean 'target'?",
    ),
    (
        "target = 1",
        "1:10: 'target' expects targets such as [target.smoke], found integer",
    ),
    (
        "[target]\na = 1",
        "2:5: 'a' expects a table of options, found integer",
    ),
    (
        "[target.a]\nmemroy = 1",
        "2:1: there is no key 'memroy'; did you mean 'memory'?",
    ),
    (
        "[target.a]\nlog_dir = 'x'",
        "2:1: there is no key 'log_dir'; did you mean 'log-dir'?",
    ),
    (
        "[target.a]\nexec = 'x'",
        "2:1: 'exec' is a step: steps = [{ exec = … }]",
    ),
    (
        "[defaults]\nextends = 'a'",
        "2:1: 'extends' is for targets, not for [defaults]",
    ),
    (
        "[target.a]\nstay = 'yes'",
        "2:8: 'stay' expects true or false, found string",
    ),
    (
        "[target.a]\nmemory = true",
        "2:10: 'memory' expects text, found boolean",
    ),
    (
        "[target.a]\nmemory = ['1G']",
        "2:10: 'memory' expects text, found array",
    ),
    (
        "[target.a]\nsmp = 'two'",
        "2:7: 'smp' expects NUMBER: invalid digit",
    ),
    (
        "[target.a]\ntimeout = 'soon'",
        "2:11: 'timeout' expects TIME: 'soon' is no span of time",
    ),
    (
        "[target.a]\nconsole = 'up'",
        "2:11: 'console' expects one of auto, stdout, stderr",
    ),
    (
        "[target.a]\ndrive = ['a', []]",
        "2:15: 'drive' expects text or a list of it, found array",
    ),
    (
        "[target.a]\nargs = 'x'",
        "2:8: 'args' expects a list of QEMU's arguments, found string",
    ),
    (
        "[target.a]\nsteps = 'x'",
        "2:9: 'steps' expects a list of steps",
    ),
    (
        "[target.a]\nsteps = ['x']",
        "2:10: expected a step such as { exec = ",
    ),
    ("[target.a]\nsteps = [{}]", "2:10: a step has one key"),
    (
        "[target.a]\nsteps = [{ run = 'x' }]",
        "2:12: there is no step 'run'; there are: exec",
    ),
    (
        "[target.a]\nsteps = [{ expct = 'x' }]",
        "2:12: there is no step 'expct'; did you mean",
    ),
    (
        "[target.a]\nsteps = [{ expect = '\\q' }]",
        "2:21: --expect: '\\q' has an escape other",
    ),
    ("[target.a]\nstay = true\nstay = true", "3:1: duplicate key"),
    ("[target.a]\nqemu = 'q'\narch = 'arm'", "exclude each other"),
    (
        "[target.a]\nextends = 'a'",
        "2:11: targets extend each other in a circle: 'a' extends 'a'",
    ),
    (
        "[target.a]\nextends = 'b'\n[target.b]\nextends = 'a'",
        "2:11: targets extend each other in a circle: 'b' extends 'a' extends 'b'",
    ),
    (
        "[target.a]\nextends = 'bas'\n[target.base]",
        "2:11: there is no target 'bas' to extend; did",
    ),
    (
        "[target.ab]",
        "c.toml: there is no target 'a'; did you mean 'ab'?",
    ),
    ("", "c.toml: there is no target 'a'"),
    // The first of several.
    ("[target.a]\nsmp = 'x'\nkernle = 1\nabc = 1", "2:7: "),
];

#[test]
fn a_fault_has_its_place_and_a_way_out() {
    for &(text, message) in FAULTS {
        let fault = words(text, "a", &[]).unwrap_err();
        assert!(fault.contains(message), "{text}\n{fault}");
        assert!(fault.starts_with("c.toml:"), "{fault}");
    }
}

#[test]
fn many_targets_in_a_row_are_refused_at_once() {
    let link = |at: usize| format!("[target.t{at}]\nextends = 't{}'\n", at + 1);
    let row =
        |length: usize| (0..length).map(link).collect::<String>() + &format!("[target.t{length}]");
    words(&row(99), "t0", &[]).unwrap();
    let fault = words(&row(5000), "t0", &[]).unwrap_err();
    assert!(
        fault.contains("more than 100 targets extend each other"),
        "{fault}"
    );
}

#[test]
fn no_text_makes_the_reader_panic() {
    let keys = Keys::of(&crate::arguments::command());
    let bytes = WHOLE.as_bytes();
    for at in 0..bytes.len() {
        for byte in [b'"', b'[', b'}', b'=', b'\n', 0xc3] {
            let mut broken = bytes.to_vec();
            broken[at] = byte;
            let text = String::from_utf8_lossy(&broken);
            let read = resolve(&text, Path::new(""), "quiet", &BTreeSet::new(), &keys);
            if let Err(fault) = read {
                fault.render(Path::new("c.toml"), &text);
            }
        }
    }
}
