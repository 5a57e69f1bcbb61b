//! The shell of a real guest, on its serial console.

use std::time::Duration;

use crate::support::{Qemu, linux_guest, scenario};
use qemu_machine::error::ShellFailure;
use qemu_machine::{Console, MachineBuilder};

fn linux(qemu: &Qemu) -> MachineBuilder {
    linux_with(qemu, "initramfs")
}

fn linux_with(qemu: &Qemu, initrd: &str) -> MachineBuilder {
    let guest = linux_guest();
    let initrd = guest.join(initrd);
    assert!(
        initrd.is_file(),
        "no {}: run `cargo xtask setup`",
        initrd.display()
    );
    qemu.bare()
        .memory("256M")
        .kernel(guest.join("vmlinux"))
        .initrd(initrd)
        .append("console=ttyS0 quiet no_timer_check cryptomgr.notests")
        .console(Console::serial())
        .default_timeout(Duration::from_secs(120))
}

// W6
scenario! {
    fn linux_runs_commands_and_gives_their_output_and_status(qemu) {
        let vm = run!(linux(&qemu).launch()).unwrap();
        run!(vm.console().expect("~ # ")).unwrap();
        let mut shell = run!(vm.console().shell()).unwrap();
        let name = run!(shell.run("uname -s")).unwrap();
        assert_eq!((name.text(), name.status), ("Linux".to_owned(), 0));
        let none = run!(shell.run("cd /proc && ls /nonesuch")).unwrap();
        assert_eq!(none.status, 1);
        assert!(none.text().contains("No such file"), "{none:?}");
        assert_eq!(run!(shell.run("pwd")).unwrap().text(), "/proc");

        let script = "for byte in $(seq 0 255); do printf \"\\\\x$(printf %x $byte)\"; done\nexit_with() { return 7; }; exit_with";
        let bytes = run!(shell.run(script)).unwrap();
        assert_eq!(bytes.output, (0..=255).collect::<Vec<u8>>());
        assert_eq!(bytes.status, 7);
        let long = format!("cat <<'END'\n{}END", "it's a \"long\" $line, é\t!\n".repeat(100));
        let long = run!(shell.run(long)).unwrap();
        assert_eq!(long.text().lines().count(), 100);
        assert!(long.text().lines().all(|line| line == "it's a \"long\" $line, é\t!"), "{long:?}");
        run!(vm.kill()).unwrap();
    }
}

// D6, W10
scenario! {
    fn linux_s_shell_is_recovered_and_its_kernel_s_lines_are_no_output(qemu) {
        let vm = run!(linux(&qemu).launch()).unwrap();
        run!(vm.console().expect("~ # ")).unwrap();
        let mut shell = run!(vm.console().shell()).unwrap();
        let busy = shell.run("yes stale").timeout(Duration::from_millis(500));
        let error = run!(busy).unwrap_err();
        assert!(matches!(*error.failure, ShellFailure::Timeout { .. }), "{error}");
        run!(shell.recover()).unwrap();
        assert_eq!(run!(shell.run("echo fresh")).unwrap().output, b"fresh\n");

        // The kernel's own, in between.
        let script = "dmesg -n 8; echo one; echo a word >/dev/kmsg; echo two";
        let told = run!(shell.run(script).past_kernel_lines()).unwrap();
        assert_eq!(told.text(), "one\ntwo");
        assert!(String::from_utf8_lossy(&vm.console().tail()).contains("] a word\r\n"));

        let error = run!(shell.run("poweroff -f; sleep 100")).unwrap_err();
        assert!(matches!(*error.failure, ShellFailure::Console(_)), "{error}");
        assert!(error.to_string().contains("guest-shutdown"), "{error}");
    }
}

// W6
scenario! {
    fn bash_in_linux_runs_commands_whatever_its_line_editor_does(qemu) {
        let vm = run!(linux_with(&qemu, "initramfs-bash").launch()).unwrap();
        run!(vm.console().expect("~ # ")).unwrap();
        let mut shell = run!(vm.console().shell()).unwrap();
        let version = run!(shell.run("echo $BASH_VERSION; cd /proc; false")).unwrap();
        assert!(version.text().starts_with(|it: char| it.is_ascii_digit()), "{version:?}");
        assert_eq!(version.status, 1);
        let stays = run!(shell.run("pwd; (exit 42)")).unwrap();
        assert_eq!((stays.text().as_str(), stays.status), ("/proc", 42));

        // Its own prompt, and what looks like an end, are output.
        let lies = "~ # \n0\nqm-0123456789abcdef-0\n~ # ";
        let told = run!(shell.run(format!("printf '%s' '{lies}'"))).unwrap();
        assert_eq!((told.output.as_slice(), told.status), (lies.as_bytes(), 0));

        // Every byte, both ways: none of them is a key to the line editor.
        let script = "for byte in $(seq 0 255); do printf \"\\\\x$(printf %x $byte)\"; done";
        let bytes = run!(shell.run(script)).unwrap();
        assert_eq!(bytes.output, (0..=255).collect::<Vec<u8>>());
        let long = "it's \"all\" $HOME !! ^a^b é\t".repeat(200);
        assert!(long.len() > 5000);
        let told = run!(shell.run(format!("cat <<'END'\n{long}\nEND"))).unwrap();
        assert!(told.text() == long, "{told:?}");

        let busy = shell.run("echo stale; read -r x </dev/ttyS0").timeout(Duration::from_secs(1));
        let error = run!(busy).unwrap_err();
        assert!(matches!(*error.failure, ShellFailure::Timeout { .. }), "{error}");
        run!(shell.recover()).unwrap();
        assert_eq!(run!(shell.run("echo fresh")).unwrap().output, b"fresh\n");
        let error = run!(shell.run("poweroff -f; sleep 100")).unwrap_err();
        assert!(matches!(*error.failure, ShellFailure::Console(_)), "{error}");
    }
}
