//! Field by field: an entry as it was kept, and an entry as it is listed now.

use std::collections::BTreeSet;
use std::fmt;

use palisade_core::text::Shown;
use serde_json::{Map, Value};

use crate::list::UNIQUE_ID;

/// A setting that has to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// Path of the script.
    Script,
    /// Arguments of the script.
    Args,
    /// Working folder.
    Cwd,
    /// Interpreter.
    Interpreter,
    /// Arguments of the interpreter.
    InterpreterArgs,
    /// How many instances the app was started with. PM2 drops it when it starts instances one by one, as its own
    /// `resurrect` does; a missing number is no difference.
    Instances,
    /// Number of this instance among them.
    Instance,
    /// Fork or cluster.
    ExecMode,
    /// An environment variable.
    Environment,
    /// Namespace.
    Namespace,
    /// Whether, and what, PM2 watches.
    Watch,
    /// What it does not watch.
    IgnoreWatch,
    /// When PM2 restarts it by the clock.
    Cron,
    /// The memory at which PM2 restarts it.
    MaxMemoryRestart,
    /// How long it may take to end.
    KillTimeout,
    /// Whether PM2 restarts it when it ends.
    Autorestart,
    /// Path of its output log.
    OutLog,
    /// Path of its error log.
    ErrorLog,
    /// User that it runs as.
    Uid,
    /// Group that it runs as.
    Gid,
    /// Whether it runs.
    Status,
}

/// PM2's key for each field but the environment, and what a missing key means.
const KEYS: [(Field, &str, Value); 19] = [
    (Field::Script, "pm_exec_path", Value::Null),
    (Field::Args, "args", Value::Null),
    (Field::Cwd, "pm_cwd", Value::Null),
    (Field::Interpreter, "exec_interpreter", Value::Null),
    (Field::InterpreterArgs, "node_args", Value::Null),
    (Field::Instance, "NODE_APP_INSTANCE", Value::Null),
    (Field::ExecMode, "exec_mode", Value::Null),
    (Field::Namespace, "namespace", Value::Null),
    (Field::Watch, "watch", Value::Bool(false)),
    (Field::IgnoreWatch, "ignore_watch", Value::Null),
    (Field::Cron, "cron_restart", Value::Null),
    (Field::MaxMemoryRestart, "max_memory_restart", Value::Null),
    (Field::KillTimeout, "kill_timeout", Value::Null),
    (Field::Autorestart, "autorestart", Value::Bool(true)),
    (Field::OutLog, "pm_out_log_path", Value::Null),
    (Field::ErrorLog, "pm_err_log_path", Value::Null),
    (Field::Uid, "uid", Value::Null),
    (Field::Gid, "gid", Value::Null),
    (Field::Instances, "instances", Value::Null),
];

/// One difference. Holds no value of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldDifference {
    /// Which setting.
    pub field: Field,
    /// For [`Field::Environment`] the variable's name, else PM2's key.
    pub name: String,
    /// What differs, in a few words.
    pub what: String,
}

impl fmt::Display for FieldDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.field == Field::Environment { "variable " } else { "" };
        write!(f, "{kind}{}: {}", Shown(&self.name), self.what)
    }
}

/// How `listed`, an entry of the daemon's list (`pm2_env`), differs from `kept`, one that a bundle holds.
///
/// Of variables it says that they differ, never how: their values are secrets. PM2's own UUID among them is new
/// with every start and is no difference.
#[must_use]
pub fn differences(kept: &Map<String, Value>, listed: &Map<String, Value>) -> Vec<FieldDifference> {
    let mut found = Vec::new();
    for (field, key, missing) in &KEYS {
        let (then, now) = (kept.get(*key).unwrap_or(missing), listed.get(*key).unwrap_or(missing));
        let dropped = *field == Field::Instances && now.is_null();
        let same = if matches!(field, Field::OutLog | Field::ErrorLog) {
            unnumbered(then, kept) == unnumbered(now, listed)
        } else {
            normal(then) == normal(now)
        };
        if !same && !dropped {
            // Arguments may hold secrets, as variables do.
            let what = if matches!(field, Field::Args | Field::InterpreterArgs) {
                "value differs".to_owned()
            } else {
                format!("was {}, is {}", shown(then), shown(now))
            };
            found.push(FieldDifference { field: *field, name: (*key).to_owned(), what });
        }
    }
    found.extend(status(kept, listed));
    found.extend(variables(kept, listed));
    found
}

/// An empty list of arguments and none are the same to PM2.
fn normal(value: &Value) -> Value {
    match value {
        Value::Array(items) if items.is_empty() => Value::Null,
        other => other.clone(),
    }
}

/// A log's path without the number of its process: PM2 puts a cluster worker's own `pm_id` there at each start.
fn unnumbered(path: &Value, entry: &Map<String, Value>) -> Value {
    let pm_id = entry.get("pm_id").and_then(Value::as_u64);
    let number = pm_id.map(|pm_id| format!("-{pm_id}.log"));
    let base = path.as_str().zip(number).and_then(|(path, number)| path.strip_suffix(&number));
    base.map_or_else(|| path.clone(), |base| Value::from(format!("{base}-#.log")))
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "not set".to_owned(),
        other => palisade_core::text::escaped(&other.to_string()).into_owned(),
    }
}

fn status(kept: &Map<String, Value>, listed: &Map<String, Value>) -> Option<FieldDifference> {
    let of = |entry: &Map<String, Value>| {
        let word = entry.get("status").and_then(Value::as_str).unwrap_or_default();
        palisade_core::process::Status::from(word.to_owned())
    };
    let (then, now) = (of(kept), of(listed));
    (then.is_up() != now.is_up()).then(|| FieldDifference {
        field: Field::Status,
        name: "status".to_owned(),
        what: format!("was {then}, is {now}"),
    })
}

fn variables(kept: &Map<String, Value>, listed: &Map<String, Value>) -> Vec<FieldDifference> {
    let none = Map::new();
    let of = |entry: &'_ Map<String, Value>| entry.get("env").and_then(Value::as_object).cloned();
    let (then, now) = (of(kept).unwrap_or_else(|| none.clone()), of(listed).unwrap_or(none));
    let names: BTreeSet<&String> = then.keys().chain(now.keys()).filter(|name| *name != UNIQUE_ID).collect();
    let difference = |name: &String| {
        let what = match (then.get(name), now.get(name)) {
            (Some(then), Some(now)) if text(then) == text(now) => return None,
            (Some(_), Some(_)) => "value differs",
            (Some(_), None) => "is missing",
            (None, _) => "is new",
        };
        Some(FieldDifference { field: Field::Environment, name: name.clone(), what: what.to_owned() })
    };
    names.into_iter().filter_map(difference).collect()
}

/// A variable as the app sees it: `3000` and `"3000"` are the same.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
