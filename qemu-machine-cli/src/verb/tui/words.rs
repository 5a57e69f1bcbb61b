//! A line that a person types, as words. Pure.

/// The words between blanks. A blank in quotes, brackets or braces is a part of
/// its word, so that a word may be JSON.
pub(super) fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut depth, mut is_quoted, mut is_escaped) = (0_usize, false, false);
    for letter in line.chars() {
        if letter.is_whitespace() && depth == 0 && !is_quoted {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            continue;
        }
        match letter {
            '"' if !is_escaped => is_quoted = !is_quoted,
            '{' | '[' if !is_quoted => depth += 1,
            '}' | ']' if !is_quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        is_escaped = letter == '\\' && is_quoted && !is_escaped;
        word.push(letter);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_one_word_and_blanks_separate_all_else() {
        let table: [(&str, &[&str]); 6] = [
            ("", &[]),
            ("  stop ", &["stop"]),
            ("a b=1 c=\"x y\"", &["a", "b=1", "c=\"x y\""]),
            (
                r#"{"execute": "stop", "x": "}"}"#,
                &[r#"{"execute": "stop", "x": "}"}"#],
            ),
            (r#"E{"a": "\" b"} F"#, &[r#"E{"a": "\" b"}"#, "F"]),
            ("a=[1, 2] b", &["a=[1, 2]", "b"]),
        ];
        for (line, words) in table {
            assert_eq!(split(line), words, "{line}");
        }
    }
}
