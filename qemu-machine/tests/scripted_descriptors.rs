//! Descriptors: a machine has those that are meant for it and no others, and
//! a failed launch leaves none here. Alone in its process, for it counts them.
#![allow(missing_docs)]

mod support;

use std::sync::Mutex;

use qemu_machine::{Console, Machine, Wait};
use support::{fake, text};

/// One at a time: each looks at the descriptors of the whole process.
static ALONE: Mutex<()> = Mutex::new(());

const SCRIPT: &str = "greet\nnegotiate\nprint-fds\nserve";

/// What the machine's process had open: its numbers, and what is behind each.
fn descriptors(vm: &Machine) -> Vec<(u32, String)> {
    let report = vm.shutdown().wait().unwrap();
    let output = text(&report.output_tail);
    let listing = output.strip_suffix("fds done\n").unwrap();
    let parse = |line: &str| {
        let (number, target) = line
            .strip_prefix("fd ")
            .unwrap()
            .split_once(" -> ")
            .unwrap();
        (number.parse().unwrap(), target.to_owned())
    };
    listing.lines().map(parse).collect()
}

fn kinds(descriptors: &[(u32, String)]) -> Vec<(u32, &str)> {
    let kind = |target: &'static str| target;
    descriptors
        .iter()
        .map(|(number, target)| match target {
            target if target == "/dev/null" => (*number, kind("/dev/null")),
            target if target.starts_with("pipe:") => (*number, kind("pipe")),
            target if target.starts_with("socket:") => (*number, kind("socket")),
            other => panic!("{other}"),
        })
        .collect()
}

fn open_here() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

// D2, P5
#[test]
fn a_machine_has_exactly_the_descriptors_meant_for_it() {
    let _alone = ALONE.lock();
    let standard = [(0, "/dev/null"), (1, "pipe"), (2, "pipe")];
    let plain = fake(SCRIPT).launch().wait().unwrap();
    // The last one is the lifeline of the machine's processes.
    assert_eq!(
        kinds(&descriptors(&plain)),
        [&standard[..], &[(3, "socket"), (4, "socket")]].concat()
    );

    let (_reader, writer) = std::io::pipe().unwrap();
    let rich = fake(SCRIPT)
        .console(Console::serial())
        .add_fd(7, std::fs::File::open("/dev/null").unwrap(), None)
        .add_fd(8, writer, Some("a,b"));
    let expected = [
        (3, "socket"),
        (4, "socket"),
        (5, "/dev/null"),
        (6, "pipe"),
        (7, "socket"),
    ];
    let rich = rich.launch().wait().unwrap();
    assert_eq!(
        kinds(&descriptors(&rich)),
        [&standard[..], &expected].concat()
    );
}

// D2: descriptors of one launch never reach another's process.
#[test]
fn machines_launched_at_once_share_no_descriptor() {
    let _alone = ALONE.lock();
    let launch = || {
        fake(SCRIPT)
            .console(Console::serial())
            .launch()
            .wait()
            .unwrap()
    };
    let machines: Vec<Machine> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(launch)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let mut seen = std::collections::BTreeSet::new();
    for vm in &machines {
        let open = descriptors(vm);
        assert_eq!(kinds(&open).len(), 6, "{open:?}");
        // Standard output and error are one pipe.
        assert_eq!(open[1].1, open[2].1);
        for (_, target) in open.iter().skip(2) {
            assert!(seen.insert(target.clone()), "{target} is in two machines");
        }
    }
}

// D2: while others live, each machine's end is seen by its own monitor.
#[test]
fn the_end_of_one_machine_is_seen_while_others_launched_with_it_live() {
    let _alone = ALONE.lock();
    let machines: Vec<Machine> = std::thread::scope(|scope| {
        let launch = || {
            fake("greet\nnegotiate\nexpect *\nmonitor-close\nsilent")
                .launch()
                .wait()
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(launch)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap().unwrap())
            .collect()
    });
    for vm in &machines {
        // Its end of stream comes, although the process and all others live.
        let reply = vm.monitor().execute_json("x", ()).timeout(None).wait();
        assert!(reply.unwrap_err().disconnected().is_some());
        assert!(vm.is_running());
    }
    for vm in machines {
        vm.kill().wait().unwrap();
    }
}

// D11
#[test]
fn failed_launches_leave_no_descriptor() {
    let _alone = ALONE.lock();
    let fails = |builder: qemu_machine::MachineBuilder| {
        builder
            .console(Console::serial())
            .launch()
            .wait()
            .unwrap_err();
    };
    let missing = || Machine::builder("/nonexistent");
    fails(missing());
    fails(fake("exit 1"));
    let before = open_here();
    for _ in 0..50 {
        fails(missing());
    }
    for _ in 0..10 {
        fails(fake("exit 1"));
        fails(fake("send x\nmonitor-close\nsilent"));
        fails(fake("serve").current_dir("/nonexistent"));
    }
    // The engine may still close those of the last machine. Each kind of launch
    // would leave ten.
    assert!(open_here() < before + 10, "{before} at first");
}

// W1
#[test]
fn machines_that_have_ended_leave_no_descriptor_once_dropped() {
    let _alone = ALONE.lock();
    let lives = || {
        let launch = || {
            fake("greet\nnegotiate\nserve")
                .console(Console::serial())
                .launch()
                .wait()
                .unwrap()
        };
        launch().shutdown().wait().unwrap();
        launch().kill().wait().unwrap();
        drop(launch());
    };
    lives();
    let before = open_here();
    for _ in 0..10 {
        lives();
    }
    assert!(open_here() < before + 10, "{before} at first");
}
