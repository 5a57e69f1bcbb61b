//! Compares the library with the floor (the same work by bare system calls) and
//! with its peers. All of them take turns in the same run.
//!
//! `cargo xtask bench` makes a release build and runs it.

mod command;
mod console;
mod curve;
mod growth;
mod lifetime;
mod monitor;
mod operation;
mod report;
mod runtime;
mod setting;
mod spread;
mod sys;
mod table;
mod template;
mod topic;
mod turns;

use std::process::ExitCode;

use report::{Host, Load, Report};
use setting::Setting;
use table::{GrowthTable, Table};
use topic::Topic;

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let words = || std::env::args_os().skip(1);
    if let Some(worked) = lifetime::worker::run(words()) {
        return match worked {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        };
    }
    let done = Setting::parse(words())
        .map_err(Failure::from)
        .and_then(|setting| run(&setting));
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures everything. Returns whether every bar is met. A smoke run is too
/// short for that, so there the bars do not count.
fn run(setting: &Setting) -> Result<bool, Failure> {
    let rows = TOPICS.iter().flat_map(|topic| topic.rows);
    let growing = growth::TOPICS.iter().flat_map(|topic| topic.rows);
    let known = rows.chain(growing).copied();
    topic::check_ids(setting, known)?;
    let host = Host::read(&setting.qemu)?;
    let begin = Load::read()?;
    let mut operations = Vec::new();
    for topic in TOPICS {
        for operation in topic.run(setting)? {
            println!("{}", Table(&operation));
            operations.push(operation);
        }
    }
    let mut curves = Vec::new();
    for topic in growth::TOPICS {
        for curve in topic.run(setting)? {
            println!("{}", GrowthTable(&curve));
            curves.push(curve);
        }
    }
    let report = Report {
        host,
        load: [begin, Load::read()?],
        operations,
        curves,
    };
    let files = report.files()?;
    if let Some(folder) = setting.folder() {
        report::keep(&files, &folder)?;
        println!("the report is in {}", folder.display());
    }
    Ok(report.meets_every_bar() || setting.extent == setting::Extent::Smoke)
}

/// In the order of the report.
const TOPICS: [Topic; 5] = [
    monitor::TOPIC,
    lifetime::TOPIC,
    console::TOPIC,
    command::TOPIC,
    template::TOPIC,
];
