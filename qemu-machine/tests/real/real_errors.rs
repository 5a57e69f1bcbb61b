//! What errors show of real machines: by `Debug` what they show by `Display`, and
//! that in whole words.
use std::fmt::{Debug, Display};
use std::time::Duration;

use crate::support::{Scratch, scenario};
use qemu_machine::console::Pattern;
use qemu_machine::error::LaunchFailure;
use qemu_machine::qmp::Client;
use qemu_machine::{Accel, Console, Machine};
use serde_json::json;

const SHORT: Duration = Duration::from_millis(50);

/// That `unwrap` shows what the error says, and nothing of how it is made.
fn is_in_words(error: &(impl Debug + Display)) {
    let (debug, display) = (format!("{error:?}"), error.to_string());
    assert_eq!(debug, display);
    // A command line is as a shell reads it.
    let said = |line: &&str| !line.starts_with("  command line: ");
    let said: Vec<&str> = display.lines().filter(said).collect();
    let said = said.join("\n");
    for bad in [
        "''", "\\'", "\\\"", "1th", "2th", "3th", "Some(", " { ", "[101, ",
    ] {
        assert!(!said.contains(bad), "{bad:?} is in: {said}");
    }
}

// R11
scenario! {
    fn every_error_of_a_machine_shows_by_debug_what_it_says(qemu) {
        let scratch = Scratch::new("errors");
        let vm = run!(qemu.tiny().console(Console::serial().screen()).launch()).unwrap();
        run!(vm.console().expect("> ")).unwrap();
        run!(vm.console().send("it's \"so\"\r")).unwrap();
        is_in_words(&run!(vm.console().expect("it's never").timeout(SHORT)).unwrap_err());
        is_in_words(&run!(vm.console().expect_any([""; 0]).timeout(SHORT)).unwrap_err());
        is_in_words(&run!(vm.console().screen_shows("\"never\"").timeout(SHORT)).unwrap_err());
        is_in_words(&run!(vm.console().shell().timeout(SHORT)).map(drop).unwrap_err());
        is_in_words(&run!(vm.wait_for_exit().timeout(SHORT)).unwrap_err());
        is_in_words(&run!(vm.guest_agent().ping().timeout(SHORT)).unwrap_err());
        is_in_words(&run!(vm.monitor().execute_json("", ())).unwrap_err());
        is_in_words(&run!(vm.monitor().events().next_named("").timeout(SHORT)).unwrap_err());
        is_in_words(&run!(vm.monitor().run_job("x", json!({"job-id": ""}))).unwrap_err());
        is_in_words(&run!(vm.display().screenshot()).unwrap_err());
        is_in_words(&run!(vm.keyboard().type_text("ä")).unwrap_err());
        is_in_words(&run!(vm.keyboard().press("")).unwrap_err());
        is_in_words(&run!(vm.forwarded_port("", 22)).unwrap_err());
        is_in_words(&run!(vm.save_to(scratch.join("nowhere").join("x"))).unwrap_err());
        is_in_words(&run!(Accel::listed("")).unwrap_err());
        is_in_words(&run!(Client::connect_unix(scratch.join("qmp")).timeout(SHORT)).unwrap_err());
        is_in_words(&Pattern::regex("it's (").unwrap_err());
        is_in_words(&run!(vm.schema()).unwrap().has("").unwrap_err());

        crate::support::signal(vm.pid().unwrap(), "SEGV");
        is_in_words(&run!(vm.shutdown()).unwrap_err());
        is_in_words(&run!(vm.console().send("x")).unwrap_err());
        is_in_words(&*run!(vm.wait_for_exit()).unwrap());
    }
}

// R11
scenario! {
    fn a_launch_whose_words_are_in_one_is_told_how_to_split_them(qemu) {
        for (builder, advice) in [
            (qemu.bare().arg("-m 256M"), r#"`.args(["-m", "256M"])`"#),
            (qemu.bare().arg("-m256M"), r#"`.args(["-m", "256M"])`"#),
            (
                Machine::builder(format!("{} -m 256", qemu.binary.display())),
                "pass each argument by itself with `.arg()` or `.args()`",
            ),
            (Machine::builder("qemu-system-x86_64 -m 256"), "the name has blanks"),
            (Machine::builder(""), "name QEMU's binary"),
        ] {
            let error = run!(builder.launch()).unwrap_err();
            is_in_words(&error);
            assert!(error.advice().unwrap().contains(advice), "{error}");
        }
        // QEMU's own words stand as they are.
        let error = run!(qemu.bare().args(["-device", "nonesuch"]).launch()).unwrap_err();
        assert!(matches!(*error.failure, LaunchFailure::Exited), "{error}");
        assert!(error.to_string().contains("'nonesuch' is not a valid device model"), "{error}");
        is_in_words(&error);
    }
}
