//! Every key refuses every type that is not its own, and says which one it is.

use crate::support::{LEAST, problems};

/// Each type with a value and the words for it.
const VALUES: [(&str, &str); 7] = [
    ("\"x\"", "this is a string"),
    ("7", "this is a whole number"),
    ("0.5", "this is a number with a fraction"),
    ("true", "this is true or false"),
    ("2026-02-17", "this is a date or time"),
    ("[]", "this is a list"),
    ("{}", "this is a table"),
];

/// Each key below its section, what it must be, and the words for the types that it takes.
const KEYS: [(&str, &str, &str, &[&str]); 17] = [
    ("[environments.x]", "suffix", "a string", &["this is a string"]),
    ("[environments.x]", "mode", "a string", &["this is a string"]),
    ("[limits]", "all_above", "a whole number", &["this is a whole number"]),
    ("[limits]", "share", "a number", &["this is a whole number", "this is a number with a fraction"]),
    ("[limits]", "budget", "a whole number", &["this is a whole number"]),
    ("[limits]", "job_budget", "a whole number", &["this is a whole number"]),
    ("[limits]", "window", "a string", &["this is a string"]),
    ("[[app]]", "name", "a string", &["this is a string"]),
    ("[[app]]", "environment", "a string", &["this is a string"]),
    ("[[app]]", "processes", "a list of strings", &["this is a list"]),
    ("[[app]]", "confirm", "a list of strings", &["this is a list"]),
    ("[[app]]", "mode", "a string", &["this is a string"]),
    ("[[app]]", "folder", "a string or a list of strings", &["this is a string", "this is a list"]),
    ("[[app]]", "namespace", "a string", &["this is a string"]),
    ("[[app]]", "deployers", "a list of tables", &["this is a list"]),
    ("", "protected", "a list of strings", &["this is a list"]),
    ("", "limits", "a table", &["this is a table"]),
];

#[test]
fn every_key_refuses_every_other_type_and_shows_how_it_is_written() {
    for (section, key, expected, taken) in KEYS {
        for (value, kind) in VALUES.iter().filter(|(_, kind)| !taken.contains(kind)) {
            let text = match section {
                "" => format!("{key} = {value}\n{LEAST}"),
                _ => format!("{LEAST}{section}\n{key} = {value}\n"),
            };
            let problems = problems(&text);
            let message = format!("`{key}` must be {expected}");
            let problem = problems.list().iter().find(|problem| problem.message == message);
            let problem = problem.unwrap_or_else(|| panic!("{key} = {value} was accepted:\n{problems}"));
            assert_eq!(problem.label, *kind, "{key} = {value}");
            assert!(problem.fix.starts_with("write it like: "), "{}", problem.fix);
            assert_eq!(&text[problem.span.clone()], *value);
        }
    }
}

/// The least file without apps, for examples to stand in.
const BARE: &str = "revision = 1\n[environments.production]\n";
const ENTRY: &str = "name = \"a\"\nenvironment = \"production\"\nprocesses = [\"a\"]\n";

#[test]
fn an_example_that_a_message_gives_is_accepted() {
    // The example of `limits` is a header, under which `revision` would be a key of that section.
    for (section, key, _, _) in KEYS.into_iter().filter(|(_, key, _, _)| *key != "limits") {
        let with = |line: &str| {
            let own = |other: &&str| !other.starts_with(&format!("{key} ")) && section == "[[app]]";
            let others: Vec<&str> = ENTRY.lines().filter(own).collect();
            match section {
                "" => format!("{line}\n{BARE}"),
                _ => format!("{BARE}{section}\n{}\n{line}\n", others.join("\n")),
            }
        };
        let problems = problems(&with(&format!("{key} = true")));
        let [problem] = problems.list() else { panic!("one problem was written:\n{problems}") };
        let example = problem.fix.strip_prefix("write it like: ").expect("a wrong type has an example");
        crate::support::host(&with(example));
    }
}
