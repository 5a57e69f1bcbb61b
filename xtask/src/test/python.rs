//! Runs the tests of the Python package with the Python of this system.

use std::{
    io::Read,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
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
///
/// Each test prints its name when it begins. So a long silence is a test that
/// hangs, and the last name is that of the test.
pub(crate) fn unittest(mut python: Command, what: &[&str]) -> Result<Outcome, Failure> {
    python
        .args(["-B", "-W", "error", "-m", "unittest"])
        .args(what)
        .arg("--verbose")
        .stdin(Stdio::null())
        // The results go to the standard error.
        .stderr(Stdio::piped());
    let mut child = python.spawn().map_err(|error| {
        process::not_started(&python)(error)
            .hint("The Python tests need Python 3.9 or later. Install the package python3.")
    })?;
    let mut printed = Printed::default();
    let mut is_silent = false;
    if let Some(stderr) = child.stderr.take() {
        let chunks = chunks(stderr);
        loop {
            match chunks.recv_timeout(SILENCE) {
                Ok(chunk) => printed.add(&chunk),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    is_silent = true;
                    tell!("the Python tests print nothing for {} s", SILENCE.as_secs());
                    child.kill().map_err(Failure::io("kill the Python tests"))?;
                    break;
                }
            }
        }
    }
    let status = child
        .wait()
        .map_err(Failure::io("wait for the Python tests"))?;
    let mut said = printed.end();
    let mut outcome = result(&said);
    if !status.success() && outcome.tally.failed == 0 {
        tell!("`{}` failed: {status}", process::line(&python));
        outcome += Outcome::failed("Python tests");
    } else if outcome.tally == Tally::default() {
        tell!("`{}` ran no test", process::line(&python));
        outcome += Outcome::failed("Python tests");
    }
    if let Some(test) = unfinished(&said) {
        let why = if is_silent { "hangs" } else { "did not end" };
        let line = format!("this test {why}: {test}");
        tell!("{line}");
        said += &line;
        outcome.failed.push(line);
    }
    if outcome.tally.failed > 0 {
        outcome.keep_last_lines("the Python tests", &said);
    }
    Ok(outcome)
}

/// What a program writes, as it arrives. A process that outlives the program may
/// keep the pipe open, so the reader is a thread.
fn chunks(mut pipe: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(length @ 1..) = pipe.read(&mut chunk) {
            if sender.send(chunk[..length].to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}

/// What the tests print. It shows each line, but not the tests that pass.
#[derive(Default)]
struct Printed {
    said: String,
    unfinished: Vec<u8>,
}

impl Printed {
    fn add(&mut self, chunk: &[u8]) {
        self.unfinished.extend(chunk);
        while let Some(end) = self.unfinished.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.unfinished.drain(..=end).collect();
            self.add_line(&String::from_utf8_lossy(&line[..end]));
        }
    }

    fn add_line(&mut self, line: &str) {
        if !line.ends_with(" ... ok") {
            tell!("{line}");
        }
        self.said += line;
        self.said.push('\n');
    }

    fn end(mut self) -> String {
        if !self.unfinished.is_empty() {
            let line = String::from_utf8_lossy(&self.unfinished).into_owned();
            self.add_line(&line);
        }
        self.said
    }
}

/// The test that began last, if it has no result and the run has none.
fn unfinished(said: &str) -> Option<&str> {
    if said.lines().any(|line| line.starts_with("Ran ")) {
        return None;
    }
    let begun = |line: &&str| line.contains(BEGUN) && line.starts_with("test_");
    let (test, result) = said.lines().rev().find(begun)?.split_once(BEGUN)?;
    let results = ["ok", "FAIL", "ERROR", "skipped", "expected", "unexpected"];
    let is_ended = results.iter().any(|word| result.starts_with(word));
    (!is_ended).then_some(test)
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

/// Between a test's name and its result.
const BEGUN: &str = " ... ";
/// A test that hangs ends itself after 60 seconds, with all stacks. This is for a
/// hang between two tests, or at the interpreter's end.
const SILENCE: Duration = Duration::from_secs(150);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_counted() {
        let said = "\
test_a (tests.test_x.Y.test_a) ... FAIL
test_b (tests.test_x.Y.test_b) ... ok
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
    fn the_test_that_hangs_is_named() {
        let said = "\
test_a (tests.test_x.Y.test_a) ... ok
test_b (tests.test_x.Y.test_b) ... Timeout (0:01:00)!
Thread 0x00007f (most recent call first):
  File \"x.py\", line 1 in wait
";
        assert_eq!(unfinished(said), Some("test_b (tests.test_x.Y.test_b)"));
        let begun = "test_a (tests.test_x.Y.test_a) ... ";
        assert_eq!(unfinished(begun), Some("test_a (tests.test_x.Y.test_a)"));
        let ended = "test_a (tests.test_x.Y.test_a) ... ok\n";
        assert_eq!(unfinished(ended), None);
        let all = format!("{begun}\nRan 1 test in 0.1s\n");
        assert_eq!(unfinished(&all), None);
    }

    #[test]
    fn lines_are_put_together_from_what_arrives() {
        let mut printed = Printed::default();
        printed.add(b"test_a (x) ... ");
        printed.add(b"ok\ntest_b (x) ... ");
        assert_eq!(printed.end(), "test_a (x) ... ok\ntest_b (x) ... \n");
    }

    #[test]
    fn a_python_that_died_has_no_results() {
        assert_eq!(result("Fatal Python error").tally, Tally::default());
    }
}
