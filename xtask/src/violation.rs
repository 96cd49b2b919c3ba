//! One place where a rule is broken.

use std::fmt;

/// Where, and which rule. Sorts by file, then line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    /// Path from the repository's root.
    pub(crate) file: String,
    /// Line, from 1.
    pub(crate) line: usize,
    /// What is there, and the rule, on one line.
    pub(crate) message: String,
}

impl Violation {
    pub(crate) fn new(file: &str, line: usize, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)
    }
}
