//! Any schema, and questions to it.

use crate::schema::Schema;

/// Checks that a schema is read or refused, that its names can be asked for, and that
/// every question ends.
///
/// The first line of the input is a question, the rest a schema.
pub fn schema(input: &[u8]) {
    let mut parts = input.splitn(2, |&byte| byte == b'\n');
    let question = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let Ok(schema) = serde_json::from_slice::<Schema>(parts.next().unwrap_or_default()) else {
        return;
    };
    if let Err(error) = schema.has(&question) {
        assert_eq!(error.question, question);
    }
    let commands = schema.commands().map(|it| it.name());
    for name in commands.chain(schema.events().map(|it| it.name())) {
        if !can_be_asked_for(name) {
            continue;
        }
        assert_eq!(schema.has(name), Ok(true), "{name}");
        assert_eq!(schema.has(&format!("{name}/arg-type")), Ok(true), "{name}");
        let Some(command) = schema.command(name) else {
            continue;
        };
        let has = |part| schema.has(&format!("{name}/{part}")) == Ok(true);
        for member in command.arguments().map(|it| it.name()) {
            let is_name = !member.is_empty() && !member.contains('/');
            assert!(!is_name || has(format!("arg-type/ {member}")), "{member}");
        }
        for member in command.returns().map(|it| it.name()) {
            let is_name = !member.is_empty() && !member.contains('/');
            assert!(!is_name || has(format!("ret-type/ {member}")), "{member}");
        }
    }
}

/// Whether a question can start with this name, as with every name in QEMU.
fn can_be_asked_for(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphanumeric()) && !name.contains('/')
}
