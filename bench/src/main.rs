//! Measures a console against the plainest that could stand in its place, in
//! the same run and round by round: `cat` on the same socket, or a thread that
//! waits in `read`.
//!
//! `cargo xtask bench` builds what it needs and runs it, optimised.

mod flood;
mod latency;
mod spread;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use flood::{Drain, Source};
use spread::Spread;

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let (Some(fake_qemu), qemu) = (words.next(), words.next()) else {
        eprintln!("usage: bench FAKE_QEMU [QEMU]");
        return ExitCode::FAILURE;
    };
    match run(fake_qemu.as_ref(), qemu.map(PathBuf::from)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures all, and tells whether every bar is met.
fn run(fake_qemu: &Path, qemu: Option<PathBuf>) -> Result<bool, Failure> {
    let mut met = true;
    let socket = Source::Socket {
        program: fake_qemu.to_owned(),
        bytes: 256 << 20,
    };
    println!("a flood of 256 MiB through a socket, {ROUNDS} rounds");
    met &= floods(&socket)?;
    if let Some(program) = qemu {
        let bytes = 200_000;
        println!("a flood of {bytes} bytes by a guest, {ROUNDS} rounds");
        met &= floods(&Source::Guest { program, bytes })?;
    }
    println!("a byte there and back, {} times", latency::TIMES);
    let [ours, floor] = latency::both(fake_qemu)?;
    println!("  by expect      {ours} us");
    println!("  by read        {floor} us");
    met &= bar(
        "the median by expect, in us, is at most",
        ours.median,
        1000.0,
        false,
    );
    Ok(met)
}

fn floods(source: &Source) -> Result<bool, Failure> {
    let mut rates = vec![Vec::new(); Drain::ALL.len()];
    let mut grown_kib = 0;
    // One after the other in each round, so that a slow time of the host is
    // one for all.
    for _ in 0..ROUNDS {
        for (drain, rates) in Drain::ALL.iter().zip(&mut rates) {
            let run = source.run(*drain)?;
            grown_kib = grown_kib.max(run.grown_kib);
            rates.push(run.megabytes_per_second);
        }
    }
    for (drain, rates) in Drain::ALL.iter().zip(&rates) {
        println!("  {:<26} {} MB/s", drain.name(), Spread::of(rates));
    }
    let ratio = |part: Drain, whole: Drain| {
        let of = |drain| rates[Drain::ALL.iter().position(|it| *it == drain).unwrap_or(0)].iter();
        let ratios: Vec<f64> = of(part)
            .zip(of(whole))
            .map(|(part, whole)| part / whole)
            .collect();
        Spread::of(&ratios)
    };
    let mut met = true;
    for (what, part, whole, least) in [
        ("plain to cat", Drain::Plain, Drain::Cat, Some(0.8)),
        (
            "logged to cat into a file",
            Drain::Logged,
            Drain::CatToFile,
            Some(0.8),
        ),
        (
            "searched to plain",
            Drain::Searched,
            Drain::Plain,
            Some(0.5),
        ),
        ("past noise to plain", Drain::PastNoise, Drain::Plain, None),
        ("with a screen to plain", Drain::Shown, Drain::Plain, None),
    ] {
        let ratio = ratio(part, whole);
        println!("  {what:<26} {ratio}");
        if let Some(least) = least {
            met &= bar("  its median is at least", ratio.median, least, true);
        }
    }
    let grown = f64::from(grown_kib) / 1024.0;
    println!("  the memory grew by at most {grown:.1} MiB, of which the ring is 1 MiB");
    Ok(met & bar("  it is, in MiB, at most", grown, 8.0, false))
}

fn bar(what: &str, value: f64, limit: f64, is_least: bool) -> bool {
    let is_met = if is_least {
        value >= limit
    } else {
        value <= limit
    };
    let outcome = if is_met { "met" } else { "NOT MET" };
    println!("  {what} {limit}: {outcome}");
    is_met
}

const ROUNDS: usize = 5;
