//! The part of a description that the guest sees.

use std::ffi::OsString;

use super::group::id_of;
use super::options::option_name;
use crate::spec::MachineSpec;

/// The words that a template and its clones must have in common, in order.
///
/// What only the host sees may differ: names, logs, the environment, and the
/// backends of the network and of shared folders.
pub(crate) fn guest_words(spec: &MachineSpec) -> Vec<OsString> {
    let mut words: Vec<OsString> = Vec::new();
    if let Some(machine) = &spec.machine_type {
        words.extend(["-machine".into(), machine.clone()]);
    }
    for _ in 0..spec.null_serials {
        words.extend(["-serial".into(), "null".into()]);
    }
    for (place, channel) in spec.channels.iter().enumerate() {
        for (name, value) in channel.options(&channel.id(place)) {
            words.extend([name.into(), value.as_os_str().to_owned()]);
        }
    }
    if let Some(firmware) = &spec.firmware {
        words.extend(["-bios".into(), firmware.file_name().into()]);
    }
    let mut arguments = spec.arguments.iter();
    while let Some(word) = arguments.next() {
        match option_name(word) {
            Some("name" | "D" | "d" | "pidfile" | "incoming") => {
                arguments.next();
            }
            Some("netdev" | "fsdev") => {
                words.push(word.clone());
                words.extend(arguments.next().and_then(|value| id_of(value)));
            }
            _ => words.push(word.clone()),
        }
    }
    words
}

/// Removes `-incoming` with its value.
pub(crate) fn remove_incoming(arguments: &mut Vec<OsString>) {
    let is_incoming = |word: &OsString| option_name(word) == Some("incoming");
    while let Some(index) = arguments.iter().position(is_incoming) {
        arguments.drain(index..(index + 2).min(arguments.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Console, Machine};

    #[test]
    fn a_network_of_the_same_id_takes_the_place_of_the_earlier() {
        let card = ["-device", "e1000,netdev=n"];
        let template = Machine::builder("qemu")
            .args(["--netdev", "user,id=n,hostfwd=tcp::1-:22"])
            .args(card);
        let clone = template.clone().replace_option("-netdev", "user,id=n");
        let words = ["--netdev", "user,id=n", card[0], card[1]];
        assert_eq!(clone.spec().arguments(), words.map(OsString::from));
        assert_eq!(guest_words(clone.spec()), guest_words(template.spec()));
        let more = clone.replace_option("-netdev", "user,id=m");
        let added = more.spec().arguments()[4..].to_vec();
        assert_eq!(added, ["-netdev", "user,id=m"].map(OsString::from));
    }

    #[test]
    fn what_only_the_host_sees_may_differ() {
        let template = Machine::builder("qemu")
            .memory("1G")
            .console(Console::serial())
            .args([
                "-netdev",
                "user,id=n,hostfwd=tcp::1-:22",
                "-device",
                "e1000,netdev=n",
            ]);
        let clone = Machine::builder("qemu")
            .name("other")
            .memory("1G")
            .console(Console::serial().log("/log"))
            .args(["-netdev", "user,id=n", "-device", "e1000,netdev=n"])
            .args(["-D", "/debug"])
            .env("A", "B");
        assert_eq!(guest_words(template.spec()), guest_words(clone.spec()));
        let waiting = clone.clone().incoming();
        assert_eq!(guest_words(template.spec()), guest_words(waiting.spec()));
        let mut arguments = waiting.spec().arguments().to_vec();
        remove_incoming(&mut arguments);
        assert_eq!(arguments, clone.spec().arguments());
        let more = clone.clone().smp(2);
        assert_ne!(guest_words(template.spec()), guest_words(more.spec()));
        let other = template.console(Console::virtio());
        assert_ne!(guest_words(other.spec()), guest_words(clone.spec()));
    }
}
