//! The list as a guard reads it: what rules need of each process, and no variable but those that name an environment.
//!
//! It is read while it arrives, in one pass and without a copy: a guard asks for it before each change.

use std::collections::BTreeMap;
use std::fmt;

use palisade_core::process::{ENVIRONMENT_NAMING_VARIABLES, ExecMode, Pin, Process, Status};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use crate::client::Entry;
use crate::list::{is_set, number, unique_id};
use crate::skim::Wanted;

/// One entry of the daemon's list.
#[derive(Debug, Deserialize)]
pub struct Glance {
    name: String,
    pm_id: Value,
    pm2_env: Settings,
}

impl Entry for Glance {
    const WANTED: Wanted =
        Wanted::Members(&[("name", Wanted::All), ("pm_id", Wanted::All), ("pm2_env", SETTINGS)]);
}

/// Of PM2's own settings, which stand among the flattened variables.
const SETTINGS: Wanted = Wanted::Members(&[
    ("status", Wanted::All),
    ("unique_id", Wanted::All),
    ("created_at", Wanted::All),
    ("namespace", Wanted::All),
    ("exec_mode", Wanted::All),
    ("watch", Wanted::All),
    ("pmx_module", Wanted::All),
    ("restart_time", Wanted::All),
    ("pm_cwd", Wanted::All),
    ("pm_exec_path", Wanted::All),
    ("env", Wanted::Named(&ENVIRONMENT_NAMING_VARIABLES)),
]);

/// PM2's own settings of a process. The flattened variables beside them are skipped unread.
#[derive(Debug, Deserialize)]
struct Settings {
    status: String,
    #[serde(default)]
    unique_id: Option<String>,
    #[serde(default)]
    created_at: Option<u64>,
    #[serde(default)]
    namespace: Option<String>,
    exec_mode: Mode,
    #[serde(default)]
    watch: Value,
    #[serde(default)]
    pmx_module: Value,
    #[serde(default)]
    restart_time: Option<u64>,
    #[serde(default)]
    pm_cwd: Option<String>,
    #[serde(default)]
    pm_exec_path: Option<String>,
    #[serde(default)]
    env: Option<Naming>,
}

/// A list with a process that is run in another way is none that this version can judge.
#[derive(Debug, Deserialize)]
enum Mode {
    #[serde(rename = "fork_mode", alias = "fork")]
    Fork,
    #[serde(rename = "cluster_mode", alias = "cluster")]
    Cluster,
}

impl Glance {
    /// The process, without its operating-system process. `None` for a cluster worker that a reload has replaced: it has
    /// no number of its own any more, so nothing can be done to it.
    #[must_use]
    pub fn process(self) -> Option<Process> {
        let Self { name, pm_id, pm2_env: settings } = self;
        let pm_id = number(&pm_id)?;
        let unique_id = unique_id(settings.unique_id, settings.created_at);
        Some(Process {
            pin: Pin { pm_id, name, unique_id, process: None },
            status: Status::from(settings.status),
            namespace: settings.namespace.unwrap_or_else(|| "default".to_owned()),
            exec_mode: match settings.exec_mode {
                Mode::Fork => ExecMode::Fork,
                Mode::Cluster => ExecMode::Cluster,
            },
            watch: is_set(&settings.watch),
            module: is_set(&settings.pmx_module),
            restarts: settings.restart_time.unwrap_or_default(),
            cwd: settings.pm_cwd,
            script: settings.pm_exec_path,
            environment: BTreeMap::new(),
            environment_names: settings.env.map(|naming| naming.0).unwrap_or_default(),
        })
    }
}

/// Of an app's variables those that name an environment, with their values.
#[derive(Debug)]
struct Naming(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Naming {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Variables;

        impl<'de> Visitor<'de> for Variables {
            type Value = Naming;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an app's variables")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Naming, A::Error> {
                let mut naming = BTreeMap::new();
                while let Some(name) = map.next_key_seed(Name)? {
                    match name {
                        None => drop(map.next_value::<IgnoredAny>()?),
                        Some(name) => drop(naming.insert(name.to_owned(), text(map.next_value()?))),
                    }
                }
                Ok(Naming(naming))
            }
        }

        deserializer.deserialize_map(Variables)
    }
}

/// A variable's name, if it is one of those: the others are not even copied.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Option<&'static str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Option<&'static str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a variable")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(ENVIRONMENT_NAMING_VARIABLES.iter().find(|known| **known == name).copied())
    }
}

/// A variable's value as the app sees it: PM2 keeps numbers and booleans as such.
fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skim;

    /// Whoever adds a field has to want it.
    #[test]
    fn everything_that_is_read_is_wanted() {
        let json = r#"{"pid":7,"name":"api","pm_id":0,"pm2_env":{"status":"online","unique_id":"u","created_at":1,
            "namespace":"a","exec_mode":"cluster_mode","watch":true,"pmx_module":true,"restart_time":2,"pm_cwd":"/a",
            "pm_exec_path":"/a/b","env":{"NODE_ENV":"test","TOKEN":"x"},"TOKEN":"x"}}"#;
        let json = json.replace(['\n', ' '], "");
        let mut slim = Vec::new();
        skim::object(json.as_bytes(), &Glance::WANTED, &mut slim).unwrap();
        let of = |json: &[u8]| format!("{:?}", serde_json::from_slice::<Glance>(json).unwrap());
        assert_eq!(of(&slim), of(json.as_bytes()));
        assert!(!String::from_utf8(slim).unwrap().contains("TOKEN"));
    }
}
