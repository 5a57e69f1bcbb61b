//! The project's own commands, run as `cargo xtask <command>`.

/// Prints a line. A closed standard output is no error.
macro_rules! tell {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($words)*);
    }};
}

mod api;
mod bench;
mod cargo_tool;
mod checked;
mod demo;
mod deny;
mod failure;
mod fuzz;
mod guest;
mod hardships;
mod language;
mod package;
mod process;
mod progress;
mod python;
mod rooms;
mod rust;
mod setup;
mod soak;
mod test;
mod workspace;

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
};

use failure::Failure;

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();

    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.is_printed() {
                let _ = writeln!(io::stderr(), "{failure}");
            }
            failure.exit_code()
        }
    }
}

fn run(arguments: &[&str]) -> Result<(), Failure> {
    match arguments {
        ["setup"] => setup::run(),
        ["test"] => test::run(test::Extent::Full),
        ["test", "--quick"] => test::run(test::Extent::Quick),
        ["hardships", names @ ..] => hardships::run(names),
        ["guest"] => guest::rebuild(),
        ["demo"] => demo::run(),
        ["bench", arguments @ ..] => bench::run(arguments),
        ["api", arguments @ ..] => api::run(arguments),
        ["deny"] => deny::run(),
        ["package"] => package::run(),
        ["rooms", arguments @ ..] => rooms::run(arguments),
        ["language", arguments @ ..] => language::run(arguments),
        ["fuzz", arguments @ ..] => fuzz::run(arguments),
        ["python", pythons @ ..] => python::run(pythons),
        ["soak", arguments @ ..] => soak::run(arguments),
        _ => Err(Failure::advice(USAGE)),
    }
}

const USAGE: &str = "\
usage: cargo xtask <command>

  setup            install or download what is missing: QEMU, a second QEMU,
                   a Linux guest
  test             run the set-up, then all checks and all tests
  test --quick     run the checks and tests that need no set-up and no real QEMU
  hardships        run the quick tests in the background, under nohup, with few
                   descriptors, and so on; [NAME...]
  guest            build the tiny guest firmware from its source
  demo             show what the library does
  bench            run the set-up, then measure the library and other libraries;
                   [--smoke] [ID...]
  fuzz             feed random bytes to every reader of foreign bytes, each for
                   15 minutes; [TARGET] [--minutes N]
  api              compare the public API of the crates with docs/api; [--keep]
  language         count words, sentences and paragraphs that are not plain English;
                   [--keep | PATH...]
  deny             check the dependencies against deny.toml
  package          pack the published crates, and build each from its package
  python           build the Python package's wheel, and test it;
                   [--debug] [PYTHON...]
  rooms            check the imports between modules against ARCHITECTURE.md;
                   [--measure]
  soak             run the set-up, then random machines with random faults for 10
                   minutes; [--minutes N | --launches N] [--seed S] [--only K]";
