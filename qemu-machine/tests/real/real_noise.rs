//! Prompts that a real kernel and real programs have split are found.

use crate::support::{linux_guest, scenario, text};
use qemu_machine::Console;
use qemu_machine::console::Pattern;

const PROMPT: &str = "~ # ";

// W10
scenario! {
    fn a_prompt_split_by_kernel_lines_and_colours_is_found(qemu) {
        let guest = linux_guest();
        let vm = run!(qemu
            .bare()
            .memory("256M")
            .kernel(guest.join("vmlinux"))
            .initrd(guest.join("initramfs"))
            // Not quiet: the boot's own lines are looked past as well.
            .append("console=ttyS0 no_timer_check cryptomgr.notests")
            .console(Console::serial().past_kernel_lines())
            .launch())
        .unwrap();
        let console = vm.console();
        let boot = run!(console.expect(PROMPT)).unwrap();
        assert!(boot.before_text().contains("linux guest ready"), "{boot:?}");
        assert!(!boot.before_text().contains("Run /init"), "{boot:?}");

        // Short lines: the shell breaks the echo of long ones.
        run!(console.send("k() { echo \"<1>$1\" >/dev/kmsg; }\n")).unwrap();
        run!(console.expect(PROMPT)).unwrap();
        let login = "printf log; k one; k two; printf 'in: \\n'";
        run!(console.send(format!("{login}\n"))).unwrap();
        run!(console.expect(format!("{login}\r\n"))).unwrap();
        let found = run!(console.expect("login: ")).unwrap();
        assert_eq!((found.before_text(), found.matched()), (String::new(), b"login: ".as_slice()));
        run!(console.expect("\r\n~ # ")).unwrap();
        let raw = text(&console.tail());
        for part in ["\nlog[", "] one\r\n[", "] two\r\nin: "] {
            assert!(raw.contains(part), "no {part:?}: it was not split:\n{raw}");
        }

        let password = "printf '\\033[1mpass'; k three; printf 'word\\033[0m: [\\n'";
        run!(console.send(format!("{password}\n"))).unwrap();
        run!(console.expect(format!("{password}\r\n"))).unwrap();
        let found = run!(console.expect("password: [").past_escapes()).unwrap();
        assert_eq!(found.before_text(), "");
        // What comes after a match is there for the next search, noise and all.
        run!(console.send("k four; echo end\n")).unwrap();
        let line = Pattern::regex(r"\[ +\d+\.\d+\] four\r\n").unwrap();
        run!(console.expect(line).verbatim()).unwrap();
        assert_eq!(run!(console.expect("end\r\n")).unwrap().before_text(), "");
        run!(vm.shutdown()).unwrap();
    }
}
