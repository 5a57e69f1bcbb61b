//! The wheel of the Python package: builds it, installs it into a virtual
//! environment below `target/python`, and runs its tests there.
//!
//! The crate in `python` is a separate workspace, so the normal build needs no
//! Python. Its tools come from the index that pip has by default.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use crate::{
    failure::Failure,
    process::{self, cargo},
    test::{self, Outcome},
    workspace,
};

/// How the wheel is built.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// For users.
    Release,
    /// For tests: it shares what the other tests have built.
    Dev,
}

/// Makes the environment in which [`test()`] runs. That mostly waits for downloads.
pub(crate) fn prepare() -> Result<(), Failure> {
    environment("python3").map(drop)
}

/// Builds a wheel, and tests it with `python3`.
pub(crate) fn test() -> Result<Outcome, Failure> {
    process::run_shown(&mut in_crate(["fmt", "--check"]))?;
    let wheel = build(Profile::Dev, &environment("python3")?)?;
    test_with("python3", &wheel)
}

/// Builds the wheel and tests it with these Pythons, or with `python3`.
pub(crate) fn run(arguments: &[&str]) -> Result<(), Failure> {
    let (profile, pythons) = match arguments {
        ["--debug", pythons @ ..] => (Profile::Dev, pythons),
        pythons => (Profile::Release, pythons),
    };
    if pythons.iter().any(|python| python.starts_with('-')) {
        return Err(Failure::advice(USAGE));
    }
    let pythons = if pythons.is_empty() {
        &["python3"]
    } else {
        pythons
    };
    let wheel = check_and_build(profile)?;
    let mut outcome = Outcome::default();
    for python in pythons {
        tell!("\n== tests with {python}");
        outcome += test_with(python, &wheel)?;
    }
    let size = fs::metadata(&wheel).map_or(0, |file| file.len());
    tell!("\n{}: {} KB", wheel.display(), size / 1000);
    for failed in &outcome.failed {
        tell!("failed: {failed}");
    }
    tell!("{}", outcome.tally);
    if outcome.tally.failed == 0 {
        Ok(())
    } else {
        Err(Failure::printed())
    }
}

/// Checks the crate, and builds the wheel. Returns its path.
fn check_and_build(profile: Profile) -> Result<PathBuf, Failure> {
    // A new environment waits for downloads, and the checks need the processors.
    let environment = thread::scope(|scope| {
        let environment = scope.spawn(|| environment("python3"));
        let checked = check_source();
        let panicked = |_| Err(Failure::new("the set-up of Python panicked"));
        let environment = environment.join().unwrap_or_else(panicked);
        checked.and(environment)
    })?;
    build(profile, &environment)
}

/// Checks the format and the lints of the crate.
fn check_source() -> Result<(), Failure> {
    process::run_shown(&mut in_crate(["fmt", "--check"]))?;
    let mut lints = in_crate(["clippy", "--quiet", "--all-targets"]);
    lints.args(["--locked", "--target-dir"]).arg(folder());
    lints.args(["--", "-D", "warnings"]);
    process::run_shown(&mut lints)
}

fn in_crate<const N: usize>(arguments: [&str; N]) -> Command {
    let mut cargo = cargo(arguments);
    cargo.current_dir(workspace::root().join("python"));
    cargo
}

/// Builds the wheel. Returns its path.
fn build(profile: Profile, environment: &Path) -> Result<PathBuf, Failure> {
    let (profile, name, target) = match profile {
        Profile::Release => ("release", "wheels", folder()),
        Profile::Dev => ("dev", "wheels-to-test", workspace::target()),
    };
    let wheels = folder().join(name);
    // An older version would stay beside it.
    let _ = fs::remove_dir_all(&wheels);
    let mut maturin = Command::new(environment.join("bin/maturin"));
    maturin
        .args([
            "build",
            "--quiet",
            "--locked",
            "--profile",
            profile,
            "--out",
        ])
        .arg(&wheels)
        .arg("--interpreter")
        .arg(environment.join("bin/python"))
        .current_dir(workspace::root().join("python"))
        .env("CARGO_TARGET_DIR", target)
        // It is built once, and such files cost a fifth of the time.
        .env("CARGO_INCREMENTAL", "0");
    process::run_shown(&mut maturin)?;
    let list = || {
        fs::read_dir(&wheels)?
            .map(|entry| Ok(entry?.path()))
            .collect()
    };
    let built: std::io::Result<Vec<PathBuf>> = list();
    let built = built.map_err(Failure::io("list the wheels"))?;
    let first = built.into_iter().next();
    first.ok_or_else(|| Failure::new("maturin has built no wheel"))
}

/// Installs the wheel for this Python, and runs its tests.
fn test_with(python: &str, wheel: &Path) -> Result<Outcome, Failure> {
    let environment = environment(python)?;
    let mut install = pip(&environment);
    install.args(["--force-reinstall", "--no-deps"]).arg(wheel);
    process::run_shown(&mut install)?;
    let mut tests = Command::new(environment.join("bin/python"));
    // In this folder, the package of the source is not on the path.
    tests.current_dir(workspace::root().join("python/tests_native"));
    test::unittest(tests, &["discover"])
}

/// A virtual environment of this Python, with the tools.
fn environment(python: &str) -> Result<PathBuf, Failure> {
    let version = "import sys; print('%d.%d.%d' % sys.version_info[:3])";
    let mut ask = Command::new(python);
    let version = process::output(ask.args(["-c", version]))?;
    let environment = folder().join(format!("venv-{}", version.trim()));
    let wanted = workspace::root().join("python/tests_native/requirements.txt");
    let wanted = fs::read(&wanted).map_err(Failure::io("read the list of tools"))?;
    // Written last, so a half-made environment is made again.
    let done = environment.join("requirements.txt");
    if fs::read(&done).is_ok_and(|done| done == wanted) {
        return Ok(environment);
    }
    tell!("making {} ...", environment.display());
    let mut make = Command::new(python);
    make.args(["-m", "venv", "--clear"]).arg(&environment);
    process::run(&mut make).map_err(|failure| {
        failure.hint("Python needs its module venv. On Debian, install the package python3-venv.")
    })?;
    let list = environment.join("wanted.txt");
    fs::write(&list, &wanted).map_err(Failure::io("write the list of tools"))?;
    let mut install = pip(&environment);
    install.arg("--requirement").arg(&list);
    process::run_shown(&mut install).map_err(|failure| {
        failure.hint("The tools come from the Python package index. Check the network.")
    })?;
    fs::rename(&list, &done).map_err(Failure::io("mark the environment as done"))?;
    Ok(environment)
}

fn pip(environment: &Path) -> Command {
    let mut pip = Command::new(environment.join("bin/python"));
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]);
    pip.stdin(Stdio::null());
    pip
}

/// The folder of all that is built here.
fn folder() -> PathBuf {
    workspace::target().join("python")
}

const USAGE: &str = "usage: cargo xtask python [--debug] [PYTHON...]";
