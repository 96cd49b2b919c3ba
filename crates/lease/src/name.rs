//! What a lease is called, and who holds it.

use std::fmt;

use serde::Serialize;

/// The longest name of a lease or a holder, in bytes.
const LONGEST: usize = 200;

/// What a lease is for, such as `reaper/public.backfill_jobs`: 1 to 200 printable ASCII characters without spaces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Name(String);

/// Who holds a lease: one process, made anew at each start, so that no two ever share it. Same letters as [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Holder(String);

/// Not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} cannot name a {what}: take 1 to 200 printable ASCII characters without spaces")]
pub struct InvalidName {
    what: &'static str,
    text: String,
}

fn checked(what: &'static str, text: &str) -> Result<String, InvalidName> {
    let fits = !text.is_empty() && text.len() <= LONGEST && text.bytes().all(|byte| byte.is_ascii_graphic());
    if fits {
        Ok(text.to_owned())
    } else {
        Err(InvalidName { what, text: text.chars().take(LONGEST).collect() })
    }
}

impl Name {
    /// Checks a name.
    ///
    /// # Errors
    /// [`InvalidName`].
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        checked("lease", text).map(Self)
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Holder {
    /// Checks a name.
    ///
    /// # Errors
    /// [`InvalidName`].
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        checked("holder", text).map(Self)
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_printable() {
        assert!(Name::new("reaper/public.jobs").is_ok());
        for text in ["", "two words", "line\nbreak", "\u{1b}[2J", "\u{202e}", &"a".repeat(201)] {
            assert!(Name::new(text).is_err(), "{text:?}");
            assert!(Holder::new(text).is_err(), "{text:?}");
        }
    }
}
