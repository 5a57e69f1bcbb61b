//! Reads the results of tests from the output of the test harness.

use std::ops::AddAssign;

/// Finds in the lines of a program which test has ended, and its result.
#[derive(Default)]
pub(crate) struct Ends {
    /// A test that printed something before its result.
    open: Option<String>,
}

impl Ends {
    /// The test that ends with this line, and its result.
    ///
    /// The line is `test some::name ... ok`, with padding or a remark after the
    /// name. If the test prints something itself, the result may have its own
    /// line.
    pub(crate) fn read(&mut self, line: &str) -> Option<(String, String)> {
        let line = line.trim_end();
        if let Some((name, result)) = start(line) {
            if is_result(result) {
                self.open = None;
                return Some((name.to_owned(), result.to_owned()));
            }
            self.open = Some(name.to_owned());
            None
        } else if is_result(line) {
            self.open.take().map(|name| (name, line.to_owned()))
        } else {
            None
        }
    }
}

/// Splits `test some::name ... ` from the rest.
fn start(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = line.strip_prefix("test ")?.split_once(" ...")?;
    let name = name.trim_end();
    let name = name.strip_suffix(" - should panic").unwrap_or(name);
    Some((name, rest.trim_start()))
}

fn is_result(words: &str) -> bool {
    let first = words.split([',', ' ']).next();
    matches!(first, Some("ok" | "FAILED" | "ignored"))
}

/// Whether this line says that a test is still running.
pub(crate) fn is_slow_test(line: &str) -> bool {
    line.starts_with("test ") && line.contains(" has been running for over ")
}

/// The number of each outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
}

impl Tally {
    /// One pass.
    pub(crate) const PASSED: Self = Self {
        passed: 1,
        failed: 0,
        skipped: 0,
    };
    /// One skip.
    pub(crate) const SKIPPED: Self = Self {
        passed: 0,
        failed: 0,
        skipped: 1,
    };
    /// One failure.
    pub(crate) const FAILED: Self = Self {
        passed: 0,
        failed: 1,
        skipped: 0,
    };
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// Sums up the output of any number of test programs.
///
/// A program that prints the number of its tests, but no result, has died by an
/// abort or a signal. That counts as one failure.
pub(crate) fn of(output: &str) -> Tally {
    let mut sum = Tally::default();
    let mut running = false;
    for line in output.lines() {
        if is_start(line) {
            if running {
                sum += Tally::FAILED;
            }
            running = true;
        } else if let Some(tally) = result(line) {
            sum += tally;
            running = false;
        }
    }
    if running {
        sum += Tally::FAILED;
    }
    sum
}

/// `running 3 tests`
fn is_start(line: &str) -> bool {
    let words: Vec<&str> = line.split(' ').collect();
    matches!(words[..], ["running", number, "test" | "tests"] if number.parse::<usize>().is_ok())
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; ...`
fn result(line: &str) -> Option<Tally> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |outcome: &str| {
        let mut counts = counts.split("; ");
        counts.find_map(|count| count.strip_suffix(outcome)?.trim().parse().ok())
    };
    Some(Tally {
        passed: count("passed")?,
        failed: count("failed")?,
        skipped: count("ignored")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(passed: usize, failed: usize, skipped: usize) -> Tally {
        Tally {
            passed,
            failed,
            skipped,
        }
    }

    #[test]
    fn results_are_summed_up() {
        let output = "
running 2 tests
test one ... ok
test two ... FAILED
test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 7 filtered out; finished in 0.00s

running 41 tests
test result: ok. 40 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 1.23s

all doctests ran in 0.50s; merged doctests compilation took 0.40s
";
        assert_eq!(of(output), tally(41, 1, 1));
    }

    #[test]
    fn a_test_ends_with_its_result() {
        let mut ends = Ends::default();
        for (line, ended) in [
            ("test a::b ... ok\n", Some(("a::b", "ok"))),
            (
                "test a row of a table     ... FAILED",
                Some(("a row of a table", "FAILED")),
            ),
            ("test a - should panic ... ok", Some(("a", "ok"))),
            ("test a ... ignored, why\n", Some(("a", "ignored, why"))),
            ("test a has been running for over 60 seconds", None),
            ("test result: ok. 1 passed", None),
            ("a test ... ok", None),
            ("ok", None),
            // The test's own output comes between.
            ("test c ... 3 KiB of 4, 0.1 s\n", None),
            ("5 KiB of 9, 0.2 s\n", None),
            ("FAILED\n", Some(("c", "FAILED"))),
            ("ok\n", None),
        ] {
            let expected = ended.map(|(name, result)| (name.to_owned(), result.to_owned()));
            assert_eq!(ends.read(line), expected, "{line}");
        }
    }

    #[test]
    fn no_output_is_no_test() {
        assert_eq!(of(""), tally(0, 0, 0));
        assert_eq!(
            of("test result: strange\ntest result: ok. 1 passed"),
            tally(0, 0, 0)
        );
    }

    #[test]
    fn a_program_that_died_counts_as_failed() {
        let died = "running 1 test\ntest one ... \n";
        assert_eq!(of(died), tally(0, 1, 0));
        let other = "running 0 tests\n\ntest result: ok. 0 passed; 0 failed; 0 ignored; 0 measured";
        assert_eq!(of(&format!("{died}{other}")), tally(0, 1, 0));
        assert_eq!(of(&format!("{other}\n{died}")), tally(0, 1, 0));
    }

    #[test]
    fn a_test_that_prints_is_not_a_start() {
        assert_eq!(
            of("running all tests\nrunning 3 tests of it\n"),
            tally(0, 0, 0)
        );
    }
}
