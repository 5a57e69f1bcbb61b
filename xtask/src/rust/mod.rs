//! Rust's source as far as the checks read it: its tokens, and which of them
//! are built for tests alone.

mod test_parts;
mod tokens;

pub(crate) use test_parts::{module_declarations, test_parts};
pub(crate) use tokens::{Token, TokenKind, tokens};
