//! The French layout.
//!
//! The circumflex is typed by its dead key, which every variant has, though the
//! ninth key has it too with `AltGr`: there it is dead in some.

use super::Legends;

#[rustfmt::skip]
pub(super) const LEGENDS: Legends = Legends {
    plain: concat!(
        "²&é\"'(-è_çà)=",
        "azertyuiop $",
        "qsdfghjklmù*",
        "<wxcvbn,;:!",
    ),
    shift: concat!(
        " 1234567890°+",
        "AZERTYUIOP £",
        "QSDFGHJKLM%µ",
        ">WXCVBN?./§",
    ),
    alt_gr: concat!(
        "  ~#{[|`\\ @]}",
        "  €        ¤",
        "            ",
        "           ",
    ),
    dead: &[('^', &["bracket_left"]), ('¨', &["shift", "bracket_left"])],
};
