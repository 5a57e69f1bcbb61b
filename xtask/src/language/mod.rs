//! Counts phrases to avoid, sentences of more than 30 words, and paragraphs of
//! more than 120. It reads every Markdown file, and the doc comments, comments and
//! messages of every source file.
//!
//! The count of each file is kept, and may only fall.

mod faults;
mod inline;
mod kept;
mod markdown;
mod source;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use crate::{
    failure::Failure,
    rust::{module_declarations, test_parts, tokens},
    workspace,
};
use faults::{Fault, What};
use kept::{Counts, Difference, Kept};

/// Checks the counts, keeps them, or prints the faults of these paths.
pub(crate) fn run(arguments: &[&str]) -> Result<(), Failure> {
    match arguments {
        [] => check(),
        ["--keep"] => keep(),
        paths if !paths.iter().any(|path| path.starts_with('-')) => show(paths),
        _ => Err(Failure::advice(USAGE)),
    }
}

/// Fails if a file has more or fewer faults than its kept count.
pub(crate) fn check() -> Result<(), Failure> {
    let pages = pages()?;
    let differences = kept::differences(&counts(&pages), &kept()?);
    for page in &pages {
        let has_more =
            |it: &Difference| matches!(it, Difference::More { path, .. } if *path == page.path);
        if differences.iter().any(has_more) {
            page.print();
        }
    }
    print_summary(&pages);
    for difference in &differences {
        match difference {
            Difference::More { path, is, kept } => {
                tell!("{path}: {is}; more than the kept {kept}");
            }
            Difference::Fewer { path, is, kept } => {
                tell!("{path}: {is}; fewer than the kept {kept}");
            }
        }
    }
    if differences.is_empty() {
        return Ok(());
    }
    Err(Failure::new(
        "The language check failed. Where a file has more faults than kept, write it in plain \
         English. Where it has fewer, lower the kept count: cargo xtask language --keep",
    ))
}

fn keep() -> Result<(), Failure> {
    let pages = pages()?;
    let is = counts(&pages);
    if path().is_file() && !kept::falls(&is, &kept()?) {
        let sum = kept::sum(kept()?.values());
        return Err(Failure::new(format!(
            "all files together have {}, and only {sum} are kept: the kept counts only fall",
            kept::sum(is.values())
        )));
    }
    fs::write(path(), kept::write(&is)).map_err(Failure::io(format!("write {LIST}")))?;
    print_summary(&pages);
    tell!("written: {LIST}");
    Ok(())
}

fn show(paths: &[&str]) -> Result<(), Failure> {
    let mut pages = pages()?;
    let root = workspace::root();
    let mut places = Vec::new();
    for path in paths {
        let place = fs::canonicalize(path).map_err(Failure::io(format!("find {path}")))?;
        places.push(place);
    }
    pages.retain(|page| {
        let page = root.join(&page.path);
        places.iter().any(|place| page.starts_with(place))
    });
    for page in &pages {
        page.print();
    }
    print_summary(&pages);
    Ok(())
}

/// The kind of a passage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Markdown,
    Documents,
    Comments,
    Messages,
}

impl Kind {
    const ALL: [Self; 4] = [
        Self::Markdown,
        Self::Documents,
        Self::Comments,
        Self::Messages,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Markdown => "Markdown",
            Self::Documents => "doc comments",
            Self::Comments => "comments",
            Self::Messages => "messages",
        }
    }
}

/// A file, its size in words, and its faults.
struct Page {
    /// The path below the root.
    path: String,
    /// The number of words of each kind.
    sizes: BTreeMap<Kind, usize>,
    faults: Vec<(Kind, Fault)>,
}

impl Page {
    fn new(path: &Path, passages: Vec<(Kind, markdown::Passage)>) -> Self {
        let mut sizes = BTreeMap::new();
        let mut faults = Vec::new();
        for (kind, passage) in passages {
            *sizes.entry(kind).or_default() += faults::count(&passage.words);
            let found = faults::faults(&passage).into_iter();
            faults.extend(found.map(|fault| (kind, fault)));
        }
        faults.sort_by_key(|(_, fault)| fault.line);
        Self {
            path: path.display().to_string(),
            sizes,
            faults,
        }
    }

    fn print(&self) {
        for (_, Fault { line, what, text }) in &self.faults {
            let what = match what {
                What::Phrase(phrase) => format!("\"{phrase}\""),
                What::Sentence(words) => format!("sentence of {words} words"),
                What::Paragraph(words) => format!("paragraph of {words} words"),
            };
            tell!("{}:{line}: {what}: {text}", self.path);
        }
    }
}

/// Every file of the check.
fn pages() -> Result<Vec<Page>, Failure> {
    let root = workspace::root();
    let mut sources = Vec::new();
    let mut pages = Vec::new();
    for path in workspace::files(&["md", "rs"])? {
        let text = fs::read_to_string(root.join(&path))
            .map_err(Failure::io(format!("read {}", path.display())))?;
        if path.extension().is_some_and(|it| it == "md") {
            let passages = markdown::passages((1..).zip(text.lines())).into_iter();
            let passages = passages.map(|passage| (Kind::Markdown, passage));
            pages.push(Page::new(&path, passages.collect()));
        } else {
            let tokens = tokens(&text);
            let parts = test_parts(&tokens);
            sources.push((path, tokens, parts));
        }
    }
    let mut for_tests = BTreeSet::new();
    for (path, tokens, parts) in &sources {
        let declared = module_declarations(tokens).into_iter();
        let declared = declared.filter(|&(at, _)| parts[at]);
        for_tests.extend(declared.map(|(_, name)| folder(path).join(name)));
    }
    for (path, tokens, mut parts) in sources {
        if is_for_tests(&path, &for_tests) {
            parts.fill(true);
        }
        pages.push(Page::new(&path, source::passages_of(&tokens, &parts)));
    }
    pages.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(pages)
}

/// The folder of the modules that this file declares.
fn folder(path: &Path) -> PathBuf {
    let is_own = path
        .file_stem()
        .is_some_and(|it| it == "mod" || it == "lib" || it == "main");
    if is_own {
        path.parent().unwrap_or(path).to_owned()
    } else {
        path.with_extension("")
    }
}

/// Whether a file is below a folder `tests`, or is a module only for tests.
fn is_for_tests(path: &Path, modules: &BTreeSet<PathBuf>) -> bool {
    path.iter().any(|part| part == "tests")
        || path
            .with_extension("")
            .ancestors()
            .any(|it| modules.contains(it))
}

fn counts(pages: &[Page]) -> Kept {
    let mut kept = Kept::new();
    for page in pages {
        for (_, fault) in &page.faults {
            kept.entry(page.path.clone()).or_default().add(fault);
        }
    }
    kept
}

fn print_summary(pages: &[Page]) {
    tell!(
        "\n{:14}{:>9}{:>9}{:>11}{:>12}",
        "",
        "of words",
        "words",
        "sentences",
        "paragraphs"
    );
    let mut all = (0, Vec::new());
    for kind in Kind::ALL {
        let mut counts = Counts::default();
        let of_kind = |page: &Page| page.sizes.get(&kind).copied().unwrap_or_default();
        let size = pages.iter().map(of_kind).sum::<usize>();
        let faults = pages.iter().flat_map(|page| &page.faults);
        for (_, fault) in faults.filter(|(it, _)| *it == kind) {
            counts.add(fault);
        }
        print_row(kind.name(), size, counts);
        all.0 += size;
        all.1.push(counts);
    }
    print_row("all", all.0, kept::sum(&all.1));
}

fn print_row(name: &str, size: usize, counts: Counts) {
    let Counts {
        words,
        sentences,
        paragraphs,
    } = counts;
    tell!("{name:14}{size:9}{words:9}{sentences:11}{paragraphs:12}");
}

/// The kept counts; none without a list.
fn kept() -> Result<Kept, Failure> {
    if !path().is_file() {
        return Ok(Kept::new());
    }
    let text = fs::read_to_string(path()).map_err(Failure::io(format!("read {LIST}")))?;
    kept::read(&text).map_err(|failure| failure.hint(&format!("That is in {LIST}.")))
}

fn path() -> PathBuf {
    workspace::root().join(LIST)
}

const LIST: &str = "xtask/language.txt";

const USAGE: &str = "usage: cargo xtask language [--keep | PATH...]";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_that_only_tests_have_are_found_with_all_below_them() {
        let modules = BTreeSet::from([PathBuf::from("a/src/life/model")]);
        for path in [
            "a/src/life/model.rs",
            "a/src/life/model/mod.rs",
            "a/src/life/model/deep.rs",
            "a/tests/x.rs",
            "a/src/tests/x.rs",
        ] {
            assert!(is_for_tests(Path::new(path), &modules), "{path}");
        }
        for path in ["a/src/life/models.rs", "a/src/life/mod.rs", "a/src/test.rs"] {
            assert!(!is_for_tests(Path::new(path), &modules), "{path}");
        }
    }

    #[test]
    fn a_module_declares_files_beside_it_or_below_its_name() {
        for (path, expected) in [
            ("a/src/lib.rs", "a/src"),
            ("a/src/life/mod.rs", "a/src/life"),
            ("a/src/sys.rs", "a/src/sys"),
        ] {
            assert_eq!(folder(Path::new(path)), Path::new(expected));
        }
    }

    #[test]
    fn the_project_has_something_of_every_kind_to_read() {
        let pages = pages().unwrap();
        for kind in Kind::ALL {
            let has_any = |page: &Page| page.sizes.contains_key(&kind);
            assert!(pages.iter().any(has_any), "{kind:?}");
        }
        let of = |path: &str| pages.iter().find(|page| page.path == path).unwrap();
        assert!(
            of("xtask/src/language/mod.rs")
                .sizes
                .contains_key(&Kind::Documents)
        );
    }
}
