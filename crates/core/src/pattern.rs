//! Which process names a scope owns.
//!
//! A pattern is an exact name, or a name with `*` between hyphens. `*` stands for one or more whole words, a
//! word being what stands between hyphens: `flyer-crawler-*` owns `flyer-crawler-api` and
//! `flyer-crawler-analytics-worker`, but neither `flyer-crawler` nor `flyer-crawlers-api`. That a pattern of
//! production never owns a name that ends in the test environment's suffix is decided one level up, in
//! [`crate::policy::Policy::owner_of`].

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// An exact process name, or a glob over its hyphenated words.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern {
    text: String,
    words: Vec<Word>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Word {
    Exactly(String),
    /// One or more words, whatever they are.
    Any,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Nothing was written: an empty selection must never become "all".
    #[error("a process name must not be empty")]
    Empty,
    /// `*` alone would own every process of the daemon.
    #[error("\"*\" alone would own every process of the daemon: name the processes, or write `app-*`")]
    Everything,
    /// `flyer*` would own its neighbour `flyers-api`.
    #[error("`*` must stand alone between hyphens in {0:?}: write `flyer-*`, not `flyer*`")]
    PartOfWord(String),
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// Empty text, `*` alone, and `*` within a word.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        let words = text.split('-').map(|word| match word {
            "*" => Ok(Word::Any),
            word if word.contains('*') => Err(PatternError::PartOfWord(text.to_owned())),
            word => Ok(Word::Exactly(word.to_owned())),
        });
        let words = words.collect::<Result<Vec<_>, _>>()?;
        if words.iter().all(|word| *word == Word::Any) {
            return Err(PatternError::Everything);
        }
        Ok(Self { text: text.to_owned(), words })
    }

    /// The pattern as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it names one process name only.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        !self.words.contains(&Word::Any)
    }

    /// Whether `name` is one of its names.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        if self.is_exact() {
            return self.text == name;
        }
        let mut states = BTreeSet::from([0]);
        for word in name.split('-') {
            let step = |state: &usize| self.successors(*state).filter(|(label, _)| accepts(*label, word));
            states = states.iter().flat_map(step).map(|(_, next)| next).collect();
        }
        states.contains(&self.words.len())
    }

    /// Whether some name belongs to both patterns.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let mut seen = BTreeSet::from([(0, 0)]);
        let mut open = vec![(0, 0)];
        while let Some((left, right)) = open.pop() {
            if left == self.words.len() && right == other.words.len() {
                return true;
            }
            for (a, next_left) in self.successors(left) {
                for (b, next_right) in other.successors(right) {
                    let meet = a.is_none() || b.is_none() || a == b;
                    if meet && seen.insert((next_left, next_right)) {
                        open.push((next_left, next_right));
                    }
                }
            }
        }
        false
    }

    /// Steps from a position: the word that is consumed (`None` for any) and the position after it.
    fn successors(&self, state: usize) -> impl Iterator<Item = (Option<&str>, usize)> {
        let (label, loops) = match self.words.get(state) {
            Some(Word::Exactly(word)) => (Some(Some(word.as_str())), false),
            Some(Word::Any) => (Some(None), true),
            None => (None, false),
        };
        let forward = label.map(|label| (label, state + 1));
        let stay = loops.then_some((None, state));
        forward.into_iter().chain(stay)
    }
}

fn accepts(label: Option<&str>, word: &str) -> bool {
    label.is_none_or(|label| label == word)
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl TryFrom<String> for Pattern {
    type Error = PatternError;
    fn try_from(text: String) -> Result<Self, PatternError> {
        Self::new(&text)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::new(text).unwrap()
    }

    #[test]
    fn a_star_takes_whole_words_only() {
        let glob = pattern("flyer-crawler-*");
        for name in ["flyer-crawler-api", "flyer-crawler-analytics-worker"] {
            assert!(glob.matches(name), "{name}");
        }
        for name in ["flyer-crawler", "flyer-crawlers-api", "flyer-crawlerapi", "stock-alert"] {
            assert!(!glob.matches(name), "{name}");
        }
        assert!(pattern("flyer-*-test").matches("flyer-crawler-api-test"));
        assert!(!pattern("flyer-*-test").matches("flyer-test"));
    }

    #[test]
    fn patterns_that_would_reach_too_far_are_refused() {
        assert_eq!(Pattern::new(""), Err(PatternError::Empty));
        assert_eq!(Pattern::new("*"), Err(PatternError::Everything));
        assert_eq!(Pattern::new("*-*"), Err(PatternError::Everything));
        assert_eq!(Pattern::new("flyer*"), Err(PatternError::PartOfWord("flyer*".into())));
    }

    #[test]
    fn overlap_is_found_between_globs_and_names() {
        for (a, b, expected) in [
            ("flyer-*", "flyer-crawler-*", true),
            ("flyer-crawler-*", "flyer-crawler-api", true),
            ("flyer-crawler-*", "stock-*", false),
            ("*-test", "flyer-*", true),
            ("a-*-c", "a-b", false),
            ("api", "api", true),
        ] {
            assert_eq!(pattern(a).overlaps(&pattern(b)), expected, "{a} {b}");
            assert_eq!(pattern(b).overlaps(&pattern(a)), expected, "{b} {a}");
        }
    }

    proptest! {
        #[test]
        fn patterns_that_share_a_name_overlap(
            a in "[ab*](-[ab*]){0,3}", b in "[ab*](-[ab*]){0,3}", name in "[ab](-[ab]){0,4}",
        ) {
            if let (Ok(a), Ok(b)) = (Pattern::new(&a), Pattern::new(&b)) {
                prop_assert!(!(a.matches(&name) && b.matches(&name)) || a.overlaps(&b));
            }
        }
    }
}
