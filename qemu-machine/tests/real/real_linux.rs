//! A real operating system, booted, spoken with, and ended by itself.

use crate::support::{linux_guest, scenario};
use qemu_machine::{Console, ExitCause};

// P9, P12, W6
scenario! {
    fn linux_boots_to_its_shell_obeys_and_powers_off(qemu) {
        let guest = linux_guest();
        let vm = run!(qemu
            .bare()
            .memory("256M")
            .kernel(guest.join("vmlinuz"))
            .initrd(guest.join("initramfs"))
            .append("console=ttyS0 quiet no_timer_check cryptomgr.notests")
            .console(Console::serial())
            .launch())
        .unwrap();
        run!(vm.console().expect("~ # ")).unwrap();
        run!(vm.console().send("echo $((6 * 7)) on $(uname -s)\n")).unwrap();
        run!(vm.console().expect("42 on Linux\r\n")).unwrap();
        run!(vm.console().send("poweroff -f\n")).unwrap();
        let report = run!(vm.wait_for_exit()).unwrap();
        assert_eq!(report.cause, ExitCause::Guest, "{report}");
        assert_eq!(report.status.code(), Some(0), "{report}");
    }
}
