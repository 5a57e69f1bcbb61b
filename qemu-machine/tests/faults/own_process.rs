//! Faults of the process that uses the library.

use std::collections::BTreeSet;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use qemu_machine::error::{LaunchError, LaunchFailure};
use qemu_machine::{ExitCause, ExitStatus, Machine, Wait, guests};

use super::Place::{Both, Scripted};
use super::host::{Host, Running, Stage};
use super::{AT_ONCE, Fault, PATIENCE, Scene, fault, left_behind};
use crate::support;

pub fn rows() -> Vec<Fault> {
    let mut rows = deaths();
    rows.extend(survivals());
    rows.extend(reapers());
    rows.extend(adopters());
    rows
}

type Role = fn(&Stage);

/// The roles of the other process.
pub const ROLES: [(&str, Role); 19] = [
    ("waits", |stage| live(stage, wait_for_input)),
    ("aborts", |stage| live(stage, || std::process::abort())),
    ("exits", |stage| live(stage, || std::process::exit(0))),
    ("panics", |stage| {
        live(stage, || std::panic::resume_unwind(Box::new("the end")));
    }),
    ("execs", |stage| {
        live(stage, || {
            // It continues as another program, with another output.
            let error = Command::new("cat")
                .stdout(std::process::Stdio::null())
                .exec();
            panic!("{error}");
        });
    }),
    ("forgets", |stage| {
        std::mem::forget(stage.launch_all());
        println!("up");
    }),
    ("loses_its_guardian", loses_its_guardian),
    ("forks", |stage| {
        live(stage, || {
            let fork = testbed::fork(wait_for_input);
            println!("forked {}", fork.id());
            wait_for_input();
        });
    }),
    ("is_busy", is_busy),
    ("no_processes", no_processes),
    ("no_threads", no_threads),
    ("read_only", |stage| {
        no_directory(stage, std::io::ErrorKind::ReadOnlyFilesystem);
    }),
    ("no_room", |stage| {
        no_directory(stage, std::io::ErrorKind::StorageFull);
    }),
    ("full_log", full_log),
    ("ignores_children", ignores_children),
    ("reaps_all", reaps_all),
    ("has_handlers", has_handlers),
    ("adopts_orphans", adopts_orphans),
    ("may_not_kill", left_behind::may_not_kill),
];

/// Launches machines, prints that, and then does this.
fn live(stage: &Stage, then: impl FnOnce()) {
    let _machines = stage.launch_all();
    println!("up");
    then();
}

fn wait_for_input() {
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// Waits until the other process and all its descendants are gone.
fn all_gone(before: &BTreeSet<u32>) {
    let deadline = Instant::now() + PATIENCE;
    testbed::wait_for_children(before, deadline).unwrap_or_else(|left| panic!("{left:#?}"));
}

/// The next launch in the same directory removes what is left there, but not
/// the files of a running machine.
fn next_launch_sweeps(scene: &Scene) {
    let living = scene
        .fake("greet\nnegotiate\nserve")
        .launch()
        .wait()
        .unwrap();
    scene.program("/bin/true").launch().wait().unwrap_err();
    let of_its_own = living.log_path().to_owned();
    let names: Vec<_> = std::fs::read_dir(scene.base())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(names, [of_its_own]);
    living.shutdown().wait().unwrap();
}

fn dies(scene: &Scene, role: &str, how: impl FnOnce(&mut Running)) {
    let before = testbed::children();
    let mut host = Host::new(scene, role).start();
    host.says("up");
    scene.fault();
    how(&mut host);
    all_gone(&before);
    scene.notified();
    next_launch_sweeps(scene);
}

fn deaths() -> Vec<Fault> {
    const GETS: &str =
        "nobody is left, what a wrapper forked included; the next launch sweeps the disk";
    let mut rows = Vec::new();
    for name in ["KILL", "TERM", "INT"] {
        rows.push(fault(
            format!("SIG{name}"),
            Both,
            GETS,
            AT_ONCE,
            move |scene| {
                dies(scene, "waits", |host| support::signal(host.pid(), name));
            },
        ));
    }
    for (what, role) in [
        ("abort", "aborts"),
        ("exit(0)", "exits"),
        ("a panic that ends it", "panics"),
        ("a return from main, with every handle forgotten", "forgets"),
    ] {
        rows.push(fault(what, Both, GETS, AT_ONCE, move |scene| {
            dies(scene, role, |_| {});
        }));
    }
    rows.push(fault(
        "exec of another program",
        Both,
        GETS,
        AT_ONCE,
        |scene| {
            let before = testbed::children();
            let mut host = Host::new(scene, "execs").start();
            host.says("up");
            scene.fault();
            // The other program runs, and prints nothing.
            host.falls_silent();
            scene.notified();
            assert!(!support::is_gone(host.pid()));
            next_launch_sweeps(scene);
            host.go_on();
            all_gone(&before);
        },
    ));
    rows.push(fault(
        "SIGKILL, while a fork of it without exec lives on",
        Both,
        "only the fork is left; its files are removed after its end",
        AT_ONCE,
        |scene| {
            let before = testbed::children();
            let mut host = Host::new(scene, "forks").start();
            let fork = host.says("forked ").parse().unwrap();
            let mut but = before.clone();
            but.insert(fork);
            scene.fault();
            support::signal(host.pid(), "KILL");
            all_gone(&but);
            scene.notified();
            host.go_on();
            all_gone(&before);
            next_launch_sweeps(scene);
        },
    ));
    rows.push(fault(
        "SIGKILL at 200 random moments of launch, life and end",
        Scripted,
        "each time: no process is left, in the median within 1 s; no file after the next launch",
        Duration::from_secs(120),
        |scene| {
            let seed = std::process::id();
            let mut state = u64::from(seed) | 1;
            let mut ends = Vec::new();
            for round in 0..200 {
                // Xorshift: it only must not repeat.
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let moment = Duration::from_micros(state % 40_000);
                let before = testbed::children();
                let mut host = Host::new(scene, "is_busy").start();
                host.says("begun");
                // This tests the moment itself.
                std::thread::park_timeout(moment);
                support::signal(host.pid(), "KILL");
                let killed = Instant::now();
                testbed::wait_for_children(&before, killed + PATIENCE).unwrap_or_else(|left| {
                    panic!("round {round} of {seed}, {moment:?}: {left:#?}")
                });
                ends.push(killed.elapsed());
                scene.program("/bin/true").launch().wait().unwrap_err();
                let left = std::fs::read_dir(scene.base()).unwrap().count();
                assert_eq!(left, 0, "round {round} of {seed}, {moment:?}");
            }
            ends.sort_unstable();
            let median = ends[ends.len() / 2];
            assert!(median < AT_ONCE, "{ends:?}");
        },
    ));
    rows
}

/// Launches and ends machines in an endless loop.
fn is_busy(stage: &Stage) {
    println!("begun");
    let machines = [
        ("fork-child\nserve", &[][..]),
        ("serve", &["setsid", "--wait"]),
        ("silent", &[]),
    ];
    std::thread::scope(|scope| {
        for (script, wrapper) in machines {
            scope.spawn(move || {
                loop {
                    let builder = stage.builder(script).wrapper(wrapper.iter().copied());
                    let vm = builder.launch().wait().unwrap();
                    if script == "silent" {
                        vm.kill().wait().unwrap();
                    } else {
                        vm.monitor().execute_json("x", ()).wait().unwrap();
                        vm.shutdown().wait().unwrap();
                    }
                }
            });
        }
    });
}

fn survivals() -> Vec<Fault> {
    vec![
        fault(
            "the guardian is killed, then the process",
            Both,
            "no process is left: another guardian was started",
            PATIENCE,
            |scene| {
                let before = testbed::children();
                let mut host = Host::new(scene, "loses_its_guardian").start();
                // When its own socket is closed, a fork must not close another
                // descriptor.
                assert_eq!(host.says("fork "), "true");
                host.says("up");
                support::signal(host.pid(), "KILL");
                all_gone(&before);
                next_launch_sweeps(scene);
            },
        ),
        fault(
            "the launching thread ends",
            Both,
            "nothing: the machine still runs",
            AT_ONCE,
            |scene| {
                let vm =
                    std::thread::scope(|scope| scope.spawn(|| scene.machine()).join().unwrap());
                scene.fault();
                vm.monitor()
                    .execute_json("query-status", ())
                    .wait()
                    .unwrap();
                let report = vm.shutdown().wait().unwrap();
                assert!(matches!(report.cause, ExitCause::Requested(_)));
            },
        ),
        fault(
            "the launching thread panics, while another has the machine",
            Both,
            "nothing: the machine still runs",
            AT_ONCE,
            |scene| {
                let held = Mutex::new(None);
                std::thread::scope(|scope| {
                    let doomed = scope.spawn(|| {
                        let vm = scene.machine();
                        *held.lock().unwrap() = Some(vm.clone());
                        std::panic::resume_unwind(Box::new("the end"));
                    });
                    doomed.join().unwrap_err();
                });
                scene.fault();
                let vm = held.into_inner().unwrap().unwrap();
                vm.monitor()
                    .execute_json("query-status", ())
                    .wait()
                    .unwrap();
                vm.shutdown().wait().unwrap();
            },
        ),
        fork(
            "a fork without exec drops its copies of the handles",
            |vm| drop(vm.lock().unwrap().take()),
        ),
        fork("a fork without exec exits", |_| std::process::exit(0)),
    ]
}

/// A row with a fork that does this.
fn fork(what: &str, work: fn(&Mutex<Option<Machine>>)) -> Fault {
    fault(
        what,
        Both,
        "nothing: the machine still runs, and its files stay",
        AT_ONCE,
        move |scene| {
            let vm = Mutex::new(Some(scene.machine()));
            let mut events = vm.lock().unwrap().as_ref().unwrap().monitor().events();
            scene.fault();
            assert!(testbed::fork(|| work(&vm)).succeeded());
            let vm = vm.into_inner().unwrap().unwrap();
            vm.monitor()
                .execute_json("query-status", ())
                .wait()
                .unwrap();
            assert!(vm.log_path().is_file());
            assert!(vm.is_running() && events.try_next().is_none());
            let report = vm.shutdown().wait().unwrap();
            assert!(matches!(report.cause, ExitCause::Requested(_)), "{report}");
        },
    )
}

fn reapers() -> Vec<Fault> {
    [
        (
            "it ignores SIGCHLD",
            "ignores_children",
            "the end at once, with an unknown status",
        ),
        (
            "it reaps with waitpid(-1)",
            "reaps_all",
            "the end at once, with an unknown status if it was taken",
        ),
        (
            "it has signal handlers",
            "has_handlers",
            "no change: the library installs and changes none",
        ),
    ]
    .into_iter()
    .map(|(what, role, gets)| {
        fault(what, Both, gets, Duration::from_secs(10), move |scene| {
            Host::new(scene, role).succeeds();
        })
    })
    .collect()
}

fn adopters() -> Vec<Fault> {
    type Start = fn(&Scene, &str) -> Host;
    let starts: [(&str, Start); 2] = [
        (
            "it is the first process of a container",
            Host::as_first_process,
        ),
        ("it adopts orphans, as a subreaper", Host::new),
    ];
    starts
        .into_iter()
        .map(|(what, start)| {
            let gets = "no zombie of a machine; its own are left to it";
            fault(what, Both, gets, Duration::from_secs(10), move |scene| {
                start(scene, "adopts_orphans").succeeds();
            })
        })
        .collect()
}

fn adopts_orphans(stage: &Stage) {
    if std::process::id() != 1 {
        testbed::adopt_orphans();
    }
    // The shell that starts the guardian exits by itself.
    drop(stage.builder("serve").launch().wait().unwrap());
    assert!(testbed::wait_for_ends(
        &BTreeSet::new(),
        Instant::now() + PATIENCE
    ));
    drop(stage.builder("serve").launch().wait().unwrap());
    let mut own = Command::new("true").process_group(0).spawn().unwrap();
    let before = testbed::children();
    for script in [
        "sleep 1000 & exec \"$@\"",
        "(true &); exec \"$@\"",
        "setsid sleep 1000 & exec \"$@\"",
        "setsid --wait \"$@\"; :",
    ] {
        let builder = stage.builder("serve").wrapper(["sh", "-c", script, "sh"]);
        let launch = || builder.launch().wait().unwrap();
        launch().shutdown().wait().unwrap();
        assert_eq!(testbed::children(), before, "{script}");
        launch().kill().wait().unwrap();
        assert_eq!(testbed::children(), before, "{script}");
        drop(launch());
        assert_eq!(testbed::children(), before, "{script}");
    }
    assert!(own.wait().unwrap().success());
}

fn loses_its_guardian(stage: &Stage) {
    testbed::adopt_orphans();
    let before = stage.builder("fork-child\nserve").launch().wait().unwrap();
    // It is the child that leads no group, and belongs to no machine.
    assert!(testbed::wait_for_ends(
        &BTreeSet::from([before.pid().unwrap()]),
        Instant::now() + PATIENCE
    ));
    let guardian = testbed::children_like("qemu-machine-guardian");
    let [guardian] = guardian[..] else {
        panic!("{guardian:?}")
    };
    testbed::kill(guardian);
    assert!(testbed::wait_for_end(guardian, Instant::now() + PATIENCE));
    // The engine handles that before anything for this machine.
    let after = stage.builder("fork-child\nserve").launch().wait().unwrap();
    let file = std::fs::File::open("/dev/null").unwrap();
    let fork = testbed::fork(|| {
        let target = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()));
        assert!(target.is_ok());
    });
    println!("fork {}", fork.succeeded());
    println!("up");
    wait_for_input();
    drop((before, after));
}

fn no_processes(stage: &Stage) {
    // The threads that are needed already run, and no more can be made.
    stage
        .builder("serve")
        .launch()
        .wait()
        .unwrap()
        .kill()
        .wait()
        .unwrap();
    forbid_processes(stage);
    let error = stage.builder("serve").launch().wait().unwrap_err();
    assert!(error.advice().unwrap().contains("ulimit -u"), "{error}");
    assert!(error.to_string().contains("start a process"), "{error}");
    is_empty(stage);
}

fn no_threads(stage: &Stage) {
    forbid_processes(stage);
    let error = stage.builder("serve").launch().wait().unwrap_err();
    assert!(
        matches!(*error.failure, LaunchFailure::Resources { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("start a thread"), "{error}");
    is_empty(stage);
}

/// Root becomes another user, who can still use the folder.
fn forbid_processes(stage: &Stage) {
    std::fs::set_permissions(&stage.base, std::fs::Permissions::from_mode(0o777)).unwrap();
    testbed::forbid_processes();
}

fn no_directory(stage: &Stage, kind: std::io::ErrorKind) {
    let builder = stage.builder("serve").firmware(guests::tiny());
    let error = builder.launch().wait().unwrap_err();
    assert_eq!(kind_of(&error), Some(kind), "{error}");
    assert!(
        error.to_string().contains(stage.base.to_str().unwrap()),
        "{error}"
    );
    assert!(error.advice().is_some(), "{error}");
    is_empty(stage);
}

fn kind_of(error: &LaunchError) -> Option<std::io::ErrorKind> {
    match &*error.failure {
        LaunchFailure::File { cause, .. } => Some(cause.kind()),
        _ => None,
    }
}

fn is_empty(stage: &Stage) {
    assert_eq!(std::fs::read_dir(&stage.base).unwrap().count(), 0);
}

fn full_log(stage: &Stage) {
    let line = "0123456789abcdef\n";
    let script = "repeat 3000\nstdout 0123456789abcdef\\n\nend\nserve";
    let builder = stage.builder(script).log_dir(&stage.base).name("full");
    let vm = builder.launch().wait().unwrap();
    let report = vm.shutdown().wait().unwrap();
    assert!(report.to_string().contains("is incomplete"), "{report}");
    assert_eq!(support::text(&report.output_tail), line.repeat(3000));
}

/// Kills a machine from outside, and checks its report.
fn end_is_told(stage: &Stage) -> ExitStatus {
    let vm = stage.builder("serve").launch().wait().unwrap();
    support::signal(vm.pid().unwrap(), "KILL");
    let report = vm.wait_for_exit().timeout(PATIENCE).wait().unwrap();
    assert_eq!(report.cause, ExitCause::Outside, "{report}");
    is_empty(stage);
    report.status
}

fn ignores_children(stage: &Stage) {
    testbed::ignore_children();
    assert_eq!(end_is_told_without_kill(stage), ExitStatus::Unknown);
}

/// Does the same without kill(1), which would be another child.
fn end_is_told_without_kill(stage: &Stage) -> ExitStatus {
    let vm = stage.builder("serve").launch().wait().unwrap();
    testbed::kill(vm.pid().unwrap());
    let report = vm.wait_for_exit().timeout(PATIENCE).wait().unwrap();
    assert_eq!(report.cause, ExitCause::Outside, "{report}");
    is_empty(stage);
    // A soft end is no failure either, even with an unknown status.
    let vm = stage.builder("serve").launch().wait().unwrap();
    let soft = vm.shutdown().wait().unwrap();
    assert_eq!(soft.status, report.status);
    report.status
}

fn reaps_all(stage: &Stage) {
    // The library and this code race for the status; this repeats until this
    // code wins.
    for _ in 0..100 {
        let vm = stage.builder("serve").launch().wait().unwrap();
        let pid = vm.pid().unwrap();
        let reaper =
            std::thread::spawn(move || while testbed::reap_any().is_some_and(|it| it != pid) {});
        testbed::kill(pid);
        let report = vm.wait_for_exit().timeout(PATIENCE).wait().unwrap();
        assert_eq!(report.cause, ExitCause::Outside, "{report}");
        is_empty(stage);
        reaper.join().unwrap();
        match report.status {
            ExitStatus::Unknown => return,
            status => assert_eq!(status.signal(), Some(9)),
        }
    }
    panic!("the library was always quicker");
}

fn has_handlers(stage: &Stage) {
    // The blocked, ignored and caught signals. The C library catches two
    // signals for itself when the first thread starts; they are left out.
    let signals = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        ["SigBlk:", "SigIgn:", "SigCgt:"].map(|name| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            u64::from_str_radix(line.unwrap().trim(), 16).unwrap() & !(3 << 31)
        })
    };
    let before = signals();
    assert!(matches!(
        end_is_told(stage),
        ExitStatus::Signal { signal: 9, .. }
    ));
    assert_eq!(signals(), before);
}
