//! Log-ins on real gettys: Debian's `agetty` and `login`, busybox's own, and an
//! automatic one. One boot serves them all: each has a separate serial port.

use std::time::{Duration, Instant};

use crate::support::{Qemu, linux_guest, qemus};
use qemu_machine::console::OpenShell;
use qemu_machine::error::{ShellError, ShellFailure};
use qemu_machine::{Console, Machine, Shell, Wait};

/// A guest, the shell that rules it, and no getty yet.
fn boot(qemu: &Qemu) -> (Machine, Shell) {
    let guest = linux_guest();
    let initrd = guest.join("initramfs-login");
    assert!(
        initrd.is_file(),
        "no {}: run `cargo xtask setup`",
        initrd.display()
    );
    let vm = qemu
        .bare()
        .memory("256M")
        .kernel(guest.join("vmlinux"))
        .initrd(initrd)
        .append("console=ttyS0 quiet no_timer_check cryptomgr.notests")
        .console(Console::serial())
        .add_console("ttyS1", Console::serial())
        .add_console("ttyS2", Console::serial())
        .default_timeout(Duration::from_secs(120))
        .launch()
        .wait()
        .unwrap();
    vm.console().expect("~ # ").wait().unwrap();
    let mut shell = vm.console().shell().wait().unwrap();
    let serve = "hostname guest; serve() { port=$1; shift; \
        (while :; do setsid \"$@\"; done) </dev/null >/dev/null 2>&1 & }";
    assert!(shell.run(serve).wait().unwrap().success());
    (vm, shell)
}

fn rule(shell: &mut Shell, script: &str) {
    let ran = shell.run(script).wait().unwrap();
    assert!(ran.success(), "{script}: {ran:?}");
}

fn open(console: &Console, user: &str, password: Option<&str>) -> OpenShell {
    let shell = console.shell().user(user).timeout(Duration::from_secs(60));
    match password {
        Some(password) => shell.password(password),
        None => shell,
    }
}

/// Logs in, looks whose shell it is, and leaves it.
fn enter(console: &Console, user: &str, password: Option<&str>) {
    let begun = Instant::now();
    let mut shell = open(console, user, password)
        .wait()
        .unwrap_or_else(|error| panic!("{error}\n{}", String::from_utf8_lossy(&console.tail())));
    eprintln!("{user} is in after {:?}", begun.elapsed());
    let whose = shell.run("id -un").wait().unwrap().text();
    // A daemon may write in between: what comes on the console is the output.
    assert!(whose.lines().any(|line| line == user), "{whose}");
    console.send("exit\n").wait().unwrap();
}

fn refused(console: &Console, user: &str, password: Option<&str>) -> ShellError {
    let begun = Instant::now();
    let error = open(console, user, password).wait().unwrap_err();
    eprintln!("{user} is not in after {:?}: {error}", begun.elapsed());
    // By the guest's word, and not by the deadline.
    let is_by_time = matches!(*error.failure, ShellFailure::Timeout { .. });
    assert!(
        !is_by_time,
        "{error}\n{}",
        String::from_utf8_lossy(&console.tail())
    );
    if let Some(password) = password {
        let told = format!("{error}{error:?}");
        assert!(!told.contains(password), "{told}");
    }
    error
}

#[test]
fn debian_s_log_in_is_held_with_every_kind_of_account() {
    for qemu in qemus() {
        eprintln!("QEMU {}", qemu.version);
        let (vm, mut shell) = boot(&qemu);
        rule(&mut shell, "serve ttyS1 agetty -L 115200 ttyS1 vt220");
        let console = vm.console_named("ttyS1").unwrap();
        enter(console, "root", Some("secret"));
        enter(console, "alice", Some("secret"));
        enter(console, "plain", None);
        enter(console, "plain", Some("secret"));

        let error = refused(console, "root", Some("Sesam"));
        assert!(matches!(*error.failure, ShellFailure::Refused), "{error}");
        let words = error.to_string();
        assert!(words.contains("Login incorrect"), "{error}");
        assert!(words.contains("typed: 'root', the password"), "{error}");
        let error = refused(console, "locked", Some("secret"));
        assert!(matches!(*error.failure, ShellFailure::Refused), "{error}");
        let error = refused(console, "none", Some("secret"));
        assert!(matches!(*error.failure, ShellFailure::Refused), "{error}");
        let error = refused(console, "gone", Some("secret"));
        assert!(
            matches!(*error.failure, ShellFailure::AccountExpired),
            "{error}"
        );
        // The question that was left is answered by who comes next.
        let error = refused(console, "root", None);
        assert!(
            matches!(*error.failure, ShellFailure::PasswordWanted),
            "{error}"
        );
        enter(console, "root", Some("secret"));
        let error = refused(console, "must", Some("secret"));
        assert!(
            matches!(*error.failure, ShellFailure::PasswordExpired),
            "{error}"
        );
        rule(&mut shell, "busybox killall login");

        // What a daemon writes to the same console all the time.
        rule(
            &mut shell,
            "(while :; do echo 'daemon[7]: at work' >/dev/ttyS1; sleep 0.7; done) </dev/null >/dev/null 2>&1 & noise=$!",
        );
        enter(console, "root", Some("secret"));
        rule(&mut shell, "kill $noise");
        vm.kill().wait().unwrap();
    }
}

#[test]
fn busybox_s_log_in_is_held_and_the_shell_of_an_automatic_one_is_taken() {
    for qemu in qemus() {
        eprintln!("QEMU {}", qemu.version);
        let (vm, mut shell) = boot(&qemu);
        let login =
            "printf '#!/bin/sh\\nexec busybox login \"$@\"\\n' >/tmp/login; chmod +x /tmp/login";
        rule(&mut shell, login);
        rule(
            &mut shell,
            "serve ttyS1 busybox getty -L -l /tmp/login 115200 ttyS1 vt220",
        );
        rule(
            &mut shell,
            "serve ttyS2 agetty -L --autologin alice 115200 ttyS2 vt220",
        );
        let console = vm.console_named("ttyS1").unwrap();
        enter(console, "root", Some("secret"));
        enter(console, "plain", None);
        let error = refused(console, "root", Some("Sesam"));
        assert!(matches!(*error.failure, ShellFailure::Refused), "{error}");
        let error = refused(console, "root", None);
        assert!(
            matches!(*error.failure, ShellFailure::PasswordWanted),
            "{error}"
        );
        enter(console, "root", Some("secret"));
        enter(console, "alice", Some("secret"));

        let console = vm.console_named("ttyS2").unwrap();
        let mut there = open(console, "alice", Some("secret")).wait().unwrap();
        assert_eq!(there.run("id -un").wait().unwrap().text(), "alice");
        // Now it is there already, and shows nothing.
        let mut there = open(console, "alice", None).wait().unwrap();
        assert_eq!(there.run("id -un").wait().unwrap().text(), "alice");
        let error = refused(console, "root", Some("secret"));
        assert!(
            matches!(&*error.failure, ShellFailure::OtherUser { user } if user == "alice"),
            "{error}"
        );
        vm.kill().wait().unwrap();
    }
}

#[test]
fn a_guest_is_rebooted_and_powered_off_by_its_shell() {
    for qemu in qemus() {
        eprintln!("QEMU {}", qemu.version);
        let (vm, mut shell) = boot(&qemu);
        let error = shell.run("touch /here").wait().unwrap();
        assert!(error.success());
        let again = shell.reboot().wait().unwrap();
        let mut shell = again.timeout(Duration::from_secs(120)).wait().unwrap();
        let there = shell.run("ls /here /init").wait().unwrap();
        assert!(
            there.text().ends_with("/init") && !there.success(),
            "{there:?}"
        );

        let error = shell
            .reboot()
            .command("echo no; (exit 3)")
            .wait()
            .unwrap_err();
        assert!(
            matches!(&*error.failure, ShellFailure::CommandFailed { status: 3, output } if output == "no"),
            "{error}"
        );
        let shell = vm.console().shell().wait().unwrap();
        let report = shell.power_off().wait().unwrap().unwrap();
        assert_eq!(report.shutdown_reason.as_deref(), Some("guest-shutdown"));
        vm.shutdown().wait().unwrap();
    }
}

#[test]
fn a_guest_that_is_off_and_held_is_powered_off_too() {
    let qemu = qemus().remove(0);
    let guest = linux_guest();
    let vm = qemu
        .bare()
        .memory("256M")
        .kernel(guest.join("vmlinux"))
        .initrd(guest.join("initramfs"))
        .append("console=ttyS0 quiet no_timer_check cryptomgr.notests")
        .arg("-no-shutdown")
        .console(Console::serial())
        .default_timeout(Duration::from_secs(120))
        .launch()
        .wait()
        .unwrap();
    vm.console().expect("~ # ").wait().unwrap();
    let shell = vm.console().shell().wait().unwrap();
    assert!(shell.power_off().wait().unwrap().is_none());
    vm.kill().wait().unwrap();
}
