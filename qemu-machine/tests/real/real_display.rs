//! What a machine shows is seen, by whatever way, and waited for.

use std::future::IntoFuture;
use std::task::{Context, Waker};
use std::time::Duration;

use crate::support::boot_sector::boots;
use crate::support::{Scratch, scenario};
use qemu_machine::Wait;
use qemu_machine::display::{Screenshot, Tolerance};
use qemu_machine::error::DisplayError;
use qemu_machine::spec::{Monitor, OptionGroup};
use qemu_qmp_engine::{Either, race};
use serde_json::json;

scenario! {
    fn a_screenshot_is_what_qemu_itself_writes(qemu) {
        let scratch = Scratch::new("shot");
        let vm = run!(boots(&qemu, "keys", &scratch).launch()).unwrap();
        run!(vm.console().expect(">")).unwrap();
        // Then its cursor does not blink.
        run!(vm.monitor().execute_json("stop", ())).unwrap();
        let shown = run!(vm.display().screenshot()).unwrap();
        assert_eq!((shown.width(), shown.height()), (720, 400));
        assert_eq!(shown.pixel(10, 390), Some([0xa8, 0, 0]), "the guest's red bar");
        assert_eq!(shown.pixel(719, 390), Some([0, 0, 0]));

        let path = scratch.join("by-qemu.png");
        let arguments = json!({"filename": path, "format": "png"});
        run!(vm.monitor().execute_json("screendump", arguments)).unwrap();
        assert_eq!(Screenshot::open(&path).unwrap(), shown);
        let path = scratch.join("by-us.png");
        shown.save(&path).unwrap();
        assert_eq!(Screenshot::open(&path).unwrap(), shown);

        // However many are taken, QEMU keeps but one descriptor.
        assert_eq!(run!(vm.display().screenshot()).unwrap(), shown);
        let sets = run!(vm.monitor().execute_json("query-fdsets", ())).unwrap();
        assert_eq!(sets[0]["fds"].as_array().unwrap().len(), 1, "{sets}");
        assert_eq!(sets.as_array().unwrap().len(), 1, "{sets}");
        run!(vm.shutdown()).unwrap();
    }
}

scenario! {
    fn a_picture_that_nobody_goes_on_with_keeps_nobody_from_the_next(qemu) {
        let builder = qemu.bare().device(&qemu_machine::spec::OptionGroup::new("VGA"));
        let vm = run!(builder.launch()).unwrap();
        let mut first = vm.display().screenshot().into_future();
        let mut context = Context::from_waker(Waker::noop());
        assert!(first.as_mut().poll(&mut context).is_pending());
        let next = run!(vm.display().screenshot()).unwrap();
        assert_eq!(run!(first).unwrap().width(), next.width());
        run!(vm.shutdown()).unwrap();
    }
}

scenario! {
    fn a_screenshot_needs_no_descriptors_to_be_passed(qemu) {
        let scratch = Scratch::new("shot-tcp");
        let monitor = Monitor::Tcp(([127, 0, 0, 1], 0).into());
        let vm = run!(boots(&qemu, "keys", &scratch).monitor(monitor).launch()).unwrap();
        run!(vm.console().expect(">")).unwrap();
        let shown = run!(vm.display().screenshot()).unwrap();
        assert_eq!(shown.pixel(10, 390), Some([0xa8, 0, 0]));
        run!(vm.shutdown()).unwrap();
    }
}

scenario! {
    fn of_several_displays_one_is_named(qemu) {
        let scratch = Scratch::new("heads");
        let second = qemu_machine::spec::OptionGroup::new("bochs-display").set("id", "second");
        let vm = run!(boots(&qemu, "keys", &scratch).device(&second).launch()).unwrap();
        run!(vm.console().expect(">")).unwrap();
        let first = run!(vm.display().screenshot()).unwrap();
        let other = run!(vm.display().head("second", 0).screenshot()).unwrap();
        assert_ne!((first.width(), first.height()), (other.width(), other.height()));
        let error = run!(vm.display().head("third", 0).screenshot()).unwrap_err();
        assert!(error.to_string().contains("third"), "{error}");
        run!(vm.shutdown()).unwrap();
    }
}

scenario! {
    fn a_machine_without_a_display_says_how_to_get_one(qemu) {
        let vm = run!(qemu.tiny().launch()).unwrap();
        let error = run!(vm.display().screenshot()).unwrap_err();
        assert!(matches!(error, DisplayError::NoDisplay { .. }), "{error}");
        let told = error.to_string();
        assert!(told.contains(vm.name()) && told.contains("-vga"), "{told}");
        let error = run!(vm.display().still(Duration::ZERO)).unwrap_err();
        assert!(matches!(error, DisplayError::NoDisplay { .. }), "{error}");
        run!(vm.shutdown()).unwrap();
    }
}

scenario! {
    fn a_screen_is_waited_for_until_it_looks_as_before(qemu) {
        let scratch = Scratch::new("looks");
        let vm = run!(boots(&qemu, "keys", &scratch).launch()).unwrap();
        run!(vm.console().expect(">")).unwrap();
        run!(vm.console().send("g")).unwrap();
        // Its cursor, two lines of a character, blinks; eight characters are more.
        let tolerance = Tolerance { channel: 0, share: 40.0 / (720.0 * 400.0) };
        let still = Duration::from_millis(300);
        let before = run!(vm.display().still(still)).unwrap();
        run!(vm.keyboard().type_text("MMMMMMMM")).unwrap();
        let expect = || vm.display().expect(before.clone()).tolerance(tolerance);
        let error = run!(expect().timeout(Duration::from_secs(3))).unwrap_err();
        let DisplayError::Timeout { last: Some(last), .. } = &error else {
            panic!("{error}");
        };
        assert!(!last.matches(&before, tolerance));
        assert!(error.to_string().contains("% of its pixels were different"), "{error}");

        let erase = ["\x08", " ", "\x08"].map(|key| key.repeat(8)).concat();
        let shown = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| expect().wait());
            vm.keyboard().type_text(&erase).wait().unwrap();
            waiting.join().unwrap()
        });
        assert!(shown.unwrap().matches(&before, tolerance));
        run!(vm.shutdown()).unwrap();
    }
}

// R5
scenario! {
    fn a_screen_is_not_waited_for_that_a_held_guest_will_not_change(qemu) {
        let vga = OptionGroup::new("VGA");
        let vm = run!(qemu.tiny().device(&vga).arg("-no-shutdown").launch()).unwrap();
        run!(vm.console().expect("> ")).unwrap();
        let wide = Screenshot::from_rgb(1, 1, vec![0; 3]).unwrap();
        let hour = Duration::from_secs(3600);
        let expect = || vm.display().expect(wide.clone()).pace(hour).timeout(hour);
        let waiting = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| expect().wait().unwrap_err());
            vm.console().send("poweroff\n").wait().unwrap();
            waiting.join().unwrap()
        });
        for error in [waiting, run!(expect()).unwrap_err()] {
            assert!(matches!(error, DisplayError::GuestPaused { .. }), "{error}");
            assert!(error.to_string().contains("shut down"), "{error}");
        }
        run!(vm.shutdown()).unwrap();
    }
}

scenario! {
    fn who_waits_for_a_screen_is_told_of_the_machine_s_end(qemu) {
        let scratch = Scratch::new("screen-end");
        let vm = run!(boots(&qemu, "keys", &scratch).launch()).unwrap();
        run!(vm.console().expect(">")).unwrap();
        let shown = run!(vm.display().screenshot()).unwrap();
        let wide = Screenshot::from_rgb(1, 1, vec![0; 3]).unwrap();
        assert_ne!(shown, wide);
        // It is to be looked at again in an hour: the end does not wait for that.
        let hour = Duration::from_secs(3600);
        let expect = vm.display().expect(wide).pace(hour).into_future();
        let killed = async {
            vm.display().screenshot().await.unwrap();
            vm.kill().await.unwrap();
            std::future::pending::<()>().await;
        };
        let Either::Left(Err(error)) = run!(race(expect, killed)) else {
            panic!("it was seen");
        };
        let DisplayError::Execute(error) = error else {
            panic!("{error}");
        };
        assert!(error.to_string().contains("as requested, by"), "{error}");
    }
}
