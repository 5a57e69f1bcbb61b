//! How the guest starts, by the command line.

use std::ffi::OsString;

use crate::spec::ChannelConfig;

/// How the guest starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GuestStart {
    /// QEMU holds the guest (`-S`), and the launch lets it run (`cont`) once the
    /// handshake is done. So nothing that the guest does is missed, be it the
    /// machine's end after a millisecond.
    Paused,
    /// QEMU holds the guest (`-S`), and it is driven by a qtest channel.
    Driven,
    /// The caller's arguments hold the guest: `-S`, `-preconfig`.
    PausedByCaller,
    /// The guest comes from elsewhere (`-incoming`), and may be there already.
    Incoming,
    /// There is no monitor to let it run by.
    AtOnce,
}

impl GuestStart {
    pub(crate) fn new(
        has_monitor: bool,
        channels: &[ChannelConfig],
        arguments: &[OsString],
    ) -> Self {
        // QEMU takes its options with one dash or two.
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
