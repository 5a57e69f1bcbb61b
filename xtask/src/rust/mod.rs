//! Reads Rust source for the checks: its tokens, and which of them are built only
//! for tests.

mod test_parts;
mod tokens;

pub(crate) use test_parts::{module_declarations, test_parts};
pub(crate) use tokens::{Token, TokenKind, tokens};
