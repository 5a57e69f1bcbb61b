//! Reset, pause and resume of the guest.

use qemu_qmp::client::Execute;
use qemu_qmp::command::{Cont, Stop, SystemReset};

use super::Machine;

impl Machine {
    /// Resets the guest, like its reset button (`system_reset`). A paused guest
    /// stays paused.
    pub fn reset(&self) -> Execute<SystemReset> {
        self.monitor.execute(SystemReset)
    }

    /// Pauses the guest (`stop`): its processors, devices and clock stop.
    pub fn pause(&self) -> Execute<Stop> {
        self.monitor.execute(Stop)
    }

    /// Resumes a paused guest (`cont`).
    pub fn resume(&self) -> Execute<Cont> {
        self.monitor.execute(Cont)
    }
}
