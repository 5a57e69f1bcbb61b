//! The names of keys, checked before any key is pressed. QEMU refuses a wrong one
//! only in its turn, and that may never come if the guest reads no keys.

use std::time::Duration;

use qemu_machine::Wait;
use qemu_machine::qmp::Client;
use qemu_machine::qmp::command::QuerySchema;
use qemu_machine::qmp::schema::Schema;

use super::qmp::failed;
use crate::config::suggestion;
use crate::failure::Failure;

/// Fails if this QEMU has no key of a name in these chords.
pub(super) fn check(monitor: &Client, chords: &[String], limit: Duration) -> Result<(), Failure> {
    let schema = monitor.execute(QuerySchema).timeout(limit).wait();
    let schema = schema.map_err(failed)?;
    let known = names(&schema);
    match unknown(chords, &known) {
        // A QEMU whose schema has another form.
        _ if known.is_empty() => Ok(()),
        None => Ok(()),
        Some(name) => Err(Failure::failed(format!(
            "there is no key '{name}'{}",
            suggestion(name, known.iter().copied())
        ))),
    }
}

/// QEMU's names of keys: the codes that `send-key` takes.
fn names(schema: &Schema) -> Vec<&str> {
    let keys = schema
        .command("send-key")
        .and_then(|it| it.argument("keys"));
    let variants = keys.into_iter().flat_map(|it| it.member_type().variants());
    let codes = variants.filter(|(kind, _)| *kind == "qcode");
    codes
        .flat_map(|(_, code)| code.members())
        .filter(|member| member.name() == "data")
        .flat_map(|member| member.values())
        .collect()
}

/// The first name that is not known. The library reports an empty one.
fn unknown<'a>(chords: &'a [String], known: &[&str]) -> Option<&'a str> {
    let names = chords.iter().flat_map(|chord| chord.split('-'));
    names
        .into_iter()
        .find(|name| !name.is_empty() && !known.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_that_is_no_key_is_found_in_a_chord_too() {
        let chords = |words: &[&str]| words.iter().map(|&it| it.to_owned()).collect::<Vec<_>>();
        let known = ["ctrl", "a", "ret"];
        for (words, expected) in [
            (&["ret", "ctrl-a"][..], None),
            (&["ret", "ctrl-b"], Some("b")),
            (&["RET"], Some("RET")),
            (&["ctrl-"], None),
        ] {
            assert_eq!(unknown(&chords(words), &known), expected, "{words:?}");
        }
    }
}
