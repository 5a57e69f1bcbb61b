//! The French layout.

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
        "  ~#{[|`\\^@]}",
        "  €        ¤",
        "            ",
        "           ",
    ),
    dead: &[('^', &["bracket_left"]), ('¨', &["shift", "bracket_left"])],
};
