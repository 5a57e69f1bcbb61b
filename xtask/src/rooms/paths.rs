//! Finds paths from a crate's root, and the re-exports of the root.

use std::collections::{BTreeMap, BTreeSet};

use crate::rust::{Token, TokenKind};

/// A path that begins at the crate's root.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RootPath {
    pub(super) line: usize,
    /// The module of the path.
    pub(super) module: Vec<String>,
    /// Its first name; `*` for everything in the root.
    pub(super) name: String,
}

/// Every path from the root in these tokens of a module, by `crate::` or by
/// enough `super::`.
pub(super) fn root_paths(tokens: &[Token], module: &[String]) -> Vec<RootPath> {
    let mut paths = Vec::new();
    let mut module = module.to_vec();
    // For each open brace, whether it belongs to a module.
    let mut braces = Vec::new();
    let mut is_module = false;
    for (at, token) in tokens.iter().enumerate() {
        match &token.kind {
            TokenKind::Mark('{') => braces.push(std::mem::take(&mut is_module)),
            TokenKind::Mark('}') if braces.pop() == Some(true) => {
                module.pop();
            }
            TokenKind::Word(name) if is_inline_module(tokens, at) => {
                module.push(name.clone());
                is_module = true;
            }
            _ => {}
        }
        let Some(start) = root_at(tokens, at, module.len()) else {
            continue;
        };
        for name in first_names(&tokens[start..]) {
            paths.push(RootPath {
                line: token.line,
                module: module.clone(),
                name,
            });
        }
    }
    paths
}

/// Whether this is the name in `mod NAME {`.
fn is_inline_module(tokens: &[Token], at: usize) -> bool {
    at > 0
        && tokens[at - 1].kind.is_word("mod")
        && tokens.get(at + 1).is_some_and(|it| it.kind.is_mark('{'))
}

/// The rest of a path after the root, if a path begins here.
fn root_at(tokens: &[Token], at: usize, depth: usize) -> Option<usize> {
    // `pub(in crate::room)` imports nothing.
    let before = at.checked_sub(1).map(|before| &tokens[before].kind);
    if before.is_some_and(|it| it.is_word("in") || it.is_mark(':')) {
        return None;
    }
    if tokens[at].kind.is_word("crate") {
        return after_colons(tokens, at + 1);
    }
    let mut next = at;
    let mut steps = 0;
    while tokens.get(next).is_some_and(|it| it.kind.is_word("super")) {
        next = after_colons(tokens, next + 1)?;
        steps += 1;
    }
    (steps > 0 && steps == depth).then_some(next)
}

fn after_colons(tokens: &[Token], at: usize) -> Option<usize> {
    let is_colon = |at: usize| tokens.get(at).is_some_and(|it| it.kind.is_mark(':'));
    (is_colon(at) && is_colon(at + 1)).then_some(at + 2)
}

/// The first names after `crate::`: one name, or the names of a group.
fn first_names(tokens: &[Token]) -> Vec<String> {
    leaves(tokens)
        .into_iter()
        .map(|mut leaf| leaf.path.swap_remove(0))
        .collect()
}

/// One name that a `use` imports.
struct Leaf {
    path: Vec<String>,
    alias: Option<String>,
}

impl Leaf {
    fn name(&self) -> Option<&String> {
        let mut names = self.path.iter().rev();
        let last = names.find(|name| *name != "self");
        self.alias.as_ref().or(last)
    }
}

/// The names that the tree of a `use` imports.
fn leaves(tokens: &[Token]) -> Vec<Leaf> {
    let mut leaves = Vec::new();
    tree(tokens, 0, &[], &mut leaves);
    leaves.retain(|leaf| !leaf.path.is_empty());
    leaves
}

/// Reads one tree. Returns the place after it.
fn tree(tokens: &[Token], start: usize, before: &[String], leaves: &mut Vec<Leaf>) -> usize {
    let mut path = before.to_vec();
    let mut at = start;
    while let Some(token) = tokens.get(at) {
        match &token.kind {
            TokenKind::Word(name) => path.push(name.clone()),
            TokenKind::Mark('*') => path.push("*".to_owned()),
            TokenKind::Mark('{') => {
                at += 1;
                while tokens.get(at).is_some_and(|it| !it.kind.is_mark('}')) {
                    at = tree(tokens, at, &path, leaves);
                    if tokens.get(at).is_some_and(|it| it.kind.is_mark(',')) {
                        at += 1;
                    } else {
                        break;
                    }
                }
                return at + 1;
            }
            _ => break,
        }
        at += 1;
        match after_colons(tokens, at) {
            Some(next) => at = next,
            None => break,
        }
    }
    let mut alias = None;
    if tokens.get(at).is_some_and(|it| it.kind.is_word("as")) {
        if let Some(TokenKind::Word(name)) = tokens.get(at + 1).map(|it| &it.kind) {
            alias = Some(name.clone());
        }
        at += 2;
    }
    leaves.push(Leaf { path, alias });
    at
}

/// The names that the root re-exports, each with its room. A name of another crate
/// has none.
pub(super) fn root_names(
    tokens: &[Token],
    rooms: &BTreeSet<String>,
) -> BTreeMap<String, Option<String>> {
    let mut names = BTreeMap::new();
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate() {
        match &token.kind {
            TokenKind::Mark('{') => depth += 1,
            TokenKind::Mark('}') => depth -= 1,
            TokenKind::Word(word) if word == "use" && depth == 0 => {
                for leaf in leaves(&tokens[at + 1..]) {
                    let mut path = leaf.path.iter();
                    let first = path.find(|name| !matches!(name.as_str(), "crate" | "self"));
                    let room = first.filter(|name| rooms.contains(*name));
                    if let Some(name) = leaf.name() {
                        names.insert(name.clone(), room.cloned());
                    }
                }
            }
            _ => {}
        }
    }
    names
}

/// The macros that a source exports to the crate's root.
pub(super) fn exported_macros(tokens: &[Token]) -> Vec<String> {
    let has_mark = tokens.iter().any(|it| it.kind.is_word("macro_export"));
    let name = |window: &[Token]| match &window[2].kind {
        TokenKind::Word(name) if window[0].kind.is_word("macro_rules") => Some(name.clone()),
        _ => None,
    };
    let names = tokens.windows(3).filter_map(name);
    names.filter(|_| has_mark).collect()
}
