//! `qemu-machine.toml`, from outside: where it is found, and what a run of a
//! target is.

use std::fs;
use std::path::Path;
use std::process::Output;

use crate::support::{Scratch, command, conforms, finish, text};

const CONFIG: &str = r#"
[defaults]
memory = "512M"

[target.smoke]
description = "boots and says so"
arch = "aarch64"
machine = "virt"
kernel = "build/Image"
args = ["-no-reboot"]

[target.fast]
extends = "smoke"
smp = 4
"#;

/// Runs the command in this directory, whose home is `/nonesuch`.
fn run_in(directory: &Path, words: &[&str]) -> Output {
    let mut run = command();
    // `env -C` is the place of the program alone, and not that of `timeout`.
    let program = run.get_args().last().unwrap().to_owned();
    run = std::process::Command::new("env");
    run.arg("-C")
        .arg(directory)
        .arg(program)
        .arg("run")
        .args(words);
    run.env("LC_ALL", "C").env("HOME", "/nonesuch");
    finish(&run)
}

fn said(directory: &Path, words: &[&str]) -> String {
    let output = run_in(directory, words);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{words:?}: {stderr}");
    text(&output.stdout)
}

fn refused(directory: &Path, words: &[&str]) -> String {
    let output = run_in(directory, words);
    assert_eq!(output.status.code(), Some(2), "{words:?}: {output:?}");
    assert!(output.stdout.is_empty(), "{words:?}: {output:?}");
    text(&output.stderr)
}

#[test]
fn a_target_is_found_upwards_and_the_command_line_is_over_it() {
    let scratch = Scratch::new();
    fs::write(scratch.join("qemu-machine.toml"), CONFIG).unwrap();
    let deep = scratch.join("a/b");
    fs::create_dir_all(&deep).unwrap();

    let here = said(scratch.path(), &["smoke", "--dry-run"]);
    assert!(here.starts_with("qemu-system-aarch64\n"), "{here}");
    assert!(
        here.contains("\n-kernel\nbuild/Image\n") && here.contains("\n-m\n512M\n"),
        "{here}"
    );

    let words = ["fast", "--memory", "1G", "--dry-run", "--", "-S"];
    let below = said(&deep, &words);
    let kernel = format!("\n-kernel\n{}\n", scratch.join("build/Image").display());
    assert!(
        below.contains(&kernel) && below.contains("\n-m\n1G\n"),
        "{below}"
    );
    assert!(
        below.contains("\n-smp\n4\n") && below.ends_with("\n-no-reboot\n-S\n"),
        "{below}"
    );

    // A name of QEMU's, after --, is no target; and nothing is read without one.
    let plain = said(&deep, &["--dry-run", "--", "qemu-system-x86_64", "smoke"]);
    assert_eq!(plain.lines().last(), Some("smoke"));
    assert!(!plain.contains("512M"), "{plain}");
}

#[test]
fn targets_are_listed() {
    let scratch = Scratch::new();
    fs::write(scratch.join("machines.toml"), CONFIG).unwrap();
    let list = ["--config", "machines.toml", "--list-targets"];
    let listed = said(scratch.path(), &list);
    assert_eq!(listed, "fast\nsmoke  boots and says so\n");
    let json = said(scratch.path(), &[&list[..], &["--json"]].concat());
    let json = conforms("run", json.as_bytes()).remove(0);
    assert_eq!(json["targets"][0]["extends"], "smoke");
    let named = said(
        scratch.path(),
        &["--config", "machines.toml", "fast", "--dry-run"],
    );
    assert!(named.starts_with("qemu-system-aarch64\n"), "{named}");
    let odd = "[target.\"a\\nb\"]\ndescription = \"boots\\nand \\u001b[31mso\\n\"\n";
    fs::write(scratch.join("machines.toml"), odd).unwrap();
    let listed = said(scratch.path(), &list);
    assert_eq!(listed, "a\\nb  boots\\nand \\u{1b}[31mso\n");
}

#[test]
fn what_is_wrong_is_shown_with_its_line() {
    let scratch = Scratch::new();
    let here = scratch.path();
    let nowhere = refused(here, &["disk.img"]);
    assert!(
        nowhere.contains("there is no target 'disk.img': neither the working directory nor")
            && nowhere.contains("follow --"),
        "{nowhere}"
    );
    let path = scratch.join("qemu-machine.toml");
    fs::write(&path, format!("{CONFIG}smpp = 2\n")).unwrap();
    let broken = refused(here, &["smoke"]);
    assert_eq!(
        broken,
        "qemu-machine: error: qemu-machine.toml:15:1: there is no key 'smpp'; did you mean \
         'smp'?\n    |\n 15 | smpp = 2\n    | ^^^^\n"
    );
    fs::write(&path, CONFIG).unwrap();
    let unknown = refused(here, &["smok"]);
    assert!(unknown.contains("did you mean 'smoke'?"), "{unknown}");
    refused(here, &["--config", "nonesuch.toml", "smoke"]);
    refused(here, &["--config", "qemu-machine.toml"]);
    refused(here, &["--json"]);
    refused(here, &["smoke", "--list-targets"]);
    fs::write(&path, [b'a', 0xff]).unwrap();
    refused(here, &["smoke"]);
}

#[test]
fn the_example_of_the_readme_is_true() {
    let readme = include_str!("../../README.md");
    let (_, example) = readme.split_once("```toml\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let scratch = Scratch::new();
    let path = scratch.join("qemu-machine.toml");
    fs::write(&path, example).unwrap();
    let smoke = said(scratch.path(), &["smoke", "--dry-run"]);
    assert!(smoke.starts_with("qemu-system-x86_64\n"), "{smoke}");
    assert!(smoke.ends_with("\n-no-reboot\n"), "{smoke}");
    let arm = said(scratch.path(), &["smoke-arm", "--dry-run"]);
    assert!(arm.starts_with("qemu-system-aarch64\n"), "{arm}");
    assert!(
        arm.contains("\nvirt\n") && arm.contains("\nbuild/Image\n"),
        "{arm}"
    );
    // So is its error.
    let (_, shown) = readme.split_once("shows the place:\n\n```text\n").unwrap();
    let (shown, _) = shown.split_once("```").unwrap();
    let example = example.replace(
        "\n[target.smoke-arm]",
        "memroy = \"1G\"\n\n[target.smoke-arm]",
    );
    fs::write(&path, example).unwrap();
    assert_eq!(refused(scratch.path(), &["smoke"]), shown);
}

#[test]
fn a_file_without_an_end_is_not_read_to_it() {
    use std::os::unix::fs::symlink;
    let scratch = Scratch::new();
    let config = scratch.fifo("qemu-machine.toml");
    let is_refused = |reason: &str| {
        let error = refused(scratch.path(), &["smoke", "--dry-run"]);
        assert!(error.contains(reason), "{error}");
    };
    is_refused("qemu-machine.toml is not a regular file");
    fs::remove_file(&config).unwrap();
    symlink("/dev/zero", &config).unwrap();
    is_refused("qemu-machine.toml is not a regular file");
    let error = refused(scratch.path(), &["--config", "/dev/zero", "smoke"]);
    assert!(error.contains("it is longer than 1 MiB"), "{error}");
    fs::remove_file(&config).unwrap();
    fs::File::create(&config).unwrap().set_len(3 << 30).unwrap();
    is_refused("it is longer than 1 MiB");
}
