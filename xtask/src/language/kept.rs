//! The counts that each file may still have, in `xtask/language.txt`. They may
//! only fall: the check fails with more faults than kept, and with fewer.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Display},
    iter,
};

use crate::failure::Failure;

use super::faults::{Fault, What};

/// The number of faults of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) words: usize,
    pub(super) sentences: usize,
    pub(super) paragraphs: usize,
}

impl Counts {
    /// Counts a fault.
    pub(super) fn add(&mut self, fault: &Fault) {
        match fault.what {
            What::Phrase(_) => self.words += 1,
            What::Sentence(_) => self.sentences += 1,
            What::Paragraph(_) => self.paragraphs += 1,
        }
    }

    /// The numbers in a fixed order.
    fn each(self) -> [usize; 3] {
        [self.words, self.sentences, self.paragraphs]
    }

    fn exceeds(self, other: Self) -> bool {
        let each = self.each().into_iter().zip(other.each());
        each.into_iter().any(|(mine, others)| mine > others)
    }
}

impl Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            words,
            sentences,
            paragraphs,
        } = self;
        write!(
            f,
            "{words} words, {sentences} sentences, {paragraphs} paragraphs"
        )
    }
}

/// The counts of each file with faults.
pub(super) type Kept = BTreeMap<String, Counts>;

/// The difference between the counts of a file and the kept counts.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Difference {
    More {
        path: String,
        is: Counts,
        kept: Counts,
    },
    Fewer {
        path: String,
        is: Counts,
        kept: Counts,
    },
}

/// Every file whose counts differ from the kept counts.
pub(super) fn differences(is: &Kept, kept: &Kept) -> Vec<Difference> {
    let paths: BTreeSet<&String> = is.keys().chain(kept.keys()).collect();
    let difference = |path: &String| {
        let is = is.get(path).copied().unwrap_or_default();
        let kept = kept.get(path).copied().unwrap_or_default();
        let path = path.clone();
        if is.exceeds(kept) {
            Some(Difference::More { path, is, kept })
        } else if is != kept {
            Some(Difference::Fewer { path, is, kept })
        } else {
            None
        }
    };
    paths.into_iter().filter_map(difference).collect()
}

/// Whether no sum over all files has risen. Faults may move between files with
/// their text.
pub(super) fn falls(is: &Kept, kept: &Kept) -> bool {
    !sum(is.values()).exceeds(sum(kept.values()))
}

/// The sum of these counts.
pub(super) fn sum<'a>(counts: impl IntoIterator<Item = &'a Counts>) -> Counts {
    let mut sum = Counts::default();
    for counts in counts {
        sum.words += counts.words;
        sum.sentences += counts.sentences;
        sum.paragraphs += counts.paragraphs;
    }
    sum
}

/// Parses the output of [`write()`].
pub(super) fn read(text: &str) -> Result<Kept, Failure> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let lines = lines.filter(|line| !line.trim().is_empty());
    lines.map(line).collect()
}

fn line(line: &str) -> Result<(String, Counts), Failure> {
    let numbers = || -> Option<(String, Counts)> {
        // A path may have blanks, so the numbers are taken from the end.
        let mut parts = line.rsplitn(4, ' ');
        let mut number = || parts.next()?.parse().ok();
        let paragraphs = number()?;
        let sentences = number()?;
        let words = number()?;
        let counts = Counts {
            words,
            sentences,
            paragraphs,
        };
        Some((parts.next()?.to_owned(), counts))
    };
    numbers().ok_or_else(|| Failure::new(format!("not `path words sentences paragraphs`: {line}")))
}

/// The counts as the text of a file.
pub(super) fn write(kept: &Kept) -> String {
    let lines = kept.iter().map(|(path, counts)| {
        let [words, sentences, paragraphs] = counts.each();
        format!("{path} {words} {sentences} {paragraphs}\n")
    });
    iter::once("# path words sentences paragraphs\n".to_owned())
        .chain(lines)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(files: &[(&str, [usize; 3])]) -> Kept {
        let files = files.iter().map(|&(path, [words, sentences, paragraphs])| {
            let counts = Counts {
                words,
                sentences,
                paragraphs,
            };
            (path.to_owned(), counts)
        });
        files.collect()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let counts = kept(&[("a b.md", [1, 2, 3]), ("c.rs", [0, 0, 4])]);
        assert_eq!(read(&write(&counts)).unwrap(), counts);
        for broken in ["a 1 2", "a 1 2 x", "a 1 2 -3"] {
            assert!(read(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn more_fails_and_fewer_fails_and_a_file_that_is_not_listed_has_none() {
        let is = kept(&[
            ("a", [1, 1, 1]),
            ("b", [2, 0, 0]),
            ("c", [1, 3, 0]),
            ("d", [0, 0, 1]),
        ]);
        let was = kept(&[
            ("a", [1, 1, 1]),
            ("b", [1, 9, 0]),
            ("c", [1, 4, 0]),
            ("e", [1, 0, 0]),
        ]);
        let found: Vec<_> = differences(&is, &was)
            .into_iter()
            .map(|difference| match difference {
                Difference::More { path, .. } => format!("+{path}"),
                Difference::Fewer { path, .. } => format!("-{path}"),
            })
            .collect();
        assert_eq!(found, ["+b", "-c", "+d", "-e"]);
    }

    #[test]
    fn faults_may_move_but_their_sum_may_not_rise() {
        let was = kept(&[("a", [2, 1, 0])]);
        assert!(falls(&kept(&[("b", [1, 0, 0]), ("c", [1, 1, 0])]), &was));
        assert!(!falls(&kept(&[("a", [1, 2, 0])]), &was));
    }
}
