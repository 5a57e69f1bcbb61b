//! What is typed arrives, whole, when the guest reads it, and not before.

use std::future::IntoFuture;
use std::time::Duration;

use crate::support::boot_sector::boots;
use crate::support::{Scratch, linux_guest, scenario, text};
use qemu_machine::console::Pattern;
use qemu_machine::error::InputError;
use qemu_machine::input::KeyboardLayout;
use qemu_machine::spec::OptionGroup;
use qemu_machine::{Console, Wait};
use qemu_qmp_engine::{Either, race};

scenario! {
    fn a_long_text_arrives_whole_as_fast_as_the_guest_reads(qemu) {
        let scratch = Scratch::new("typed");
        let vm = run!(boots(&qemu, "keys", &scratch).launch()).unwrap();
        run!(vm.console().expect(">")).unwrap();
        run!(vm.console().send("g")).unwrap();
        // Some 1000 characters, with and without shift.
        let line: String = (' '..='~').collect();
        let typed = format!("{line}\n\t").repeat(10);
        run!(vm.keyboard().type_text(&typed).pace(Duration::ZERO)).unwrap();
        run!(vm.keyboard().type_text("\x1b")).unwrap();
        let heard = run!(vm.console().expect("\x1b")).unwrap();
        assert_eq!(text(&heard.before), typed.replace('\n', "\r"));
        run!(vm.shutdown()).unwrap();
    }
}

scenario! {
    fn a_guest_that_does_not_read_loses_nothing(qemu) {
        let scratch = Scratch::new("unread");
        let vm = run!(boots(&qemu, "keys", &scratch).launch()).unwrap();
        run!(vm.console().expect(">")).unwrap();
        let typed = "the quick brown fox jumps over the lazy dog";
        // A key or two wait for the guest; what would be dropped is not sent.
        let typing = vm.keyboard().type_text(typed).pace(Duration::ZERO);
        // Long enough for QEMU's answer to the first keys on a busy host.
        let error = run!(typing.timeout(Duration::from_secs(2))).unwrap_err();
        let InputError::Timeout { done, all, .. } = error else {
            panic!("{error}");
        };
        assert!(done < all && all == typed.len(), "{done} of {all}");
        assert!(error.to_string().contains("the guest is not reading"), "{error}");

        run!(vm.console().send("g")).unwrap();
        run!(vm.keyboard().type_text(&typed[done..])).unwrap();
        run!(vm.keyboard().type_text("!")).unwrap();
        let heard = run!(vm.console().expect("!")).unwrap();
        assert_eq!(text(&heard.before), typed);
        run!(vm.shutdown()).unwrap();
    }
}

scenario! {
    fn texts_of_several_callers_come_one_after_the_other(qemu) {
        let scratch = Scratch::new("callers");
        let vm = run!(boots(&qemu, "keys", &scratch).launch()).unwrap();
        run!(vm.console().expect(">")).unwrap();
        run!(vm.console().send("g")).unwrap();
        std::thread::scope(|scope| {
            for word in ["aaaa", "bbbb", "CCCC", "DDDD"] {
                let typing = vm.keyboard().type_text(word);
                scope.spawn(move || typing.wait().unwrap());
            }
        });
        run!(vm.keyboard().type_text(".")).unwrap();
        let heard = text(&run!(vm.console().expect(r".")).unwrap().before);
        let mut words: Vec<_> = heard.as_bytes().chunks(4).map(text).collect();
        words.sort_unstable();
        assert_eq!(words, ["CCCC", "DDDD", "aaaa", "bbbb"], "{heard}");
        run!(vm.shutdown()).unwrap();
    }
}

scenario! {
    fn a_chord_is_pressed_together(qemu) {
        let scratch = Scratch::new("chord");
        let vm = run!(boots(&qemu, "keys", &scratch).launch()).unwrap();
        run!(vm.console().expect(">")).unwrap();
        run!(vm.console().send("g")).unwrap();
        // To the BIOS, ctrl-c is the character 3.
        run!(vm.keyboard().press("ctrl-c")).unwrap();
        run!(vm.console().expect("\x03")).unwrap();
        // The guest boots again while the keys are down, and does not read them.
        let mut events = vm.monitor().events();
        let hold = Duration::from_secs(2);
        run!(vm.keyboard().press("ctrl-alt-delete").hold(hold)).unwrap();
        run!(events.next_named("RESET")).unwrap();
        run!(vm.console().expect(">")).unwrap();
        run!(vm.shutdown()).unwrap();
    }
}

scenario! {
    fn a_key_that_is_down_comes_up_though_its_caller_left_and_the_guest_was_stopped(qemu) {
        let scratch = Scratch::new("released");
        let vm = run!(boots(&qemu, "keys", &scratch).launch()).unwrap();
        run!(vm.console().expect(">")).unwrap();
        run!(vm.console().send("g")).unwrap();
        let hold = Duration::from_secs(4);
        let press = vm.keyboard().press("shift-a").hold(hold).into_future();
        // Given up as soon as it is down.
        let heard = race(press, vm.console().expect("A").into_future());
        assert!(matches!(run!(heard), Either::Right(Ok(_))));
        run!(vm.monitor().execute_json("stop", ())).unwrap();
        // Nobody else types before it is up again, and that it cannot be now.
        let error = run!(vm.keyboard().type_text("x").timeout(Duration::from_secs(1))).unwrap_err();
        let told = error.to_string();
        assert!(told.contains("another keyboard or mouse action is running") || told.contains("VM not running"), "{told}");
        run!(vm.monitor().execute_json("cont", ())).unwrap();
        run!(vm.keyboard().type_text("b")).unwrap();
        let heard = run!(vm.console().expect(Pattern::regex("[bB]").unwrap())).unwrap();
        assert_eq!(text(heard.matched()), "b");
        run!(vm.shutdown()).unwrap();
    }
}

scenario! {
    fn what_cannot_be_typed_is_told_and_nothing_of_it_is_typed(qemu) {
        let scratch = Scratch::new("untyped");
        let vm = run!(boots(&qemu, "keys", &scratch).launch()).unwrap();
        run!(vm.console().expect(">")).unwrap();
        run!(vm.console().send("g")).unwrap();
        let error = run!(vm.keyboard().type_text("caf\u{e9}")).unwrap_err();
        assert!(matches!(error, InputError::NoKey { character: '\u{e9}', position: 4, .. }), "{error}");
        assert!(error.to_string().ends_with("the US keyboard layout has no key for 'é', character 4 of the text"));
        let error = run!(vm.keyboard().press("ctrl-")).unwrap_err();
        assert!(matches!(error, InputError::NoChord { .. }), "{error}");
        let error = run!(vm.keyboard().press("ctrl-nonesuch")).unwrap_err();
        assert!(error.to_string().contains("nonesuch"), "{error}");

        // Of a guest that is stopped QEMU says so, and at once.
        run!(vm.monitor().execute_json("stop", ())).unwrap();
        let error = run!(vm.keyboard().type_text("x").timeout(None)).unwrap_err();
        assert!(error.to_string().contains("VM not running"), "{error}");
        run!(vm.monitor().execute_json("cont", ())).unwrap();

        run!(vm.keyboard().type_text(".")).unwrap();
        assert_eq!(text(&run!(vm.console().expect(".")).unwrap().before), "");
        run!(vm.shutdown()).unwrap();
    }
}

scenario! {
    /// What Linux makes of the keys, with the layouts of X on its own console.
    fn a_text_is_typed_for_the_layout_of_the_guest(qemu) {
        let guest = linux_guest();
        let builder = qemu.bare()
            .memory("256M")
            .kernel(guest.join("vmlinux"))
            .initrd(guest.join("initramfs-agent"))
            .append("console=ttyS0 quiet no_timer_check cryptomgr.notests")
            .console(Console::serial())
            .device(&OptionGroup::new("VGA"))
            .guest_agent();
        let vm = run!(builder.launch()).unwrap();
        let agent = vm.guest_agent();
        run!(agent.wait_until_ready().timeout(Duration::from_secs(120))).unwrap();
        let ascii: String = (' '..='~').collect();
        for (layout, name, others) in [
            (KeyboardLayout::Us, None, ""),
            (KeyboardLayout::German, Some("de"), "äöüßÄÖÜ§°µ²³€éèêáàâóòôÉÈÊ"),
            (KeyboardLayout::French, Some("fr"), "éèàçù§°£µ²€¤êâîôûëïüöÊÂ"),
        ] {
            if let Some(name) = name {
                let file = guest.join(format!("keymaps/{name}.bkmap"));
                let keymap = std::fs::read(file).expect("run `cargo xtask setup`");
                let loads = agent.exec("busybox").arg("loadkmap").input(keymap);
                assert!(run!(loads).unwrap().success());
            }
            let reads = "exec 3</dev/tty1; echo reads >/dev/ttyS0; \
                         IFS= read -r line <&3; printf %s \"$line\"";
            let reads = agent.exec("/bin/sh").args(["-c", reads]).env("PATH", "/bin");
            let reads = run!(reads.spawn()).unwrap();
            run!(vm.console().expect("reads")).unwrap();
            let typed = format!("{ascii}{others}");
            let keyboard = vm.keyboard().layout(layout);
            run!(keyboard.type_text(&format!("{typed}\n")).pace(Duration::ZERO)).unwrap();
            let line = run!(reads.wait_for_exit()).unwrap();
            assert_eq!(text(&line.stdout), typed, "{layout}");
        }
        run!(vm.kill()).unwrap();
    }
}
