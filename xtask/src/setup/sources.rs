//! Finds apt's entry for a release, and makes an entry for another suite of the
//! same archive, with the same mirror and keys.

/// The place of an entry in apt's sources.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: String,
    /// Counted from 1: the line of a `.list`, or the paragraph of a `.sources`.
    pub(crate) number: usize,
}

/// The format of `apt-get indextargets` for [`place`].
pub(crate) const FORMAT: &str = "$(CREATED_BY) $(RELEASE) $(CODENAME) $(COMPONENT) $(SOURCESENTRY)";

/// The first entry for the packages of a release's `main`.
///
/// The release is named by its codename or, if its lists have been downloaded,
/// by any of its names.
pub(crate) fn place(targets: &str, codename: &str) -> Option<Place> {
    targets.lines().find_map(|line| {
        let [created_by, release, known_as, component, entry] =
            line.splitn(5, ' ').collect::<Vec<_>>().try_into().ok()?;
        let wanted = created_by == "Packages"
            && component == "main"
            && (release == codename || known_as == codename);
        let (file, number) = entry.rsplit_once(':')?;
        wanted.then_some(Place {
            file: file.to_owned(),
            number: number.parse().ok()?,
        })
    })
}

impl Place {
    /// The entry's text for the `main` of another suite; `None` if the file has
    /// no such entry.
    pub(crate) fn retarget(&self, text: &str, suite: &str) -> Option<String> {
        let index = self.number.checked_sub(1)?;
        if self.file.ends_with(".sources") {
            retarget_paragraph(paragraphs(text).get(index)?, suite)
        } else {
            retarget_line(text.lines().nth(index)?, suite)
        }
    }
}

/// The blocks between blank lines. A block of comments is not a paragraph.
fn paragraphs(text: &str) -> Vec<Vec<&str>> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    lines
        .split(|line| line.trim().is_empty())
        .filter(|paragraph| !paragraph.is_empty())
        .map(<[&str]>::to_vec)
        .collect()
}

fn retarget_paragraph(paragraph: &[&str], suite: &str) -> Option<String> {
    let mut made = format!("Types: deb\nSuites: {suite}\nComponents: main\n");
    let mut kept = false;
    for line in paragraph {
        // A line that starts with a space continues the field before it, such
        // as a whole key in `Signed-By`.
        if !line.starts_with([' ', '\t']) {
            let (field, _) = line.split_once(':')?;
            kept = !["types", "suites", "components"]
                .iter()
                .any(|replaced| field.eq_ignore_ascii_case(replaced));
        }
        if kept {
            made += line;
            made.push('\n');
        }
    }
    Some(made)
}

/// `deb [options] uri suite component...`
fn retarget_line(line: &str, suite: &str) -> Option<String> {
    let entry = line.trim().strip_prefix("deb")?.trim_start();
    let (options, rest) = match entry.strip_prefix('[') {
        Some(entry) => entry.split_once(']')?,
        None => ("", entry),
    };
    let uri = rest.split_whitespace().next()?;
    Some(if options.is_empty() {
        format!("deb {uri} {suite} main\n")
    } else {
        format!("deb [{options}] {uri} {suite} main\n")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGETS: &str = "\
DEP-11 bookworm bookworm main /etc/apt/sources.list.d/debian.sources:1
Packages bookworm-updates bookworm-updates main /etc/apt/sources.list.d/debian.sources:1
Packages nodistro  main /etc/apt/sources.list.d/other.sources:1
Packages bookworm bookworm contrib /etc/apt/sources.list.d/debian.sources:2
Packages bookworm bookworm main /etc/apt/sources.list.d/debian.sources:3
";

    #[test]
    fn the_entry_of_the_release_itself_is_found() {
        let found = place(TARGETS, "bookworm").unwrap();
        assert_eq!(found.file, "/etc/apt/sources.list.d/debian.sources");
        assert_eq!(found.number, 3);
        assert_eq!(place(TARGETS, "trixie"), None);
    }

    #[test]
    fn a_release_is_known_by_any_name_once_its_lists_are_there() {
        let fetched = "Packages oldstable bookworm main /etc/apt/sources.list:4";
        assert_eq!(place(fetched, "bookworm").unwrap().number, 4);
        let unfetched = "Packages bookworm  main /etc/apt/sources.list:5";
        assert_eq!(place(unfetched, "bookworm").unwrap().number, 5);
    }

    #[test]
    fn a_paragraph_keeps_its_mirror_and_keys() {
        let text = "\
# A comment of its own is no paragraph.

Types: deb deb-src
URIs: mirror+file:/first
Suites: first

Types: deb
# A comment within.
URIs: mirror+file:/second
Suites: bookworm
 bookworm-updates
Components: main contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
";
        let place = Place {
            file: "debian.sources".to_owned(),
            number: 2,
        };
        assert_eq!(
            place.retarget(text, "bookworm-backports").unwrap(),
            "\
Types: deb
Suites: bookworm-backports
Components: main
URIs: mirror+file:/second
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
"
        );
    }

    #[test]
    fn a_line_keeps_its_mirror_and_options() {
        let text = "# first\ndeb [arch=amd64 signed-by=/k] file:/m bookworm main contrib\n";
        let place = |number| Place {
            file: "sources.list".to_owned(),
            number,
        };
        assert_eq!(
            place(2).retarget(text, "b-b").unwrap(),
            "deb [arch=amd64 signed-by=/k] file:/m b-b main\n"
        );
        assert_eq!(
            place(1)
                .retarget("deb file:/m bookworm main", "b-b")
                .unwrap(),
            "deb file:/m b-b main\n"
        );
        for number in [0, 1, 3] {
            assert_eq!(place(number).retarget(text, "b-b"), None);
        }
    }
}
