//! Which members an object has, given the values that choose its variants. Pure.

use std::collections::BTreeMap;

use qemu_machine::qmp::schema::{SchemaMember, SchemaType, TypeKind};
use serde_json::{Map, Value};

use super::plain_text;
use crate::verb::qmp::line::words::Word;

/// The arguments that a line has already: their keys, and their values as text.
#[derive(Debug, Default)]
pub(crate) struct Given(BTreeMap<String, String>);

impl Given {
    pub(super) fn of(words: &[Word<'_>]) -> Self {
        let pairs = words.iter().filter_map(Word::pair);
        Self(
            pairs
                .map(|(key, text)| (key.to_owned(), plain_text(text)))
                .collect(),
        )
    }

    /// Those of an object that was read.
    pub(crate) fn of_object(members: &Map<String, Value>) -> Self {
        let mut given = Self::default();
        given.add(members, "");
        given
    }

    fn add(&mut self, members: &Map<String, Value>, path: &str) {
        for (name, value) in members {
            let key = format!("{path}{name}");
            match value {
                Value::Object(members) => self.add(members, &format!("{key}.")),
                Value::String(text) => drop(self.0.insert(key, text.clone())),
                other => drop(self.0.insert(key, other.to_string())),
            }
        }
    }

    pub(super) fn value(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Whether this key or one inside of it is given.
    pub(super) fn has_inside(&self, key: &str) -> bool {
        let inside = format!("{key}.");
        self.has(key) || self.0.keys().any(|it| it.starts_with(&inside))
    }
}

/// The members of a type's objects, with those of the variants that are chosen.
/// `path` is where the object is: empty, or with a dot at its end.
pub(crate) fn members<'a>(of: SchemaType<'a>, given: &Given, path: &str) -> Vec<SchemaMember<'a>> {
    let mut found: Vec<SchemaMember<'a>> = Vec::new();
    let mut next = Some(of);
    // A variant can have variants. The bound is for a schema without an end.
    for _ in 0..VARIANTS_LIMIT {
        let Some(of) = next else {
            break;
        };
        for member in of.members() {
            if !found.iter().any(|it| it.name() == member.name()) {
                found.push(member);
            }
        }
        let chosen = of
            .tag()
            .and_then(|tag| given.value(&format!("{path}{tag}")));
        let variant = chosen.and_then(|chosen| of.variants().find(|it| it.0 == chosen));
        next = variant.map(|it| it.1);
    }
    found
}

/// The type at a prefix such as `file.` or `a.0.`, and the prefix itself.
pub(super) fn resolve<'a>(
    root: SchemaType<'a>,
    given: &Given,
    prefix: &str,
) -> Option<(SchemaType<'a>, String)> {
    let (mut of, mut path) = (root, String::new());
    for part in prefix.split_terminator('.') {
        of = if is_index(part) && of.kind() == TypeKind::List {
            of.parts().next()?
        } else {
            let members = members(of, given, &path);
            members.iter().find(|it| it.name() == part)?.member_type()
        };
        path.extend([part, "."]);
    }
    Some((of, path))
}

/// The member that a key names.
pub(super) fn member<'a>(
    root: SchemaType<'a>,
    given: &Given,
    key: &str,
) -> Option<SchemaMember<'a>> {
    let key = match key.rsplit_once('.') {
        // An element has the values of its list.
        Some((list, index)) if is_index(index) => list,
        _ => key,
    };
    let at = key.rfind('.').map_or(0, |at| at + 1);
    let (of, path) = resolve(root, given, &key[..at])?;
    let mut members = members(of, given, &path).into_iter();
    members.find(|it| it.name() == &key[at..])
}

fn is_index(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|it| it.is_ascii_digit())
}

const VARIANTS_LIMIT: usize = 8;
