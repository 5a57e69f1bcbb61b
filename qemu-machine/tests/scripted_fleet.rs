//! Many machines at once: each has its own descriptors. Alone in its process,
//! for it compares them with those that the process has.
#![allow(missing_docs)]

mod support;

use qemu_machine::Console;
use support::{fake, fleet};

#[test]
fn each_of_64_machines_launched_at_once_has_its_own_descriptors_alone() {
    let serving = fake("greet\nnegotiate\nserve").console(Console::serial());
    let (_room, count) = fleet::room_for(64);
    let machines = fleet::launch(count, &serving);
    for opened_itself in fleet::assert_each_has_its_own(&machines) {
        assert!(opened_itself.is_empty(), "{opened_itself:?}");
    }
}
