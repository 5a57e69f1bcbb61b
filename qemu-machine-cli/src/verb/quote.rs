//! Words for a POSIX shell.

/// A word that a shell reads as this text.
pub(super) fn word(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The same, but a word that needs no quotes has none.
pub(super) fn if_needed(text: &str) -> String {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "-_./,:=+@%".contains(it);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    word(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_shell_reads_a_word_as_it_was() {
        assert_eq!(if_needed("-chardev"), "-chardev");
        assert_eq!(if_needed("a b"), "'a b'");
        for text in ["", "a b", "it's", "$HOME `x` \"y\" \\ \n*", "''"] {
            let script = format!("printf %s {}", word(text));
            let output = std::process::Command::new("sh")
                .args(["-c", &script])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
        }
    }
}
