//! Which variables of the worker a program gets.

use std::ffi::{OsStr, OsString};

/// What the worker itself needs to reach its store and its checkpoints. A program that needs one is given it by name.
const OWN: &[&str] = &[
    "DATABASE_URL",
    "PGPASSWORD",
    "PGPASSFILE",
    "PGSERVICEFILE",
    "PGSSLKEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
];

/// The variables of a program, and what was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Handed on.
    pub variables: Vec<(OsString, OsString)>,
    /// Names of what was there and is not handed on.
    pub left_out: Vec<String>,
}

/// All variables but those that the worker uses itself and those that begin with `PALISADE_`, which every attempt
/// gets anew; `pass` names exceptions.
#[must_use]
pub fn keep<'a>(all: impl Iterator<Item = (&'a OsStr, &'a OsStr)>, pass: &[String]) -> Kept {
    let mut kept = Kept { variables: Vec::new(), left_out: Vec::new() };
    for (name, value) in all {
        let text = name.to_string_lossy();
        let asked = pass.iter().any(|pass| *pass == text);
        let attempt =
            text.starts_with("PALISADE_") && !matches!(&*text, "PALISADE_APP" | "PALISADE_ENVIRONMENT");
        if asked || !(attempt || OWN.contains(&&*text)) {
            kept.variables.push((name.to_owned(), value.to_owned()));
        } else if !attempt {
            kept.left_out.push(text.into_owned());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_worker_uses_itself_is_handed_on_only_when_it_is_asked_for() {
        let all = [
            ("DATABASE_URL", "secret"),
            ("PATH", "/bin"),
            ("PALISADE_SOCKET", "/x"),
            ("PALISADE_APP", "shop"),
        ];
        let all = || all.iter().map(|(name, value)| (OsStr::new(*name), OsStr::new(*value)));
        let names = |kept: &Kept| -> Vec<String> {
            kept.variables.iter().map(|(name, _)| name.to_string_lossy().into_owned()).collect()
        };
        let kept = keep(all(), &[]);
        assert_eq!(names(&kept), ["PATH", "PALISADE_APP"]);
        assert_eq!(kept.left_out, ["DATABASE_URL"]);
        assert_eq!(
            names(&keep(all(), &["DATABASE_URL".to_owned()])),
            ["DATABASE_URL", "PATH", "PALISADE_APP"]
        );
    }
}
