//! Changes the mode of environments and apps in a policy, without touching what else stands there.

use std::path::Path;

use palisade_core::policy::{Mode, Policy};
use palisade_core::{AppName, EnvironmentName};
use toml_edit::{DocumentMut, Item, TableLike, value};

use crate::host::parse_host;
use crate::problem::Problems;

/// What is to get another mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// Every environment, and every app that has a mode of its own.
    Everything,
    /// One app, in one environment or in all of its own.
    App {
        /// The app.
        app: AppName,
        /// The environment.
        environment: Option<EnvironmentName>,
    },
}

impl Which {
    fn is(&self, app: &palisade_core::Scope) -> bool {
        match self {
            Self::Everything => true,
            Self::App { app: name, environment } => {
                app.app == *name && environment.as_ref().is_none_or(|wanted| app.environment == *wanted)
            }
        }
    }
}

/// What [`set_mode`] made of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModeOutcome {
    /// The file's text; the given one, byte by byte, if nothing had to change.
    pub text: String,
    /// The revision of that text.
    pub revision: u64,
    /// The lines that differ: old ones with `-`, new ones with `+`.
    pub difference: Vec<String>,
}

/// Why no text came out of it.
#[derive(Debug, thiserror::Error)]
pub enum ModeError {
    /// The file as it stands has problems.
    #[error(transparent)]
    Invalid(#[from] Problems),
    /// No entry fits.
    #[error("the policy has no app {app}{}", environment.as_ref().map(|name| format!(" in {name}")).unwrap_or_default())]
    NoSuchApp {
        /// The app.
        app: AppName,
        /// The environment.
        environment: Option<EnvironmentName>,
    },
    /// The file is written in a way that cannot be edited in place.
    #[error("the policy is written in a way that cannot be edited; set `mode` by hand and raise `revision`")]
    Unwritable,
}

/// Sets the mode in `text`, the policy at `path`. Comments and order stay; the revision grows by one.
///
/// # Errors
/// The file has problems, no entry fits, or it cannot be edited in place.
pub fn set_mode(text: &str, path: &Path, which: &Which, mode: Mode) -> Result<ModeOutcome, ModeError> {
    let policy = parse_host(text, path)?.into_policy();
    if let Which::App { app, environment } = which
        && !policy.apps.iter().any(|entry| which.is(&entry.scope))
    {
        return Err(ModeError::NoSuchApp { app: app.clone(), environment: environment.clone() });
    }
    if has(&policy, which, mode) {
        return Ok(ModeOutcome { text: text.to_owned(), revision: policy.revision, difference: Vec::new() });
    }
    let mut document: DocumentMut = text.parse().map_err(|_| ModeError::Unwritable)?;
    let word = match mode {
        Mode::Observe => "observe",
        Mode::Enforce => "enforce",
    };
    if *which == Which::Everything
        && let Some(environments) = document.get_mut("environments").and_then(Item::as_table_like_mut)
    {
        for (_, environment) in environments.iter_mut() {
            set(environment.as_table_like_mut(), word);
        }
    }
    for table in apps(&mut document) {
        let fits = scope_of(table).is_some_and(|scope| which.is(&scope));
        // An app without a mode of its own follows its environment.
        if fits && (*which != Which::Everything || table.contains_key("mode")) {
            set(Some(table), word);
        }
    }
    let revision = policy.revision + 1;
    if let Some(Item::Value(written)) = document.get_mut("revision") {
        let decor = written.decor().clone();
        *written = i64::try_from(revision).unwrap_or(i64::MAX).into();
        *written.decor_mut() = decor;
    }
    let changed = document.to_string();
    let is_as_meant = has(parse_host(&changed, path)?.policy(), which, mode);
    if !is_as_meant {
        return Err(ModeError::Unwritable);
    }
    let difference = difference(text, &changed);
    Ok(ModeOutcome { text: changed, revision, difference })
}

/// Whether all that is meant is in that mode.
fn has(policy: &Policy, which: &Which, mode: Mode) -> bool {
    let environment = |name: &EnvironmentName| policy.environments.get(name).map(|found| found.mode);
    let mut apps = policy.apps.iter().filter(|app| which.is(&app.scope));
    let apps = apps.all(|app| app.mode.or_else(|| environment(&app.scope.environment)) == Some(mode));
    let environments = policy.environments.values().all(|environment| environment.mode == mode);
    apps && (*which != Which::Everything || environments)
}

fn apps(document: &mut DocumentMut) -> Vec<&mut dyn TableLike> {
    match document.get_mut("app") {
        Some(Item::ArrayOfTables(tables)) => {
            tables.iter_mut().map(|table| table as &mut dyn TableLike).collect()
        }
        Some(Item::Value(toml_edit::Value::Array(list))) => {
            let tables = list.iter_mut().filter_map(toml_edit::Value::as_inline_table_mut);
            tables.map(|table| table as &mut dyn TableLike).collect()
        }
        Some(Item::None | Item::Value(_) | Item::Table(_)) | None => Vec::new(),
    }
}

fn scope_of(table: &dyn TableLike) -> Option<palisade_core::Scope> {
    let text = |key: &str| table.get(key).and_then(Item::as_str);
    let app = AppName::new(text("name")?).ok()?;
    Some(palisade_core::Scope::new(app, EnvironmentName::new(text("environment")?).ok()?))
}

/// Sets the key, keeping the comment of its line.
fn set(table: Option<&mut dyn TableLike>, word: &str) {
    let Some(table) = table else { return };
    if let Some(Item::Value(written)) = table.get_mut("mode") {
        let decor = written.decor().clone();
        *written = word.into();
        *written.decor_mut() = decor;
    } else {
        table.insert("mode", value(word));
    }
}

/// The lines that only one of two texts has, in order. Enough for edits of single lines.
fn difference(old: &str, new: &str) -> Vec<String> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let mut lines = Vec::new();
    let (mut at, mut to) = (0, 0);
    while at < old.len() || to < new.len() {
        if at < old.len() && to < new.len() && old[at] == new[to] {
            (at, to) = (at + 1, to + 1);
            continue;
        }
        // An edit changes a line or adds one; it is changed where the next lines are equal again.
        let added = to < new.len() && at < old.len() && new.get(to + 1) == Some(&old[at]);
        if at < old.len() && !added {
            lines.push(format!("- {}", old[at]));
            at += 1;
        }
        if to < new.len() {
            lines.push(format!("+ {}", new[to]));
            to += 1;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = r#"# ours
revision = 4 # raise it

[environments.production]
mode = "observe" # for now

[environments.test]
suffix = "-test"

[[app]]
name = "shop"
environment = "production"
processes = ["shop-api"]

[[app]]
name = "blog"
environment = "production"
processes = ["blog-*"] # all of it
mode = "observe"
"#;

    fn app(name: &str) -> Which {
        Which::App { app: AppName::new(name).unwrap(), environment: None }
    }

    fn lines(which: &Which, mode: Mode) -> Vec<String> {
        set_mode(POLICY, Path::new("p.toml"), which, mode).unwrap().difference
    }

    #[test]
    fn one_app_is_set_and_the_revision_grows_and_comments_stay() {
        assert_eq!(
            lines(&app("shop"), Mode::Enforce),
            ["- revision = 4 # raise it", "+ revision = 5 # raise it", "+ mode = \"enforce\"",]
        );
        assert_eq!(lines(&app("blog"), Mode::Enforce)[2..], ["- mode = \"observe\"", "+ mode = \"enforce\""]);
    }

    #[test]
    fn everything_is_set_where_a_mode_is_meant_and_what_is_so_already_stays() {
        let outcome = set_mode(POLICY, Path::new("p.toml"), &Which::Everything, Mode::Enforce).unwrap();
        assert!(outcome.text.contains("mode = \"enforce\" # for now"), "{}", outcome.text);
        assert_eq!(
            outcome.text.matches("enforce").count(),
            3,
            "two environments and one app: {}",
            outcome.text
        );
        let again = set_mode(&outcome.text, Path::new("p.toml"), &Which::Everything, Mode::Enforce).unwrap();
        assert_eq!((again.text, again.revision), (outcome.text, 5));
        assert_eq!(lines(&Which::Everything, Mode::Observe), [""; 0], "observe is the default");
    }

    #[test]
    fn an_unknown_app_and_a_broken_file_change_nothing() {
        let path = Path::new("p.toml");
        let missing = set_mode(POLICY, path, &app("ghost"), Mode::Enforce).unwrap_err();
        assert_eq!(missing.to_string(), "the policy has no app ghost");
        assert!(matches!(
            set_mode("revision = ", path, &app("shop"), Mode::Enforce),
            Err(ModeError::Invalid(_))
        ));
    }

    #[test]
    fn entries_on_one_line_are_edited_too() {
        let text = "revision = 1\nenvironments = { production = {} }\n\
                    app = [{ name = \"shop\", environment = \"production\", processes = [\"shop\"] }]\n";
        let outcome = set_mode(text, Path::new("p.toml"), &app("shop"), Mode::Enforce).unwrap();
        assert!(outcome.text.contains("mode = \"enforce\""), "{}", outcome.text);
    }
}
