//! The soak: many random machines with random faults at once, for a long time.
//! Nothing may leak, hang or be reported wrongly. A seed decides everything.

mod arguments;
mod clones;
mod faults;
mod machine;
mod peer;
mod plan;
mod random;
mod run;
mod tally;
mod templates;
mod verdict;
mod warnings;

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use arguments::Arguments;
use peer::{Crowd, World};
use plan::Plan;
use run::Outcome;
use templates::Templates;

fn main() -> ExitCode {
    testbed::adopt_orphans();
    let told = Arguments::parse(std::env::args_os().skip(1)).and_then(|arguments| soak(&arguments));
    match told {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs. Returns whether there was no failure.
fn soak(arguments: &Arguments) -> Result<bool, String> {
    let scratch = testbed::folder_for_sockets().join(format!("soak-{}", std::process::id()));
    let [base, work] = ["base", "work"].map(|name| scratch.join(name));
    for folder in [&base, &work] {
        make(folder)?;
    }
    if let Some((proof, linux)) = &arguments.proof {
        let is_right = clones::run(*proof, &arguments.qemus, linux, &base);
        let _ = std::fs::remove_dir_all(&scratch);
        return is_right;
    }
    let world = World {
        fake_qemu: arguments.fake_qemu.clone(),
        qemus: arguments.qemus.clone(),
        base,
        work,
        crowd: Crowd::default(),
        templates: Templates::make(&arguments.qemus, &scratch)?,
    };
    let begun = Instant::now();
    println!("seed {}", arguments.extent.seed);
    if let Some(only) = arguments.extent.only {
        println!("plan: {:?}", Plan::of(arguments.extent.seed, only));
        // Thousands of machines would print too many.
        warnings::print();
    }
    let outcome = run::run(arguments.extent, &world)?;
    summarize(&outcome, &world);
    println!("seed {}, {:.1?}", arguments.extent.seed, begun.elapsed());
    let _ = std::fs::remove_dir_all(&scratch);
    Ok(outcome.tally.failures == 0 && outcome.leaks.is_empty() && !outcome.grows())
}

fn summarize(outcome: &Outcome, world: &World) {
    println!("{}", outcome.tally);
    println!("most machines alive at once: {}", world.crowd.most());
    for (when, sample) in ["start", "middle", "end"]
        .iter()
        .zip(outcome.three_samples())
    {
        println!("at the {when}, {sample}");
    }
    if outcome.grows() {
        println!("LEAKED: the memory grows");
    }
    println!("leaks: {}", outcome.leaks.len());
}

fn make(folder: &Path) -> Result<(), String> {
    std::fs::create_dir_all(folder)
        .map_err(|error| format!("cannot create {}: {error}", folder.display()))
}
