//! Extracts the text of rustdoc's HTML.

/// The text without tags, with single blanks.
pub(super) fn text(html: &str) -> String {
    let mut text = String::new();
    let mut rest = html;
    while let Some(start) = rest.find(['<', '&']) {
        text += &rest[..start];
        rest = &rest[start..];
        let end = if rest.starts_with('<') { '>' } else { ';' };
        let length = rest.find(end).map_or(rest.len(), |end| end + 1);
        let (mark, behind) = rest.split_at(length);
        rest = behind;
        if mark.starts_with("<summary") {
            // The label of a part that can be folded.
            rest = rest.split_once("</summary>").map_or("", |(_, it)| it);
        } else if mark.starts_with('<') {
            let is_block = ["<div", "</div", "<br"]
                .iter()
                .any(|it| mark.starts_with(it));
            text += if is_block { " " } else { "" };
        } else {
            text += entity(mark);
        }
    }
    text += rest;
    // The mark of a tooltip is not part of a signature.
    let text = text.replace('ⓘ', "");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The character of an entity; an unknown entity stays as it is.
fn entity(entity: &str) -> &str {
    match entity {
        "&amp;" => "&",
        "&lt;" => "<",
        "&gt;" => ">",
        "&quot;" => "\"",
        "&#39;" | "&#x27;" => "'",
        "&nbsp;" => " ",
        other => other,
    }
}

/// The text between two marks, and the text after the second.
pub(super) fn between<'a>(html: &'a str, start: &str, end: &str) -> Option<(&'a str, &'a str)> {
    let (_, rest) = html.split_once(start)?;
    rest.split_once(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_go_and_entities_become_their_characters() {
        assert_eq!(
            text(
                "pub fn <a href=\"x\">a</a>(&amp;self) -&gt; &lt;T&gt;<div class=\"where\">where\n    T: 'static,</div>"
            ),
            "pub fn a(&self) -> <T> where T: 'static,"
        );
        assert_eq!(
            text("Run<wbr>Job&#39;&quot;&nbsp;&copy; ⓘ"),
            "RunJob'\" &copy;"
        );
    }

    #[test]
    fn the_words_that_unfold_a_part_are_left_out() {
        assert_eq!(
            text("a {<summary><span>Show 3 fields</span></summary>b}"),
            "a {b}"
        );
    }

    #[test]
    fn html_that_breaks_off_is_read_to_its_end() {
        for html in ["a <b", "a &am", "<summary>", "<"] {
            text(html);
        }
    }
}
