//! What becomes of a machine when the program that launched it dies.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{self, Qemu, Scratch};
use qemu_machine::Wait;

/// Names the QEMU that the other process launches, and where.
const QEMU: &str = "REAL_PARENT_QEMU";
const BASE: &str = "REAL_PARENT_BASE";
const WRAPPER: &str = "REAL_PARENT_WRAPPER";

/// The other process: launches a machine and waits for its end. QEMU holds
/// our standard output too, so that its end is seen from outside.
#[test]
fn the_other_process() {
    let (Some(binary), Some(base)) = (std::env::var_os(QEMU), std::env::var_os(BASE)) else {
        return;
    };
    let qemu = Qemu {
        version: String::new(),
        binary: binary.into(),
    };
    let wrapper = std::env::var(WRAPPER).unwrap_or_default();
    let output = std::io::stdout().as_fd().try_clone_to_owned().unwrap();
    let vm = qemu
        .tiny()
        .base_dir(base)
        .add_fd(1, output, None)
        .wrapper(wrapper.split_whitespace())
        .launch()
        .wait()
        .unwrap();
    println!("launched");
    let _ = vm.wait_for_exit().timeout(None).wait();
}

/// Starts the other process, and waits until its machine runs.
fn launch_elsewhere(
    qemu: &Qemu,
    base: &Path,
    wrapper: &str,
) -> (Child, BufReader<impl Read + use<>>) {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "real_parent::the_other_process", "--nocapture"])
        .env(QEMU, &qemu.binary)
        .env(BASE, base)
        .env(WRAPPER, wrapper)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(process.stdout.take().unwrap());
    let mut line = String::new();
    // The test runner's words may stand before ours.
    while !line.contains("launched") {
        line.clear();
        assert_ne!(output.read_line(&mut line).unwrap(), 0, "it ended");
    }
    (process, output)
}

// D1, W1
#[test]
fn qemu_dies_with_the_process_that_launched_it_and_the_next_launch_sweeps() {
    for qemu in support::qemus() {
        for signal in ["KILL", "TERM", "ABRT"] {
            let base = Scratch::new("real-parent");
            let (mut process, mut output) = launch_elsewhere(&qemu, base.path(), "");
            let id = process.id().to_string();
            let killed = Instant::now();
            assert!(
                Command::new("kill")
                    .args(["-s", signal, &id])
                    .status()
                    .unwrap()
                    .success()
            );
            // Until nobody is left who could write: the process, and QEMU, which
            // lets go of its descriptors when it ends.
            output.read_to_end(&mut Vec::new()).unwrap();
            assert!(
                killed.elapsed() < Duration::from_secs(20),
                "{signal}: {:?}",
                killed.elapsed()
            );
            process.wait().unwrap();

            assert_eq!(std::fs::read_dir(base.path()).unwrap().count(), 1);
            let vm = qemu.tiny().base_dir(base.path()).launch().wait().unwrap();
            assert_eq!(std::fs::read_dir(base.path()).unwrap().count(), 1);
            drop(vm);
            assert_eq!(std::fs::read_dir(base.path()).unwrap().count(), 0);
        }
    }
}

// R1
#[test]
fn a_qemu_in_a_session_of_its_own_dies_with_the_process_that_launched_it() {
    for qemu in support::qemus() {
        let base = Scratch::new("real-parent-session");
        let wrapper = "setsid --wait";
        let (mut process, mut output) = launch_elsewhere(&qemu, base.path(), wrapper);
        let killed = Instant::now();
        process.kill().unwrap();
        // Until QEMU, which no signal to a group reaches, is gone too.
        output.read_to_end(&mut Vec::new()).unwrap();
        assert!(killed.elapsed() < Duration::from_secs(5));
        process.wait().unwrap();
    }
}
