//! Guesses apps and environments from the names of processes.
//!
//! The guess leans to small apps: one that is too small makes a deployment stop and ask, one that is too large
//! lets it take a neighbour along.

use std::collections::{BTreeMap, BTreeSet};

use palisade_core::pattern::PatternError;
use palisade_core::{AppName, Pattern};

/// Last words of process names that commonly name an environment other than production.
pub(crate) const ENVIRONMENT_WORDS: [&str; 8] =
    ["test", "staging", "stage", "dev", "development", "qa", "uat", "preview"];

/// The environment word that `name` ends in, and what stands before its hyphen.
pub(crate) fn split_environment(name: &str) -> Option<(&str, &'static str)> {
    let (base, last) = name.rsplit_once('-')?;
    ENVIRONMENT_WORDS.into_iter().find(|word| *word == last).map(|word| (base, word))
}

/// `name` without the environment word at its end.
pub(crate) fn base(name: &str) -> &str {
    split_environment(name).map_or(name, |(base, _)| base)
}

/// Why no policy can name this process.
pub(crate) fn unnameable(name: &str) -> Option<String> {
    match Pattern::new(name) {
        Ok(pattern) if pattern.is_exact() => None,
        Ok(_) => Some("`*` in a process name would be read as a glob: rename the process in PM2".to_owned()),
        Err(PatternError::Empty) => Some("it has no name: name it in PM2".to_owned()),
        Err(PatternError::Everything | PatternError::PartOfWord(_)) => {
            Some("`*` cannot stand in an exact name: rename the process in PM2".to_owned())
        }
    }
}

/// Gives each base name the name of its app.
///
/// Names that share all but their last word make an app of two or more; a name that such an app's name begins
/// joins it, the longest first. `known` are the names of apps that are there already, whatever their size.
pub(crate) fn apps_of<'n>(
    bases: &BTreeSet<&'n str>,
    known: &BTreeSet<&'n str>,
) -> BTreeMap<&'n str, &'n str> {
    let mut sizes = BTreeMap::<&str, usize>::new();
    for base in bases {
        *sizes.entry(base).or_default() += 1;
        if let Some(parent) = parent(base) {
            *sizes.entry(parent).or_default() += 1;
        }
    }
    let heads = |prefix: &&str| known.contains(prefix) || sizes.get(prefix).is_some_and(|size| *size > 1);
    let chosen = |base: &'n str| std::iter::successors(Some(base), |name| parent(name)).find(heads);
    let chosen: BTreeMap<&str, &str> =
        bases.iter().map(|base| (*base, chosen(base).unwrap_or(base))).collect();
    let members = |app: &str| chosen.values().filter(|other| **other == app).count();
    chosen
        .iter()
        .map(|(base, app)| {
            let stays = known.contains(app) || members(app) > 1;
            (*base, if stays { *app } else { *base })
        })
        .collect()
}

/// All but the last word, if that is anything.
fn parent(name: &str) -> Option<&str> {
    name.rsplit_once('-').map(|(parent, _)| parent).filter(|parent| !parent.is_empty())
}

/// Names of apps for groups, each valid and no two alike.
#[derive(Debug, Default)]
pub(crate) struct AppNames {
    given: BTreeMap<String, AppName>,
    taken: BTreeSet<AppName>,
}

impl AppNames {
    /// Names that are taken already, each standing for its own group.
    pub(crate) fn with(known: impl IntoIterator<Item = AppName>) -> Self {
        let taken: BTreeSet<AppName> = known.into_iter().collect();
        Self { given: taken.iter().map(|name| (name.to_string(), name.clone())).collect(), taken }
    }

    /// The app name of `group`: the group's own where it is a name, else one made up from it.
    pub(crate) fn of(&mut self, group: &str) -> AppName {
        if let Some(given) = self.given.get(group) {
            return given.clone();
        }
        let name = AppName::new(group).ok().filter(|name| !self.taken.contains(name));
        let name = name.unwrap_or_else(|| self.made_up(group));
        self.taken.insert(name.clone());
        self.given.insert(group.to_owned(), name.clone());
        name
    }

    fn made_up(&self, group: &str) -> AppName {
        let fits = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_') { c } else { '-' };
        let cleaned: String = group.chars().map(fits).collect();
        let words: Vec<&str> = cleaned.split('-').filter(|word| !word.is_empty()).collect();
        let stem = words.join("-");
        let stem = stem.trim_start_matches(['.', '_', '-']);
        let stem: String = if stem.is_empty() { "app".into() } else { stem.chars().take(50).collect() };
        let numbered = (2_u64..).map(|number| format!("{stem}-{number}"));
        std::iter::once(stem.clone())
            .chain(numbered)
            .filter_map(|name| AppName::new(&name).ok())
            .find(|name| !self.taken.contains(name))
            .expect("a cleaned stem of at most 50 characters with a number is a name, and numbers do not end")
    }
}
