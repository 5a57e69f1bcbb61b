//! Completes a line of the human monitor from the text of its `help`. Pure, except
//! for what [`Facts`] asks.

use super::{Candidate, Facts, Kind};

/// The candidates at the end of this line, and the place that they replace from.
pub(crate) fn human(facts: &dyn Facts, line: &str) -> (usize, Vec<Candidate>) {
    let start = line.rfind(char::is_whitespace).map_or(0, |at| at + 1);
    let words: Vec<&str> = line[..start].split_whitespace().collect();
    let mut names = match words[..] {
        [] | ["help" | "?"] => human_names(&facts.human_help("")),
        ["info" | "i"] | ["help" | "?", "info" | "i"] => topics(&facts.human_help("info")),
        ["device_del"] => facts.names(Kind::Device),
        ["object_del"] => facts.names(Kind::Object),
        ["chardev-remove" | "chardev-change"] => facts.names(Kind::Chardev),
        ["block_job_cancel" | "block_job_pause" | "block_job_resume" | "block_job_complete"] => {
            facts.names(Kind::BlockJob)
        }
        ["eject" | "change"] => facts.names(Kind::NodeOrDevice),
        ["qom-list" | "qom-get" | "qom-set"] => {
            let (at, stem) = (start, &line[start..]);
            return (at, super::qom_paths(facts, stem, " "));
        }
        _ => Vec::new(),
    };
    if words.is_empty() {
        names.extend(["qmp".to_owned(), "exit".to_owned()]);
    }
    names.sort();
    names.dedup();
    names.retain(|it| it.starts_with(&line[start..]));
    let candidates = names.iter().map(|it| Candidate::new(it, " "));
    (start, candidates.collect())
}

/// The commands of the monitor's help: each line has a command, or several with
/// `|` between them, then arguments, `--` and a text.
fn human_names(help: &str) -> Vec<String> {
    let lines = help.lines().filter(|it| it.contains(" -- "));
    let first = lines.filter_map(|it| it.split_whitespace().next());
    let names = first.flat_map(|it| it.split('|'));
    names.map(str::to_owned).collect()
}

/// The topics of `help info`, whose lines begin with `info`.
fn topics(help: &str) -> Vec<String> {
    let lines = help.lines().filter(|it| it.contains(" -- "));
    let lines = lines.filter_map(|it| it.trim_start().strip_prefix("info "));
    let names = lines.filter_map(|it| it.split_whitespace().next());
    names
        .filter(|it| !it.starts_with('['))
        .map(str::to_owned)
        .collect()
}
