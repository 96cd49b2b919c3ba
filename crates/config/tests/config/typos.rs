//! A slip of the finger in any key is answered with the key.

use crate::support::problems;

/// Every key with the line that holds it and the section above that line.
const KEYS: [(&str, &str, &str); 16] = [
    ("", "revision", "revision = 1"),
    ("", "protected", "protected = []"),
    ("", "environments", "[environments.x]"),
    ("", "limits", "[limits]"),
    ("", "app", "app = []"),
    ("[environments.x]", "suffix", "suffix = \"-x\""),
    ("[environments.x]", "mode", "mode = \"observe\""),
    ("[limits]", "all_above", "all_above = 3"),
    ("[limits]", "share", "share = 0.5"),
    ("[limits]", "budget", "budget = 3"),
    ("[limits]", "job_budget", "job_budget = 3"),
    ("[limits]", "window", "window = \"10m\""),
    ("[[app]]", "name", "name = \"a\""),
    ("[[app]]", "environment", "environment = \"x\""),
    ("[[app]]", "processes", "processes = [\"a\"]"),
    ("[[app]]", "confirm", "confirm = []"),
];

/// Leaves a letter out, doubles one, and swaps two neighbours, everywhere but at the first letter.
fn slips(key: &str) -> Vec<String> {
    let mut slips = Vec::new();
    for at in 1..key.len() {
        slips.push(format!("{}{}", &key[..at], &key[at + 1..]));
        slips.push(format!("{}{}", &key[..at], &key[at - 1..]));
        if key.as_bytes()[at - 1] != key.as_bytes()[at] {
            slips.push(format!("{}{}{}{}", &key[..at - 1], &key[at..=at], &key[at - 1..at], &key[at + 1..]));
        }
    }
    slips
}

#[test]
fn a_typo_in_every_key_suggests_the_right_one() {
    for (section, key, line) in KEYS {
        for slip in slips(key) {
            let text = format!("{section}\n{}\n", line.replacen(key, &slip, 1));
            let problems = problems(&text);
            let unknown = format!("unknown key `{slip}`");
            let problem = problems.list().iter().find(|problem| problem.message == unknown);
            let problem = problem.unwrap_or_else(|| panic!("{slip} was accepted:\n{problems}"));
            let expected = format!("did you mean `{key}`?");
            assert!(problem.fix.starts_with(&expected), "{slip}: {}", problem.fix);
        }
    }
}

#[test]
fn a_typo_in_the_mode_of_an_app_suggests_it_too() {
    let problems = problems("[[app]]\nmdoe = \"observe\"\n");
    let fixes: Vec<_> = problems.list().iter().map(|problem| problem.fix.as_str()).collect();
    assert!(fixes.iter().any(|fix| fix.starts_with("did you mean `mode`?")), "{fixes:?}");
}
