//! The page that is read by people, in Markdown.

use std::fmt::Write;

use super::{CHARTS, RATIOS, Report, chart_name};
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

/// How many bars are met, and each that is not.
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
        text += " Not met, for reasons that [ARCHITECTURE.md](../ARCHITECTURE.md#measured) tells \
                 where they are not the noise of one run:\n\n";
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
         | QEMU, where a real one takes part | {} |\n\
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

/// By how much one and the same thing differs here from round to round.
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
        "\nIts noise: the middle half of a floor's rounds, in which nothing of ours takes part, \
         lies within {:.1} % of their median for the median operation, and within {:.1} % for \
         the worst (`{id}`).\n",
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
         ![How many times the floor's cost each takes, for each operation]({CHARTS}/{RATIOS})\n\n\
         Medians; in brackets the ratio to the floor.\n\n\
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

/// Without what the name begins with in any case.
fn short(who: &str) -> &str {
    who.split_once(", ").map_or("", |(_, name)| name)
}

fn section(operation: &Operation) -> String {
    let mut text = heading(operation.id, &operation.name, &operation.about);
    text += "\n| who | median | half of the rounds within | ratio |\n|---|--:|--:|--:|\n";
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

/// As GitHub makes one of a heading: letters, digits and dashes stay.
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
<!-- `cargo xtask bench` writes this page. What is changed here is lost. -->

# Benchmarks

What the library costs, compared with the least that the same work can cost on the same machine, \
and with what others need for it.

- The **floor** is a small program that does the same work by bare system calls: a blocking \
socket, `vfork` and `exec`, `waitpid`. It has no deadlines, checks nothing and can do nothing else.
- **Ours** is this library, optimised, from plain code (`.wait()`) and from a task (`.await` on \
tokio).
- **Peers** are [`qapi`](https://crates.io/crates/qapi), a Rust client of QMP (blocking, and on \
tokio), and [`qemu.qmp`](https://pypi.org/project/qemu.qmp/), QEMU's own Python client; each where \
it can do the operation.

All of them have their turn in each round, in alternating order, so that a slow time of the host \
is one for all. A **ratio** is the median of the rounds' ratios: 1 is the floor itself. A **bar** \
is what was to be reached before anything was measured.

The rows of the monitor's commands, of the lifetime and of what a guest says have a real QEMU on the \
other side; floods and growth have a scripted peer, so that QEMU's own time, which is the same for \
all, does not hide the difference.
";

const GROWTH: &str = "
## Growth

The same figures where something grows. Each is of a share (per machine, per event, per byte), so \
it should not grow at all: both axes are logarithmic, and a level line is a cost in proportion to \
the work. The **slope** is the exponent that fits the larger half of the sizes best: 0 is level, 1 \
would be work that grows with the square. The dashes show the steepest that a line may be; it is a \
little above 0, as caches, which are smaller than the largest sizes, and noise take their part.
";

const FOOT: &str = "
## Repeat it

```sh
cargo xtask bench
```

sets up what is missing, builds everything optimised, measures for some minutes and writes this \
page, its charts and [benchmarks.json](benchmarks.json), which has the value of each round. On a \
machine that does anything else the figures mean little. Names (`cargo xtask bench console-byte`) \
choose what is measured; then nothing is written, unless `--out FOLDER` says where.
";
