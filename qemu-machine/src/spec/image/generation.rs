//! Whether a machine gets a generation id. By this device, Linux 5.18 and later
//! learn that they are a clone, and renew their random numbers at once (QEMU's
//! document `docs/specs/vmgenid.rst`).

use std::path::Path;

use crate::spec::MachineSpec;

/// Whether QEMU can have the device on this machine, and the caller has not
/// added it. The names decide, because nothing can be asked before the start.
pub(crate) fn wants_generation_id(spec: &MachineSpec) -> bool {
    let binary = Path::new(&spec.binary).file_name().unwrap_or_default();
    let binary = binary.to_string_lossy();
    let is_pc = |machine: &str| machine.starts_with("pc") || machine.starts_with("q35");
    let machine = spec.machine_type.as_ref().map(|it| it.to_string_lossy());
    let mut arguments = spec.arguments.iter().map(|it| it.to_string_lossy());
    let names = arguments.clone().zip(arguments.clone().skip(1));
    let mut machines = names.filter(|(name, _)| ["-machine", "-M", "--machine"].contains(&&**name));
    // Some distributions name the QEMU of the host's processor so.
    let is_host = ["qemu-kvm", "kvm"].contains(&&*binary) && cfg!(target_arch = "x86_64");
    (is_host || ["qemu-system-x86_64", "qemu-system-i386"].contains(&&*binary))
        && machine.is_none_or(|it| is_pc(&it))
        && machines.all(|(_, value)| is_pc(&value) || value.contains('='))
        && !arguments.any(|it| it.starts_with("vmgenid"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Machine, MachineBuilder};

    #[test]
    fn only_a_pc_gets_it_and_only_once() {
        let pc = || Machine::builder("/usr/bin/qemu-system-x86_64");
        let wants = |builder: MachineBuilder| wants_generation_id(builder.spec());
        assert!(wants(pc()));
        assert!(wants(pc().machine("q35,smm=off")));
        let named = wants(Machine::builder("/usr/libexec/qemu-kvm"));
        assert_eq!(named, cfg!(target_arch = "x86_64"));
        assert!(wants(pc().args(["-machine", "pc-q35-7.2"])));
        assert!(wants(pc().args(["-machine", "smm=off"])));
        assert!(!wants(pc().machine("microvm")));
        assert!(!wants(pc().args(["-M", "isapc"])));
        assert!(!wants(pc().args(["-device", "vmgenid,guid=auto"])));
        assert!(!wants(
            Machine::builder("qemu-system-aarch64").machine("virt")
        ));
    }
}
