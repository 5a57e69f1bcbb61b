//! The firmware that this crate embeds is what its source builds.

use std::path::Path;
use std::process::Command;

use crate::support::Scratch;

#[test]
fn the_tiny_guest_builds_to_the_same_bytes() {
    let scratch = Scratch::new("tiny-image");
    let built = scratch.path().join("tiny.bin");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/tiny/build.sh");
    let status = Command::new("sh").arg(script).arg(&built).status().unwrap();
    assert!(
        status.success(),
        "as, ld and objcopy are in the package binutils"
    );
    let image = qemu_machine::guests::tiny().image();
    assert!(image.len() <= 64 << 10);
    assert!(
        std::fs::read(&built).unwrap() == image,
        "run `cargo xtask guest`"
    );
}
