//! Reads the lines of one item from its page.

use super::html::{between, text};

/// The contents of a page.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    /// The item, its fields, variants and methods, the traits it implements.
    pub(super) lines: Vec<String>,
    /// The implementors of a trait. A type of the same crate also has this on its
    /// own page.
    pub(super) implementors: Vec<String>,
}

/// Reads the page of the item with this path.
pub(super) fn read(path: &str, html: &str) -> Page {
    let mut reader = Reader {
        path,
        part: Part::Item,
        block: String::new(),
        page: Page::default(),
    };
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        rest = &rest[start..];
        rest = reader.read(rest).unwrap_or(&rest[1..]);
    }
    reader.page
}

/// The kind of a part of a page.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// The item and its parts.
    Item,
    RequiredMethods,
    Traits,
    Implementors,
    /// Implementations that every type has, and items that come from another type.
    Rest,
}

impl Part {
    /// The part below the heading with this id.
    fn of(id: &str) -> Self {
        match id {
            "required-methods" => Self::RequiredMethods,
            "trait-implementations" => Self::Traits,
            "implementors" | "foreign-impls" => Self::Implementors,
            "synthetic-implementations" | "blanket-implementations" | "synthetic-implementors" => {
                Self::Rest
            }
            other if other.starts_with("deref-methods") => Self::Rest,
            _ => Self::Item,
        }
    }
}

struct Reader<'a> {
    path: &'a str,
    part: Part,
    /// The `impl` of the next methods.
    block: String,
    page: Page,
}

impl Reader<'_> {
    /// Reads the next element, if it is relevant. Returns the rest.
    fn read<'a>(&mut self, html: &'a str) -> Option<&'a str> {
        let (tag, rest) = html.split_once('>')?;
        let class = attribute(tag, "class").unwrap_or_default();
        let id = attribute(tag, "id").unwrap_or_default();
        let has = |name: &str| class.split(' ').any(|it| it == name);
        if tag.starts_with("<h2 ") && has("section-header") {
            self.part = Part::of(id);
            self.block.clear();
        } else if self.part == Part::Rest {
            // None of its contents is listed.
        } else if tag.starts_with("<pre ") && has("item-decl") {
            let (code, rest) = between(rest, "<code>", "</code></pre>")?;
            self.line(&declaration(&text(code)));
            return Some(rest);
        } else if tag.starts_with("<span ") && has("section-header") {
            let (code, rest) = between(rest, "<code>", "</code>")?;
            self.field(id, &text(code));
            return Some(rest);
        } else if tag.starts_with("<section ") && SIGNATURES.iter().any(|it| has(it)) {
            let (_, header) = rest.split_once("class=\"code-header\">")?;
            let (code, rest) = header.split_once("</h")?;
            self.section(class, &text(code));
            return Some(rest);
        }
        Some(rest)
    }

    /// `structfield.NAME`, or `variant.VARIANT.field.NAME`.
    fn field(&mut self, id: &str, field: &str) {
        let variant = id
            .strip_prefix("variant.")
            .and_then(|id| id.split('.').next());
        match variant {
            Some(variant) => self.line(&format!("variant {variant} field {field}")),
            None => self.line(&format!("field {field}")),
        }
    }

    fn section(&mut self, class: &str, signature: &str) {
        match (self.part, class) {
            (Part::Implementors, "impl") => self.page.implementors.push(signature.to_owned()),
            // The compiler's marker of a derived `PartialEq`.
            (Part::Traits, "impl") if signature.contains(" StructuralPartialEq for ") => {}
            (Part::Traits, "impl") => {
                self.line(signature);
                self.block = format!("{signature}: ");
            }
            (Part::Item, "impl") => {
                // The path is already in the line; only a longer signature is added.
                let name = self.path.rsplit("::").next().unwrap_or_default();
                let is_plain = signature.strip_prefix("impl ") == Some(name);
                self.block = if is_plain {
                    String::new()
                } else {
                    format!("{signature}: ")
                };
            }
            (Part::Item, "variant") => self.line(&format!("variant {signature}")),
            (Part::RequiredMethods, "method") => self.line(&format!("required {signature}")),
            (Part::Item, "method" | "associatedtype" | "associatedconstant")
            | (Part::Traits, "associatedtype trait-impl" | "associatedconstant trait-impl") => {
                self.line(&format!("{}{signature}", self.block));
            }
            _ => {}
        }
    }

    fn line(&mut self, words: &str) {
        self.page.lines.push(format!("{}: {words}", self.path));
    }
}

/// The declaration without its body, whose parts have separate lines.
fn declaration(code: &str) -> String {
    let Some((head, body)) = code.split_once('{') else {
        return code.to_owned();
    };
    let head = head.trim_end();
    if body.contains("private fields") || body.contains("fields omitted") {
        format!("{head} {{ /* private fields */ }}")
    } else {
        head.to_owned()
    }
}

/// The value of an attribute of a tag.
fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    between(tag, &format!(" {name}=\""), "\"").map(|(value, _)| value)
}

/// The classes of sections that have a signature.
const SIGNATURES: [&str; 5] = [
    "associatedconstant",
    "associatedtype",
    "impl",
    "method",
    "variant",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn section(class: &str, signature: &str) -> String {
        format!(
            "<section id=\"x\" class=\"{class}\"><a class=\"src\">Source</a>\
             <h4 class=\"code-header\">{signature}</h4></section>\
             <div class=\"docblock\"><h2 id=\"errors\"><a>Errors</a></h2></div>"
        )
    }

    fn heading(id: &str) -> String {
        format!("<h2 id=\"{id}\" class=\"variants section-header\">X</h2>")
    }

    #[test]
    fn a_type_has_its_declaration_fields_variants_and_methods() {
        let html = [
            "<section id=\"main-content\" class=\"content\">",
            "<pre class=\"rust item-decl\"><code><div class=\"code-attribute\">#[non_exhaustive]\
             </div>pub enum A {\n B { c: d }, }</code></pre>",
            &heading("variants"),
            &section("variant", "B"),
            "<span id=\"variant.B.field.c\" class=\"section-header\"><code>c: d</code></span>",
            &heading("implementations"),
            &section("impl", "impl A"),
            &section("method", "pub fn <a>e</a>(&amp;self)"),
            &section("impl", "impl A&lt;F&gt;"),
            &section("method", "pub fn g()"),
        ];
        assert_eq!(
            read("x::A", &html.concat()).lines,
            [
                "x::A: #[non_exhaustive] pub enum A",
                "x::A: variant B",
                "x::A: variant B field c: d",
                "x::A: pub fn e(&self)",
                "x::A: impl A<F>: pub fn g()",
            ]
        );
    }

    #[test]
    fn of_traits_the_explicit_are_listed_with_their_types() {
        let html = [
            heading("trait-implementations"),
            section("impl", "impl IntoFuture for A"),
            section("associatedtype trait-impl", "type Output = B"),
            section("method trait-impl", "fn into_future(self)"),
            heading("synthetic-implementations"),
            section("impl", "impl Send for A"),
            heading("blanket-implementations"),
            section("impl", "impl&lt;T&gt; From&lt;T&gt; for T"),
            section("method trait-impl", "fn from(t: T)"),
        ];
        assert_eq!(
            read("x::A", &html.concat()).lines,
            [
                "x::A: impl IntoFuture for A",
                "x::A: impl IntoFuture for A: type Output = B",
            ]
        );
    }

    #[test]
    fn a_trait_tells_what_must_be_written_and_who_implements_it() {
        let html = [
            heading("required-methods"),
            section("method", "fn a()"),
            heading("provided-methods"),
            section("method", "fn b()"),
            heading("implementors"),
            section("impl", "impl T for C"),
        ];
        let page = read("x::T", &html.concat());
        assert_eq!(page.lines, ["x::T: required fn a()", "x::T: fn b()"]);
        assert_eq!(page.implementors, ["impl T for C"]);
    }

    #[test]
    fn a_declaration_says_whether_there_are_private_fields() {
        for (code, expected) in [
            (
                "pub struct A { /* private fields */ }",
                "pub struct A { /* private fields */ }",
            ),
            (
                "pub struct A { pub b: C, /* private fields */ }",
                "pub struct A { /* private fields */ }",
            ),
            ("pub struct A { pub b: C, }", "pub struct A"),
            (
                "pub struct A(/* private fields */);",
                "pub struct A(/* private fields */);",
            ),
            ("pub fn a() -> B", "pub fn a() -> B"),
        ] {
            assert_eq!(declaration(code), expected);
        }
    }
}
