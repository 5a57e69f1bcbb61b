//! More consoles than one on a machine, as a real QEMU would not have them on
//! demand.
#![allow(missing_docs)]

mod support;

use qemu_machine::{Console, ExpectFailure, SendError};
use support::{Scratch, fake, scenario};

// P27, W2
scenario! {
    fn each_console_has_its_own_bytes_log_and_end() {
        let scratch = Scratch::new("consoles");
        let [first, second] = ["first.log", "second.log"].map(|name| scratch.join(name));
        let script = "
            greet
            negotiate
            console 0 first\\n
            console 1 sec
            console 1 ond\\r\\nanother
            console-expect 1 close\\n
            console-close 1
            console-expect 0 die\\n
            die SIGKILL";
        let builder = fake(script)
            .console(Console::serial().log(&first))
            .add_console("other", Console::serial().log(&second).log_times());
        let vm = run!(builder.launch()).unwrap();
        let other = vm.console_named("other").unwrap();
        run!(vm.console().expect("first\n")).unwrap();
        let found = run!(other.expect("another")).unwrap();
        assert_eq!(found.before, b"second\r\n");
        run!(other.send("close\n")).unwrap();
        let error = run!(other.expect("x")).unwrap_err();
        assert!(matches!(*error.failure, ExpectFailure::Closed), "{error}");
        let error = run!(other.send("x")).unwrap_err();
        assert!(matches!(error, SendError::Ended { .. }), "{error}");
        assert!(error.to_string().starts_with("the console 'other' of machine '"), "{error}");

        // The first lives on, and both are told of the end.
        run!(vm.console().send("die\n")).unwrap();
        let report = run!(vm.exited()).unwrap();
        assert_eq!(report.console_tail, b"first\n");
        assert_eq!(report.named_console_tails, [("other".to_owned(), b"second\r\nanother".to_vec())]);
        for console in [vm.console(), other] {
            let error = run!(console.expect("x")).unwrap_err();
            assert!(matches!(*error.failure, ExpectFailure::MachineEnded(_)), "{error}");
        }
        assert_eq!(std::fs::read(&first).unwrap(), b"first\n");
        let second = std::fs::read_to_string(&second).unwrap();
        let lines: Vec<_> = second.split("] ").collect();
        assert!(lines.len() == 3 && lines[0].starts_with("[    0."), "{second:?}");
        assert!(lines[1].starts_with("second\r\n[    0.") && lines[2] == "another", "{second:?}");
    }
}
