//! The guest's hardware reports what the mouse did.

use crate::support::boot_sector::boots;
use crate::support::{Scratch, scenario};
use qemu_machine::input::Button;

scenario! {
    fn a_distance_and_a_click_reach_the_mouse(qemu) {
        let scratch = Scratch::new("mouse");
        // Without the tablet, which would get the clicks.
        let builder = boots(&qemu, "mouse", &scratch).machine("pc,vmport=off");
        let vm = run!(builder.launch()).unwrap();
        // It acknowledges that it was turned on.
        run!(vm.console().expect(">rfa")).unwrap();
        run!(vm.mouse().move_by(5, 3)).unwrap();
        // Buttons, to the right, upwards.
        run!(vm.console().expect("r28r05rfd")).unwrap();
        run!(vm.mouse().click(Button::Right)).unwrap();
        run!(vm.console().expect("r0ar00r00r08r00r00")).unwrap();
        run!(vm.shutdown()).unwrap();
    }
}

scenario! {
    fn a_place_and_a_click_reach_the_tablet(qemu) {
        let scratch = Scratch::new("tablet");
        let vm = run!(boots(&qemu, "mouse", &scratch).launch()).unwrap();
        run!(vm.console().expect(">")).unwrap();
        // Buttons and place; the tablet counts to 0xffff.
        for (x, y, told) in [
            (0.5, 0.25, "a0080004000"),
            (0.0, 0.75, "a000000bff"),
            // QEMU rounds the last digit now in one way, now in the other.
            (0.25, 1.5, "a004000fff"),
            (0.25, -2.0, "a0040000000"),
        ] {
            run!(vm.mouse().move_to(x, y)).unwrap();
            run!(vm.console().expect(told)).unwrap();
        }
        run!(vm.mouse().click(Button::Left)).unwrap();
        run!(vm.console().expect("a2040000000")).unwrap();
        run!(vm.console().expect("a0040000000")).unwrap();
        run!(vm.shutdown()).unwrap();
    }
}

scenario! {
    fn a_place_without_a_tablet_is_an_error(qemu) {
        let vm = run!(qemu.tiny().machine("pc,vmport=off").launch()).unwrap();
        let error = run!(vm.mouse().move_to(0.5, 0.5)).unwrap_err();
        assert!(error.to_string().contains("event type abs"), "{error}");
        run!(vm.shutdown()).unwrap();
    }
}
