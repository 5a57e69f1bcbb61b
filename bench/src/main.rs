//! Measures the library against the floor, which is the same work by bare
//! calls, and against its peers, in the same run and turn by turn.
//!
//! `cargo xtask bench` builds what it needs and runs it, optimised.

#![allow(dead_code)]

mod console;
mod monitor;
mod operation;
mod setting;
mod spread;
mod table;
mod topic;
mod turns;

use std::process::ExitCode;

use operation::Operation;
use setting::Setting;
use table::Table;
use topic::Topic;

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let done = Setting::parse(std::env::args_os().skip(1))
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

/// Measures all, and tells whether every bar is met. In a smoke run they do not
/// count: it is too short for that.
fn run(setting: &Setting) -> Result<bool, Failure> {
    let known = TOPICS.iter().flat_map(|topic| topic.rows).copied();
    topic::check_ids(setting, known)?;
    let mut operations: Vec<Operation> = Vec::new();
    for topic in TOPICS {
        for operation in topic.run(setting)? {
            println!("{}", Table(&operation));
            operations.push(operation);
        }
    }
    let met = operations
        .iter()
        .all(|operation| operation.bars.iter().all(|bar| operation.meets(bar)));
    Ok(met || setting.extent == setting::Extent::Smoke)
}

/// In the order of the report.
const TOPICS: [Topic; 2] = [monitor::TOPIC, console::TOPIC];
