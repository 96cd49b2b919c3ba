//! What a name says about environment and build. It is a claim: it may raise a suspicion and never grants anything.

/// Last words of names, and the environment that each of them means.
const WORDS: [(&str, &str); 16] = [
    ("test", "test"),
    ("tests", "test"),
    ("testing", "test"),
    ("e2e", "test"),
    ("ci", "test"),
    ("stage", "staging"),
    ("staging", "staging"),
    ("qa", "staging"),
    ("preview", "preview"),
    ("sandbox", "sandbox"),
    ("dev", "development"),
    ("develop", "development"),
    ("development", "development"),
    ("local", "development"),
    ("prod", "production"),
    ("production", "production"),
];

/// The environment that the last word of a name means, such as `test` for `atom-saas-test` and `atom_saas_test@42`.
#[must_use]
pub fn environment_of(name: &str) -> Option<&'static str> {
    let (name, _) = split_epoch(name);
    let last = name.rsplit(['-', '_', '.', ' ', '/', ':']).next().unwrap_or_default();
    let found = WORDS.iter().find(|(word, _)| last.eq_ignore_ascii_case(word));
    found.map(|(_, environment)| *environment)
}

/// Whether two words mean the same environment.
pub(crate) fn same_environment(left: &str, right: &str) -> bool {
    let of = |word: &str| environment_of(word).map_or_else(|| word.to_ascii_lowercase(), str::to_owned);
    of(left) == of(right)
}

/// A name and the epoch that it carries behind an `@`: `atom-saas@42` is epoch 42 of `atom-saas`.
#[must_use]
pub fn split_epoch(name: &str) -> (&str, Option<u64>) {
    match name.rsplit_once('@') {
        Some((base, epoch)) if !base.is_empty() => match epoch.parse() {
            Ok(epoch) => (base, Some(epoch)),
            Err(_) => (name, None),
        },
        _ => (name, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_whole_word_says_the_environment() {
        for (name, expected) in [
            ("atom-saas-test", Some("test")),
            ("atom-saas_TEST@42", Some("test")),
            ("atom-saas", None),
            ("contest", None),
            ("test-runner", None),
            ("test", Some("test")),
            ("shop.stage", Some("staging")),
            ("", None),
        ] {
            assert_eq!(environment_of(name), expected, "{name}");
        }
        assert!(same_environment("prod", "production") && !same_environment("prod", "test"));
        assert!(same_environment("blue", "Blue"));
    }

    #[test]
    fn an_epoch_is_a_number_behind_the_last_at() {
        assert_eq!(split_epoch("atom-saas@42"), ("atom-saas", Some(42)));
        for name in ["atom-saas", "@42", "a@b", "a@-1", "a@"] {
            assert_eq!(split_epoch(name), (name, None));
        }
    }
}
