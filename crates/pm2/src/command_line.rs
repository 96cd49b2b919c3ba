//! What the command line of a `pm2` that calls says it will do, as PM2 would carry it out. Pure.
//!
//! PM2's command line expands `all`, a regex, a namespace, a path or an ecosystem file by itself and sends one call
//! per process, ten at a time. So the first calls of a stale script may be about its own processes and the next about
//! foreign ones. The line is judged whole before its first act. It is a claim: it may lower what the caller may do,
//! and never adds to it. What cannot be read is judged call by call, as every call is anyway.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use palisade_core::Process;
use regex_lite::Regex;

use crate::deed::{Aim, Deed};

/// Largest ecosystem file that is read, in bytes.
pub const MAX_FILE_BYTES: u64 = 256 * 1024;
/// Most targets that are looked at.
const MOST_TARGETS: usize = 256;

/// Options of `pm2` that take the next word as their value.
const WITH_VALUE: [&str; 40] = [
    "--namespace",
    "--name",
    "-n",
    "--only",
    "--env",
    "--signal",
    "-i",
    "--instances",
    "-l",
    "--log",
    "-o",
    "--output",
    "-e",
    "--error",
    "-p",
    "--pid",
    "-k",
    "--kill-timeout",
    "--listen-timeout",
    "--max-memory-restart",
    "--restart-delay",
    "--exp-backoff-restart-delay",
    "-u",
    "--user",
    "--uid",
    "--gid",
    "--cwd",
    "-c",
    "--cron",
    "--cron-restart",
    "--interpreter",
    "--node-args",
    "--interpreter-args",
    "--log-date-format",
    "--log-type",
    "--max-restarts",
    "--ext",
    "--ignore-watch",
    "--filter-env",
    "--hp",
];

/// A `pm2` that takes processes down or starts them again, and which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    deed: Deed,
    targets: Vec<Word>,
    only: Option<BTreeSet<String>>,
}

/// One word that names processes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    All,
    Regex(String),
    /// A name, a number, a namespace or the path of a script.
    Plain {
        text: String,
        path: Option<PathBuf>,
    },
    /// Names that stand in an ecosystem file.
    File(BTreeSet<String>),
}

/// The processes that a line names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expanded {
    /// Which.
    pub aims: Vec<Aim>,
    /// Whether a word stood for many, so that their share of the daemon counts too.
    pub is_broad: bool,
}

impl CommandLine {
    /// Reads the words of a process's command line. `read` gives the text of a file, where it can be read.
    ///
    /// `None` if it is no `pm2`, or one that says nothing of this kind.
    pub fn read(
        words: &[OsString],
        cwd: Option<&Path>,
        read: impl Fn(&Path) -> Option<String>,
    ) -> Option<Self> {
        let words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let is_pm2 = |word: &String| {
            matches!(Path::new(word).file_name().and_then(|name| name.to_str()), Some("pm2" | "pm2.js"))
        };
        let program = words.iter().take(4).position(is_pm2)?;
        let (positional, only) = taken_apart(words.get(program + 1..)?);
        let (verb, targets) = positional.split_first()?;
        let deed = deed_of(verb)?;
        let word = |text: &&str| Word::of(text, cwd, &read);
        let targets: Vec<Word> = targets.iter().take(MOST_TARGETS).map(word).collect();
        (!targets.is_empty()).then_some(Self { deed, targets, only })
    }

    /// What it does.
    #[must_use]
    pub const fn deed(&self) -> Deed {
        self.deed
    }

    /// The processes of `list` that PM2 would expand it to, and the names that it would start.
    #[must_use]
    pub fn expand(&self, list: &[Process]) -> Expanded {
        let mut expanded = Expanded::default();
        for word in &self.targets {
            let (aims, is_broad) = self.of_word(word, list);
            expanded.is_broad |= is_broad;
            expanded.aims.extend(aims);
        }
        expanded
    }

    fn of_word(&self, word: &Word, list: &[Process]) -> (Vec<Aim>, bool) {
        // PM2 leaves its modules out of whatever stands for many.
        let ids = |picks: &dyn Fn(&Process) -> bool| -> Vec<Aim> {
            let picked = list.iter().filter(|process| !process.module && picks(process));
            picked.map(|process| Aim::Id(process.pin.pm_id)).collect()
        };
        match word {
            Word::All => (ids(&|_| true), true),
            Word::Regex(text) => match Regex::new(text) {
                Ok(regex) => (ids(&|process| regex.is_match(&process.pin.name)), true),
                // JavaScript knows more than we do: then it could be any.
                Err(_) => (ids(&|_| true), true),
            },
            Word::Plain { text, path } => {
                let named = ids(&|process| process.pin.name == *text);
                if !named.is_empty() {
                    return (named, false);
                }
                let numbered = ids(&|process| process.pin.pm_id.to_string() == *text);
                if !numbered.is_empty() {
                    return (numbered, false);
                }
                let of_namespace = ids(&|process| process.namespace == *text);
                if !of_namespace.is_empty() {
                    return (of_namespace, true);
                }
                let is_script = |process: &Process| {
                    path.is_some() && process.script.as_deref().map(Path::new) == path.as_deref()
                };
                // A start of a script that runs already is a new process.
                (if self.deed.creates() { Vec::new() } else { ids(&is_script) }, false)
            }
            Word::File(names) => {
                let wanted = |name: &&String| self.only.as_ref().is_none_or(|only| only.contains(*name));
                let aims = names.iter().filter(wanted).flat_map(|name| {
                    let there = ids(&|process| process.pin.name == *name);
                    let starts = self.deed.creates() || matches!(self.deed, Deed::Restart | Deed::Reload);
                    if there.is_empty() && starts { vec![Aim::NewName(name.clone())] } else { there }
                });
                (aims.collect(), false)
            }
        }
    }
}

/// The words that are no options, and the names behind `--only`. What stands behind `--` is the app's.
fn taken_apart(words: &[String]) -> (Vec<&str>, Option<BTreeSet<String>>) {
    let (mut positional, mut only) = (Vec::new(), None);
    let names = |text: &str| Some(text.split([',', ' ']).map(str::to_owned).collect());
    let mut words = words.iter().map(String::as_str).take_while(|word| *word != "--");
    while let Some(word) = words.next() {
        if let Some(text) = word.strip_prefix("--only=") {
            only = names(text);
        } else if word == "--only" {
            only = words.next().and_then(names);
        } else if WITH_VALUE.contains(&word) {
            // Its value names no process.
            let _value = words.next();
        } else if !word.starts_with('-') {
            positional.push(word);
        }
    }
    (positional, only)
}

fn deed_of(verb: &str) -> Option<Deed> {
    Some(match verb {
        "delete" | "del" => Deed::Delete,
        "stop" => Deed::Stop,
        "restart" | "startOrRestart" => Deed::Restart,
        "reload" | "gracefulReload" | "startOrReload" | "startOrGracefulReload" => Deed::Reload,
        "start" => Deed::Start,
        _ => return None,
    })
}

impl Word {
    fn of(text: &str, cwd: Option<&Path>, read: &impl Fn(&Path) -> Option<String>) -> Self {
        const FILES: [&str; 6] = [".json", ".yml", ".yaml", ".config.js", ".config.cjs", ".config.mjs"];
        // PM2 resolves it against the caller's folder without looking at links.
        let path = cwd.map(|cwd| plain(&cwd.join(text)));
        if text == "all" {
            return Self::All;
        }
        if text.len() > 2 && text.starts_with('/') && text.ends_with('/') {
            return Self::Regex(text.replace('/', ""));
        }
        if FILES.iter().any(|ending| text.ends_with(ending)) {
            let content = path.as_deref().and_then(read);
            return Self::File(content.as_deref().map(names_in).unwrap_or_default());
        }
        Self::Plain { text: text.to_owned(), path }
    }
}

/// The path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            std::path::Component::ParentDir => drop(plain.pop()),
            std::path::Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

/// Values of `name:` in JSON, YAML or JavaScript, whose text is looked at and not run. One too many does no harm
/// unless a foreign process is called like it.
fn names_in(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in text.match_indices("name") {
        let before = text[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '$' | '-' | '.')) {
            continue;
        }
        let rest = text[at + "name".len()..].trim_start_matches(['"', '\'']).trim_start();
        let Some(value) = rest.strip_prefix(':').map(|rest| rest.trim_start_matches([' ', '\t'])) else {
            continue;
        };
        let quoted =
            ['"', '\'', '`'].into_iter().find_map(|quote| value.strip_prefix(quote)?.split_once(quote));
        let name = match quoted {
            Some((name, _)) => name,
            None => value.split(['\n', '\r', ',', '}', '#']).next().unwrap_or_default().trim(),
        };
        if !name.is_empty() {
            names.insert(name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_json_yaml_and_javascript() {
        let texts = [
            r#"{"apps":[{"name":"a-1","script":"x"},{ "name" : "b 2" }]}"#,
            "module.exports = { apps: [{ name: 'a-1', script: 'x' }, {\n  name: `b 2`,\n}] };",
            "apps:\n  - name: a-1\n    script: x\n  - script: y\n    name: 'b 2' # second\n",
            "const filename = 'zz'; exports.apps = [{ 'name': \"a-1\", hostname: 'zz' }, { name: 'b 2' }]",
        ];
        for text in texts {
            let names: Vec<String> = names_in(text).into_iter().collect();
            assert_eq!(names, ["a-1", "b 2"], "{text}");
        }
    }
}
