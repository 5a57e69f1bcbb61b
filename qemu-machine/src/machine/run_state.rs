//! The guest reset, paused and resumed.

use qemu_qmp::{Cont, Execute, Stop, SystemReset};

use super::Machine;

impl Machine {
    /// Resets the guest, as its reset button does (`system_reset`). A guest that
    /// was paused stays paused.
    pub fn reset(&self) -> Execute<SystemReset> {
        self.monitor.execute(SystemReset)
    }

    /// Pauses the guest (`stop`): its processors, devices and clock stand still.
    pub fn pause(&self) -> Execute<Stop> {
        self.monitor.execute(Stop)
    }

    /// Lets a paused guest go on (`cont`).
    pub fn resume(&self) -> Execute<Cont> {
        self.monitor.execute(Cont)
    }
}
