//! Runs the tests of the Python package with the Python of this system.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use super::{Extent, results::Tally, runner::Outcome};
use crate::{failure::Failure, process, workspace};

/// Runs the Python tests. Those on a real QEMU are part of the full extent.
pub(crate) fn run(extent: Extent) -> Result<Outcome, Failure> {
    let folder = workspace::root().join("python");
    let python = || {
        let mut python = Command::new("python3");
        python.current_dir(&folder).env("PYTHONPATH", &folder);
        python
    };
    let mut outcome = unittest(python(), &["discover"])?;
    if extent == Extent::Full {
        outcome += unittest(python(), &["tests.real_qemu"])?;
    }
    Ok(outcome)
}

/// Runs tests with this Python, in the folder that it has.
pub(crate) fn unittest(mut python: Command, what: &[&str]) -> Result<Outcome, Failure> {
    python
        .args(["-B", "-W", "error", "-m", "unittest"])
        .args(what)
        .stdin(Stdio::null())
        // The results go to the standard error.
        .stderr(Stdio::piped());
    let mut child = python.spawn().map_err(|error| {
        process::not_started(&python)(error)
            .hint("The Python tests need Python 3.9 or later. Install the package python3.")
    })?;
    let mut said = String::new();
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).split(b'\n') {
            let line = line.map_err(Failure::io("read what the Python tests print"))?;
            let line = String::from_utf8_lossy(&line);
            tell!("{line}");
            said += &line;
            said.push('\n');
        }
    }
    let status = child
        .wait()
        .map_err(Failure::io("wait for the Python tests"))?;
    let mut outcome = result(&said);
    if !status.success() && outcome.tally.failed == 0 {
        tell!("`{}` failed: {status}", process::line(&python));
        outcome += Outcome::failed("Python tests");
    } else if outcome.tally == Tally::default() {
        tell!("`{}` ran no test", process::line(&python));
        outcome += Outcome::failed("Python tests");
    }
    if outcome.tally.failed > 0 {
        outcome.keep_last_lines("the Python tests", &said);
    }
    Ok(outcome)
}

/// Reads the output of `unittest`.
fn result(said: &str) -> Outcome {
    let mut outcome = Outcome::default();
    let mut ran = 0;
    for line in said.lines() {
        let failed = line
            .strip_prefix("FAIL: ")
            .or(line.strip_prefix("ERROR: "))
            .or(line.strip_prefix("UNEXPECTED SUCCESS: "));
        if let Some(test) = failed {
            outcome.failed.push(test.to_owned());
        }
        if let Some(number) = line
            .strip_prefix("Ran ")
            .and_then(|rest| rest.split(' ').next()?.parse().ok())
        {
            ran = number;
        }
        if line.starts_with("OK") || line.starts_with("FAILED") {
            outcome.tally.skipped = count(line, "skipped=");
        }
    }
    outcome.tally.failed = outcome.failed.len();
    outcome.tally.passed = usize::saturating_sub(ran, outcome.tally.failed + outcome.tally.skipped);
    outcome
}

/// The number after a word in `OK (skipped=1, expected failures=2)`.
fn count(line: &str, word: &str) -> usize {
    let number = |(_, rest): (&str, &str)| {
        let digits = rest.split(|character: char| !character.is_ascii_digit());
        digits.into_iter().next()?.parse().ok()
    };
    line.split_once(word).and_then(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_counted() {
        let said = "\
..F
======================================================================
FAIL: test_a (tests.test_x.Y.test_a)
----------------------------------------------------------------------
Traceback (most recent call last):
----------------------------------------------------------------------
Ran 12 tests in 0.479s

FAILED (failures=1, skipped=2)
";
        let outcome = result(said);
        let expected = Tally {
            passed: 9,
            failed: 1,
            skipped: 2,
        };
        assert_eq!(outcome.tally, expected);
        assert_eq!(outcome.failed, ["test_a (tests.test_x.Y.test_a)"]);
    }

    #[test]
    fn a_run_without_failures_is_counted() {
        let outcome = result("....\nRan 4 tests in 0.001s\n\nOK\n");
        assert_eq!((outcome.tally.passed, outcome.tally.failed), (4, 0));
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let printed: Vec<_> = (0..1000).map(|line| line.to_string()).collect();
        let mut outcome = Outcome::failed("x");
        outcome.keep_last_lines("x", &printed.join("\n"));
        let kept = &outcome.last_lines[0];
        assert!(kept.starts_with("last lines of x:\n940\n"), "{kept}");
        assert!(kept.ends_with("\n999"), "{kept}");
    }

    #[test]
    fn a_python_that_died_has_no_results() {
        assert_eq!(result("Fatal Python error").tally, Tally::default());
    }
}
