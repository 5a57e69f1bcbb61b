//! How the guest starts, from the command line.

use std::ffi::OsString;

use crate::spec::ChannelConfig;

/// How the guest starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GuestStart {
    /// QEMU starts with a paused guest (`-S`), and the launch starts it
    /// (`cont`) after the handshake. So no event of the guest is missed, even
    /// if the machine ends after a millisecond.
    Paused,
    /// QEMU starts with a paused guest (`-S`), and a qtest channel drives the
    /// machine.
    Driven,
    /// The caller's arguments pause the guest: `-S`, `-preconfig`.
    PausedByCaller,
    /// The guest comes from another machine or a file (`-incoming`), and may
    /// already be there.
    Incoming,
    /// QEMU waits for the guest of a template (`-incoming defer`), which the
    /// launch loads.
    Template,
    /// The guest runs at once: there is no monitor that could start it.
    AtOnce,
}

impl GuestStart {
    pub(crate) fn new(
        has_monitor: bool,
        channels: &[ChannelConfig],
        arguments: &[OsString],
    ) -> Self {
        // QEMU accepts its options with one dash or two.
        let has = |wanted: &[&str]| {
            arguments.iter().any(|argument| {
                let option = argument.to_str().and_then(|it| it.strip_prefix('-'));
                let option = option.map(|it| it.strip_prefix('-').unwrap_or(it));
                option.is_some_and(|option| wanted.contains(&option))
            })
        };
        if channels.iter().any(ChannelConfig::starts_paused) {
            Self::Driven
        } else if has(&["incoming"]) {
            Self::Incoming
        } else if has(&["S", "preconfig"]) {
            Self::PausedByCaller
        } else if has_monitor {
            Self::Paused
        } else {
            Self::AtOnce
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_paused_unless_the_caller_decides_or_nothing_could_let_it_run() {
        let start = |has_monitor, channels: &[ChannelConfig], arguments: &[&str]| {
            let arguments: Vec<OsString> = arguments.iter().map(Into::into).collect();
            GuestStart::new(has_monitor, channels, &arguments)
        };
        assert_eq!(start(true, &[], &["-m", "1G"]), GuestStart::Paused);
        assert_eq!(start(false, &[], &["-m", "1G"]), GuestStart::AtOnce);
        for given in ["-S", "--S", "-preconfig"] {
            let start = start(true, &[], &["-m", "1G", given]);
            assert_eq!(start, GuestStart::PausedByCaller);
        }
        let incoming = start(true, &[], &["-S", "--incoming", "defer"]);
        assert_eq!(incoming, GuestStart::Incoming);
        let qtest = [ChannelConfig::Qtest];
        assert_eq!(start(false, &qtest, &["-S"]), GuestStart::Driven);
    }
}
