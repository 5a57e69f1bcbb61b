//! Whether the guest's own kernel is well, as far as QEMU tells.

use qemu_qmp::Event;

/// What QEMU has told of panics of the guest.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct GuestState {
    has_panicked: bool,
    is_held: bool,
}

impl GuestState {
    /// Takes in `GUEST_PANICKED` (`GuestPanicAction` in QEMU's schema), and
    /// what lets the guest go on: `RESUME`, `RESET`.
    pub(crate) fn heard(&mut self, event: &Event) {
        match event.name() {
            "GUEST_PANICKED" => {
                let data: serde_json::Value = event.data().unwrap_or_default();
                self.has_panicked = true;
                self.is_held = data["action"] == "pause";
            }
            "RESUME" | "RESET" => self.is_held = false,
            _ => {}
        }
    }

    /// Whether it ever has.
    pub(crate) fn has_panicked(self) -> bool {
        self.has_panicked
    }

    /// Whether it has, and QEMU has stopped it for that.
    pub(crate) fn is_held(self) -> bool {
        self.is_held
    }
}
