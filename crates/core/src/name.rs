//! Names of apps, environments and the scopes that they make.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a name was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} name {name:?}: {rule}")]
pub struct NameError {
    kind: &'static str,
    name: String,
    rule: &'static str,
}

/// Letters, digits, `.`, `_` and `-`, at most 64, beginning with a letter or digit.
fn checked(kind: &'static str, name: &str) -> Result<String, NameError> {
    let refuse = |rule| Err(NameError { kind, name: name.to_owned(), rule });
    if name.is_empty() {
        return refuse("must not be empty");
    }
    if name.len() > 64 {
        return refuse("must have at most 64 characters");
    }
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return refuse("must begin with a letter or a digit");
    }
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')) {
        return refuse("may hold letters, digits, '.', '_' and '-' only");
    }
    Ok(name.to_owned())
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// Checks a name: 1 to 64 letters, digits, `.`, `_` and `-`, beginning with a letter or digit.
            ///
            /// # Errors
            /// The rule that the name breaks.
            pub fn new(name: &str) -> Result<Self, NameError> {
                checked($kind, name).map(Self)
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(name: String) -> Result<Self, NameError> {
                Self::new(&name)
            }
        }

        impl std::str::FromStr for $type {
            type Err = NameError;
            fn from_str(name: &str) -> Result<Self, NameError> {
                Self::new(name)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }
    };
}

name!(
    /// Name of an app, as the policy knows it: `flyer-crawler`.
    AppName,
    "app"
);
name!(
    /// Name of an environment: `production`, `test`.
    EnvironmentName,
    "environment"
);
name!(
    /// Name of a queue of jobs: `mail`, `backfill`.
    QueueName,
    "queue"
);

/// What one app owns in one environment on a resource; written `app/environment`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Scope {
    /// The app.
    pub app: AppName,
    /// The environment of that app.
    pub environment: EnvironmentName,
}

impl Scope {
    /// The scope of `app` in `environment`.
    #[must_use]
    pub const fn new(app: AppName, environment: EnvironmentName) -> Self {
        Self { app, environment }
    }

    /// The scope under which processes of any app are brought back: a restore destroys nothing, and only one
    /// runs at a time.
    #[must_use]
    pub fn of_restores() -> Self {
        Self { app: AppName("palisade".to_owned()), environment: EnvironmentName("restore".to_owned()) }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.app, self.environment))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_their_folder_or_line_are_refused() {
        for bad in ["", "-x", "../x", "a/b", "a b", "a\n", &"x".repeat(65)] {
            assert!(AppName::new(bad).is_err(), "{bad:?} was accepted");
        }
        assert_eq!(AppName::new("flyer-crawler").unwrap().as_str(), "flyer-crawler");
    }
}
