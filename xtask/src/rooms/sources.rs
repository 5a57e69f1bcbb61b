//! Reads the imports between the rooms of a crate from its sources. A room is a
//! module at the crate's root.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use crate::{
    failure::Failure,
    rust::{Token, module_declarations, test_parts, tokens},
};

use super::{
    circles::Arrows,
    paths::{RootPath, exported_macros, root_names, root_paths},
};

/// The rooms of a crate, and every import between two of them.
#[derive(Debug, Default)]
pub(super) struct Imports {
    pub(super) rooms: BTreeSet<String>,
    /// The importing and the imported room, and the first place.
    pub(super) arrows: BTreeMap<(String, String), String>,
}

impl Imports {
    /// The arrows alone.
    pub(super) fn pairs(&self) -> Arrows<'_> {
        let arrows = self.arrows.keys();
        arrows
            .map(|(from, to)| (from.as_str(), to.as_str()))
            .collect()
    }
}

/// Reads the crate whose `lib.rs` is in this folder of the workspace. Code that is
/// built only for tests or the fuzzer is left out.
pub(super) fn read(root: &Path, folder: &Path) -> Result<Imports, Failure> {
    let top = Source::read(root, folder.join("lib.rs"), Vec::new())?;
    let mut sources = Vec::new();
    let mut open = vec![top];
    while let Some(source) = open.pop() {
        for name in source.modules() {
            let module = [source.module.clone(), vec![name.clone()]].concat();
            open.push(Source::read(
                root,
                find(root, &source.folder(), &name)?,
                module,
            )?);
        }
        sources.push(source);
    }
    imports(&sources)
}

/// The imports of these sources. The first source is the crate's root.
fn imports(sources: &[Source]) -> Result<Imports, Failure> {
    let mut imports = Imports::default();
    let modules = sources.iter().filter_map(|it| it.module.first());
    imports.rooms.extend(modules.cloned());
    let mut paths: Vec<(&Source, RootPath)> = Vec::new();
    for source in sources {
        let found = root_paths(&source.tokens, &source.module);
        paths.extend(found.into_iter().map(|path| (source, path)));
    }
    // A module inside of `lib.rs` is also a room.
    let inline = paths.iter().filter_map(|(_, path)| path.module.first());
    imports.rooms.extend(inline.cloned());

    let mut names = BTreeMap::new();
    for source in sources {
        match source.module.first() {
            None => names.extend(root_names(&source.tokens, &imports.rooms)),
            Some(room) => {
                let macros = exported_macros(&source.tokens).into_iter();
                names.extend(macros.map(|name| (name, Some(room.clone()))));
            }
        }
    }
    for (source, path) in paths {
        let Some(from) = path.module.first() else {
            continue;
        };
        let place = format!("{}:{}", source.path.display(), path.line);
        let to = match names.get(&path.name) {
            _ if imports.rooms.contains(&path.name) => &path.name,
            Some(Some(room)) => room,
            // Another crate's.
            Some(None) => continue,
            None => {
                let name = path.name;
                return Err(Failure::new(format!(
                    "{place}: `crate::{name}` is in no room: `lib.rs` neither declares nor \
                     re-exports it"
                )));
            }
        };
        if from != to {
            let arrow = (from.clone(), to.clone());
            imports.arrows.entry(arrow).or_insert(place);
        }
    }
    Ok(imports)
}

/// A file of a crate.
struct Source {
    path: PathBuf,
    /// The module path from the crate's root.
    module: Vec<String>,
    tokens: Vec<Token>,
}

impl Source {
    fn read(root: &Path, path: PathBuf, module: Vec<String>) -> Result<Self, Failure> {
        let text = fs::read_to_string(root.join(&path))
            .map_err(Failure::io(format!("read {}", path.display())))?;
        Ok(Self::new(path, module, &text))
    }

    /// The tokens without comments and without code only for tests.
    fn new(path: PathBuf, module: Vec<String>, text: &str) -> Self {
        let tokens = tokens(text);
        let parts = test_parts(&tokens);
        let built = tokens.into_iter().zip(parts);
        let built = built.filter(|(token, is_test)| !is_test && !token.kind.is_comment());
        Self {
            path,
            module,
            tokens: built.map(|(token, _)| token).collect(),
        }
    }

    fn modules(&self) -> Vec<String> {
        let declarations = module_declarations(&self.tokens).into_iter();
        declarations.map(|(_, name)| name.to_owned()).collect()
    }

    /// The folder of its modules' files.
    fn folder(&self) -> PathBuf {
        let is_own = self.module.is_empty() || self.path.ends_with("mod.rs");
        if is_own {
            self.path.parent().unwrap_or(&self.path).to_owned()
        } else {
            self.path.with_extension("")
        }
    }
}

fn find(root: &Path, folder: &Path, name: &str) -> Result<PathBuf, Failure> {
    let paths = [format!("{name}.rs"), format!("{name}/mod.rs")].map(|it| folder.join(it));
    let found = paths.into_iter().find(|path| root.join(path).is_file());
    let folder = folder.display();
    found.ok_or_else(|| Failure::new(format!("{folder} has no file of the module {name}")))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Files of a crate: their modules, such as `a::b`, and their texts.
    pub(in super::super) fn crate_of(files: &[(&str, &str)]) -> Result<Imports, Failure> {
        let sources = files.iter().map(|(module, text)| {
            let module: Vec<String> = module.split("::").map(str::to_owned).collect();
            let module: Vec<String> = module.into_iter().filter(|it| !it.is_empty()).collect();
            Source::new(PathBuf::from(module.join("/") + ".rs"), module, text)
        });
        imports(&sources.collect::<Vec<_>>())
    }

    fn arrows(files: &[(&str, &str)]) -> Vec<String> {
        let arrows = crate_of(files).unwrap().arrows.into_iter();
        let arrows = arrows.map(|((from, to), place)| format!("{from} -> {to} ({place})"));
        arrows.collect()
    }

    #[test]
    fn imports_are_found_in_uses_paths_and_deeper_modules() {
        let files = [
            ("", "mod a; mod b; mod c;"),
            ("a", "mod d;\nuse crate::b::X;\nuse super::c;"),
            (
                "a::d",
                "fn f() { crate::c::g(); super::super::b::h(); super::i(); }",
            ),
            ("b", "use crate::{c::{X, Y}, b};"),
            (
                "c",
                "pub(in crate::a) fn x() {} pub(crate) fn y() {} pub(super) fn z() {}",
            ),
        ];
        assert_eq!(
            arrows(&files),
            ["a -> b (a.rs:2)", "a -> c (a.rs:3)", "b -> c (b.rs:1)"]
        );
    }

    #[test]
    fn a_name_at_the_root_counts_as_of_the_room_that_defines_it() {
        let files = [
            (
                "",
                "mod a; mod b; pub mod c { pub use crate::b::X; }\n\
                 pub use a::{A, d::{self, E as F}}; pub use other as o; use crate::b::G;",
            ),
            (
                "a",
                "#[macro_export] macro_rules! m { () => { $crate::o::x() } }",
            ),
            ("b", "use crate::{A, F, d::Y, o::Z};"),
        ];
        assert_eq!(arrows(&files), ["b -> a (b.rs:1)", "c -> b (.rs:1)"]);
        let files = [
            ("", "mod a; mod b;"),
            ("a", "#[macro_export] macro_rules! m {}"),
            ("b", "crate::m!();"),
        ];
        assert_eq!(arrows(&files), ["b -> a (b.rs:1)"]);
    }

    #[test]
    fn what_only_tests_have_is_no_import() {
        let files = [
            ("", "mod a; mod b;"),
            (
                "a",
                "#[cfg(test)] mod tests { use crate::b::X; }\n// crate::b::Y\n/// [`crate::b`]",
            ),
            ("b", "#[cfg(fuzzing)] use crate::a::X;"),
        ];
        assert_eq!(arrows(&files), [""; 0]);
    }

    #[test]
    fn a_name_of_no_room_and_a_glob_of_the_root_are_refused_with_their_place() {
        for path in ["crate::X", "crate::*", "super::*"] {
            let text = format!("\nuse {path};");
            let failure = crate_of(&[("", "mod a;"), ("a", &text)]).unwrap_err();
            assert!(failure.to_string().contains("2: "), "{failure}");
        }
    }

    #[test]
    fn the_sources_of_a_crate_are_found_by_their_modules() {
        let root = crate::workspace::root();
        let imports = read(&root, Path::new("qemu-machine/src")).unwrap();
        assert!(imports.rooms.contains("machine"));
        assert!(!imports.rooms.contains("fuzzing"));
        assert!(!imports.arrows.is_empty());
    }
}
