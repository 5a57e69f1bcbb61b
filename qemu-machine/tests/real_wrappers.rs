//! Wrappers, scripts and QEMU's own options can make QEMU leave the started
//! process. Nothing of it lives on. A program that adopts orphans gets no zombie.
#![allow(missing_docs)]

mod support;

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use qemu_machine::error::{LaunchError, LaunchFailure};
use qemu_machine::life::SurvivorOutcome;
use qemu_machine::spec::Monitor;
use qemu_machine::{ExitReport, MachineBuilder, Wait};
use support::{Qemu, Scratch, scenario};

/// A mark by which all processes of a machine are found.
struct Mark(String);

impl Mark {
    fn new(what: &str) -> Self {
        Self(format!("mark-{}-{what}", std::process::id()))
    }

    /// A machine with the tiny guest under this wrapper.
    fn machine(&self, qemu: &Qemu, wrapper: &[&str]) -> MachineBuilder {
        let builder = qemu.tiny().args(["-name", &self.0]);
        builder.wrapper(wrapper.iter().copied())
    }

    /// The processes with the mark on their command line; a zombie has none.
    fn processes(&self) -> Vec<String> {
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let words = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
        let words = words.map(|words| support::text(&words).replace('\0', " "));
        words.filter(|words| words.contains(&self.0)).collect()
    }
}

/// Wrappers that end at once, and leave QEMU in the group or in a new session,
/// with its output or without.
const LEAVING: [&[&str]; 4] = [
    &["setsid"],
    &["sh", "-c", "\"$@\" &", "sh"],
    &["sh", "-c", "setsid \"$@\" &", "sh"],
    &["sh", "-c", "setsid \"$@\" >/dev/null 2>&1 &", "sh"],
];

/// Wrappers that wait for a QEMU in a new session.
const WAITING: [&[&str]; 2] = [
    &["setsid", "--wait"],
    &["sh", "-c", "setsid --wait \"$@\" >/dev/null 2>&1; :", "sh"],
];

/// A process that `report` has, which was killed.
fn names(report: &ExitReport, name: &str) {
    let survivors = &report.survivors;
    let named = survivors.iter().any(|it| it.name.starts_with(name));
    let killed = survivors
        .iter()
        .all(|it| it.outcome == SurvivorOutcome::Killed);
    assert!(named && killed, "{report}");
    assert!(report.to_string().contains("was left running"), "{report}");
}

// R1
scenario! {
    fn an_option_by_which_qemu_leaves_its_process_is_refused_before_anything_runs(qemu) {
        for option in ["-daemonize", "--daemonize"] {
            let scratch = Scratch::new("refused");
            let file = scratch.join("pid");
            let builder = qemu.tiny().base_dir(scratch.path()).arg(option);
            let builder = builder.args(["-pidfile".as_ref(), file.as_os_str()]);
            let error: LaunchError = run!(builder.launch()).unwrap_err();
            assert!(matches!(&*error.failure, LaunchFailure::Refused { option: it } if it == option), "{error}");
            assert!(error.to_string().contains(option), "{error}");
            assert!(error.advice().unwrap().contains("in the background"), "{error}");
            assert!(scratch.names().is_empty());
        }
    }
}

// R1
#[test]
fn a_wrapper_that_leaves_qemu_behind_fails_the_launch_and_names_it() {
    for qemu in support::qemus() {
        for wrapper in LEAVING {
            let mark = Mark::new("leaving");
            let error = mark.machine(&qemu, wrapper).launch().wait().unwrap_err();
            assert_eq!(mark.processes(), [] as [&str; 0], "{wrapper:?}");
            assert!(matches!(*error.failure, LaunchFailure::Exited), "{error}");
            let survivors = &error.report.as_ref().unwrap().survivors;
            assert!(!survivors.is_empty(), "{wrapper:?}: {error}");
            assert!(error.to_string().contains("was left running"), "{error}");
            assert!(error.advice().unwrap().contains("setsid --wait"), "{error}");
        }
    }
}

// R1: without a monitor the machine is taken as launched, and ends at once.
#[test]
fn without_a_monitor_a_qemu_that_is_left_behind_ends_all_the_same() {
    for qemu in support::qemus() {
        for wrapper in LEAVING {
            let mark = Mark::new("unmonitored");
            let vm = mark.machine(&qemu, wrapper).monitor(Monitor::Off);
            let report = vm.launch().wait().unwrap().wait_for_exit().wait().unwrap();
            assert_eq!(mark.processes(), [] as [&str; 0], "{wrapper:?}");
            assert!(!report.survivors.is_empty(), "{wrapper:?}: {report}");
        }
    }
}

// R1: it is launched where QEMU greets before the first process ends.
#[test]
fn a_script_that_adds_daemonize_leaves_nothing() {
    let script = ["sh", "-c", "exec \"$@\" -daemonize", "sh"];
    for qemu in support::qemus() {
        for monitor in [Monitor::SocketPair, Monitor::Off] {
            let mark = Mark::new("daemon");
            let vm = mark.machine(&qemu, &script).monitor(monitor).launch();
            if let Ok(vm) = vm.wait() {
                let report = vm.wait_for_exit().wait().unwrap();
                names(&report, "qemu-system");
            }
            assert_eq!(mark.processes(), [] as [&str; 0]);
        }
    }
}

// R1
scenario! {
    fn a_qemu_in_a_session_of_its_own_ends_with_its_machine(qemu) {
        for wrapper in WAITING {
            let mark = Mark::new("waiting");
            let builder = mark.machine(&qemu, wrapper);
            let soft = run!(builder.launch()).unwrap();
            run!(soft.console().expect("> ")).unwrap();
            let report = run!(soft.shutdown()).unwrap();
            assert_eq!(mark.processes(), [] as [&str; 0], "{report}");
            assert!(report.survivors.is_empty(), "{report}");

            let hard = run!(builder.launch()).unwrap();
            run!(hard.console().expect("> ")).unwrap();
            let report = run!(hard.kill()).unwrap();
            assert_eq!(mark.processes(), [] as [&str; 0], "{report}");
            names(&report, "qemu-system");

            drop(run!(builder.launch()).unwrap());
            assert_eq!(mark.processes(), [] as [&str; 0]);
        }
    }
}

// R1
#[test]
fn a_helper_in_a_session_of_its_own_ends_with_its_machine() {
    for qemu in support::qemus() {
        let mark = Mark::new("helper");
        let helper = format!("setsid sh -c 'sleep 1000; : {}' & exec \"$@\"", mark.0);
        let vm = mark.machine(&qemu, &["sh", "-c", &helper, "sh"]);
        let vm = vm.launch().wait().unwrap();
        vm.console().expect("> ").wait().unwrap();
        let report = vm.shutdown().wait().unwrap();
        assert_eq!(mark.processes(), [] as [&str; 0], "{report}");
        names(&report, "sleep");
    }
}

// R1: whatever QEMU may do by its own options.
#[test]
fn options_that_change_user_root_or_teardown_leave_nothing() {
    for qemu in support::qemus() {
        let new = !qemu.version.starts_with("7.");
        let teardown: &[&str] = if new {
            &["-run-with", "async-teardown=on"]
        } else {
            &["-async-teardown"]
        };
        let mut all = vec![teardown];
        // Only root may change them.
        if support::is_root() {
            all.push(if new {
                &["-run-with", "user=nobody"]
            } else {
                &["-runas", "nobody"]
            });
            all.push(if new {
                &["-run-with", "chroot=/tmp"]
            } else {
                &["-chroot", "/tmp"]
            });
        }
        for options in all {
            for end in ["shutdown", "kill", "drop"] {
                let mark = Mark::new("options");
                let vm = mark.machine(&qemu, &[]).args(options.iter().copied());
                let vm = vm.launch().wait().unwrap();
                match end {
                    "shutdown" => drop(vm.shutdown().wait().unwrap()),
                    "kill" => drop(vm.kill().wait().unwrap()),
                    _ => drop(vm),
                }
                assert_eq!(mark.processes(), [] as [&str; 0], "{options:?}: {end}");
            }
        }
    }
}

/// Names the QEMU that an adopting process launches.
const QEMU: &str = "REAL_WRAPPERS_QEMU";

/// The other process: it adopts orphans, and also has its children.
#[test]
fn the_adopting_process() {
    let Some(binary) = std::env::var_os(QEMU) else {
        return;
    };
    if std::process::id() != 1 {
        testbed::adopt_orphans();
    }
    let qemu = Qemu {
        version: String::new(),
        binary: binary.into(),
    };
    let mut own = Command::new("true").process_group(0).spawn().unwrap();
    let orphan = orphan();
    let mark = Mark::new("adopting");
    let forking: [&[&str]; 4] = [
        &["sh", "-c", "sleep 1000 & exec \"$@\"", "sh"],
        &["sh", "-c", "(true &); exec \"$@\"", "sh"],
        &["sh", "-c", "setsid sleep 1000 & exec \"$@\"", "sh"],
        WAITING[1],
    ];
    // The shell that leaves the guardian behind comes and goes by itself.
    let patience = || Instant::now() + Duration::from_secs(20);
    let launch_and_kill = || {
        let vm = mark.machine(&qemu, &[]).launch().wait().unwrap();
        vm.kill().wait().unwrap();
    };
    launch_and_kill();
    assert!(testbed::wait_for_ends(&BTreeSet::new(), patience()));
    launch_and_kill();
    let ends = ["shutdown", "kill", "drop"];
    for (wrapper, end) in forking.iter().flat_map(|it| ends.map(|end| (it, end))) {
        let vm = mark.machine(&qemu, wrapper).launch().wait().unwrap();
        vm.console().expect("> ").wait().unwrap();
        match end {
            "shutdown" => drop(vm.shutdown().wait().unwrap()),
            "kill" => drop(vm.kill().wait().unwrap()),
            _ => drop(vm),
        }
        assert_eq!(
            others(&[own.id(), orphan]),
            [] as [String; 0],
            "{wrapper:?}: {end}"
        );
    }
    for wrapper in LEAVING {
        mark.machine(&qemu, wrapper).launch().wait().unwrap_err();
        assert_eq!(
            others(&[own.id(), orphan]),
            [] as [String; 0],
            "{wrapper:?}"
        );
    }
    // A guardian that dies is reaped, before the next launch is done.
    let [guardian] = testbed::children_like("qemu-machine-guardian")[..] else {
        panic!("there is not one guardian")
    };
    testbed::kill(guardian);
    let deadline = patience();
    while testbed::children().contains(&guardian) {
        assert!(Instant::now() < deadline, "the guardian is not reaped");
        launch_and_kill();
    }
    // What is the program's own was left to it.
    assert!(own.wait().unwrap().success());
    assert!(testbed::children().contains(&orphan));
    assert!(testbed::reap(orphan, patience()));
    println!("all reaped");
}

/// The children of this process but these and the guardian.
fn others(but: &[u32]) -> Vec<String> {
    let all = testbed::described_children().into_iter();
    let all =
        all.filter(|(pid, words)| !but.contains(pid) && !words.contains("qemu-machine-guardian"));
    all.map(|(pid, words)| format!("{pid}: {words}")).collect()
}

/// A process that this one has adopted, which is none of a machine's, and ends.
/// It ends after its parent, for a shell may reap what ends before.
fn orphan() -> u32 {
    let mut parent = Command::new("sh");
    let script = "exec 3<&0; cat <&3 >/dev/null 2>&1 & echo $!";
    parent.args(["-c", script]).stdin(Stdio::piped());
    let mut parent = parent.stdout(Stdio::piped()).spawn().unwrap();
    let its_input = parent.stdin.take();
    let output = parent.wait_with_output().unwrap();
    drop(its_input);
    support::text(&output.stdout).trim().parse().unwrap()
}

// R2
#[test]
fn a_program_that_adopts_orphans_has_no_zombie_of_a_machine_and_keeps_its_own() {
    for qemu in support::qemus() {
        // As the first process of a namespace, and as a subreaper.
        let first = [
            "--map-root-user",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ];
        let this = std::env::current_exe().unwrap();
        let mut container = Command::new("unshare");
        container.args(first).arg(&this);
        for mut command in [container, Command::new(&this)] {
            let output = command
                .args(["--exact", "the_adopting_process", "--nocapture"])
                .env(QEMU, &qemu.binary)
                .stdin(Stdio::null())
                .output()
                .unwrap();
            let said = [support::text(&output.stdout), support::text(&output.stderr)].concat();
            assert!(said.contains("all reaped"), "{said}");
        }
    }
}
