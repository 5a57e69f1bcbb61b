//! Finds the tokens that are built only for tests or fuzzing.

use super::{Token, TokenKind};

/// For each token, whether it is built only for tests.
///
/// That is an item below `#[cfg(test)]`, `#[cfg(fuzzing)]`, `#[cfg(any(test, ...))]`
/// or `#[test]`, and a module with the name `tests`.
pub(crate) fn test_parts(tokens: &[Token]) -> Vec<bool> {
    let mut parts = vec![false; tokens.len()];
    let mut at = 0;
    while at < tokens.len() {
        let end = if let Some(attribute) = Attribute::at(tokens, at) {
            if !attribute.is_for_tests {
                at = attribute.end;
                continue;
            }
            if attribute.is_inner {
                tokens.len()
            } else {
                item_end(tokens, attribute.end)
            }
        } else if is_module(tokens, at) == Some("tests") {
            item_end(tokens, at)
        } else {
            at += 1;
            continue;
        };
        parts[at..end].fill(true);
        at = end;
    }
    parts
}

/// The modules with a separate file: the place of each `mod` among the tokens, and
/// the name.
pub(crate) fn module_declarations(tokens: &[Token]) -> Vec<(usize, &str)> {
    let declaration = |at: usize| {
        let name = is_module(tokens, at)?;
        tokens.get(at + 2)?.kind.is_mark(';').then_some((at, name))
    };
    (0..tokens.len()).filter_map(declaration).collect()
}

/// The name, if `mod NAME` is at this place.
fn is_module(tokens: &[Token], at: usize) -> Option<&str> {
    match &tokens.get(at + 1)?.kind {
        TokenKind::Word(name) if tokens[at].kind.is_word("mod") => Some(name),
        _ => None,
    }
}

struct Attribute {
    /// The place after it.
    end: usize,
    is_inner: bool,
    is_for_tests: bool,
}

impl Attribute {
    fn at(tokens: &[Token], start: usize) -> Option<Self> {
        if !tokens[start].kind.is_mark('#') {
            return None;
        }
        let is_inner = tokens.get(start + 1)?.kind.is_mark('!');
        let open = start + 1 + usize::from(is_inner);
        if !tokens.get(open)?.kind.is_mark('[') {
            return None;
        }
        let end = group_end(tokens, open);
        let words: Vec<&TokenKind> = tokens[open + 1..end].iter().map(|it| &it.kind).collect();
        let has = |word| words.iter().any(|kind| kind.is_word(word));
        let is_test = words.len() == 2 && has("test");
        let is_cfg = words.first().is_some_and(|kind| kind.is_word("cfg"));
        let is_built = has("not") || !(has("test") || has("fuzzing"));
        let is_for_tests = is_test || (is_cfg && !is_built);
        Some(Self {
            end,
            is_inner,
            is_for_tests,
        })
    }
}

/// The place after the item that begins here; it may have more attributes. A
/// field, a variant or an arm of a `match` ends at its comma.
fn item_end(tokens: &[Token], start: usize) -> usize {
    let mut at = start;
    let mut is_item = false;
    while at < tokens.len() {
        match &tokens[at].kind {
            TokenKind::Mark('{') => return group_end(tokens, at),
            TokenKind::Mark(';') => return at + 1,
            TokenKind::Mark(',') if !is_item => return at + 1,
            // The rest belongs to the enclosing item.
            TokenKind::Mark('}') => return at,
            TokenKind::Mark('(' | '[') => {
                at = group_end(tokens, at);
                continue;
            }
            TokenKind::Word(word) => is_item |= ITEMS.contains(&word.as_str()),
            _ => {}
        }
        at += 1;
    }
    at
}

/// The place after the group of brackets that opens here.
fn group_end(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.kind {
            TokenKind::Mark('(' | '[' | '{') => depth += 1,
            TokenKind::Mark(')' | ']' | '}') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

/// The first words of items that may have commas before their braces.
const ITEMS: [&str; 9] = [
    "const", "enum", "fn", "impl", "static", "struct", "trait", "type", "use",
];

#[cfg(test)]
mod tests {
    use super::{super::tokens, *};

    /// The words that are not for tests alone.
    fn built(source: &str) -> String {
        let tokens = tokens(source);
        let parts = test_parts(&tokens);
        let words = tokens.iter().zip(parts).filter(|(_, is_test)| !is_test);
        let words = words.filter_map(|(token, _)| match &token.kind {
            TokenKind::Word(word) => Some(word.as_str()),
            _ => None,
        });
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn an_item_for_tests_ends_with_its_braces_or_its_semicolon() {
        assert_eq!(built("a #[cfg(test)] mod x { {b} } c"), "a c");
        assert_eq!(built("a #[cfg(any(test, fuzzing))] pub mod x; c"), "a c");
        assert_eq!(built("a #[test] fn x([b; 2]: [u8; 2]) { d } c"), "a c");
        assert_eq!(built("mod tests; c"), "c");
        assert_eq!(built("mod tests { b } c"), "c");
        assert_eq!(
            built("#[cfg(test)] impl<A, B> C where A: D, B: D {} c"),
            "c"
        );
        assert_eq!(built("enum A { #[cfg(test)] B, C }"), "enum A C");
        assert_eq!(built("enum A { #[cfg(test)] B }"), "enum A");
    }

    #[test]
    fn what_is_not_for_tests_is_built() {
        assert_eq!(built("#[cfg(not(test))] mod x;"), "cfg not test mod x");
        assert_eq!(built("#[must_use] fn test() {}"), "must_use fn test");
        assert_eq!(built("#![cfg(test)] fn x() {} fn y() {}"), "");
    }

    #[test]
    fn modules_with_a_file_are_those_that_end_at_once() {
        let tokens = tokens("mod a; pub mod b; mod c { mod d; }");
        let declarations = module_declarations(&tokens).into_iter();
        let names: Vec<_> = declarations.map(|(_, name)| name).collect();
        assert_eq!(names, ["a", "b", "d"]);
    }
}
