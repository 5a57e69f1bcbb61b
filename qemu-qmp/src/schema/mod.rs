//! The schema of a QEMU: its commands and events, as it reports them
//! (`query-qmp-schema`; QEMU's `docs/devel/qapi-code-gen`, "Client JSON
//! Protocol introspection").
//!
//! `read` converts the reply to a [`Schema`], `question` parses a question about
//! it, and `types` describes its types. Never uses a connection or a clock.

pub(crate) mod question;
mod read;
mod types;

use std::fmt;

pub(crate) use question::QuestionError;
use question::{Question, Step};
pub use types::{SchemaType, TypeKind};

/// The commands and events of a QEMU, with their arguments, return values and data;
/// the answer to [`QuerySchema`](crate::command::QuerySchema).
///
/// Ask the schema for a feature instead of deciding by the version.
///
/// # Examples
/// ```no_run
/// use qemu_qmp::{Client, Wait};
/// use qemu_qmp::command::QuerySchema;
///
/// let qmp = Client::connect_unix("/run/vm/qmp.sock").wait()?;
/// let schema = qmp.execute(QuerySchema).wait()?;
/// if schema.has("screendump/arg-type/format/^png")? {
///     println!("it can write PNG");
/// }
/// for command in schema.commands().filter(|it| it.features().deprecated()) {
///     println!("{} will go", command.name());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Schema {
    /// Sorted by name.
    commands: Vec<Command>,
    events: Vec<Event>,
    /// A [`TypeId`] is an index of this.
    types: Vec<Type>,
}

/// A command in a schema.
#[derive(Clone, Copy)]
pub struct SchemaCommand<'a> {
    schema: &'a Schema,
    command: &'a Command,
}

/// An event in a schema.
#[derive(Clone, Copy)]
pub struct SchemaEvent<'a> {
    schema: &'a Schema,
    event: &'a Event,
}

/// A member of an object: an argument of a command, or a key of a reply or of an
/// event's data.
#[derive(Clone, Copy)]
pub struct SchemaMember<'a> {
    schema: &'a Schema,
    member: &'a Member,
}

/// The special features of a command, an event, a member or a value.
#[derive(Clone, Copy)]
pub struct Features<'a>(&'a [Box<str>]);

impl Schema {
    /// Whether this QEMU has what the question describes. Questions have the form
    /// of libvirt's query strings: the name of a command or an event, then steps,
    /// each after a slash.
    ///
    /// | step | it exists if |
    /// |---|---|
    /// | `arg-type` | always: the arguments of a command, or the data of an event |
    /// | `ret-type` | it is a command: its return value |
    /// | `name` | the object has this member |
    /// | `*name` | the object has this member, and it is optional |
    /// | `+name` | the union has this variant |
    /// | `^name` | the enumeration has this value |
    /// | `!name` | it has this JSON type: `string`, `int`, `number`, `boolean`, `null`, `value` |
    /// | `$name` | the result of the steps before has this special feature |
    ///
    /// A list means its elements, and an alternate means each of its types. Only
    /// `$` may follow `^`; `$` and `!` end a question. Put a space before a name
    /// that starts with neither a letter nor a digit. The features of a member
    /// include those of its type.
    ///
    /// # Errors
    /// The question is malformed. This does not depend on the schema.
    ///
    /// # Examples
    /// ```
    /// # fn ask(schema: &qemu_qmp::schema::Schema) -> Result<(), qemu_qmp::error::QuestionError> {
    /// schema.has("blockdev-add")?;                          // the command
    /// schema.has("blockdev-add/arg-type/driver/^nvme")?;    // a value of its argument
    /// schema.has("blockdev-add/arg-type/+nvme/namespace")?; // the argument of a variant
    /// schema.has("query-status/ret-type/running")?;         // a key of a reply
    /// schema.has("migrate/arg-type/*uri")?;                 // an argument that is optional
    /// schema.has("query-cpus-fast/ret-type/cpu-index/!int")?;
    /// schema.has("x-query-irq/$unstable")?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn has(&self, question: &str) -> Result<bool, QuestionError> {
        let Question { entity, steps } = Question::parse(question)?;
        let mut place = match (self.command(entity), self.event(entity)) {
            (Some(SchemaCommand { command, .. }), _) => Place::Command(command),
            (_, Some(SchemaEvent { event, .. })) => Place::Event(event),
            (None, None) => return Ok(false),
        };
        for step in steps {
            match self.step(&place, step) {
                Some(next) => place = next,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// The command with this name.
    pub fn command(&self, name: &str) -> Option<SchemaCommand<'_>> {
        let found = self.commands.binary_search_by(|it| (*it.name).cmp(name));
        found.ok().map(|index| SchemaCommand {
            schema: self,
            command: &self.commands[index],
        })
    }

    /// The event with this name.
    pub fn event(&self, name: &str) -> Option<SchemaEvent<'_>> {
        let found = self.events.binary_search_by(|it| (*it.name).cmp(name));
        found.ok().map(|index| SchemaEvent {
            schema: self,
            event: &self.events[index],
        })
    }

    /// Every command, sorted by name.
    pub fn commands(&self) -> impl Iterator<Item = SchemaCommand<'_>> {
        let of = |command| SchemaCommand {
            schema: self,
            command,
        };
        self.commands.iter().map(of)
    }

    /// Every event, sorted by name.
    pub fn events(&self) -> impl Iterator<Item = SchemaEvent<'_>> {
        let of = |event| SchemaEvent {
            schema: self,
            event,
        };
        self.events.iter().map(of)
    }

    /// The place after a step; `None` if it does not exist.
    fn step<'a>(&'a self, place: &Place<'a>, step: Step<'_>) -> Option<Place<'a>> {
        match (place, step) {
            (place, Step::Feature(name)) => place.has_feature(name).then_some(Place::Fact),
            (Place::Command(command), Step::Arguments) => Some(self.of(command.arguments)),
            (Place::Command(command), Step::Return) => Some(self.of(command.returns)),
            (Place::Event(event), Step::Arguments) => Some(self.of(event.data)),
            (Place::Typed { types, .. }, Step::Member { name, optional }) => {
                let of_type = |it: &&'a Type| it.member(name);
                let is_meant = |it: &&Member| it.is_optional || !optional;
                let members: Vec<_> = types.iter().filter_map(of_type).filter(is_meant).collect();
                let types = self.plain(members.iter().map(|it| it.of));
                (!members.is_empty()).then_some(Place::Typed { members, types })
            }
            (Place::Typed { types, .. }, Step::Variant(name)) => {
                let variants: Vec<_> = types.iter().filter_map(|it| it.variant(name)).collect();
                let members = Vec::new();
                let types = self.plain(variants.iter().copied());
                (!variants.is_empty()).then_some(Place::Typed { members, types })
            }
            (Place::Typed { types, .. }, Step::Value(name)) => {
                types.iter().find_map(|it| it.value(name)).map(Place::Value)
            }
            (Place::Typed { types, .. }, Step::Json(name)) => {
                let is_so = |it: &&Type| matches!(it, Type::Builtin(json) if **json == *name);
                types.iter().any(is_so).then_some(Place::Fact)
            }
            _ => None,
        }
    }

    fn of(&self, id: TypeId) -> Place<'_> {
        let (members, types) = (Vec::new(), self.plain([id]));
        Place::Typed { members, types }
    }

    /// The types without lists and alternates: a list becomes its elements, and an
    /// alternate becomes its types.
    fn plain(&self, ids: impl IntoIterator<Item = TypeId>) -> Vec<&Type> {
        // Each type is visited once, so a type that contains itself ends too.
        let mut seen = vec![false; self.types.len()];
        let mut open: Vec<TypeId> = ids.into_iter().collect();
        open.reverse();
        let mut plain = Vec::new();
        while let Some(TypeId(index)) = open.pop() {
            if std::mem::replace(&mut seen[index], true) {
                continue;
            }
            match &self.types[index] {
                Type::List(id) => open.push(*id),
                // In the order of the schema.
                Type::Alternates(ids) => open.extend(ids.iter().rev()),
                it => plain.push(it),
            }
        }
        plain
    }

    /// The members of a type's objects, without the variants' members.
    fn members(&self, id: TypeId) -> impl Iterator<Item = SchemaMember<'_>> {
        let members = self.plain([id]).into_iter().flat_map(|it| match it {
            Type::Object { members, .. } => members.as_slice(),
            _ => &[],
        });
        members.map(|member| SchemaMember {
            schema: self,
            member,
        })
    }
}

impl<'a> SchemaCommand<'a> {
    /// Its name.
    pub fn name(&self) -> &'a str {
        &self.command.name
    }

    /// Its special features.
    pub fn features(&self) -> Features<'a> {
        Features(&self.command.features)
    }

    /// Whether it may be executed out of band.
    pub fn allows_oob(&self) -> bool {
        self.command.allows_oob
    }

    /// Its arguments, without those that depend on the value of another argument.
    /// These are [variants](SchemaType::variants) of its
    /// [type](Self::argument_type).
    pub fn arguments(&self) -> impl Iterator<Item = SchemaMember<'a>> + use<'a> {
        self.schema.members(self.command.arguments)
    }

    /// The type of its arguments: an object.
    pub fn argument_type(&self) -> SchemaType<'a> {
        SchemaType::new(self.schema, self.command.arguments)
    }

    /// The type of its return value. An object without members is nothing.
    pub fn return_type(&self) -> SchemaType<'a> {
        SchemaType::new(self.schema, self.command.returns)
    }

    /// The argument with this name, if it is one of [`arguments`](Self::arguments).
    pub fn argument(&self, name: &str) -> Option<SchemaMember<'a>> {
        self.arguments().find(|it| it.name() == name)
    }

    /// The keys of its reply, or of each entry if the reply is a list. Without those
    /// that depend on the value of another key.
    pub fn returns(&self) -> impl Iterator<Item = SchemaMember<'a>> + use<'a> {
        self.schema.members(self.command.returns)
    }

    /// The key with this name, if it is one of [`returns`](Self::returns).
    pub fn returned(&self, name: &str) -> Option<SchemaMember<'a>> {
        self.returns().find(|it| it.name() == name)
    }
}

impl<'a> SchemaEvent<'a> {
    /// Its name.
    pub fn name(&self) -> &'a str {
        &self.event.name
    }

    /// Its special features.
    pub fn features(&self) -> Features<'a> {
        Features(&self.event.features)
    }

    /// The type of its data: an object.
    pub fn data_type(&self) -> SchemaType<'a> {
        SchemaType::new(self.schema, self.event.data)
    }

    /// The keys of its data, without those that depend on the value of another key.
    pub fn data(&self) -> impl Iterator<Item = SchemaMember<'a>> + use<'a> {
        self.schema.members(self.event.data)
    }
}

impl<'a> SchemaMember<'a> {
    /// Its name.
    pub fn name(&self) -> &'a str {
        &self.member.name
    }

    /// Its own special features.
    pub fn features(&self) -> Features<'a> {
        Features(&self.member.features)
    }

    /// Whether it is optional.
    pub fn is_optional(&self) -> bool {
        self.member.is_optional
    }

    /// Its type.
    pub fn member_type(&self) -> SchemaType<'a> {
        SchemaType::new(self.schema, self.member.of)
    }

    /// The values of an enumeration. Empty for other types.
    pub fn values(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.member_type().values()
    }

    /// The members of an object, or of a list of objects. Empty for other types.
    pub fn members(&self) -> impl Iterator<Item = SchemaMember<'a>> + use<'a> {
        self.schema.members(self.member.of)
    }
}

impl<'a> Features<'a> {
    /// Whether it has this feature.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|it| **it == *name)
    }

    /// Whether QEMU will remove it, two releases after the notice.
    pub fn deprecated(&self) -> bool {
        self.has("deprecated")
    }

    /// Whether QEMU may change or remove it without notice.
    pub fn unstable(&self) -> bool {
        self.has("unstable")
    }

    /// The names of all features.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.0.iter().map(|it| &**it)
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schema")
            .field("commands", &self.commands.len())
            .field("events", &self.events.len())
            .field("types", &self.types.len())
            .finish()
    }
}

impl fmt::Debug for SchemaCommand<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.command.fmt(f)
    }
}

impl fmt::Debug for SchemaEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.event.fmt(f)
    }
}

impl fmt::Debug for SchemaMember<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.member.fmt(f)
    }
}

impl fmt::Debug for Features<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The result of the steps of a question.
enum Place<'a> {
    Command(&'a Command),
    Event(&'a Event),
    /// The possible types, and the members that have these types.
    Typed {
        members: Vec<&'a Member>,
        types: Vec<&'a Type>,
    },
    Value(&'a EnumValue),
    /// A fact that is true. No step can follow.
    Fact,
}

impl Place<'_> {
    fn has_feature(&self, name: &str) -> bool {
        let has = |features: &[Box<str>]| Features(features).has(name);
        match self {
            Self::Command(command) => has(&command.features),
            Self::Event(event) => has(&event.features),
            Self::Value(value) => has(&value.features),
            Self::Typed { members, types } => {
                let of_type = |it: &&Type| match it {
                    Type::Object { features, .. } => has(features),
                    _ => false,
                };
                members.iter().any(|it| has(&it.features)) || types.iter().any(of_type)
            }
            Self::Fact => false,
        }
    }
}

#[derive(Debug)]
struct Command {
    name: Box<str>,
    arguments: TypeId,
    returns: TypeId,
    allows_oob: bool,
    features: Box<[Box<str>]>,
}

#[derive(Debug)]
struct Event {
    name: Box<str>,
    data: TypeId,
    features: Box<[Box<str>]>,
}

/// A type. Its name in the schema has no meaning.
#[derive(Debug)]
enum Type {
    /// A JSON type.
    Builtin(Box<str>),
    Enum(Vec<EnumValue>),
    Object {
        members: Vec<Member>,
        /// The member whose value selects the variant.
        tag: Option<Box<str>>,
        variants: Vec<(Box<str>, TypeId)>,
        features: Box<[Box<str>]>,
    },
    /// A list of these elements.
    List(TypeId),
    /// One of these types.
    Alternates(Vec<TypeId>),
    /// A kind that a later QEMU has.
    Unknown,
}

impl Type {
    fn member(&self, name: &str) -> Option<&Member> {
        let Self::Object { members, .. } = self else {
            return None;
        };
        members.iter().find(|it| *it.name == *name)
    }

    fn variant(&self, name: &str) -> Option<TypeId> {
        let Self::Object { variants, .. } = self else {
            return None;
        };
        let of_name = |(case, of): &(Box<str>, TypeId)| (**case == *name).then_some(*of);
        variants.iter().find_map(of_name)
    }

    fn value(&self, name: &str) -> Option<&EnumValue> {
        let Self::Enum(values) = self else {
            return None;
        };
        values.iter().find(|it| *it.name == *name)
    }
}

#[derive(Debug)]
struct EnumValue {
    name: Box<str>,
    features: Box<[Box<str>]>,
}

#[derive(Debug)]
struct Member {
    name: Box<str>,
    of: TypeId,
    is_optional: bool,
    features: Box<[Box<str>]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TypeId(usize);
