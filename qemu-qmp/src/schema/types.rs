//! The types of a schema: what a value of a type looks like.

use std::fmt;

use super::{Schema, SchemaMember, Type, TypeId};

/// A type in a schema: of an argument, of a return value, or of an event's data.
///
/// It displays as a short text for people, such as `list of int`.
///
/// # Examples
/// ```
/// # fn ask(schema: &qemu_qmp::schema::Schema) {
/// let command = schema.command("blockdev-add").unwrap();
/// let arguments = command.argument_type();
/// assert_eq!(arguments.tag(), Some("driver"));
/// let (_, nvme) = arguments.variants().find(|(name, _)| *name == "nvme").unwrap();
/// for member in nvme.members() {
///     println!("{}: {}", member.name(), member.member_type());
/// }
/// # }
/// ```
#[derive(Clone, Copy)]
pub struct SchemaType<'a> {
    schema: &'a Schema,
    id: TypeId,
}

/// The kind of a [`SchemaType`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TypeKind<'a> {
    /// A JSON type: `string`, `int`, `number`, `boolean`, `null`, or `value` for
    /// any.
    Json(&'a str),
    /// A string of a set: see [`SchemaType::values`].
    Enum,
    /// An object: see [`SchemaType::members`] and [`SchemaType::variants`].
    Object,
    /// A list; its [part](SchemaType::parts) is the type of its elements.
    List,
    /// One of several types, its [parts](SchemaType::parts).
    Alternate,
    /// A kind that a later QEMU has.
    Unknown,
}

impl<'a> SchemaType<'a> {
    pub(super) fn new(schema: &'a Schema, id: TypeId) -> Self {
        Self { schema, id }
    }

    /// Its kind.
    pub fn kind(&self) -> TypeKind<'a> {
        match self.definition() {
            Type::Builtin(json) => TypeKind::Json(json),
            Type::Enum(_) => TypeKind::Enum,
            Type::Object { .. } => TypeKind::Object,
            Type::List(_) => TypeKind::List,
            Type::Alternates(_) => TypeKind::Alternate,
            Type::Unknown => TypeKind::Unknown,
        }
    }

    /// The type of a list's elements, or the types of an alternate. Empty for
    /// other types.
    pub fn parts(&self) -> impl Iterator<Item = Self> + use<'a> {
        let ids = match self.definition() {
            Type::List(id) => std::slice::from_ref(id),
            Type::Alternates(ids) => ids.as_slice(),
            _ => &[],
        };
        let schema = self.schema;
        ids.iter().map(move |id| Self::new(schema, *id))
    }

    /// The JSON types that a value can have, also as an element of a list or as
    /// one of an alternate. Empty for objects and enumerations.
    pub fn json_types(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.plain().filter_map(|it| match it {
            Type::Builtin(json) => Some(&**json),
            _ => None,
        })
    }

    /// The values of an enumeration, or of a list of them. Empty for other types.
    pub fn values(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let values = self.plain().flat_map(|it| match it {
            Type::Enum(values) => values.as_slice(),
            _ => &[],
        });
        values.map(|value| &*value.name)
    }

    /// The members of an object, or of a list of objects, without those of its
    /// variants. Empty for other types.
    pub fn members(&self) -> impl Iterator<Item = SchemaMember<'a>> + use<'a> {
        self.schema.members(self.id)
    }

    /// The member whose value selects the variant of an object; `None` for an
    /// object without variants, and for other types.
    pub fn tag(&self) -> Option<&'a str> {
        self.plain().find_map(|it| match it {
            Type::Object { tag, .. } => tag.as_deref(),
            _ => None,
        })
    }

    /// The variants of an object, each with the value of the
    /// [tag](Self::tag) that selects it, and the object of its members.
    pub fn variants(&self) -> impl Iterator<Item = (&'a str, Self)> + use<'a> {
        let variants = self.plain().flat_map(|it| match it {
            Type::Object { variants, .. } => variants.as_slice(),
            _ => &[],
        });
        let schema = self.schema;
        variants.map(move |(case, id)| (&**case, Self::new(schema, *id)))
    }

    fn definition(&self) -> &'a Type {
        &self.schema.types[self.id.0]
    }

    fn plain(&self) -> impl Iterator<Item = &'a Type> + use<'a> {
        self.schema.plain([self.id]).into_iter()
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        match self.definition() {
            Type::Builtin(json) if **json == *"value" => f.write_str("any value"),
            Type::Builtin(json) => f.write_str(json),
            Type::Enum(values) => {
                let names: Vec<&str> = values.iter().map(|it| &*it.name).collect();
                let shown = names.len().min(SHOWN_VALUES);
                f.write_str(&names[..shown].join("|"))?;
                f.write_str(if shown < names.len() { "|…" } else { "" })
            }
            Type::Object { .. } => f.write_str("object"),
            Type::Unknown => f.write_str("unknown type"),
            // A type can contain itself.
            Type::List(_) | Type::Alternates(_) if depth == 0 => f.write_str("…"),
            Type::List(id) => {
                f.write_str("list of ")?;
                Self::new(self.schema, *id).describe(f, depth - 1)
            }
            Type::Alternates(_) => {
                for (number, part) in self.parts().enumerate() {
                    f.write_str(if number > 0 { " or " } else { "" })?;
                    part.describe(f, depth - 1)?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for SchemaType<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.describe(f, SHOWN_DEPTH)
    }
}

impl fmt::Debug for SchemaType<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How many values of an enumeration its text has.
const SHOWN_VALUES: usize = 8;

/// How deep the text describes lists and alternates.
const SHOWN_DEPTH: usize = 4;
