//! Many real QEMUs at once: each has its own descriptors.
#![allow(missing_docs)]

mod support;

use support::{fleet, qemus};

#[test]
fn each_of_64_qemus_launched_at_once_has_its_own_descriptors_alone() {
    for qemu in qemus() {
        eprintln!("QEMU {}", qemu.version);
        // It has no serial port.
        let bare = qemu.bare().machine("none").add_monitor("second");
        let (_room, count) = fleet::room_for(64);
        let machines = fleet::launch(count, &bare);
        for opened_itself in fleet::assert_each_has_its_own(&machines) {
            let leads_nowhere = |open: &fleet::Open| open.target.starts_with("anon_inode:");
            assert!(opened_itself.iter().all(leads_nowhere), "{opened_itself:?}");
        }
    }
}
