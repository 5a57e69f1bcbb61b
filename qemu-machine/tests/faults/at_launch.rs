//! Faults at the launch.

use std::ffi::OsString;
use std::net::TcpListener;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use qemu_machine::error::{LaunchError, LaunchFailure};
use qemu_machine::qmp::Disconnected;
use qemu_machine::{ExitCause, MachineBuilder, Wait};

use super::Place::{Real, Scripted};
use super::{AT_ONCE, Fault, SHORT, Scene, conditions, fault, given_up, left_behind};
use crate::support;

/// Launches a machine, which must fail.
pub(super) fn fails(scene: &Scene, builder: &MachineBuilder) -> LaunchError {
    scene.fault();
    let error = builder.launch().wait().expect_err("it was launched");
    scene.notified();
    assert!(error.to_string().contains(&error.name), "{error}");
    error
}

/// A row with a failed launch: `is` checks the error, and `says` must be in its
/// text.
pub(super) fn launch(
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

pub(super) fn executable(scene: &Scene, name: &str, text: &str, mode: u32) -> std::path::PathBuf {
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

pub(super) fn exited_by(code: i32) -> impl Fn(&LaunchError) -> bool {
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

pub(super) fn file(error: &LaunchError) -> bool {
    matches!(*error.failure, LaunchFailure::File { .. })
}

pub(super) fn address(error: &LaunchError) -> bool {
    matches!(*error.failure, LaunchFailure::Monitor(_))
}

pub fn rows() -> Vec<Fault> {
    let mut rows = programs();
    rows.extend(left_behind::at_launch());
    rows.extend(greetings());
    rows.extend(conditions::rows());
    rows.extend(given_up::rows());
    rows.extend(super::outputs::at_launch());
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
            "binary with its arguments in its name",
            "NotFound, with how to give arguments",
            AT_ONCE,
            |scene| scene.program("qemu-system-x86_64 -m 256"),
            |error| matches!(*error.failure, LaunchFailure::NotFound { .. }),
            "`.args()`",
        ),
        launch(
            "binary without a name",
            "NotFound, with what to name",
            AT_ONCE,
            |scene| scene.program(""),
            |error| matches!(*error.failure, LaunchFailure::NotFound { .. }),
            "name QEMU's binary",
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
            |scene| scene.program("/bin/cat").env("LC_ALL", "C"),
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
            "an option and its value in one argument",
            Real,
            "Exited, with QEMU's words and how to split them",
            AT_ONCE,
            |scene| {
                let error = fails(scene, &scene.tiny().arg("-m 256M"));
                assert!(exited_by(1)(&error), "{error}");
                let split = r#"`.args(["-m", "256M"])`"#;
                assert!(error.to_string().contains(split), "{error}");
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
                // A file without permissions replaces the device, and no
                // privilege overrides them.
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
            "wrapper outlives the monitor by an instant, and exits",
            "Exited, with its code and output; unexpected",
            AT_ONCE,
            |scene| {
                let script = "exec 3>&-; head -c 100000 /dev/zero | wc -c; exit 3";
                scene.fake("serve").wrapper(["sh", "-c", script])
            },
            |error| {
                exited_by(3)(error) && error.report.as_ref().unwrap().cause == ExitCause::Outside
            },
            "100000",
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

/// A machine with KVM, in a file system that this script changed.
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
