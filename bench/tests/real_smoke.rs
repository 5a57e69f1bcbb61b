//! Runs every measurement of the bench once and briefly, so that the bench stays
//! usable. It fails only if something cannot be measured.
#![allow(missing_docs)]

use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn every_row_can_be_measured() {
    let program = Path::new(env!("CARGO_BIN_EXE_bench"));
    // It takes about 15 s. If it hangs, it must not delay all other tests.
    let mut bench = Command::new("timeout");
    bench.args(["--kill-after=10", "300"]).arg(program);
    // Cargo builds both into one folder.
    bench
        .arg("--fake-qemu")
        .arg(program.with_file_name("fake-qemu"));
    bench.arg("--qemu").arg(newest());
    bench
        .arg("--command")
        .arg(program.with_file_name("qemu-machine"));
    bench.arg("--linux").arg(target().join("guests/linux"));
    let python = target().join("bench/python/bin/python");
    if python.is_file() {
        bench.arg("--python").arg(python);
    }
    let output = bench.arg("--smoke").output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\n{errors}");
}

/// The newest QEMU.
fn newest() -> PathBuf {
    let versions = std::fs::read_dir(target().join("qemu"));
    let mut versions: Vec<(Vec<u32>, PathBuf)> = versions
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| {
            let name = version.file_name().to_string_lossy().into_owned();
            let numbers = name.split('.').map(|part| part.parse().unwrap_or(0));
            (numbers.collect(), version.path().join("qemu-system-x86_64"))
        })
        .filter(|(_, qemu)| qemu.is_file())
        .collect();
    versions.sort();
    let newest = versions.pop();
    newest.expect("no QEMU: run `cargo xtask setup`").1
}

fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target")
}
