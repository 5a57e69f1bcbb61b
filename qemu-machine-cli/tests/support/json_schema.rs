//! Holds a JSON value against a schema: the part of JSON Schema that the kept
//! schemas use. A keyword that is not known here fails.
//!
//! Stricter than JSON Schema in one place: a member that the schema does not
//! name is a fault. Readers must permit such members, so that an output can get
//! more of them. But what is printed today must be described.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

/// The folder of the kept schemas.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas")
}

/// The kept schema of a verb.
pub fn kept(verb: &str) -> Value {
    let path = folder().join(format!("{verb}.json"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{verb}: {error}"));
    serde_json::from_str(&text).unwrap()
}

/// Whether the schema describes the value; the error has the place and the
/// reason.
pub fn check(schema: &Value, value: &Value) -> Result<(), String> {
    Checker { root: schema }.check(schema, value, "$")
}

struct Checker<'a> {
    root: &'a Value,
}

impl Checker<'_> {
    fn check(&self, schema: &Value, value: &Value, place: &str) -> Result<(), String> {
        let keywords = match schema {
            Value::Bool(true) => return Ok(()),
            Value::Object(keywords) => keywords,
            _ => return Err(format!("{place}: nothing is permitted here")),
        };
        for (keyword, wanted) in keywords {
            let is_met = match &**keyword {
                "type" => has_type(wanted, value),
                "const" => wanted == value,
                "enum" => list(wanted).contains(value),
                "minimum" => value
                    .as_f64()
                    .is_none_or(|it| it >= wanted.as_f64().unwrap()),
                "maximum" => value
                    .as_f64()
                    .is_none_or(|it| it <= wanted.as_f64().unwrap()),
                "required" => has_members(wanted, value),
                "$ref" => {
                    self.check(self.definition(wanted), value, place)?;
                    true
                }
                "anyOf" => self.fitting(wanted, value, place) > 0,
                "oneOf" => self.fitting(wanted, value, place) == 1,
                "items" => {
                    for (number, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(wanted, item, &format!("{place}[{number}]"))?;
                    }
                    true
                }
                "properties" | "additionalProperties" => {
                    self.members(keywords, value, place)?;
                    true
                }
                "$schema" | "$defs" | "title" | "description" | "format" => true,
                _ => return Err(format!("the checker does not know '{keyword}'")),
            };
            if !is_met {
                return Err(format!("{place}: not as '{keyword}' has it: {wanted}"));
            }
        }
        Ok(())
    }

    fn members(
        &self,
        keywords: &Map<String, Value>,
        value: &Value,
        place: &str,
    ) -> Result<(), String> {
        let properties = keywords.get("properties");
        for (name, member) in value.as_object().into_iter().flatten() {
            let described = properties.and_then(|it| it.get(name));
            let described = described.or_else(|| keywords.get("additionalProperties"));
            let described =
                described.ok_or_else(|| format!("{place}: '{name}' is not described"))?;
            self.check(described, member, &format!("{place}.{name}"))?;
        }
        Ok(())
    }

    /// How many of the schemas describe the value.
    fn fitting(&self, schemas: &Value, value: &Value, place: &str) -> usize {
        let fits = |schema: &&Value| self.check(schema, value, place).is_ok();
        list(schemas).iter().filter(fits).count()
    }

    fn definition(&self, reference: &Value) -> &Value {
        let pointer = reference.as_str().and_then(|it| it.strip_prefix('#'));
        let found = pointer.and_then(|it| self.root.pointer(it));
        found.unwrap_or_else(|| panic!("no definition {reference}"))
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn has_type(wanted: &Value, value: &Value) -> bool {
    let is = |name: &Value| match name.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("no type {other}"),
    };
    match wanted {
        Value::Array(names) => names.iter().any(is),
        name => is(name),
    }
}

fn has_members(wanted: &Value, value: &Value) -> bool {
    let Some(object) = value.as_object() else {
        return true;
    };
    let mut names = list(wanted).iter();
    names.all(|name| object.contains_key(name.as_str().unwrap()))
}
