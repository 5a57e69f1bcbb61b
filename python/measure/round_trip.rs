//! The time of a command's round trip by the Rust library, for `measure.py`.

use std::error::Error;
use std::time::Instant;

use qemu_machine::{Machine, Wait};
use serde_json::json;

fn main() -> Result<(), Box<dyn Error>> {
    let vm = Machine::builder("qemu-system-x86_64")
        .args(["-machine", "none", "-nodefaults", "-S"])
        .launch()
        .wait()?;
    let execute = || vm.monitor().execute_json("query-status", json!({})).wait();
    for _ in 0..ROUND_TRIPS / 10 {
        execute()?;
    }
    let begun = Instant::now();
    for _ in 0..ROUND_TRIPS {
        execute()?;
    }
    println!("{}", begun.elapsed().as_secs_f64() / f64::from(ROUND_TRIPS));
    Ok(())
}

const ROUND_TRIPS: u32 = 5000;
