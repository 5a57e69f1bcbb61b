//! The project's own commands, run as `cargo xtask <command>`.

/// Prints a line. Nobody may be reading: the work is done all the same.
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
            if !failure.is_told() {
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
        ["soak", arguments @ ..] => soak::run(arguments),
        _ => Err(Failure::advice(USAGE)),
    }
}

const USAGE: &str = "\
usage: cargo xtask <command>

  setup            fetch whatever is missing: QEMU, a second QEMU, a Linux guest
  test             set up, then check formatting, lints and documents, and run all tests
  test --quick     the same without set-up and without what needs a real QEMU
  hardships        run the quick part in the background, under nohup, with few
                   descriptors, and so on; [NAME...]
  guest            build the tiny guest firmware from its source
  demo             show what the library does
  bench            set up, then measure against bare calls and against peers;
                   [--smoke] [ID...]
  fuzz             try what reads others' bytes with any bytes, each target for 15
                   minutes; [TARGET] [--minutes N]
  api              compare the public face of the crates with docs/api; [--keep]
  language         count words, sentences and paragraphs that are not plain English;
                   [--keep | PATH...]
  deny             hold the dependencies against deny.toml
  package          pack the published crates, and build each from its package
  rooms            hold the imports between modules against ARCHITECTURE.md; [--measure]
  soak             set up, then play random machines with random faults, for 10
                   minutes; [--minutes N | --launches N] [--seed S] [--only K]";
