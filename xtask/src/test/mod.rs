//! Every check of the project, one after the other. A step that fails does not
//! keep the later ones from running; the last line sums up.

mod results;
mod targets;

use std::{
    fmt::{self, Display},
    io::{self, Read, Write},
    process::{Command, ExitStatus, Stdio},
    time::Instant,
};

use crate::{bench, failure::Failure, process, process::cargo, setup, workspace};
use results::Tally;

/// How much is run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All.
    Full,
    /// What needs neither set-up nor a real QEMU.
    Quick,
}

/// Runs the checks.
pub(crate) fn run(extent: Extent) -> Result<(), Failure> {
    if extent == Extent::Full {
        // Without what the tests need there is no sense in going on.
        setup::run()?;
    }
    let mut tally = Tally::default();
    tally += step("formatting", || {
        component("fmt", "rustfmt")?;
        check(cargo(["fmt", "--all", "--check"]))
    });
    tally += step("lints", || {
        component("clippy", "clippy")?;
        let lint = [
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ];
        check(cargo(lint))
    });
    tally += step("lints of the libraries without features", || {
        let packages = ["--package", "qemu-machine", "--package", "qemu-qmp"];
        let mut lint = cargo(["clippy"]);
        lint.args(packages).args(["--", "-D", "warnings"]);
        check(lint)
    });
    tally += step("documents", || {
        let mut doc = cargo([
            "doc",
            "--workspace",
            "--all-features",
            "--no-deps",
            "--document-private-items",
        ]);
        doc.env("RUSTDOCFLAGS", "-D warnings");
        check(doc)
    });
    match extent {
        Extent::Full => {
            tally += step("tests", || {
                tests(cargo(["test", "--workspace", "--no-fail-fast"]))
            });
            tally += step("bench, once and little", || check(bench::smoke()?));
        }
        Extent::Quick => {
            tally += step("tests", || {
                let targets = targets::without_qemu(&workspace::root())?;
                let kinds = ["test", "--workspace", "--no-fail-fast", "--lib", "--bins"];
                let mut quick = cargo(kinds);
                quick.arg("--examples");
                for target in targets {
                    quick.arg("--test").arg(target);
                }
                tests(quick)
            });
            tally += step("document tests", || {
                tests(cargo(["test", "--workspace", "--no-fail-fast", "--doc"]))
            });
        }
    }
    conclude(tally)
}

/// The last line of all.
fn conclude(tally: Tally) -> Result<(), Failure> {
    println!("\n{tally}");
    if tally.failed == 0 {
        Ok(())
    } else {
        Err(Failure::told())
    }
}

/// Runs one step between its two lines; an error of its own counts as failed.
fn step(name: &str, work: impl FnOnce() -> Result<Tally, Failure>) -> Tally {
    println!("\n== {name}");
    let started = Instant::now();
    let tally = work().unwrap_or_else(|failure| {
        println!("{failure}");
        Tally::FAILED
    });
    let outcome = if tally.failed == 0 { "ok" } else { "FAILED" };
    let seconds = started.elapsed().as_secs_f64();
    println!("== {name}: {outcome} in {seconds:.1} s");
    tally
}

/// A step that passes or fails as a whole.
fn check(mut cargo: Command) -> Result<Tally, Failure> {
    process::run_shown(&mut cargo).map(|()| Tally::PASSED)
}

/// A step that counts its tests.
fn tests(mut cargo: Command) -> Result<Tally, Failure> {
    let (status, said) = run_kept(&mut cargo)?;
    let mut tally = results::of(&String::from_utf8_lossy(&said));
    if !status.success() && tally.failed == 0 {
        println!("`{}` failed: {status}", process::line(&cargo));
        tally += Tally::FAILED;
    }
    Ok(tally)
}

/// Shows the standard output as it comes, and keeps it.
fn run_kept(command: &mut Command) -> Result<(ExitStatus, Vec<u8>), Failure> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(process::not_started(command))?;
    let mut said = Vec::new();
    if let Some(mut stdout) = child.stdout.take() {
        let mut chunk = [0; 8192];
        loop {
            // By chunks, not lines: the name of a test shows while it runs.
            let length = stdout
                .read(&mut chunk)
                .map_err(Failure::io("read what the tests print"))?;
            if length == 0 {
                break;
            }
            said.extend_from_slice(&chunk[..length]);
            let mut shown = io::stdout();
            // Nobody may be reading; the tests are counted all the same.
            let _ = shown.write_all(&chunk[..length]);
            let _ = shown.flush();
        }
    }
    let status = child.wait().map_err(Failure::io("wait for cargo"))?;
    Ok((status, said))
}

/// Makes sure of a part of the toolchain that can be left out.
fn component(command: &str, name: &str) -> Result<(), Failure> {
    process::run(&mut cargo([command, "--version"])).map_err(|failure| {
        failure.hint(&format!(
            "{name} is not installed. With rustup: rustup component add {name}. \
             Else install your system's package of {name}."
        ))
    })
}

impl Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            skipped,
        } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}
