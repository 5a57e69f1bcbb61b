//! Which words are options of QEMU, and which are their values.

use std::ffi::{OsStr, OsString};

/// A word that QEMU reads as an option, with its value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Given<'a> {
    /// The index of the word among the arguments. Its value is the next one.
    pub(super) index: usize,
    pub(super) word: &'a OsStr,
    /// The name; `None` if the word has no dash, and so is an image of a disk.
    pub(super) name: Option<&'a str>,
    /// The value; `None` if the option has none.
    pub(super) value: Option<&'a OsStr>,
}

/// The options, in order. An option that is not known has a value.
pub(super) fn given(arguments: &[OsString]) -> impl Iterator<Item = Given<'_>> {
    let mut words = arguments.iter().map(OsString::as_os_str).enumerate();
    std::iter::from_fn(move || {
        let (index, word) = words.next()?;
        let name = option_name(word);
        let has_value = name.is_some_and(|name| !FLAGS.contains(&name));
        let value = if has_value { words.next() } else { None };
        Some(Given {
            index,
            word,
            name,
            value: value.map(|(_, value)| value),
        })
    })
}

/// The name of an option: QEMU accepts one dash or two.
pub(crate) fn option_name(word: &OsStr) -> Option<&str> {
    let name = word.to_str()?.strip_prefix('-')?;
    Some(name.strip_prefix('-').unwrap_or(name))
}

/// The options without a value, of QEMU 7.2 and later.
const FLAGS: [&str; 34] = [
    "S",
    "async-teardown",
    "audio-help",
    "daemonize",
    "enable-kvm",
    "enable-sync-profile",
    "full-screen",
    "h",
    "help",
    "jitdump",
    "mem-prealloc",
    "no-acpi",
    "no-fd-bootchk",
    "no-hpet",
    "no-reboot",
    "no-shutdown",
    "no-user-config",
    "nodefaults",
    "nographic",
    "old-param",
    "one-insn-per-tb",
    "only-migratable",
    "perfmap",
    "portrait",
    "preconfig",
    "s",
    "semihosting",
    "singlestep",
    "snapshot",
    "usb",
    "version",
    "win2k-hack",
    "xen-attach",
    "xen-domid-restrict",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_an_option_a_value_or_an_image() {
        let words = [
            "-append",
            "-S",
            "--snapshot",
            "a.img",
            "-m",
            "1G",
            "b",
            "-k",
        ];
        let words = words.map(OsString::from);
        let seen: Vec<_> = given(&words)
            .map(|it| (it.index, it.name, it.value.and_then(OsStr::to_str)))
            .collect();
        let expected = [
            (0, Some("append"), Some("-S")),
            (2, Some("snapshot"), None),
            (3, None, None),
            (4, Some("m"), Some("1G")),
            (6, None, None),
            (7, Some("k"), None),
        ];
        assert_eq!(seen, expected);
    }
}
