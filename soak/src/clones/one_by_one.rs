//! Many clones, one after the other: no two have an identity in common.

use std::collections::HashMap;
use std::time::Instant;

use qemu_machine::{Machine, Wait};

use super::guest::{Guest, text};

/// Plays this number of clones. Returns what was wrong.
pub(super) fn play(guest: &Guest, clones: u64) -> Result<Vec<String>, String> {
    let mut identities = Identities::default();
    let begun = Instant::now();
    for number in 1..=clones {
        let vm = guest.launch()?;
        let of_clone = |wrong| format!("clone {number}: {wrong}");
        for (kind, value) in facts(guest, &vm).map_err(of_clone)? {
            identities.add(number, kind, value);
        }
        vm.kill().wait().map_err(text)?;
        if number % 100 == 0 || number == clones {
            println!("{number} clones after {:.1?}", begun.elapsed());
        }
    }
    let each = begun.elapsed() / u32::try_from(clones.max(1)).map_err(text)?;
    println!("seconds for each: {:.3}", each.as_secs_f64());
    Ok(identities.equal)
}

/// What no two clones may have in common, with its kind.
fn facts(guest: &Guest, vm: &Machine) -> Result<Vec<(&'static str, String)>, String> {
    let own = vm.wake().wait().map_err(text)?;
    let told = guest.ask(vm, FACTS)?;
    let [machine_id, boot_id, uuid, mac, urandom] = told.lines().collect::<Vec<_>>()[..] else {
        return Err(format!("the guest answered {told:?}"));
    };
    if machine_id != own.machine_id() {
        return Err(format!("its machine id is {machine_id}"));
    }
    if mac != own.mac(0) {
        return Err(format!("its MAC address is {mac}"));
    }
    let query = vm.monitor().execute_json("query-vm-generation-id", ());
    let generation = query.wait().map_err(text)?["guid"].to_string();
    Ok([
        ("machine id", machine_id),
        ("boot id", boot_id),
        ("uuid", uuid),
        ("urandom", urandom),
        ("MAC address", mac),
        ("generation", &generation),
    ]
    .map(|(kind, value)| (kind, value.trim().to_owned()))
    .into())
}

/// The values of the clones so far.
#[derive(Debug, Default)]
struct Identities {
    /// The clone that had it first.
    first: HashMap<(&'static str, String), u64>,
    equal: Vec<String>,
}

impl Identities {
    fn add(&mut self, number: u64, kind: &'static str, value: String) {
        let first = self.first.entry((kind, value)).or_insert(number);
        if *first != number {
            let equal = format!("the {kind} of clone {number} is that of clone {first}");
            self.equal.push(equal);
        }
    }
}

/// Programs are slow to start under TCG, so the shell reads what it can.
const FACTS: &str = "for file in /etc/machine-id /proc/sys/kernel/random/boot_id \
     /proc/sys/kernel/random/uuid /sys/class/net/eth0/address; do read line <$file; echo $line; \
     done; echo $(od -An -v -tx1 -N32 /dev/urandom)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_equal_value_of_the_same_kind_is_reported_with_both_clones() {
        let mut identities = Identities::default();
        identities.add(1, "uuid", "a".into());
        identities.add(1, "urandom", "a".into());
        identities.add(2, "uuid", "b".into());
        assert!(identities.equal.is_empty());
        identities.add(3, "uuid", "a".into());
        assert_eq!(identities.equal, ["the uuid of clone 3 is that of clone 1"]);
    }
}
