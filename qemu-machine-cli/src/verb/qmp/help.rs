//! The shell's help: what a command takes and returns, by the schema. Pure.

use std::fmt::Write as _;

use qemu_machine::qmp::schema::{Features, Schema, SchemaMember, SchemaType, TypeKind};
use serde_json::{Map, Value};

use super::complete::{Given, members, step};

/// Help about the shell itself.
pub(super) const SHELL: &str = "\
COMMAND KEY=VALUE …           executes a command; Tab completes, Tab Tab lists
COMMAND KEY.SUB=VALUE …       a member of an object; KEY.0=VALUE is the first of a list
COMMAND KEY={'a': [1, True]}  JSON, also with single quotes and Python's words
{\"execute\": …}                a whole message
transaction( STEP … )         one transaction; a step in each line, or after ;
help COMMAND, COMMAND ?       what a command takes and returns
hmp, hmp LINE                 the human monitor; qmp leads back
exit                          leaves the shell, as Ctrl-D does; quit ends QEMU

A line goes on while a bracket or a quote is open. Ctrl-C clears it. # begins a comment.
";

/// Help about a command, an event or a step of a transaction. `chosen` has the
/// arguments that choose a variant. An unknown name is an error with the names
/// that are near it.
pub(super) fn about(
    schema: &Schema,
    name: &str,
    chosen: &Map<String, Value>,
) -> Result<String, String> {
    let given = Given::of_object(chosen);
    let mut text = String::new();
    if let Some(command) = schema.command(name) {
        title(&mut text, "command", name, command.features());
        if command.allows_oob() {
            text += "It can be executed out of band.\n";
        }
        list(&mut text, "arguments", command.argument_type(), &given);
        returned(&mut text, command.return_type(), &given);
    } else if let Some(event) = schema.event(name) {
        title(&mut text, "event", name, event.features());
        list(&mut text, "data", event.data_type(), &given);
    } else if let Some(data) = step(schema, name) {
        let _ = writeln!(text, "step of a transaction {name}");
        list(&mut text, "arguments", data, &given);
    } else {
        return Err(unknown(schema, name));
    }
    Ok(text)
}

/// Says that there is no such command, and which names are near.
pub(super) fn unknown(schema: &Schema, name: &str) -> String {
    match suggestion(schema, name) {
        Some(near) => format!("this QEMU has no command '{name}'; {near}"),
        None => format!("this QEMU has no command '{name}'; Tab lists all"),
    }
}

/// The names of commands and events that are near this one, as advice.
pub(super) fn suggestion(schema: &Schema, name: &str) -> Option<String> {
    let commands = schema.commands().map(|it| it.name());
    let near = near(name, commands.chain(schema.events().map(|it| it.name())));
    let (last, rest) = near.split_last()?;
    Some(match rest {
        [] => format!("did you mean {last}?"),
        rest => format!("did you mean {} or {last}?", rest.join(", ")),
    })
}

/// The names nearest to this one, at most three.
fn near<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    // QEMU has both signs in its names.
    let plain = |text: &str| text.to_ascii_lowercase().replace('_', "-");
    let wanted = plain(name);
    let mut found: Vec<(usize, &str)> = names
        .filter_map(|it| {
            let candidate = plain(it);
            let distance = strsim::damerau_levenshtein(&wanted, &candidate);
            let is_part = wanted.len() >= PART_LETTERS && candidate.contains(&wanted);
            let limit = wanted.len().div_ceil(4).max(1);
            (distance <= limit || is_part).then_some((distance, it))
        })
        .collect();
    found.sort_unstable();
    found.into_iter().map(|it| it.1).take(3).collect()
}

fn title(text: &mut String, kind: &str, name: &str, features: Features<'_>) {
    let _ = writeln!(text, "{kind} {name}{}", marks(features));
}

fn marks(features: Features<'_>) -> &'static str {
    match (features.deprecated(), features.unstable()) {
        (true, _) => " (deprecated)",
        (false, true) => " (unstable)",
        (false, false) => "",
    }
}

/// Lists the members of an object, and says what chooses more of them.
fn list(text: &mut String, title: &str, of: SchemaType<'_>, given: &Given) {
    let members = members(of, given, "");
    if members.is_empty() {
        let _ = writeln!(text, "{title}: none");
        return;
    }
    let _ = writeln!(text, "{title}:");
    write_members(text, &members, 1);
    if let Some(tag) = of.tag()
        && !given.has(tag)
    {
        let _ = writeln!(text, "The value of {tag} brings more: help … {tag}=VALUE");
    }
}

fn returned(text: &mut String, of: SchemaType<'_>, given: &Given) {
    let members = members(of, given, "");
    match of.kind() {
        TypeKind::Object if members.is_empty() && of.tag().is_none() => {
            text.push_str("returns: nothing\n");
        }
        TypeKind::Object => text.push_str("returns: object\n"),
        _ => {
            let _ = writeln!(text, "returns: {of}");
        }
    }
    write_members(text, &members, 1);
}

fn write_members(text: &mut String, members: &[SchemaMember<'_>], depth: usize) {
    let names: Vec<String> = members.iter().map(|it| it.name().to_owned()).collect();
    let width = names.iter().map(String::len).max().unwrap_or(0);
    for (member, name) in members.iter().zip(&names) {
        let indent = "  ".repeat(depth);
        let optional = if member.is_optional() {
            ", optional"
        } else {
            ""
        };
        let of = member.member_type();
        let mark = marks(member.features());
        let _ = writeln!(text, "{indent}{name:width$}  {of}{optional}{mark}");
        let inner: Vec<SchemaMember<'_>> = of.members().collect();
        if depth == 1 && of.tag().is_none() {
            write_members(text, &inner, depth + 1);
        }
    }
}

/// From how many letters on a part of a name is near it.
const PART_LETTERS: usize = 4;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Schema {
        let text = include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../qemu-qmp/tests/wire/qemu-10.0/query-qmp-schema.json"
        ));
        serde_json::from_str(text).unwrap()
    }

    fn help(name: &str, chosen: &Value) -> String {
        about(&schema(), name, chosen.as_object().unwrap()).unwrap()
    }

    #[test]
    fn a_command_says_what_it_takes_and_returns() {
        assert_eq!(
            help("screendump", &json!({})),
            "command screendump\n\
             arguments:\n\
             \x20 filename  string\n\
             \x20 device    string, optional\n\
             \x20 head      int, optional\n\
             \x20 format    ppm|png, optional\n\
             returns: nothing\n"
        );
        let fdsets = help("query-fdsets", &json!({}));
        assert!(
            fdsets.contains("arguments: none\nreturns: list of object\n"),
            "{fdsets}"
        );
        assert!(
            fdsets.contains("\n    opaque  string, optional\n"),
            "{fdsets}"
        );
        assert!(help("migrate-pause", &json!({})).contains("out of band"));
        assert!(help("x-query-irq", &json!({})).starts_with("command x-query-irq (unstable)\n"));
        assert!(help("SHUTDOWN", &json!({})).starts_with("event SHUTDOWN\ndata:\n  guest "));
        assert!(help("block-dirty-bitmap-enable", &json!({})).starts_with("command"));
        assert!(
            help("abort", &json!({})).starts_with("step of a transaction abort\narguments: none")
        );
    }

    #[test]
    fn a_given_value_chooses_the_variant() {
        let plain = help("blockdev-add", &json!({}));
        assert!(plain.contains("The value of driver brings more"), "{plain}");
        assert!(!plain.contains("lazy-refcounts"));
        let qcow2 = help("blockdev-add", &json!({"driver": "qcow2"}));
        assert!(qcow2.contains("  lazy-refcounts "), "{qcow2}");
        assert!(!qcow2.contains("brings more"));
    }

    #[test]
    fn an_unknown_name_says_what_is_near() {
        let unknown = |name: &str| about(&schema(), name, &Map::new()).unwrap_err();
        let table = [
            ("query-statsu", "did you mean query-stats or query-status?"),
            ("device_dle", "did you mean device_del"),
            ("device-add", "did you mean device_add"),
            ("shutdwon", "did you mean SHUTDOWN?"),
            ("powerdown", "system_powerdown"),
            ("xyzzyq", "Tab lists all"),
            ("", "Tab lists all"),
        ];
        for (name, near) in table {
            let error = unknown(name);
            assert!(error.contains(near), "{error}");
        }
    }
}
