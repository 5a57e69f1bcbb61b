//! Runs every check of the project, one after the other. A failed step does not
//! stop the later steps. The last lines are a summary.

mod jobs;
mod programs;
mod python;
mod results;
mod runner;
mod suites;
mod targets;
mod times;

use std::{
    cmp::Reverse,
    fmt::{self, Display},
    process::Command,
    thread,
    time::Instant,
};

use crate::{
    api, bench, failure::Failure, hardships, language, package, process, process::cargo,
    python as wheel, rooms, setup, workspace,
};
use jobs::Job;
use programs::Program;
pub(crate) use python::unittest;
use results::Tally;
pub(crate) use runner::Outcome;

/// Which checks and tests run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All of them.
    Full,
    /// Only those that need neither the set-up nor a real QEMU.
    Quick,
}

/// Runs the checks.
pub(crate) fn run(extent: Extent) -> Result<(), Failure> {
    let mut outcome = match extent {
        Extent::Full => check_during_setup()?,
        Extent::Quick => checks(extent),
    };
    let mut programs = Vec::new();
    outcome += step("build of the tests", || {
        programs = programs::build(tests_of(extent)?)?;
        Ok(Outcome::PASSED)
    });
    outcome += step(&name_of_tests(extent), || Ok(tests(extent, &programs)));
    outcome += step("document tests", || {
        let mut documents = cargo(["test", "--workspace", "--no-fail-fast", "--doc"]);
        let (status, said) = process::run_kept(incremental(extent, &mut documents))?;
        let mut tally = results::of(&said);
        if !status.success() && tally.failed == 0 {
            tell!("`{}` failed: {status}", process::line(&documents));
            tally += Tally::FAILED;
        }
        Ok(tally.into())
    });
    conclude(outcome)
}

/// The tests of a full run need a name that lists the hardships.
fn name_of_tests(extent: Extent) -> String {
    if extent == Extent::Quick {
        return "tests".to_owned();
    }
    let all = hardships::of_every_test();
    let names: Vec<_> = all.iter().map(|hardship| hardship.name).collect();
    format!(
        "tests, and quick ones under hardships: {}",
        names.join(", ")
    )
}

/// Runs the programs, the quick ones also under hardships, and the tests in
/// Python: side by side, because most of them wait.
fn tests(extent: Extent, programs: &[Program]) -> Outcome {
    let hardships = hardships::of_every_test();
    let mut jobs: Vec<Job<'_>> = programs
        .iter()
        .map(|program| {
            let name = &program.name;
            Job::new(name, |name| runner::run(name, program, &[]))
        })
        .collect();
    jobs.push(Job::new(suites::PYTHON, |_| python::run(extent)));
    if extent == Extent::Full {
        jobs.push(Job::new(suites::WHEEL, |_| wheel::test()));
        let quick = programs
            .iter()
            .filter(|it| !targets::needs_qemu(it.target()));
        jobs.extend(quick.map(|program| {
            let name = suites::under_hardships(&program.name);
            Job::new(name, |name| runner::run(name, program, &hardships))
        }));
    }
    let mut outcome = jobs::run(suites::sort(jobs, |job| &job.name));
    if let Err(failure) = hardships::tidy() {
        tell!("{failure}");
        outcome += Outcome::failed("temporary files of the tests are left");
    }
    outcome
}

/// Checks the source while the set-up runs: the set-up mostly waits for
/// downloads, and the checks need the processors.
fn check_during_setup() -> Result<Outcome, Failure> {
    // If a user must act first, this fails before anything else runs.
    setup::check()?;
    thread::scope(|scope| {
        let set_up = scope.spawn(|| {
            setup::run()?;
            bench::set_up();
            Ok(())
        });
        scope.spawn(|| {
            // If it fails, the step that needs it makes it again, and reports why.
            let _ = wheel::prepare();
        });
        let outcome = checks(Extent::Full);
        let panicked = |_| Err(Failure::new("the set-up panicked"));
        // The tests cannot run without the set-up.
        set_up.join().unwrap_or_else(panicked).map(|()| outcome)
    })
}

/// The checks that run no test.
fn checks(extent: Extent) -> Outcome {
    let check = |mut command: Command| {
        process::run_shown(incremental(extent, &mut command)).map(|()| Outcome::PASSED)
    };
    let mut outcome = step("formatting", || {
        component("fmt", "rustfmt")?;
        check(cargo(["fmt", "--all", "--check"]))
    });
    outcome += step("lints", || {
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
    outcome += step("lints of the libraries without features", || {
        let packages = ["--package", "qemu-machine", "--package", "qemu-qmp"];
        let mut lint = cargo(["clippy"]);
        lint.args(packages).args(["--", "-D", "warnings"]);
        check(lint)
    });
    outcome += step("language", || language::check().map(|()| Outcome::PASSED));
    outcome += step("rooms", || rooms::check().map(|()| Outcome::PASSED));
    outcome += step("documents", || {
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
    outcome += step(
        "documents as they are published",
        || check(api::documents()),
    );
    outcome += step("public API", || api::compare().map(|()| Outcome::PASSED));
    outcome += step("packages", || {
        package::forget_unpacked();
        check(package::packages())?;
        package::contents().map(|()| Outcome::PASSED)
    });
    outcome += step("oldest Rust", || package::oldest_rust().map(Outcome::from));
    outcome
}

/// The `cargo test` with all tests of this extent, except document tests.
fn tests_of(extent: Extent) -> Result<Command, Failure> {
    let mut test = cargo(["test", "--workspace"]);
    if extent == Extent::Quick {
        test.args(["--lib", "--bins"]);
        for target in targets::without_qemu(&workspace::root())? {
            test.arg("--test").arg(target);
        }
    }
    incremental(extent, &mut test);
    Ok(test)
}

/// The full run builds everything once, so it writes no files for incremental
/// builds: they cost a fifth of the time. The quick run writes them, because
/// developers repeat it.
fn incremental(extent: Extent, cargo: &mut Command) -> &mut Command {
    if extent == Extent::Full {
        cargo.env("CARGO_INCREMENTAL", "0");
    }
    cargo
}

/// Prints the summary.
fn conclude(mut outcome: Outcome) -> Result<(), Failure> {
    outcome.times.sort_by_key(|&(_, time)| Reverse(time));
    tell!("\nslowest tests:");
    for (test, time) in outcome.times.iter().take(10) {
        tell!("{:7.1} s  {test}", time.as_secs_f64());
    }
    for lines in &outcome.last_lines {
        tell!("\n{lines}");
    }
    for failed in &outcome.failed {
        tell!("failed: {failed}");
    }
    tell!("\n{}", outcome.tally);
    if outcome.tally.failed == 0 {
        Ok(())
    } else {
        Err(Failure::printed())
    }
}

/// Runs one step between its two lines. An error of the step counts as failed.
fn step(name: &str, work: impl FnOnce() -> Result<Outcome, Failure>) -> Outcome {
    tell!("\n== {name}");
    let started = Instant::now();
    let outcome = work().unwrap_or_else(|failure| {
        tell!("{failure}");
        Outcome::failed(name)
    });
    let end = if outcome.tally.failed == 0 {
        "ok"
    } else {
        "FAILED"
    };
    let seconds = started.elapsed().as_secs_f64();
    tell!("== {name}: {end} in {seconds:.1} s");
    outcome
}

/// Fails if an optional part of the toolchain is missing.
fn component(command: &str, name: &str) -> Result<(), Failure> {
    process::run(&mut cargo([command, "--version"])).map_err(|failure| {
        failure.hint(&format!(
            "{name} is not installed. With rustup: rustup component add {name}. \
             Without rustup, install the package of your system."
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
