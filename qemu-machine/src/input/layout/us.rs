//! The US layout.

use super::Legends;

#[rustfmt::skip]
pub(super) const LEGENDS: Legends = Legends {
    plain: concat!(
        "`1234567890-=",
        "qwertyuiop[]",
        "asdfghjkl;'\\",
        " zxcvbnm,./",
    ),
    shift: concat!(
        "~!@#$%^&*()_+",
        "QWERTYUIOP{}",
        "ASDFGHJKL:\"|",
        " ZXCVBNM<>?",
    ),
    alt_gr: concat!(
        "             ",
        "            ",
        "            ",
        "           ",
    ),
    dead: &[],
};
