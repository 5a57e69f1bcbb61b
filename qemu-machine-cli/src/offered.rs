//! Words that a shell offers for an option which takes any text.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Arg, Command, Error};

/// Reads any text. The words are for completion scripts only; the help lists
/// them unless `hide_possible_values` is set.
#[derive(Debug, Clone)]
pub(crate) struct Offered(pub(crate) fn() -> Vec<String>);

impl TypedValueParser for Offered {
    type Value = String;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<String, Error> {
        StringValueParser::new().parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let words = (self.0)().into_iter();
        Some(Box::new(words.map(PossibleValue::new)))
    }
}
