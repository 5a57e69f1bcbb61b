//! Names that a person may have meant.

/// The nearest of the names, if one is near.
pub(crate) fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (name.chars().count() / 3).max(1);
    let distance = |other: &str| {
        if name.len() >= 3 && other.starts_with(name) {
            return 1;
        }
        strsim::damerau_levenshtein(name, other)
    };
    let names = names.into_iter().map(|other| (distance(other), other));
    let nearest = names.min_by_key(|(distance, _)| *distance)?;
    (nearest.0 <= allowed).then_some(nearest.1)
}

/// The end of a message that suggests the nearest name, or lists all.
pub(crate) fn suggestion<'a>(
    name: &str,
    names: impl IntoIterator<Item = &'a str> + Clone,
) -> String {
    if let Some(nearest) = nearest(name, names.clone()) {
        return format!("; did you mean '{nearest}'?");
    }
    let names: Vec<&str> = names.into_iter().collect();
    match &names[..] {
        [] => String::new(),
        [first @ .., _, _] if first.len() >= MOST_NAMES => {
            let (shown, rest) = names.split_at(MOST_NAMES);
            let (shown, rest) = (shown.join(", "), rest.len());
            format!("; there are: {shown}, and {rest} more")
        }
        _ => format!("; there are: {}", names.join(", ")),
    }
}

/// As many as the options of `run`, which are all listed.
const MOST_NAMES: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_very_many_names_the_first_are_listed() {
        let names: Vec<String> = (0..1000).map(|it| it.to_string()).collect();
        let names = names.iter().map(String::as_str);
        let listed = suggestion("colour", names.clone());
        assert!(listed.ends_with(", 59, and 940 more"), "{listed}");
        assert!(!suggestion("colour", names.take(61)).contains("more"));
    }

    #[test]
    fn a_slip_of_the_hand_is_near_and_another_word_is_not() {
        let names = ["memory", "machine", "smp", "log-dir"];
        let table = [
            ("memroy", Some("memory")),
            ("mem", Some("memory")),
            ("log_dir", Some("log-dir")),
            ("spm", Some("smp")),
            ("colour", None),
            ("", None),
        ];
        for (name, expected) in table {
            assert_eq!(nearest(name, names), expected, "{name}");
        }
    }
}
