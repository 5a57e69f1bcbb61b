//! Many clones of one guest: one after the other, and alive at once. The program
//! `soak` proves what they have of their own.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use super::{OURS, each_at_most, guest};
use crate::Failure;
use crate::operation::{Measured, Operation, Unit};
use crate::setting::Setting;

pub(super) const ROWS: [&str; 3] = ["template-many", "template-many/each", "template-alive"];

/// The clones one after the other, with both QEMUs at once.
pub(super) fn one_by_one(setting: &Setting) -> Result<[Operation; 2], Failure> {
    let clones = setting.size(1000, 2);
    let qemus = guest::qemus(setting)?;
    let proofs = thread::scope(|scope| {
        let one = |qemu: &Path| prove(setting, qemu, "--clones", clones);
        let begin = |qemu| scope.spawn(move || one(qemu));
        let running: Vec<_> = qemus.iter().map(|qemu| begin(qemu)).collect();
        let proofs = running.into_iter().map(thread::ScopedJoinHandle::join);
        let proofs = proofs.map(|proof| proof.unwrap_or(Err("a panic".into())));
        proofs.collect::<Result<Vec<_>, String>>()
    })?;
    let wrong = |printed: &String| {
        let is_same: bool = value(printed, "the template's files are the same")?;
        let count: f64 = value(printed, "equal or too large")?;
        let leaks: f64 = value(printed, "leaks")?;
        Ok(count + leaks + f64::from(u8::from(!is_same)))
    };
    let wrong = of_each(&proofs, wrong)?;
    let seconds = of_each(&proofs, |printed| value(printed, "seconds for each"))?;
    Ok([
        Operation {
            id: ROWS[0],
            name: format!("{clones} clones, one after the other: what is wrong"),
            about: "How many values two of these clones have in common: machine id, boot id, \
                    UUID, random bytes, MAC address, generation. What is left of them counts too, \
                    and a change of the template's files. Each clone has a network card, and \
                    shows a nonce that only the memory of the template has."
                .into(),
            unit: Unit::Count,
            bars: each_at_most(&wrong, 0.0),
            contenders: wrong,
        },
        Operation {
            id: ROWS[1],
            name: "one of these clones".into(),
            about: "The time of each of them: it is launched and woken, shows these values, and \
                    is killed. The clones of the two QEMUs run side by side."
                .into(),
            unit: Unit::Seconds,
            contenders: seconds,
            bars: Vec::new(),
        },
    ])
}

/// The memory of clones that are alive at once.
pub(super) fn alive(setting: &Setting) -> Result<Operation, Failure> {
    let clones = setting.size(100, 2);
    let qemus = guest::qemus(setting)?;
    let proofs = qemus
        .iter()
        .map(|qemu| prove(setting, qemu, "--alive", clones));
    let proofs = proofs.collect::<Result<Vec<_>, String>>()?;
    let bytes = of_each(&proofs, |printed| value(printed, "bytes in all"))?;
    let limit: f64 = value(&proofs[0], "limit in bytes")?;
    Ok(Operation {
        id: ROWS[2],
        name: format!("the memory of {clones} clones alive at once"),
        about:
            "The memory of all their QEMUs, in which a page that several processes share counts \
                once (`Pss` of proc(5)). Each has answered twice, once with all others alive. The \
                bar is the memory of the template, and 48 MiB for each clone."
                .into(),
        unit: Unit::Bytes,
        bars: each_at_most(&bytes, limit),
        contenders: bytes,
    })
}

/// Runs a proof to its end, and returns what it printed.
fn prove(setting: &Setting, qemu: &Path, proof: &str, clones: usize) -> Result<String, String> {
    let mut soak = Command::new(setting.command.with_file_name("soak"));
    soak.arg("--qemu")
        .arg(qemu)
        .arg("--linux")
        .arg(&setting.linux);
    soak.arg(proof).arg(clones.to_string()).stdin(Stdio::null());
    let output = soak
        .output()
        .map_err(|error| format!("{soak:?}: {error}"))?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    // It fails if something is wrong, and says what in these lines.
    if output.status.success() || printed.contains("FAILED:") {
        eprint!("{printed}");
        return Ok(printed);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("{soak:?}: {}: {errors}", output.status))
}

/// The value that a line of a proof gives to this name.
fn value<T: std::str::FromStr>(printed: &str, name: &str) -> Result<T, String> {
    let values = printed
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let mut values = values.filter_map(|value| value.parse().ok());
    values
        .next()
        .ok_or_else(|| format!("no '{name}' in:\n{printed}"))
}

/// A value of each QEMU's proof.
fn of_each(
    proofs: &[String],
    value: impl Fn(&String) -> Result<f64, String>,
) -> Result<Vec<Measured>, String> {
    let measured = |(who, printed)| {
        let values = vec![value(printed)?];
        Ok(Measured { who, values })
    };
    OURS.into_iter().zip(proofs).map(measured).collect()
}
