//! Checks the text for QEMU and for a shell against models of their parsers.
#![allow(clippy::missing_panics_doc)]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use super::{CommandLine, Drive, OptionGroup};

/// QEMU reads the same options that made a group. A shell reads the same words
/// that made a line. The file of a drive is never a protocol.
///
/// The input is values and words, each ended by a zero byte, which none can
/// contain. The first is the value of a group without a key.
pub fn command_line(input: &[u8]) {
    let words: Vec<&[u8]> = input.split(|&byte| byte == 0).collect();
    let (first, values) = words.split_first().expect("a split has a part");
    options_are_read_back(first, values);
    options_are_read_back(b"", &words);
    for path in &words {
        a_file_is_no_protocol(path);
    }
    let owned = |word: &&[u8]| OsString::from_vec(word.to_vec());
    let line = CommandLine::new(words.iter().map(owned).collect()).to_string();
    assert!(!line.chars().any(char::is_control), "{line}");
    assert_eq!(posix::words(line.as_bytes()), words, "{line}");
}

fn options_are_read_back(first: &[u8], values: &[&[u8]]) {
    let mut group = OptionGroup::default();
    if !first.is_empty() {
        group = OptionGroup::new(OsStr::from_bytes(first));
    }
    let mut expected = Vec::new();
    for (number, value) in values.iter().enumerate() {
        let key = format!("key-{number}");
        group = group.set(&key, OsStr::from_bytes(value));
        expected.push((key.into_bytes(), value.to_vec()));
    }
    let text = group.as_os_str().as_bytes();
    // An equals sign before any comma would make a key of it. No device,
    // machine or object has one in its name.
    let names_a_key = first.split(|&byte| byte == b',').next().unwrap_or_default();
    if names_a_key.contains(&b'=') {
        return;
    }
    if !first.is_empty() {
        expected.insert(0, (b"implied".to_vec(), first.to_vec()));
    }
    assert_eq!(qemu::opts(text), expected);
    // If `keyval` reads it, it cannot have a comma.
    if !first.contains(&b',') {
        assert_eq!(qemu::keyval(text), expected);
    }
}

fn a_file_is_no_protocol(path: &[u8]) {
    let group = Drive::file(Path::new(OsStr::from_bytes(path))).into_group();
    let options = qemu::opts(group.as_os_str().as_bytes());
    let [(key, file)] = options.as_slice() else {
        panic!("{options:?}");
    };
    assert_eq!(key, b"file");
    // `path_has_protocol` of QEMU's `block.c`.
    let sign = file.iter().find(|byte| b":/".contains(byte));
    assert_ne!(sign, Some(&b':'));
    assert!(file == path || file.strip_prefix(b"./") == Some(path));
}

/// The two parsers of QEMU for groups, as in its documents and in the comments
/// of `util/qemu-option.c` and `util/keyval.c`.
mod qemu {
    type Options = Vec<(Vec<u8>, Vec<u8>)>;

    /// `-device`, `-drive`, `-chardev`, `-netdev` and others. A comma in a
    /// value is doubled. The first part, and each part without an equals sign
    /// before its first comma, is the value of an implied key.
    pub(super) fn opts(text: &[u8]) -> Options {
        let (mut options, mut rest) = (Vec::new(), text);
        while !rest.is_empty() {
            let sign = rest.iter().position(|byte| b"=,".contains(byte));
            let key = match sign {
                Some(at) if rest[at] == b'=' => {
                    let key = rest[..at].to_vec();
                    rest = &rest[at + 1..];
                    key
                }
                _ if options.is_empty() => b"implied".to_vec(),
                _ => panic!("a flag, which is never written"),
            };
            options.push((key, value(&mut rest)));
        }
        options
    }

    /// `-machine`, `-object`, `-audiodev` and others. The value of an implied
    /// key ends at its first comma. A key is made of letters, digits, `-` and
    /// `_`.
    pub(super) fn keyval(text: &[u8]) -> Options {
        let (mut options, mut rest) = (Vec::new(), text);
        while !rest.is_empty() {
            let end = rest.iter().position(|byte| b"=,".contains(byte));
            let end = end.unwrap_or(rest.len());
            if end > 0 && rest.get(end) != Some(&b'=') && options.is_empty() {
                options.push((b"implied".to_vec(), rest[..end].to_vec()));
                rest = rest.get(end + 1..).unwrap_or_default();
                continue;
            }
            let key = rest[..end].to_vec();
            let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
            assert!(key.iter().all(is_name) && rest.get(end) == Some(&b'='));
            rest = &rest[end + 1..];
            options.push((key, value(&mut rest)));
        }
        options
    }

    /// Reads up to a comma that is not doubled, and including it.
    fn value(rest: &mut &[u8]) -> Vec<u8> {
        let mut value = Vec::new();
        loop {
            match **rest {
                [] => return value,
                [b',', b',', ..] => {
                    value.push(b',');
                    *rest = &rest[2..];
                }
                [b',', ..] => {
                    *rest = &rest[1..];
                    return value;
                }
                [byte, ..] => {
                    value.push(byte);
                    *rest = &rest[1..];
                }
            }
        }
    }
}

/// The words of a line, as a POSIX shell reads them: "Shell Command Language",
/// 2.2 and 2.3, with the quotes `$'…'` of its 2024 edition. The line must not
/// contain anything that a shell would expand or take for an operator.
mod posix {
    pub(super) fn words(line: &[u8]) -> Vec<Vec<u8>> {
        let mut words = Vec::new();
        let mut word: Option<Vec<u8>> = None;
        let mut rest = line;
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            match byte {
                b' ' => words.extend(word.take()),
                b'\'' => word.get_or_insert_default().extend(until_quote(&mut rest)),
                b'$' if rest.first() == Some(&b'\'') => {
                    rest = &rest[1..];
                    let word = word.get_or_insert_default();
                    while let Some(byte) = escaped(&mut rest) {
                        word.push(byte);
                    }
                }
                b'\\' => {
                    let (&byte, after) = rest.split_first().expect("a byte after a backslash");
                    word.get_or_insert_default().push(byte);
                    rest = after;
                }
                _ => {
                    let special = b"|&;<>()$`\"\t\n*?[]#~!{}^";
                    assert!(!special.contains(&byte), "{}", byte.escape_ascii());
                    assert!(byte.is_ascii(), "{byte:#x} means nothing in all locales");
                    word.get_or_insert_default().push(byte);
                }
            }
        }
        words.extend(word);
        words
    }

    fn until_quote<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
        let end = rest
            .iter()
            .position(|&byte| byte == b'\'')
            .expect("a quote ends");
        let (quoted, after) = rest.split_at(end);
        *rest = &after[1..];
        quoted
    }

    /// The next byte inside `$'…'`; `None` at its end.
    fn escaped(rest: &mut &[u8]) -> Option<u8> {
        let (&byte, after) = rest.split_first().expect("a quote ends");
        *rest = after;
        match byte {
            b'\'' => None,
            b'\\' => {
                let (&kind, after) = rest.split_first().expect("a byte after a backslash");
                *rest = after;
                if kind != b'x' {
                    assert!(b"\\'".contains(&kind));
                    return Some(kind);
                }
                // Any number of digits may follow, for some shells.
                let is_digit = |byte: &&u8| byte.is_ascii_hexdigit();
                let digits = rest.iter().take_while(is_digit).count().min(2);
                let (digits, after) = rest.split_at(digits);
                *rest = after;
                let digits = std::str::from_utf8(digits).ok();
                u8::from_str_radix(digits.unwrap_or_default(), 16).ok()
            }
            _ => Some(byte),
        }
    }
}
