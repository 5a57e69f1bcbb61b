//! Finds the faults of a passage: phrases on the list, and sentences and
//! paragraphs that are too long. It does not find causatives ("has it wait").

use super::{
    inline::{CODE, Word},
    markdown::Passage,
};

/// Something that is hard to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) line: usize,
    pub(super) what: What,
    /// The first words of the passage or the place.
    pub(super) text: String,
}

/// The kind of a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A phrase of the list.
    Phrase(String),
    /// A sentence of this many words.
    Sentence(usize),
    /// A paragraph, an item or a cell of this many words.
    Paragraph(usize),
}

/// All faults of a passage, in order.
pub(super) fn faults(passage: &Passage) -> Vec<Fault> {
    let mut faults = Vec::new();
    let words = &passage.words;
    let length = count(words);
    if length > PARAGRAPH {
        faults.push(fault(words, What::Paragraph(length)));
    }
    for sentence in sentences(words) {
        let length = count(sentence);
        if length > SENTENCE && !passage.is_heading {
            faults.push(fault(sentence, What::Sentence(length)));
        }
        for start in 0..sentence.len() {
            let rest = &sentence[start..];
            let phrase = PHRASES.iter().find(|phrase| begins_with(rest, phrase));
            if let Some(phrase) = phrase {
                let what = What::Phrase(phrase.join(" "));
                let place = start.saturating_sub(3);
                let line = sentence[start].line;
                let mut fault = fault(&sentence[place..], what);
                fault.line = line;
                faults.push(fault);
            }
        }
    }
    faults
}

fn fault(words: &[Word], what: What) -> Fault {
    let first: Vec<&str> = words.iter().take(9).map(|it| it.text.as_str()).collect();
    let mut text = first.join(" ").replace(CODE, "`…`");
    if words.len() > first.len() {
        text.push_str(" …");
    }
    Fault {
        line: words.first().map_or(0, |word| word.line),
        what,
        text,
    }
}

/// The number of words. A dash or a sign does not count.
pub(super) fn count(words: &[Word]) -> usize {
    let is_word = |c: char| c.is_alphanumeric() || c == CODE;
    words.iter().filter(|it| it.text.contains(is_word)).count()
}

/// Cuts after each word that ends a sentence.
fn sentences(words: &[Word]) -> impl Iterator<Item = &[Word]> {
    words.split_inclusive(|word| ends_sentence(&word.text))
}

fn ends_sentence(word: &str) -> bool {
    let word = word.trim_end_matches(|c: char| !c.is_alphanumeric() && !".!?…".contains(c));
    let is_abbreviation = ABBREVIATIONS.iter().any(|it| {
        let word = word.trim_start_matches(|c: char| !c.is_alphanumeric());
        word.eq_ignore_ascii_case(it)
    });
    word.len() > 1 && word.ends_with(['.', '!', '?']) && !is_abbreviation
}

/// Whether these words begin with a phrase, without a comma in it.
fn begins_with(words: &[Word], phrase: &[&str]) -> bool {
    let last = phrase.len() - 1;
    words.len() > last
        && (0..=last).all(|place| {
            let is_mark = |c: char| !c.is_alphanumeric() && c != CODE;
            let word = words[place].text.to_lowercase();
            let word = word.trim_start_matches(is_mark);
            if place < last {
                return word == phrase[place];
            }
            let word = word.trim_end_matches(is_mark);
            let word = word.strip_suffix("'s").unwrap_or(word);
            word.strip_suffix("’s").unwrap_or(word) == phrase[place]
        })
}

/// The most words of a sentence.
const SENTENCE: usize = 30;

/// The most words of a paragraph.
const PARAGRAPH: usize = 120;

const ABBREVIATIONS: [&str; 4] = ["e.g.", "i.e.", "cf.", "vs."];

/// The phrases to avoid. Each has a plain alternative.
const PHRASES: [&[&str]; 24] = [
    &["shall"],
    &["anew"],
    &["thus"],
    &["likewise"],
    &["meanwhile"],
    &["whoever"],
    &["of", "no", "use"],
    &["not", "to", "be", "had"],
    &["so", "long"],
    &["so", "many"],
    &["at", "the", "most"],
    &["is", "told"],
    &["are", "told"],
    &["was", "told"],
    &["were", "told"],
    &["be", "told"],
    &["been", "told"],
    &["tells"],
    &["comes", "to"],
    &["of", "its", "own"],
    &["by", "what"],
    &["one", "that"],
    &["who", "waits"],
    &["who", "asks"],
];

#[cfg(test)]
mod tests {
    use super::{super::markdown::passages, *};

    fn found(text: &str) -> Vec<(usize, What)> {
        let passages = passages((1..).zip(text.lines()));
        let faults = passages.iter().flat_map(faults);
        faults.map(|fault| (fault.line, fault.what)).collect()
    }

    fn phrases(text: &str) -> Vec<String> {
        let found = found(text).into_iter();
        let phrases = found.filter_map(|(_, what)| match what {
            What::Phrase(phrase) => Some(phrase),
            _ => None,
        });
        phrases.collect()
    }

    #[test]
    fn a_phrase_is_found_as_whole_words_in_any_case_over_a_line_end() {
        assert_eq!(
            phrases("Thus, it shall\nbe *of\nno use*."),
            ["thus", "shall", "of no use"]
        );
        assert_eq!(phrases("whoever's (shall)"), ["whoever", "shall"]);
        assert_eq!(found("a\nb shall"), [(2, What::Phrase("shall".to_owned()))]);
    }

    #[test]
    fn parts_of_words_code_and_words_that_a_mark_parts_are_no_phrase() {
        assert_eq!(phrases("shallow marshall `shall` thusly"), [""; 0]);
        assert_eq!(phrases("so, long. Not so. Long"), [""; 0]);
        assert_eq!(phrases("so `x` long"), [""; 0]);
    }

    #[test]
    fn a_heading_has_phrases_but_no_sentences() {
        assert_eq!(phrases("# It shall"), ["shall"]);
        assert_eq!(found(&format!("# {}", "a ".repeat(31))), []);
    }

    #[test]
    fn a_sentence_may_have_30_words() {
        let sentence = |words: usize| "`a b` ".repeat(words - 1) + "- end.";
        assert_eq!(found(&sentence(30)), []);
        assert_eq!(found(&sentence(31)), [(1, What::Sentence(31))]);
        let two = format!("{}\n{}", sentence(30), sentence(31));
        assert_eq!(found(&two), [(2, What::Sentence(31))]);
        // A sentence ends with its cell or item.
        let cell = "a ".repeat(20);
        assert_eq!(
            found(&format!("| {cell} | {cell} |\n- {cell}\n- {cell}")),
            []
        );
    }

    #[test]
    fn an_abbreviation_or_a_number_ends_no_sentence() {
        let words = "a ".repeat(14);
        for middle in ["(e.g. this)", "7.2 and", "x.y.z so"] {
            let text = format!("{words} {middle} {words} b");
            assert_eq!(found(&text), [(1, What::Sentence(31))], "{middle}");
        }
        for end in ["so.)", "so?\"", "so!", "`so`.", "so.**"] {
            assert_eq!(
                found(&format!("{words} {end} {words} {words}")),
                [],
                "{end}"
            );
        }
    }

    #[test]
    fn a_paragraph_may_have_120_words() {
        let sentence = "one two three four five six seven eight nine ten. ";
        assert_eq!(found(&sentence.repeat(12)), []);
        let long = sentence.repeat(12) + "More.";
        assert_eq!(found(&long), [(1, What::Paragraph(121))]);
    }

    #[test]
    fn a_fault_shows_where_it_is() {
        let passages = passages([(
            7,
            "one two three four `five` shall six seven eight nine ten",
        )]);
        let faults = faults(&passages[0]);
        assert_eq!(
            faults[0].text,
            "three four `…` shall six seven eight nine ten"
        );
        assert_eq!(faults[0].line, 7);
    }
}
