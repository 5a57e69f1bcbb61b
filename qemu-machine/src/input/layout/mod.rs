//! Which keys type a character in a keyboard layout. The names of keys are
//! QEMU's (`QKeyCode` in QEMU's `qapi/ui.json`): each stands for a place on a US
//! keyboard.

mod french;
mod german;
mod us;

use std::fmt;

/// The keyboard layout that a guest is set to. For example, a German keyboard
/// has `y` where a US keyboard has `z`.
///
/// The layouts are those of Linux: `us`, `de` and `fr` of xkeyboard-config,
/// without a variant. They include dead keys. An accented letter without a key
/// is typed with the dead key and the letter. The accent alone is typed with
/// the dead key and a space.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyboardLayout {
    /// US: all of ASCII.
    #[default]
    Us,
    /// German (QWERTZ): all of ASCII, `ä ö ü ß § ° € µ ² ³`, and vowels with
    /// an acute, a grave, or a circumflex.
    ///
    /// For `´` alone, Linux reads the dead key and a space as an apostrophe;
    /// Windows does not.
    German,
    /// French (AZERTY): all of ASCII, `é è à ç ù § ° € £ ¤ µ ²`, and vowels with
    /// a circumflex or a diaeresis. It has no keys for `É`, `È`, `À`, `Ç` and
    /// `Ù`.
    ///
    /// For `¨` alone, Linux reads the dead key and a space as a quotation mark;
    /// Windows does not. Some variants, and Windows, have dead keys for `~` and
    /// the grave accent. With these, type a space after each.
    French,
}

/// Keys that are pressed together, in this order.
pub(super) type Chord = Vec<&'static str>;

/// The characters on the keys of a layout, in the order of [`KEYS`]. A blank
/// stands for no character, or for a dead key.
struct Legends {
    plain: &'static str,
    shift: &'static str,
    alt_gr: &'static str,
    /// The accents with a dead key, and the keys to press.
    dead: &'static [(char, &'static [&'static str])],
}

impl KeyboardLayout {
    /// The chords that type a character, in order; `None` if the layout has no
    /// key for it.
    pub(super) fn chords(self, character: char) -> Option<Vec<Chord>> {
        if let Some((_, key)) = ANYWHERE.iter().find(|it| it.0 == character) {
            return Some(vec![vec![key]]);
        }
        let legends = self.legends();
        if let Some(chord) = legends.live(character) {
            return Some(vec![chord]);
        }
        if let Some(chord) = legends.dead(character) {
            return Some(vec![chord, vec!["spc"]]);
        }
        ACCENTED.iter().find_map(|(accent, letters, accented)| {
            let place = accented.chars().position(|it| it == character)?;
            let letter = letters.chars().nth(place)?;
            Some(vec![legends.dead(*accent)?, legends.live(letter)?])
        })
    }

    fn legends(self) -> &'static Legends {
        match self {
            Self::Us => &us::LEGENDS,
            Self::German => &german::LEGENDS,
            Self::French => &french::LEGENDS,
        }
    }
}

impl fmt::Display for KeyboardLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Us => "US",
            Self::German => "German",
            Self::French => "French",
        })
    }
}

impl Legends {
    /// The keys that type a character without a dead key.
    fn live(&self, character: char) -> Option<Chord> {
        let levels = [
            (None, self.plain),
            (Some("shift"), self.shift),
            (Some("alt_r"), self.alt_gr),
        ];
        levels.iter().find_map(|(modifier, legends)| {
            let mut legends = legends.chars();
            let place = legends.position(|it| it == character && it != ' ')?;
            Some(modifier.iter().copied().chain([KEYS[place]]).collect())
        })
    }

    /// The keys that add an accent to the next letter.
    fn dead(&self, accent: char) -> Option<Chord> {
        let (_, keys) = self.dead.iter().find(|it| it.0 == accent)?;
        Some(keys.to_vec())
    }
}

/// The keys whose characters depend on the layout, row by row. The last row
/// begins with a key that US keyboards do not have.
#[rustfmt::skip]
const KEYS: [&str; 48] = [
    "grave_accent", "1", "2", "3", "4", "5", "6", "7", "8", "9", "0", "minus", "equal",
    "q", "w", "e", "r", "t", "y", "u", "i", "o", "p", "bracket_left", "bracket_right",
    "a", "s", "d", "f", "g", "h", "j", "k", "l", "semicolon", "apostrophe", "backslash",
    "less", "z", "x", "c", "v", "b", "n", "m", "comma", "dot", "slash",
];

/// Characters that have the same key in every layout.
const ANYWHERE: [(char, &str); 5] = [
    (' ', "spc"),
    ('\n', "ret"),
    ('\t', "tab"),
    ('\x08', "backspace"),
    ('\x1b', "esc"),
];

/// Letters without and with an accent.
const ACCENTED: [(char, &str, &str); 4] = [
    ('^', "aeiouAEIOU", "âêîôûÂÊÎÔÛ"),
    ('´', "aeiouyAEIOUY", "áéíóúýÁÉÍÓÚÝ"),
    ('`', "aeiouAEIOU", "àèìòùÀÈÌÒÙ"),
    ('¨', "aeiouyAEIOU", "äëïöüÿÄËÏÖÜ"),
];

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [KeyboardLayout; 3] = [
        KeyboardLayout::Us,
        KeyboardLayout::German,
        KeyboardLayout::French,
    ];

    /// The chords in the notation of [`Keyboard::press`](crate::Keyboard::press).
    fn typed(layout: KeyboardLayout, character: char) -> String {
        let chords = layout.chords(character).unwrap_or_default();
        let chords = chords.iter().map(|chord| chord.join("-"));
        chords.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_layout_types_all_of_ascii_each_by_keys_of_its_own() {
        for layout in ALL {
            let all: Vec<_> = (' '..='~').chain("\n\t\x08\x1b".chars()).collect();
            let chords: Vec<_> = all.iter().map(|it| layout.chords(*it)).collect();
            for (index, chord) in chords.iter().enumerate() {
                let character = all[index];
                assert!(chord.is_some(), "{layout}: {character:?}");
                assert!(!chords[..index].contains(chord), "{layout}: {character:?}");
            }
        }
    }

    #[test]
    fn every_key_has_its_legends() {
        for layout in ALL {
            let legends = layout.legends();
            for level in [legends.plain, legends.shift, legends.alt_gr] {
                assert_eq!(level.chars().count(), KEYS.len(), "{layout}: {level}");
            }
        }
    }

    #[test]
    fn a_character_is_typed_by_the_keys_of_the_layout() {
        use KeyboardLayout::{French, German, Us};
        for (layout, expected) in [
            (
                Us,
                "y=y Z=shift-z @=shift-2 |=shift-backslash ~=shift-grave_accent",
            ),
            (
                German,
                "y=z Z=shift-y ß=minus ä=apostrophe Ö=shift-semicolon ü=bracket_left #=backslash \
                 '=shift-backslash <=less >=shift-less |=alt_r-less @=alt_r-q €=alt_r-e {=alt_r-7 \
                 [=alt_r-8 ]=alt_r-9 }=alt_r-0 \\=alt_r-minus ~=alt_r-bracket_right -=slash \
                 _=shift-slash /=shift-7 §=shift-3 ?=shift-minus µ=alt_r-m",
            ),
            (
                French,
                "a=q Q=shift-a w=z m=semicolon M=shift-semicolon ,=m ;=comma .=shift-comma !=slash \
                 1=shift-1 0=shift-0 &=1 é=2 è=7 ç=9 à=0 ù=apostrophe %=shift-apostrophe \
                 @=alt_r-0 {=alt_r-4 [=alt_r-5 ]=alt_r-minus }=alt_r-equal \\=alt_r-8 |=alt_r-6 \
                 ~=alt_r-2 #=alt_r-3 `=alt_r-7 €=alt_r-e $=bracket_right *=backslash",
            ),
        ] {
            for pair in expected.split(' ') {
                let character = pair.chars().next().unwrap();
                let keys = &pair[character.len_utf8() + 1..];
                assert_eq!(typed(layout, character), keys, "{layout}: {character}");
            }
        }
    }

    #[test]
    fn an_accent_is_typed_by_its_dead_key_and_a_letter_or_a_space() {
        use KeyboardLayout::{French, German, Us};
        for (layout, character, keys) in [
            (German, '^', "grave_accent spc"),
            (German, '`', "shift-equal spc"),
            (German, '´', "equal spc"),
            (German, 'é', "equal e"),
            (German, 'È', "shift-equal shift-e"),
            (German, 'ô', "grave_accent o"),
            (French, '^', "bracket_left spc"),
            (French, 'ê', "bracket_left e"),
            (French, 'Ï', "shift-bracket_left shift-i"),
            (French, 'â', "bracket_left q"),
        ] {
            assert_eq!(typed(layout, character), keys, "{layout}: {character}");
        }
        for (layout, characters) in [
            (Us, "é€§´\r\0\u{17f}\u{212a}"),
            (German, "ñçë\u{301}\r"),
            (French, "ßÉÀÇñ\r"),
        ] {
            for character in characters.chars() {
                assert_eq!(layout.chords(character), None, "{layout}: {character:?}");
            }
        }
    }
}
