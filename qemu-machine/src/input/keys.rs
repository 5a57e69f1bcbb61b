//! Which key of a US keyboard types a character, by QEMU's names of keys
//! (`QKeyCode` in QEMU's `qapi/ui.json`).

/// The key that types this character, and whether with shift.
pub(super) fn of(character: char) -> Option<(&'static str, bool)> {
    let plain = |keys: &'static [(char, &str)]| keys.iter().find(|it| it.0 == character);
    if let Some((_, key)) = plain(&PLAIN) {
        return Some((key, false));
    }
    if let Some((_, key)) = plain(&SHIFTED) {
        return Some((key, true));
    }
    let index = LETTERS.find(character.to_ascii_lowercase())?;
    Some((&LETTERS[index..=index], character.is_ascii_uppercase()))
}

/// Each is the name of its own key.
const LETTERS: &str = "abcdefghijklmnopqrstuvwxyz0123456789";

const PLAIN: [(char, &str); 16] = [
    (' ', "spc"),
    ('\n', "ret"),
    ('\t', "tab"),
    ('\x08', "backspace"),
    ('\x1b', "esc"),
    ('-', "minus"),
    ('=', "equal"),
    ('[', "bracket_left"),
    (']', "bracket_right"),
    ('\\', "backslash"),
    (';', "semicolon"),
    ('\'', "apostrophe"),
    ('`', "grave_accent"),
    (',', "comma"),
    ('.', "dot"),
    ('/', "slash"),
];

const SHIFTED: [(char, &str); 21] = [
    ('!', "1"),
    ('@', "2"),
    ('#', "3"),
    ('$', "4"),
    ('%', "5"),
    ('^', "6"),
    ('&', "7"),
    ('*', "8"),
    ('(', "9"),
    (')', "0"),
    ('_', "minus"),
    ('+', "equal"),
    ('{', "bracket_left"),
    ('}', "bracket_right"),
    ('|', "backslash"),
    (':', "semicolon"),
    ('"', "apostrophe"),
    ('~', "grave_accent"),
    ('<', "comma"),
    ('>', "dot"),
    ('?', "slash"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_printable_character_has_a_key_of_its_own() {
        let keys: Vec<_> = (' '..='~').map(|it| of(it).unwrap()).collect();
        for (index, key) in keys.iter().enumerate() {
            assert!(!keys[..index].contains(key), "{key:?}");
        }
        let told = ['a', 'Z', '0', ')', '\n'].map(|it| of(it).unwrap());
        let expected = [
            ("a", false),
            ("z", true),
            ("0", false),
            ("0", true),
            ("ret", false),
        ];
        assert_eq!(told, expected);
        assert_eq!(['é', '\r', '\0', '\u{17f}', '\u{212a}'].map(of), [None; 5]);
    }
}
