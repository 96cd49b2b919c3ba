//! The only reader of environment variables, so that every value has an origin and tests give tables.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

/// A process's variables at one moment. `Debug` shows names only, for values may be secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// The variables of this process, now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the process's variables")]
    pub fn of_this_process() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// The bytes of `name`, also if empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// The text of `name`, unless it is unset or empty. Bytes that are not UTF-8 become U+FFFD.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        self.get(name).filter(|value| !value.is_empty()).map(|value| value.to_string_lossy().into_owned())
    }

    /// The path in `name`, unless it is unset, empty or relative.
    ///
    /// A relative path would depend on the working folder; the XDG rules ignore such values too.
    #[must_use]
    pub fn absolute_path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from).filter(|path| path.is_absolute())
    }

    /// Whether `name` is set to something other than nothing, `0` and `false`.
    #[must_use]
    pub fn is_on(&self, name: &str) -> bool {
        self.text(name).is_some_and(|value| value != "0" && !value.eq_ignore_ascii_case("false"))
    }

    /// Every variable, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.0.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }
}

impl<N: Into<OsString>, V: Into<OsString>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Environment {
        Environment::from_iter([
            ("EMPTY", ""),
            ("OFF", "False"),
            ("ZERO", "0"),
            ("ON", "true"),
            ("RELATIVE", "state"),
            ("ABSOLUTE", "/var/lib"),
            ("DATABASE_URL", "postgres://u:hunter2@h/d"),
        ])
    }

    #[test]
    fn an_empty_value_is_no_text_no_path_and_not_on() {
        let table = table();
        assert_eq!(table.get("EMPTY"), Some(OsStr::new("")));
        assert_eq!(table.text("EMPTY"), None);
        assert_eq!(table.absolute_path("EMPTY"), None);
        assert!(!table.is_on("EMPTY"));
    }

    #[test]
    fn a_switch_is_on_unless_it_says_no() {
        let table = table();
        for (name, on) in [("OFF", false), ("ZERO", false), ("ON", true), ("UNSET", false)] {
            assert_eq!(table.is_on(name), on, "{name}");
        }
    }

    #[test]
    fn a_relative_path_is_not_taken() {
        assert_eq!(table().absolute_path("RELATIVE"), None);
        assert_eq!(table().absolute_path("ABSOLUTE"), Some(PathBuf::from("/var/lib")));
    }

    #[test]
    fn values_do_not_show_in_debug_output() {
        let shown = format!("{:?}", table());
        assert!(shown.contains("DATABASE_URL") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn this_process_has_its_own_variables() {
        let own = Environment::of_this_process();
        assert!(own.text("PATH").is_some());
        assert_eq!(own.iter().count(), own.0.len());
    }
}
