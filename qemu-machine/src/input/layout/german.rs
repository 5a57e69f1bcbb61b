//! The German layout.

use super::Legends;

#[rustfmt::skip]
pub(super) const LEGENDS: Legends = Legends {
    plain: concat!(
        " 1234567890ß ",
        "qwertzuiopü+",
        "asdfghjklöä#",
        "<yxcvbnm,.-",
    ),
    shift: concat!(
        "°!\"§$%&/()=? ",
        "QWERTZUIOPÜ*",
        "ASDFGHJKLÖÄ'",
        ">YXCVBNM;:_",
    ),
    alt_gr: concat!(
        "  ²³   {[]}\\ ",
        "@ €        ~",
        "            ",
        "|      µ   ",
    ),
    dead: &[('^', &["grave_accent"]), ('´', &["equal"]), ('`', &["shift", "equal"])],
};
