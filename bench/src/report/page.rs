//! The page for people, in Markdown.

use std::fmt::Write;

use super::{BARS, CHARTS, RATIOS, Report, chart_name};
use crate::curve::{Curve, Line};
use crate::operation::{Bar, Limit, Measured, Operation, Role};
use crate::table::Value;

pub(super) fn write(report: &Report) -> String {
    let mut page = String::from(HEAD);
    page += &verdict(report);
    page += &machine(report);
    page += &overview(&report.operations);
    for operation in &report.operations {
        page += &section(operation);
    }
    if !report.curves.is_empty() {
        page += GROWTH;
    }
    for curve in &report.curves {
        page += &growth(curve);
    }
    page + FOOT
}

/// The number of bars that are met, and each bar that is not.
fn verdict(report: &Report) -> String {
    let of_operations = report.operations.iter().flat_map(|operation| {
        let told = move |bar| (operation.meets(bar), operation.id, told(operation, bar));
        operation.bars.iter().map(told)
    });
    let of_curves = report.curves.iter().flat_map(|curve| {
        curve
            .bars
            .iter()
            .map(move |bar| (curve.meets(bar), curve.id, curve.told(bar)))
    });
    let bars: Vec<_> = of_operations.chain(of_curves).collect();
    let met = bars.iter().filter(|(met, ..)| *met).count();
    let mut text = format!("\n## In short\n\n{met} of {} bars are met.", bars.len());
    if met < bars.len() {
        text += " These are not met. [ARCHITECTURE.md](../ARCHITECTURE.md#measured) has the \
                 reasons, except for the noise of one run:\n\n";
    }
    for (_, id, told) in bars.iter().filter(|(met, ..)| !met) {
        let _ = writeln!(text, "- [{id}](#{}): {told}", anchor(id));
    }
    text.trim_end().to_owned() + "\n"
}

fn machine(report: &Report) -> String {
    let host = &report.host;
    let memory = gib(host.memory_bytes);
    let kind = if host.is_virtual {
        ", a virtual machine"
    } else {
        ""
    };
    let changed = if host.is_changed {
        ", with changes"
    } else {
        ""
    };
    let [begin, end] = report.load;
    let mut text = format!(
        "\n## The machine\n\n\
         | | |\n|---|---|\n\
         | processor | {}, {} cores{kind} |\n\
         | memory | {memory} |\n\
         | system | {}, Linux {} |\n\
         | real QEMU | {} |\n\
         | commit | `{}`{changed} |\n\
         | load before and after | {:.2}, {:.2} |\n",
        host.processor,
        host.cores,
        host.system,
        host.kernel,
        host.qemu,
        host.commit,
        begin.0,
        end.0,
    );
    text += &noise(&report.operations);
    text
}

/// How much the floor differs from round to round.
fn noise(operations: &[Operation]) -> String {
    let floors = operations.iter().filter_map(|operation| {
        let floor = operation.contenders.first()?;
        let spread = floor.spread();
        let noise = (spread.upper_quartile - spread.lower_quartile) / spread.median;
        (floor.role() == Role::Floor && noise.is_finite()).then_some((noise, operation.id))
    });
    let mut floors: Vec<_> = floors.collect();
    floors.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (Some(median), Some((worst, id))) = (floors.get(floors.len() / 2), floors.last()) else {
        return String::new();
    };
    format!(
        "\nThe noise of this machine is the range of the middle half of a floor's rounds, as a share \
         of their median. It is {:.1} % for the median operation, and {:.1} % for the worst \
         (`{id}`).\n",
        median.0 * 100.0,
        worst * 100.0,
    )
}

fn overview(operations: &[Operation]) -> String {
    if operations.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "\n## Operations\n\n\
         ![The cost of each contender as a ratio to the floor, for each operation]({CHARTS}/{RATIOS})\n\n\
         ![What was reached of each bar's limit]({CHARTS}/{BARS})\n\n\
         Medians, with the ratio to the floor in brackets.\n\n\
         | operation | floor | ours | peers | bar | |\n|---|---|---|---|---|---|\n"
    );
    for operation in operations {
        let of = |role| {
            let contenders = operation.contenders.iter().filter(|it| it.role() == role);
            let told: Vec<_> = contenders.map(|it| brief(operation, it)).collect();
            told.join("<br>")
        };
        let bars: Vec<_> = operation
            .bars
            .iter()
            .map(|bar| {
                let limit = limit(operation, bar);
                format!("{} {limit}", short(bar.who)).trim().to_owned()
            })
            .collect();
        let met: Vec<_> = operation
            .bars
            .iter()
            .map(|bar| outcome(operation.meets(bar)))
            .collect();
        let _ = writeln!(
            text,
            "| [{}](#{}) | {} | {} | {} | {} | {} |",
            operation.name,
            anchor(operation.id),
            of(Role::Floor),
            of(Role::Ours),
            of(Role::Peer),
            bars.join("<br>"),
            met.join("<br>"),
        );
    }
    text
}

/// `.wait() 20.1 µs (1.03)`
fn brief(operation: &Operation, contender: &Measured) -> String {
    let value = Value(contender.spread().median, operation.unit);
    let name = match contender.role() {
        Role::Floor | Role::Ours => short(contender.who),
        Role::Peer => contender.who,
    };
    let ratio = operation
        .floor_of(contender.who)
        .map(|floor| format!(" ({:.2})", operation.ratios(contender.who, floor).median));
    format!("{name} {value}{}", ratio.unwrap_or_default())
        .trim()
        .to_owned()
}

/// The name without its role.
fn short(who: &str) -> &str {
    who.split_once(", ").map_or("", |(_, name)| name)
}

fn section(operation: &Operation) -> String {
    let mut text = heading(operation.id, &operation.name, &operation.about);
    text += "\n| who | median | middle half of the rounds | ratio |\n|---|--:|--:|--:|\n";
    for contender in &operation.contenders {
        let spread = contender.spread();
        let value = |value| Value(value, operation.unit);
        let ratio = operation.floor_of(contender.who).map(|floor| {
            let ratio = operation.ratios(contender.who, floor).median;
            let is_first = floor == operation.contenders[0].who;
            let of = if is_first {
                String::new()
            } else {
                format!(" of {floor}")
            };
            format!("{ratio:.3}{of}")
        });
        let _ = writeln!(
            text,
            "| {} | {} | {} to {} | {} |",
            contender.who,
            value(spread.median),
            value(spread.lower_quartile),
            value(spread.upper_quartile),
            ratio.unwrap_or_default(),
        );
    }
    text.push('\n');
    for bar in &operation.bars {
        let _ = writeln!(
            text,
            "- {}: {}",
            outcome(operation.meets(bar)),
            told(operation, bar)
        );
    }
    text
}

fn growth(curve: &Curve) -> String {
    let mut text = heading(curve.id, &curve.name, &curve.about);
    let _ = writeln!(
        text,
        "\n![{}]({CHARTS}/{})\n",
        curve.name,
        chart_name(curve)
    );
    let names: Vec<_> = curve.lines.iter().map(|line| line.who).collect();
    let _ = writeln!(text, "| {} | {} |", curve.grows, names.join(" | "));
    let _ = writeln!(text, "|--:|{}", "--:|".repeat(names.len()));
    let sizes = curve.lines.first().map(Line::medians);
    for (size, _) in sizes.into_iter().flatten() {
        let of = |line: &Line| {
            let found = line
                .medians()
                .find(|(other, _)| other.total_cmp(&size).is_eq());
            found.map_or_else(String::new, |(_, value)| {
                Value(value, curve.unit).to_string()
            })
        };
        let values: Vec<_> = curve.lines.iter().map(of).collect();
        let _ = writeln!(
            text,
            "| {} | {} |",
            Value(size, curve.sizes),
            values.join(" | ")
        );
    }
    text.push('\n');
    for bar in &curve.bars {
        let met = outcome(curve.meets(bar));
        let _ = writeln!(text, "- {met}: {}", curve.told(bar));
    }
    text
}

fn heading(id: &str, name: &str, about: &str) -> String {
    let mut capital = name.chars();
    let name: String = capital
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .chain(capital)
        .collect();
    format!("\n### {id}\n\n**{name}.** {about}\n")
}

/// `ours, .wait(): 1.032 of the floor, at most 1.05`
fn told(operation: &Operation, bar: &Bar) -> String {
    let reached = operation.reached(bar);
    let reached = match bar.limit {
        Limit::RatioAtMost(_, to) | Limit::RatioAtLeast(_, to) => format!("{reached:.3} of {to}"),
        Limit::AtMost(_) => Value(reached, operation.unit).to_string(),
    };
    format!("{}: {reached}, {}", bar.who, limit(operation, bar))
}

fn limit(operation: &Operation, bar: &Bar) -> String {
    match bar.limit {
        Limit::RatioAtMost(limit, _) => format!("at most {limit}"),
        Limit::RatioAtLeast(limit, _) => format!("at least {limit}"),
        Limit::AtMost(limit) => format!("at most {}", Value(limit, operation.unit)),
    }
}

fn outcome(met: bool) -> &'static str {
    if met { "met" } else { "**not met**" }
}

/// GitHub's anchor of a heading: letters, digits and dashes stay.
fn anchor(heading: &str) -> String {
    heading
        .chars()
        .filter(|&letter| letter.is_alphanumeric() || letter == '-')
        .collect()
}

fn gib(bytes: u64) -> String {
    format!("{} GiB", bytes.div_ceil(1 << 30))
}

const HEAD: &str = "\
<!-- `cargo xtask bench` writes this page. Changes by hand are lost. -->

# Benchmarks

The cost of the library, compared with the least possible cost of the same work on the same host, \
and with other libraries.

- The **floor** is a small program that does the same work by bare system calls: a blocking \
socket, `vfork` and `exec`, `waitpid`. It has no deadlines, checks nothing and can do nothing else.
- **Ours** is a release build of this library, from plain code (`.wait()`) and from a task \
(`.await` on tokio).
- **Peers** are [`qapi`](https://crates.io/crates/qapi), a Rust client of QMP (blocking, and on \
tokio), and [`qemu.qmp`](https://pypi.org/project/qemu.qmp/), QEMU's own Python client. A peer is \
in a row if it can do the operation.

All contenders take turns in each round, in alternating order, so that a slow moment of the host \
affects all of them. A **ratio** is the median of the rounds' ratios; the floor is 1. A **bar** is \
a limit that was set before anything was measured.

The server is a real QEMU in the rows of commands, of the lifetime and of the guest's output. In \
the rows of floods and growth it is a scripted peer: QEMU's own time, the same for all contenders, \
would hide the difference.
";

const GROWTH: &str = "
## Growth

The same measurements while something grows. Each result is per item (machine, event, byte), so it \
should not grow. Both axes are logarithmic; a level line is a cost in proportion to the work. The \
**slope** is the exponent that fits the larger half of the sizes best: 0 is level, and 1 is work \
that grows with the square. The dashes show the steepest allowed line. It is a little above 0, \
because of noise, and because the largest sizes do not fit the processor's caches.
";

const FOOT: &str = "
## Repeat it

```sh
cargo xtask bench
```

This runs the set-up, makes a release build and measures for some 40 minutes. It writes this page, its \
charts and [benchmarks.json](benchmarks.json), which has the value of each round. On a busy host \
the results mean little. Names select rows: `cargo xtask bench console-byte`. Then nothing is \
written, unless `--out FOLDER` names a folder.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kept_page_has_the_text_of_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/benchmarks.md");
        let kept = std::fs::read_to_string(path).unwrap();
        assert!(kept.starts_with(HEAD), "the head differs");
        assert!(kept.contains(GROWTH), "the text of the growth differs");
        assert!(kept.ends_with(FOOT), "the foot differs");
    }
}
