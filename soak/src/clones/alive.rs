//! Many clones alive at once: each answers, and they take little memory.

use std::fs;
use std::time::Instant;

use qemu_machine::{Machine, Wait};

use super::guest::{Guest, MEMORY_BYTES, text};

/// Launches this number of clones, and asks each twice. Returns what was wrong.
pub(super) fn play(guest: &Guest, clones: u64) -> Result<Vec<String>, String> {
    let begun = Instant::now();
    let mut alive = Vec::new();
    for number in 0..clones {
        let vm = guest.launch()?;
        answers(guest, &vm, &number.to_string())?;
        alive.push(vm);
    }
    println!("{clones} clones answered after {:.1?}", begun.elapsed());
    let (mut all, mut own) = (0, Vec::new());
    for vm in &alive {
        let memory = Memory::of(vm)?;
        all += memory.proportional_bytes;
        own.push(memory.own_bytes);
    }
    let begun = Instant::now();
    for (number, vm) in alive.iter().enumerate() {
        answers(guest, vm, &format!("again {number}"))?;
    }
    println!("all answered again within {:.1?}", begun.elapsed());
    own.sort_unstable();
    let median = own.get(own.len() / 2).copied().unwrap_or_default();
    let limit = MEMORY_BYTES + clones * OWN_LIMIT_BYTES;
    println!("bytes in all: {all}");
    println!("limit in bytes: {limit}");
    println!("bytes of a clone without the template: {median} (median)");
    for vm in alive {
        vm.kill().wait().map_err(text)?;
    }
    Ok((all > limit)
        .then(|| format!("{clones} clones take {} MiB", all >> 20))
        .into_iter()
        .collect())
}

fn answers(guest: &Guest, vm: &Machine, wanted: &str) -> Result<(), String> {
    let answer = guest.ask(vm, &format!("echo {wanted}"))?;
    if answer.trim() == wanted {
        Ok(())
    } else {
        Err(format!("instead of '{wanted}', a clone said {answer:?}"))
    }
}

/// The memory of a machine's process, from `smaps_rollup` of proc(5).
struct Memory {
    /// A page that N processes map counts an Nth part.
    proportional_bytes: u64,
    /// What is in no file: QEMU's own memory, and the guest's written pages.
    own_bytes: u64,
}

impl Memory {
    fn of(vm: &Machine) -> Result<Self, String> {
        let pid = vm.pid().ok_or("a clone has ended")?;
        let path = format!("/proc/{pid}/smaps_rollup");
        Self::parse(&fs::read_to_string(&path).map_err(text)?)
            .ok_or_else(|| format!("{path} has no sizes"))
    }

    fn parse(rollup: &str) -> Option<Self> {
        let bytes = |name| {
            let line = rollup.lines().find_map(|line| line.strip_prefix(name))?;
            let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
            Some(kibibytes * 1024)
        };
        Some(Self {
            proportional_bytes: bytes("Pss:")?,
            own_bytes: bytes("Anonymous:")?,
        })
    }
}

/// The memory that a clone may add to that of its template.
const OWN_LIMIT_BYTES: u64 = 48 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sizes_are_those_of_the_rollup() {
        let rollup = "Rss:  9 kB\nPss:   3 kB\nPss_Dirty: 8 kB\nAnonymous:  2 kB\n";
        let memory = Memory::parse(rollup).unwrap();
        assert_eq!(
            (memory.proportional_bytes, memory.own_bytes),
            (3 << 10, 2 << 10)
        );
        assert!(Memory::parse("Pss: 3 kB\n").is_none());
    }
}
