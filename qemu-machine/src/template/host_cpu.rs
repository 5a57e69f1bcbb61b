//! The processor of this host, for a guest that sees it (`-cpu host`).

use std::ffi::OsString;
use std::fs;

use crate::process::digest::Digest;
use crate::spec::MachineSpec;
use crate::spec::image::option_name;

/// A digest of what the guest sees of the host's processor; `None` if it sees
/// only the model of QEMU's that it was given.
pub(super) fn host_cpu(spec: &MachineSpec) -> Option<String> {
    if !sees_host(&spec.arguments) {
        return None;
    }
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    Some(of_cpuinfo(&text))
}

fn sees_host(arguments: &[OsString]) -> bool {
    let is_host = |pair: &[OsString]| {
        let model = pair[1].to_string_lossy();
        let model = model.split(',').next().unwrap_or_default();
        option_name(&pair[0]) == Some("cpu") && ["host", "max"].contains(&model)
    };
    arguments.windows(2).any(is_host)
}

/// The first processor stands for all.
fn of_cpuinfo(text: &str) -> String {
    let mut digest = Digest::new();
    for line in text.lines().take_while(|line| !line.trim().is_empty()) {
        let (key, value) = line.split_once(':').unwrap_or_default();
        if SEEN.contains(&key.trim()) {
            digest.add(key.trim().as_bytes());
            digest.add(value.trim().as_bytes());
        }
    }
    digest.hex()
}

/// Of x86 and Arm.
const SEEN: [&str; 10] = [
    "vendor_id",
    "cpu family",
    "model",
    "stepping",
    "flags",
    "Features",
    "CPU implementer",
    "CPU variant",
    "CPU part",
    "CPU revision",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_guest_that_sees_the_host_is_bound_to_it() {
        let sees = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(Into::into).collect();
            sees_host(&words)
        };
        assert!(sees("-cpu host"));
        assert!(sees("-m 1G --cpu host,-vmx"));
        assert!(sees("-cpu max"));
        assert!(!sees("-cpu qemu64"));
        assert!(!sees("-name host"));
    }

    #[test]
    fn another_processor_differs_and_its_speed_does_not() {
        let text = |mhz, flags| {
            format!(
                "vendor_id\t: A\nmodel\t\t: 1\ncpu MHz\t: {mhz}\nflags\t: {flags}\n\nmodel: 9\n"
            )
        };
        let one = of_cpuinfo(&text(1, "sse"));
        assert_eq!(one, of_cpuinfo(&text(2, "sse")));
        assert_ne!(one, of_cpuinfo(&text(1, "sse avx")));
    }
}
