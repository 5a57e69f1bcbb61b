//! Everything that keeps a machine from being launched.

use std::ffi::OsString;
use std::future::IntoFuture;
use std::net::TcpListener;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use qemu_machine::qmp::Disconnected;
use qemu_machine::{Console, LaunchError, LaunchFailure, MachineBuilder, Monitor, Wait};
use testbed::DescriptorLimit;

use super::Place::{Both, Real, Scripted};
use super::{AT_ONCE, Fault, SHORT, Scene, fault, host};
use crate::support;

/// Launches, which must fail.
fn fails(scene: &Scene, builder: &MachineBuilder) -> LaunchError {
    scene.fault();
    let error = builder.launch().wait().expect_err("it was launched");
    scene.told();
    assert!(error.to_string().contains(&error.name), "{error}");
    error
}

/// A row whose launch fails with what `is` says, in words that hold `says`.
fn launch(
    words: &str,
    gets: &'static str,
    within: Duration,
    builder: impl Fn(&Scene) -> MachineBuilder + Send + 'static,
    is: impl Fn(&LaunchError) -> bool + Send + 'static,
    says: &'static str,
) -> Fault {
    fault(words, Scripted, gets, within, move |scene| {
        let error = fails(scene, &builder(scene));
        assert!(is(&error), "{error}");
        assert!(
            error.to_string().contains(says),
            "'{says}' is not in: {error}"
        );
        if let Some(report) = &error.report {
            assert!(support::is_gone(report.pid), "{error}");
            assert!(error.command_line.is_some(), "{error}");
        }
    })
}

fn executable(scene: &Scene, name: &str, text: &str, mode: u32) -> std::path::PathBuf {
    let path = scene.file(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    path
}

fn not_executable(error: &LaunchError) -> bool {
    matches!(*error.failure, LaunchFailure::NotExecutable { .. })
}

fn exited(error: &LaunchError) -> bool {
    matches!(*error.failure, LaunchFailure::Exited)
}

fn exited_by(code: i32) -> impl Fn(&LaunchError) -> bool {
    move |error| exited(error) && error.report.as_ref().unwrap().status.code() == Some(code)
}

fn killed_by(signal: i32) -> impl Fn(&LaunchError) -> bool {
    move |error| exited(error) && error.report.as_ref().unwrap().status.signal() == Some(signal)
}

fn timed_out(error: &LaunchError) -> bool {
    matches!(*error.failure, LaunchFailure::Timeout { limit: SHORT, .. })
}

fn no_qmp(error: &LaunchError) -> bool {
    matches!(
        *error.failure,
        LaunchFailure::NoMonitor(Disconnected::Protocol(_))
    )
}

fn file(error: &LaunchError) -> bool {
    matches!(*error.failure, LaunchFailure::File { .. })
}

fn address(error: &LaunchError) -> bool {
    matches!(*error.failure, LaunchFailure::Monitor(_))
}

pub fn rows() -> Vec<Fault> {
    let mut rows = programs();
    rows.extend(greetings());
    rows.extend(conditions());
    rows.extend(given_up());
    rows
}

fn programs() -> Vec<Fault> {
    vec![
        launch(
            "binary not in PATH",
            "NotFound, with the package to install",
            AT_ONCE,
            |scene| scene.program("qemu-system-nonesuch"),
            |error| matches!(*error.failure, LaunchFailure::NotFound { .. }),
            "install QEMU",
        ),
        launch(
            "binary missing",
            "NotExecutable, with its path",
            AT_ONCE,
            |scene| scene.program("/nonexistent/qemu"),
            not_executable,
            "No such file",
        ),
        launch(
            "binary not executable",
            "NotExecutable, with what to look at",
            AT_ONCE,
            |scene| scene.program(executable(scene, "plain", "", 0o644)),
            not_executable,
            "ls -l",
        ),
        launch(
            "binary a directory",
            "NotExecutable",
            AT_ONCE,
            |scene| scene.program(scene.base()),
            not_executable,
            "Permission denied",
        ),
        launch(
            "binary of no known format",
            "NotExecutable",
            AT_ONCE,
            |scene| scene.program(executable(scene, "odd", "\x01\x02", 0o755)),
            not_executable,
            "Exec format error",
        ),
        launch(
            "not a QEMU: true",
            "Exited, with code 0",
            AT_ONCE,
            |scene| scene.program("/bin/true"),
            exited_by(0),
            "-chardev",
        ),
        launch(
            "not a QEMU: cat",
            "Exited, with code 1 and its output",
            AT_ONCE,
            |scene| scene.program("/bin/cat"),
            exited_by(1),
            "invalid option",
        ),
        launch(
            "not a QEMU: a script that sleeps",
            "Timeout",
            SHORT + AT_ONCE,
            |scene| {
                let script = executable(scene, "sleeps", "#!/bin/sh\ntail -f /dev/null\n", 0o755);
                scene.program(script).launch_timeout(SHORT)
            },
            timed_out,
            "greeting and negotiation",
        ),
        launch(
            "exits by 1 with a message",
            "Exited, with code, command line and message",
            AT_ONCE,
            |scene| scene.fake("stderr qemu: -drive: no such image\\n\nexit 1"),
            exited_by(1),
            "no such image",
        ),
        fault(
            "bad argument",
            Real,
            "Exited, with code 1 and QEMU's words",
            AT_ONCE,
            |scene| {
                let error = fails(scene, &scene.tiny().arg("-nonesuch"));
                assert!(exited_by(1)(&error), "{error}");
                assert!(error.to_string().contains("invalid option"), "{error}");
            },
        ),
        fault(
            "forwarded port in use",
            Real,
            "Exited, with QEMU's words and what to do",
            AT_ONCE,
            |scene| {
                let used = TcpListener::bind("127.0.0.1:0").unwrap();
                let port = used.local_addr().unwrap().port();
                let network = format!("user,id=net0,hostfwd=tcp:127.0.0.1:{port}-:22");
                let error = fails(scene, &scene.tiny().args(["-netdev", &network]));
                assert!(exited_by(1)(&error), "{error}");
                assert!(error.advice().unwrap().contains("ss -ltnp"), "{error}");
            },
        ),
        fault(
            "KVM not permitted",
            Real,
            "Exited, with QEMU's words and what to do",
            AT_ONCE,
            |scene| {
                // A file that nobody may open in its place, and no privilege
                // that opens it all the same.
                let locked = executable(scene, "kvm", "", 0o000);
                let script = "mount --bind \"$1\" /dev/kvm && shift && \
                              exec setpriv --inh-caps=-all --bounding-set=-all \"$@\"";
                let error = fails(scene, &kvm(scene, script, &locked));
                assert!(exited_by(1)(&error), "{error}");
                assert!(error.to_string().contains("Permission denied"), "{error}");
                assert!(
                    error.advice().unwrap().contains("group of /dev/kvm"),
                    "{error}"
                );
            },
        ),
        fault(
            "KVM missing",
            Real,
            "Exited, with QEMU's words and what to do",
            AT_ONCE,
            |scene| {
                let script = "shift; mount -t tmpfs tmpfs /dev && exec \"$@\"";
                let error = fails(scene, &kvm(scene, script, scene.base()));
                assert!(exited_by(1)(&error), "{error}");
                assert!(error.advice().unwrap().contains("has no KVM"), "{error}");
            },
        ),
        launch(
            "wrapper missing",
            "NotFound, with its name",
            AT_ONCE,
            |scene| scene.fake("serve").wrapper(["nonesuch-wrapper"]),
            |error| matches!(&*error.failure, LaunchFailure::NotFound { program } if program == "nonesuch-wrapper"),
            "nonesuch-wrapper",
        ),
        launch(
            "wrapper exits",
            "Exited, with its code and output",
            AT_ONCE,
            |scene| {
                scene
                    .fake("serve")
                    .wrapper(["sh", "-c", "echo no netns; exit 7"])
            },
            exited_by(7),
            "no netns",
        ),
        launch(
            "argument list too long",
            "ArgumentsTooLong",
            AT_ONCE,
            |scene| scene.fake("serve").arg("x".repeat(1 << 20)),
            |error| matches!(*error.failure, LaunchFailure::ArgumentsTooLong { .. }),
            "too long",
        ),
        launch(
            "NUL in an argument",
            "Nul, with the argument",
            AT_ONCE,
            |scene| {
                scene
                    .fake("serve")
                    .arg(OsString::from_vec(b"a\0b".to_vec()))
            },
            |error| matches!(*error.failure, LaunchFailure::Nul { .. }),
            "NUL",
        ),
    ]
}

/// A machine that wants KVM, in a file system that this script has changed.
fn kvm(scene: &Scene, script: &str, argument: &Path) -> MachineBuilder {
    let words = [
        "unshare",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        script,
        "sh",
    ];
    let words = words.into_iter().map(OsString::from);
    scene
        .program(&scene.qemu().binary)
        .wrapper(words.chain([argument.into()]))
        .accel(["kvm"])
        .arg("-nodefaults")
}

fn greetings() -> Vec<Fault> {
    let mut rows = Vec::new();
    for (name, number) in [("SIGKILL", 9), ("SIGSEGV", 11), ("SIGABRT", 6)] {
        rows.push(launch(
            &format!("killed by {name} before the greeting"),
            "Exited, with the signal",
            AT_ONCE,
            move |scene| scene.fake(&format!("die {name}")),
            killed_by(number),
            "was killed by signal",
        ));
    }
    rows.extend([
        launch(
            "stopped before the greeting",
            "Timeout; it was killed",
            SHORT + AT_ONCE,
            |scene| scene.fake("stop").launch_timeout(SHORT),
            timed_out,
            "SIGKILL",
        ),
        launch(
            "greets garbage",
            "NoMonitor, with what was received",
            AT_ONCE,
            |scene| scene.fake("send-line SSH-2.0-OpenSSH_9.6\nsilent"),
            no_qmp,
            "SSH-2.0",
        ),
        launch(
            "greets half a line, closes, and lives",
            "NoMonitor; it was given 500 ms to exit by itself",
            AT_ONCE + Duration::from_millis(500),
            |scene| scene.fake("send {\"QMP\": {\nmonitor-close\nsilent"),
            |error| {
                matches!(
                    *error.failure,
                    LaunchFailure::NoMonitor(Disconnected::ByServer)
                )
            },
            "closed the connection",
        ),
        launch(
            "greets half a line, closes, and exits",
            "Exited, with its code",
            AT_ONCE,
            |scene| scene.fake("send {\"QMP\": {\nmonitor-close\nstderr oops\\n\nexit 3"),
            exited_by(3),
            "oops",
        ),
        launch(
            "greets an endless line",
            "NoMonitor, with the bound",
            Duration::from_secs(10),
            |scene| scene.fake("fill forever x"),
            no_qmp,
            "bytes",
        ),
        launch(
            "greets, then never answers the negotiation",
            "Timeout; it was killed",
            SHORT + AT_ONCE,
            |scene| scene.fake("greet\nsilent").launch_timeout(SHORT),
            timed_out,
            "greeting and negotiation",
        ),
        launch(
            "greets, then refuses the negotiation",
            "NoMonitor, with the refusal",
            SHORT + AT_ONCE,
            |scene| {
                let script = "greet\nexpect *\nerror GenericError no\nsilent";
                scene.fake(script).launch_timeout(SHORT)
            },
            no_qmp,
            "",
        ),
    ]);
    rows
}

fn conditions() -> Vec<Fault> {
    vec![
        fault(
            "is debugged from the start, with its deadlines suspended",
            Scripted,
            "nothing, however long it takes; then a machine",
            2 * SHORT + AT_ONCE,
            |scene| {
                let fifo = scene.fifo("go");
                let script = format!("wait-file {}\ngreet\nnegotiate\nsilent", fifo.display());
                let builder = scene
                    .fake(&script)
                    .launch_timeout(SHORT)
                    .suspend_deadlines();
                std::thread::scope(|scope| {
                    let launch = scope.spawn(|| builder.launch().wait().unwrap());
                    // By the clock of another machine, which goes on.
                    let other = scene.running("silent");
                    other.exited().timeout(2 * SHORT).wait().unwrap_err();
                    support::release(&fifo);
                    let vm = launch.join().unwrap();
                    vm.deadlines().resume();
                    let command = vm.qmp().execute_json("x", ()).timeout(SHORT);
                    command.wait().unwrap_err();
                    scene.told();
                    vm.kill().wait().unwrap();
                    other.kill().wait().unwrap();
                });
            },
        ),
        fault(
            "no descriptors left",
            Scripted,
            "Resources or File, with what to do; the next launch works",
            Duration::from_secs(10),
            |scene| {
                // One that stays open would be left to the guard.
                let builder = scene
                    .fake("greet\nnegotiate\nserve")
                    .console(Console::serial());
                let mut failures = 0;
                // With one more descriptor each time, it fails at each place
                // that makes one.
                for number in lowest_free().. {
                    let limit = DescriptorLimit::below(number);
                    let launched = builder.launch().wait();
                    drop(limit);
                    match launched {
                        Ok(vm) => {
                            vm.shutdown().wait().unwrap();
                            break;
                        }
                        Err(error) => {
                            failures += 1;
                            let failure = &*error.failure;
                            let emfile = error.to_string().contains("Too many open files");
                            let known = matches!(
                                failure,
                                LaunchFailure::Resources { .. } | LaunchFailure::File { .. }
                            );
                            assert!(known && emfile, "{error}");
                        }
                    }
                }
                assert!(failures >= 8, "only {failures} launches failed");
            },
        ),
        fault(
            "no processes left",
            Scripted,
            "Resources, with what to do",
            AT_ONCE,
            |scene| host::Host::new(scene, "no_processes").succeeds(),
        ),
        fault(
            "no threads left for the engine",
            Scripted,
            "Resources",
            AT_ONCE,
            |scene| host::Host::new(scene, "no_threads").succeeds(),
        ),
        launch(
            "directory for temporary files missing",
            "File, with its path",
            AT_ONCE,
            |scene| scene.fake("serve").base_dir("/nonexistent/tmp"),
            file,
            "/nonexistent/tmp",
        ),
        fault(
            "directory for temporary files read-only",
            Scripted,
            "File, with its path and what to do",
            AT_ONCE,
            |scene| host::Host::on_a_file_system(scene, "read_only", "ro").succeeds(),
        ),
        fault(
            "directory for temporary files has no room for a directory",
            Scripted,
            "File, with its path and what to do",
            AT_ONCE,
            |scene| {
                host::Host::on_a_file_system(scene, "no_room", "nr_inodes=1").succeeds();
            },
        ),
        fault(
            "directory for temporary files has no room for the firmware",
            Scripted,
            "File, with its path and what to do",
            AT_ONCE,
            |scene| {
                host::Host::on_a_file_system(scene, "no_room", "size=4k").succeeds();
            },
        ),
        fault(
            "log directory full",
            Scripted,
            "a machine; its report says that the log is not whole, and has the output",
            AT_ONCE,
            |scene| {
                host::Host::on_a_file_system(scene, "full_log", "size=4k").succeeds();
            },
        ),
        launch(
            "log directory missing",
            "File, with its path",
            AT_ONCE,
            |scene| scene.fake("serve").log_dir("/nonexistent/log"),
            file,
            "/nonexistent/log",
        ),
        launch(
            "working directory missing",
            "File, with its path",
            AT_ONCE,
            |scene| scene.fake("serve").current_dir("/nonexistent/cwd"),
            file,
            "/nonexistent/cwd",
        ),
        launch(
            "socket path over the system's limit",
            "Monitor",
            AT_ONCE,
            |scene| {
                let path = scene.file(&"long".repeat(40));
                scene.fake("serve").monitor(Monitor::Unix(path))
            },
            address,
            "cannot listen on",
        ),
        fault(
            "socket path in use",
            Scripted,
            "Monitor, with what to do; the file is left as it was",
            AT_ONCE,
            |scene| {
                let path = executable(scene, "used", "mine", 0o600);
                let builder = scene.fake("serve").monitor(Monitor::Unix(path.clone()));
                let error = fails(scene, &builder);
                assert!(address(&error), "{error}");
                assert!(error.advice().unwrap().contains("socket pair"), "{error}");
                assert_eq!(std::fs::read(path).unwrap(), b"mine");
            },
        ),
        fault(
            "monitor's port in use",
            Scripted,
            "Monitor, with what to do",
            AT_ONCE,
            |scene| {
                let used = TcpListener::bind("127.0.0.1:0").unwrap();
                let port = Monitor::Tcp(used.local_addr().unwrap());
                let error = fails(scene, &scene.fake("serve").monitor(port));
                assert!(address(&error), "{error}");
                assert!(error.advice().unwrap().contains("port 0"), "{error}");
            },
        ),
        fault(
            "dies before it connects to the monitor's address",
            Scripted,
            "Exited, not at the deadline",
            AT_ONCE,
            |scene| {
                let path = Monitor::Unix(scene.file("qmp"));
                let builder = scene.program("/bin/false").monitor(path);
                let error = fails(scene, &builder);
                assert!(exited_by(1)(&error), "{error}");
            },
        ),
    ]
}

/// Where the launch's future stands when it is dropped.
fn given_up() -> Vec<Fault> {
    let stages: [(&str, &str); 5] = [
        ("as soon as it was polled", ""),
        ("once the process runs", "wait-file FIFO\nsilent"),
        ("once it has greeted", "greet\nwait-file FIFO\nsilent"),
        (
            "once it is being negotiated with",
            "greet\nexpect qmp_capabilities\nwait-file FIFO\nsilent",
        ),
        (
            "once it may be told of",
            "greet\nnegotiate\nwait-file FIFO\nserve",
        ),
    ];
    let mut rows = vec![fault(
        "launch dropped before it was polled",
        Both,
        "nothing is launched",
        AT_ONCE,
        |scene| drop(scene.fake("serve").launch().into_future()),
    )];
    for (stage, script) in stages {
        rows.push(fault(
            format!("launch dropped {stage}"),
            Scripted,
            "nothing; the process is killed in the background",
            AT_ONCE,
            move |scene| {
                let before = testbed::children();
                let fifo = scene.fifo("there");
                let script = script.replace("FIFO", &fifo.display().to_string());
                // Who is killed lets go of the pipe.
                let (mut held, theirs) = std::io::pipe().unwrap();
                let launch = scene.fake(&script).add_fd(theirs, 1, None).launch();
                {
                    let mut launch = pin!(launch.into_future());
                    let mut context = Context::from_waker(Waker::noop());
                    let polled = launch.as_mut().poll(&mut context);
                    assert!(matches!(polled, Poll::Pending));
                    if script.contains("wait-file") {
                        support::release(&fifo);
                    }
                }
                scene.fault();
                std::io::copy(&mut held, &mut std::io::sink()).unwrap();
                assert!(testbed::wait_for_ends(&before, Instant::now() + AT_ONCE));
                scene.told();
                settle(scene);
            },
        ));
    }
    rows
}

/// Waits until the engine has done what it had to do so far: what it does for
/// another machine comes after that.
fn settle(scene: &Scene) {
    for _ in 0..2 {
        scene.program("/bin/true").launch().wait().unwrap_err();
    }
}

fn lowest_free() -> u64 {
    use std::os::fd::AsRawFd;
    let null = std::fs::File::open("/dev/null").unwrap();
    null.as_raw_fd().unsigned_abs().into()
}
