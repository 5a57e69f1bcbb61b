//! A schema from QEMU's reply (`SchemaInfo` in QEMU's `qapi/introspect.json`).
//!
//! It reads one entity at a time, and keeps none of the JSON. A type gets its number
//! when its name first occurs, in its definition or before. Unknown kinds and keys
//! are ignored.

use std::collections::HashMap;
use std::fmt;

use serde_core::de::{Deserialize, Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::Value;

use super::{Command, EnumValue, Event, Member, Schema, Type, TypeId};

impl<'de> Deserialize<'de> for Schema {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Entities)
    }
}

struct Entities;

impl<'de> Visitor<'de> for Entities {
    type Value = Schema;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the entities of a QMP schema")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entities: A) -> Result<Schema, A::Error> {
        let mut reader = Reader::default();
        while let Some(entity) = entities.next_element::<Value>()? {
            reader.add(&entity).map_err(A::Error::custom)?;
        }
        reader.finish().map_err(A::Error::custom)
    }
}

#[derive(Default)]
struct Reader {
    commands: Vec<Command>,
    events: Vec<Event>,
    ids: HashMap<Box<str>, TypeId>,
    /// `None` for a type that was named and not defined yet.
    types: Vec<Option<Type>>,
}

impl Reader {
    fn add(&mut self, entity: &Value) -> Result<(), String> {
        let name = text(entity, "name")?;
        match text(entity, "meta-type")? {
            "command" => {
                let command = Command {
                    name: name.into(),
                    arguments: self.named(entity, "arg-type")?,
                    returns: self.named(entity, "ret-type")?,
                    allows_oob: entity["allow-oob"].as_bool().unwrap_or_default(),
                    features: features(entity),
                };
                self.commands.push(command);
            }
            "event" => {
                let event = Event {
                    name: name.into(),
                    data: self.named(entity, "arg-type")?,
                    features: features(entity),
                };
                self.events.push(event);
            }
            kind => {
                let defined = self.define(kind, entity)?;
                let TypeId(index) = self.id(name);
                self.types[index] = Some(defined);
            }
        }
        Ok(())
    }

    fn define(&mut self, kind: &str, entity: &Value) -> Result<Type, String> {
        Ok(match kind {
            "builtin" => Type::Builtin(text(entity, "json-type")?.into()),
            "enum" => Type::Enum(values(entity)?),
            "array" => Type::List(self.named(entity, "element-type")?),
            "alternate" => {
                let members = list(entity, "members").iter();
                let types = members.map(|member| self.named(member, "type"));
                Type::Alternates(types.collect::<Result<_, _>>()?)
            }
            "object" => {
                let members = list(entity, "members").iter();
                let members = members.map(|member| self.member(member));
                let members = members.collect::<Result<_, _>>()?;
                let variants = list(entity, "variants").iter();
                let variants = variants.map(|variant| {
                    let case = text(variant, "case")?.into();
                    Ok((case, self.named(variant, "type")?))
                });
                Type::Object {
                    members,
                    tag: entity["tag"].as_str().map(Into::into),
                    variants: variants.collect::<Result<_, String>>()?,
                    features: features(entity),
                }
            }
            _ => Type::Unknown,
        })
    }

    fn member(&mut self, member: &Value) -> Result<Member, String> {
        Ok(Member {
            name: text(member, "name")?.into(),
            of: self.named(member, "type")?,
            // QEMU does not report the default value: `default` is always null.
            is_optional: member.get("default").is_some(),
            features: features(member),
        })
    }

    /// The type that this key names.
    fn named(&mut self, entity: &Value, key: &str) -> Result<TypeId, String> {
        Ok(self.id(text(entity, key)?))
    }

    fn id(&mut self, name: &str) -> TypeId {
        if let Some(&id) = self.ids.get(name) {
            return id;
        }
        let id = TypeId(self.types.len());
        self.types.push(None);
        self.ids.insert(name.into(), id);
        id
    }

    fn finish(mut self) -> Result<Schema, String> {
        self.commands.sort_by(|a, b| a.name.cmp(&b.name));
        self.events.sort_by(|a, b| a.name.cmp(&b.name));
        let is_undefined = |id: TypeId| self.types[id.0].is_none();
        if let Some((name, _)) = self.ids.iter().find(|(_, id)| is_undefined(**id)) {
            return Err(format!("a schema without its type '{name}'"));
        }
        Ok(Schema {
            commands: self.commands,
            events: self.events,
            types: self.types.into_iter().flatten().collect(),
        })
    }
}

fn text<'a>(entity: &'a Value, key: &str) -> Result<&'a str, String> {
    let text = entity[key].as_str();
    text.ok_or_else(|| format!("a schema's entity without '{key}': {entity}"))
}

fn list<'a>(entity: &'a Value, key: &str) -> &'a [Value] {
    entity[key].as_array().map_or(&[], Vec::as_slice)
}

fn features(entity: &Value) -> Box<[Box<str>]> {
    let names = list(entity, "features").iter().filter_map(Value::as_str);
    names.map(Into::into).collect()
}

fn values(entity: &Value) -> Result<Vec<EnumValue>, String> {
    // Before 6.2, QEMU reported only the names.
    let Some(members) = entity["members"].as_array() else {
        let names = list(entity, "values").iter().filter_map(Value::as_str);
        let value = |name: &str| EnumValue {
            name: name.into(),
            features: Box::default(),
        };
        return Ok(names.map(value).collect());
    };
    let value = |member| {
        Ok(EnumValue {
            name: text(member, "name")?.into(),
            features: features(member),
        })
    };
    members.iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(text: &str) -> Result<Schema, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn what_is_unknown_is_passed_over() {
        let schema = schema(
            r#"[{"name": "go", "meta-type": "command", "arg-type": "1", "ret-type": "2", "new": 1},
                {"name": "1", "meta-type": "kind-to-come", "shape": []},
                {"name": "2", "meta-type": "object", "members": [
                    {"name": "a", "type": "1", "new": {}, "features": ["f", 7]}]}]"#,
        )
        .unwrap();
        assert!(schema.has("go/ret-type/a/$f").unwrap());
        assert!(!schema.has("go/arg-type/a").unwrap());
    }

    #[test]
    fn values_are_read_as_before_qemu_6_2_too() {
        let schema = schema(
            r#"[{"name": "go", "meta-type": "command", "arg-type": "1", "ret-type": "1"},
                {"name": "1", "meta-type": "enum", "values": ["on", "off"]}]"#,
        )
        .unwrap();
        assert!(schema.has("go/arg-type/^off").unwrap());
        assert!(!schema.has("go/arg-type/^off/$deprecated").unwrap());
    }

    #[test]
    fn types_that_hold_themselves_are_asked_without_end() {
        let schema = schema(
            r#"[{"name": "go", "meta-type": "command", "arg-type": "1", "ret-type": "3"},
                {"name": "1", "meta-type": "alternate", "members": [
                    {"type": "1"}, {"type": "2"}, {"type": "3"}]},
                {"name": "2", "meta-type": "array", "element-type": "1"},
                {"name": "3", "meta-type": "object", "members": [{"name": "a", "type": "2"}]}]"#,
        )
        .unwrap();
        assert!(schema.has("go/arg-type/a/a/a").unwrap());
        assert!(!schema.has("go/arg-type/a/a/b").unwrap());
    }

    #[test]
    fn a_broken_schema_is_told_by_what_it_lacks() {
        for (text, reason) in [
            ("{}", "expected the entities of a QMP schema"),
            (r#"[{"meta-type": "command"}]"#, "without 'name'"),
            (
                r#"[{"name": "go", "meta-type": "event", "arg-type": "1"}]"#,
                "without its type '1'",
            ),
        ] {
            let told = schema(text).unwrap_err().to_string();
            assert!(told.contains(reason), "{told}");
        }
    }
}
