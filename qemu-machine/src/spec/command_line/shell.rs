//! Quotes words for a shell.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

/// Writes words with blanks between them, each quoted if the shell would change
/// it.
pub(super) fn write_words(f: &mut fmt::Formatter<'_>, words: &[OsString]) -> fmt::Result {
    for (index, word) in words.iter().enumerate() {
        if index > 0 {
            f.write_str(" ")?;
        }
        write_word(f, word.as_bytes())?;
    }
    Ok(())
}

fn write_word(f: &mut fmt::Formatter<'_>, word: &[u8]) -> fmt::Result {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"%+,-./:=@_".contains(byte);
    if !word.is_empty() && word.iter().all(plain) {
        return f.write_str(&String::from_utf8_lossy(word));
    }
    match std::str::from_utf8(word) {
        Ok(text) if !text.chars().any(char::is_control) => {
            write!(f, "'{}'", text.replace('\'', r"'\''"))
        }
        _ => {
            // A byte that no terminal shows is written as a number, which bash,
            // zsh and ksh read.
            f.write_str("$'")?;
            for &byte in word {
                match byte {
                    b'\'' | b'\\' => write!(f, "\\{}", char::from(byte))?,
                    b' '..=b'~' => write!(f, "{}", char::from(byte))?,
                    _ => write!(f, "\\x{byte:02x}")?,
                }
            }
            f.write_str("'")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;
    use std::process::Command;

    use super::super::CommandLine;
    use super::*;

    #[test]
    fn a_shell_reads_back_every_word() {
        let words: Vec<OsString> = [
            b"printf".as_slice(),
            b"%s\\n",
            b"plain-word,a=b",
            b"",
            b"two words",
            b"it's",
            b"$HOME `id` \"x\" \\ ! * ~",
            "gr\u{f6}\u{df}e".as_bytes(),
            b"tab\tand\nline",
            b"\xff\xfe'\\",
        ]
        .iter()
        .map(|word| OsString::from_vec(word.to_vec()))
        .collect();
        let line = CommandLine::new(words.clone()).to_string();
        let output = Command::new("bash").args(["-c", &line]).output().unwrap();
        let expected: Vec<u8> = words[2..]
            .iter()
            .flat_map(|word| [word.as_bytes(), b"\n"].concat())
            .collect();
        assert_eq!(output.stdout, expected, "{line}");
    }
}
