//! A frozen Linux guest with a nonce in its memory, and its clones.

use std::path::Path;
use std::time::Duration;

use qemu_machine::spec::UserNet;
use qemu_machine::template::Template;
use qemu_machine::{Console, Machine, MachineBuilder, Shell, Wait};

/// A template, and the nonce that only the memory of its guest has.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) template: Template,
    nonce: String,
}

impl Guest {
    /// Boots and freezes a guest. Private files are in `base`.
    pub(super) fn boot(qemu: &Path, linux: &Path, base: &Path) -> Result<Self, String> {
        let machine = machine(qemu, &linux.join("vmlinuz"), base);
        Self::freeze(&machine.initrd(linux.join("initramfs")), SET_UP)
    }

    /// The same, with a network card.
    pub(super) fn boot_with_card(qemu: &Path, linux: &Path, base: &Path) -> Result<Self, String> {
        let machine = machine(qemu, &linux.join("vmlinuz"), base)
            .initrd(linux.join("initramfs-agent"))
            .netdev_user(UserNet::new("net"));
        Self::freeze(&machine, &format!("{CARD} && {SET_UP}"))
    }

    fn freeze(machine: &MachineBuilder, set_up: &str) -> Result<Self, String> {
        let vm = machine.launch().wait().map_err(text)?;
        vm.console().expect("~ # ").wait().map_err(text)?;
        let mut shell = vm.console().shell().wait().map_err(text)?;
        let nonce = run(&mut shell, set_up)?;
        vm.prepare_wake().wait().map_err(text)?;
        let template = vm.freeze().wait().map_err(text)?;
        Ok(Self { template, nonce })
    }

    pub(super) fn launch(&self) -> Result<Machine, String> {
        self.template.machine().launch().wait().map_err(text)
    }

    /// Runs this in the guest's shell, which must have the nonce.
    pub(super) fn ask(&self, vm: &Machine, script: &str) -> Result<String, String> {
        let mut shell = vm.console().shell().wait().map_err(text)?;
        let told = run(&mut shell, &format!("echo $nonce; {script}"))?;
        let (nonce, answer) = told.split_once('\n').unwrap_or((&told, ""));
        if nonce.trim() == self.nonce {
            Ok(answer.to_owned())
        } else {
            Err(format!("the guest is no clone, its nonce is {nonce:?}"))
        }
    }
}

fn machine(qemu: &Path, kernel: &Path, base: &Path) -> MachineBuilder {
    Machine::builder(qemu)
        .accel(["tcg"])
        .arg("-nodefaults")
        .memory(MEMORY)
        .kernel(kernel)
        .append("console=ttyS0 quiet no_timer_check cryptomgr.notests")
        .console(Console::serial())
        .default_timeout(Duration::from_secs(120))
        .base_dir(base)
        .freezable()
}

fn run(shell: &mut Shell, script: &str) -> Result<String, String> {
    let ran = shell.run(script).wait().map_err(text)?;
    if ran.success() {
        Ok(ran.text())
    } else {
        Err(format!("'{script}' failed: {}", ran.text()))
    }
}

pub(super) fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// The memory of the guest.
pub(super) const MEMORY: &str = "256M";
pub(super) const MEMORY_BYTES: u64 = 256 << 20;

/// The guest of the set-up has no machine id. Its kernel has random numbers after
/// the first that are asked for. A clone of a kernel without them would make its
/// own, and needs half a second for them.
const SET_UP: &str = "mkdir -p /etc /tmp && echo 1 > /etc/machine-id && \
     head -c 1 /dev/urandom >/dev/null && \
     nonce=$(cat /proc/sys/kernel/random/uuid) && echo $nonce";

/// Its driver is loaded beside the shell, and nothing notifies a shell.
const CARD: &str = "until [ -e /sys/class/net/eth0 ]; do usleep 10000; done";
