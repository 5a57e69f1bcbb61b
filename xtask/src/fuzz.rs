//! The fuzzer: installs cargo-fuzz if it is missing, and runs the targets of
//! `fuzz` one after the other. Each starts from its seeds and from the inputs of
//! earlier runs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{cargo_tool, failure::Failure, process, workspace};

/// Fuzzes the target that the arguments name, or all targets.
pub(crate) fn run(arguments: &[&str]) -> Result<(), Failure> {
    let (name, minutes) = match *arguments {
        [] => (None, MINUTES),
        ["--minutes", minutes] => (None, self::minutes(minutes)?),
        [name] => (Some(name), MINUTES),
        [name, "--minutes", minutes] => (Some(name), self::minutes(minutes)?),
        _ => return Err(Failure::advice(USAGE)),
    };
    let mut names = targets(&folder())?;
    if let Some(name) = name {
        if !names.iter().any(|it| it == name) {
            let all = names.join(", ");
            let message = format!("there is no fuzz target '{name}'; the targets are: {all}");
            return Err(Failure::advice(message));
        }
        names.retain(|it| it == name);
    }
    let fuzzer = cargo_tool::ensure("cargo-fuzz")?;
    for name in names {
        tell!("\n== {name}: {minutes} minutes");
        fuzz(&fuzzer, &name, minutes)?;
    }
    Ok(())
}

fn fuzz(program: &Path, name: &str, minutes: u64) -> Result<(), Failure> {
    let target = workspace::target().join("fuzz");
    let found = target.join("corpus").join(name);
    fs::create_dir_all(&found).map_err(Failure::io(format!("make {}", found.display())))?;
    // No sanitizer: they need a nightly toolchain, and the fuzzed code has no
    // unsafe parts. The fuzzer itself finds panics, hangs and memory growth.
    let mut fuzzer = Command::new(program);
    fuzzer
        .current_dir(workspace::root())
        .args(["fuzz", "run", name, "--sanitizer", "none", "--target-dir"])
        .arg(&target)
        .arg(found)
        .arg(folder().join("seeds").join(name))
        .args(["--", "-timeout=20", "-rss_limit_mb=1024"])
        .arg("-print_final_stats=1")
        .arg(format!("-max_total_time={}", minutes * 60));
    process::run_shown(&mut fuzzer).map_err(|failure| {
        failure.hint(
            "The fuzzer has written the failing input; see its output for the path. Copy the \
             input to the target's folder below fuzz/seeds, so that the tests always try it.",
        )
    })
}

/// The names of all targets, in order.
fn targets(folder: &Path) -> Result<Vec<String>, Failure> {
    let list = || {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder.join("targets"))? {
            let path = entry?.path();
            let name = path.file_stem().unwrap_or_default();
            names.push(name.to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    };
    list().map_err(Failure::io("list the fuzzer's targets"))
}

fn folder() -> PathBuf {
    workspace::root().join("fuzz")
}

fn minutes(text: &str) -> Result<u64, Failure> {
    // With 0 the fuzzer would never stop.
    let minutes = text.parse().ok().filter(|&minutes| minutes > 0);
    minutes.ok_or_else(|| Failure::advice(USAGE))
}

const MINUTES: u64 = 15;

const USAGE: &str = "usage: cargo xtask fuzz [TARGET] [--minutes N]";
