//! Full-screen programs of a real guest are read and driven.

use std::time::Duration;

use crate::support::{linux_guest, scenario};
use qemu_machine::console::{Cursor, Pattern};
use qemu_machine::error::ExpectFailure;
use qemu_machine::{Console, Screen};

const PROMPT: &str = "tiny guest ready\r\n> ";

scenario! {
    fn a_full_screen_editor_is_read_and_driven(qemu) {
        let guest = linux_guest();
        let vm = run!(qemu
            .bare()
            .memory("256M")
            .kernel(guest.join("vmlinux"))
            .initrd(guest.join("initramfs"))
            .append("console=ttyS0 quiet no_timer_check cryptomgr.notests")
            .console(Console::serial().screen())
            .launch())
        .unwrap();
        let console = vm.console();
        run!(console.screen_shows(Pattern::regex("(?m)^~ #$").unwrap())).unwrap();
        // The kernel's own lines would be on the screen, too.
        run!(console.send("dmesg -n 1; stty rows 24 cols 80\n")).unwrap();
        run!(console.send("printf 'one\\ntwo\\nthree\\n' >file; vi file\n")).unwrap();
        let screen = run!(console.screen_shows(Pattern::regex("(?s)^one\ntwo\nthree\n~\n.*file").unwrap()))
            .unwrap();
        assert_eq!(screen.rows().len(), 24);
        assert_eq!(screen.row(2), "three");
        run!(console.send("jx")).unwrap();
        // The cursor comes last, as the editor goes on drawing below.
        let is_done = |screen: &Screen| {
            let Cursor { row, column, .. } = screen.cursor();
            screen.row(1) == "wo" && screen.row(23).contains("[Modified]") && (row, column) == (1, 0)
        };
        run!(console.screen_matches(is_done)).unwrap();
        run!(console.send(":wq\n")).unwrap();
        run!(console.send("clear; cat file\n")).unwrap();
        run!(console.screen_shows(Pattern::regex("(?s)^one\nwo\nthree\n~ #\n*$").unwrap())).unwrap();
        // What was on the screen was on the console, whole.
        run!(console.expect("one\r\nwo\r\nthree\r\n~ # ")).unwrap();
        run!(vm.shutdown()).unwrap();
    }
}

scenario! {
    fn a_menu_drawn_out_of_order_shows_what_is_chosen(qemu) {
        let vm = run!(qemu.tiny().console(Console::serial().screen_size(40, 10)).launch()).unwrap();
        let console = vm.console();
        run!(console.expect(PROMPT)).unwrap();
        let menu = "\x1b[2J\x1b[4;3H\x1b[7m Rescue \x1b[m\x1b[3;3H Install \x1b[9;5H";
        run!(console.send(format!("echo {menu}\n"))).unwrap();
        let screen = run!(console.screen_shows("Install\n   Rescue")).unwrap();
        assert_eq!(screen.highlighted(), [" Rescue "]);
        assert_eq!(screen.rows().len(), 10);
        run!(vm.shutdown()).unwrap();
        assert!(vm.console().screen().unwrap().text().contains("Rescue"));
    }
}

// D34
scenario! {
    fn a_wait_for_the_screen_ends_with_its_deadline_or_with_the_machine(qemu) {
        let vm = run!(qemu.tiny().console(Console::serial().screen()).launch()).unwrap();
        let console = vm.console();
        run!(console.screen_shows("tiny guest ready\n>")).unwrap();
        let limit = Duration::from_millis(50);
        let error = run!(console.screen_shows("never").timeout(limit)).unwrap_err();
        assert!(matches!(*error.failure, ExpectFailure::Timeout { .. }), "{error}");
        assert!(error.waited >= limit);
        let told = error.to_string();
        for part in ["did not show 'never'", "within 50ms", "    tiny guest ready\n    >"] {
            assert!(told.contains(part), "no {part:?} in: {told}");
        }
        run!(console.send("poweroff\n")).unwrap();
        let error = run!(console.screen_matches(|_| false).timeout(None)).unwrap_err();
        assert!(matches!(*error.failure, ExpectFailure::MachineEnded(_)), "{error}");
        // What was shown still is.
        run!(console.screen_shows("tiny guest ready")).unwrap();

        let without = run!(qemu.tiny().launch()).unwrap();
        assert!(without.console().screen().is_none());
        let error = run!(without.console().screen_shows("tiny")).unwrap_err().to_string();
        assert!(error.contains("without a screen"), "{error}");
        run!(without.shutdown()).unwrap();
    }
}
