//! The language of the shell, from text to commands. Pure.
//!
//! ```text
//! text --words--> words, with the blocks and brackets that are open
//!      --request--> command and arguments <--path, value-- key=value
//! ```
//!
//! A word ends at a space. Quotes and brackets keep spaces where a key or a value
//! begins with them; elsewhere they are letters like others.

pub(super) mod path;
pub(super) mod request;
pub(super) mod value;
pub(super) mod words;

pub(crate) use request::{Action, Mode, Request, parse, parse_words};
pub(crate) use words::is_complete;
