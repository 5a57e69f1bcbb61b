//! Lists a crate from the folder of its documents, and compares two listings.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::failure::Failure;

use super::{
    html::{between, text},
    page,
};

/// One line for each public item of a crate, in order.
pub(super) type Listing = BTreeSet<String>;

/// Lists a crate from the documents in this folder.
pub(super) fn read(name: &str, folder: &Path) -> Result<Listing, Failure> {
    let mut listing = Listing::new();
    add_modules(name, folder, &mut listing)?;
    let mut implementors = Vec::new();
    for (address, path) in items(&page_at(&folder.join("all.html"))?) {
        let path = format!("{name}::{path}");
        let page = page::read(&path, &page_at(&folder.join(address))?);
        if page.lines.is_empty() {
            let message = format!("{path} has no declaration: did rustdoc change its pages?");
            return Err(Failure::new(message));
        }
        listing.extend(page.lines);
        implementors.extend(page.implementors);
    }
    let is_known = |line: &String| listing.iter().any(|it| it.ends_with(&format!(": {line}")));
    implementors.retain(|line| !is_known(line));
    listing.extend(implementors);
    Ok(listing)
}

/// The addresses and paths of all items except modules.
fn items(all: &str) -> Vec<(&str, String)> {
    let lists = all.split("<ul class=\"all-items\">").skip(1);
    let lists = lists.filter_map(|list| list.split("</ul>").next());
    let items = lists.flat_map(|list| list.split("<li><a href=\"").skip(1));
    let item = |item| {
        let (address, rest): (&str, &str) = str::split_once(item, "\">")?;
        let (path, _) = rest.split_once("</a>")?;
        Some((address, text(path)))
    };
    items.filter_map(item).collect()
}

/// Adds a module, its re-exports and all modules in it.
fn add_modules(path: &str, folder: &Path, listing: &mut Listing) -> Result<(), Failure> {
    listing.insert(format!("{path}: mod"));
    let index = page_at(&folder.join("index.html"))?;
    for entry in index.split("<dt").skip(1) {
        if let Some((id, _)) = between(entry, " id=\"reexport.", "\"") {
            if let Some((code, _)) = between(entry, "<code>", "</code>") {
                listing.insert(format!("{path}: {}", text(code)));
            } else {
                return Err(Failure::new(format!(
                    "{path}: no words for `pub use` of {id}"
                )));
            }
        } else if let Some((address, _)) = between(entry, "><a class=\"mod\" href=\"", "\"")
            && let Some(name) = address.strip_suffix("/index.html")
        {
            add_modules(&format!("{path}::{name}"), &folder.join(name), listing)?;
        }
    }
    Ok(())
}

fn page_at(path: &PathBuf) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(Failure::io(format!("read {}", path.display())))
}

/// The differences: removed lines with `-`, and new lines with `+`.
pub(super) fn differences(kept: &Listing, is: &Listing) -> Vec<String> {
    let all = kept.union(is);
    let difference = |line: &String| match (kept.contains(line), is.contains(line)) {
        (true, false) => Some(format!("- {line}")),
        (false, true) => Some(format!("+ {line}")),
        _ => None,
    };
    all.filter_map(difference).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_those_of_the_page_of_all() {
        let all = "<ul><li><a href=\"#x\">X</a></li></ul>\
                   <h3>Structs</h3><ul class=\"all-items\"><li><a href=\"struct.A.html\">A</a></li>\
                   <li><a href=\"b/fn.c_d.html\">b::c_d</a></li></ul>";
        assert_eq!(
            items(all),
            [
                ("struct.A.html", "A".to_owned()),
                ("b/fn.c_d.html", "b::c_d".to_owned())
            ]
        );
    }

    #[test]
    fn lines_that_went_and_lines_that_came_are_told_in_order() {
        let listing = |lines: &[&str]| lines.iter().map(|&it| it.to_owned()).collect();
        let kept = listing(&["a", "b", "d"]);
        assert_eq!(
            differences(&kept, &listing(&["a", "c", "d", "e"])),
            ["- b", "+ c", "+ e"]
        );
        assert_eq!(differences(&kept, &kept), [""; 0]);
    }
}
