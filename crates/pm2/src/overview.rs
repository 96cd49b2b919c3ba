//! The list as people and scripts read it: no variables at all, hence quick to read however many there are.

use palisade_core::process::{ExecMode, Status};
use serde::{Deserialize, Serialize};

use crate::client;
use crate::skim::Wanted;

/// One process of the daemon's list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Overview {
    /// PM2's number for it.
    pub pm_id: u32,
    /// Its name in PM2.
    pub name: String,
    /// PM2's namespace: a label, which isolates nothing.
    pub namespace: String,
    /// Its status.
    pub status: Status,
    /// Its process id, while it runs.
    pub pid: Option<u32>,
    /// Fork or cluster.
    pub exec_mode: ExecMode,
    /// How often PM2 has restarted it.
    pub restarts: u64,
    /// When it was started last, in milliseconds since 1970.
    pub started_unix_ms: Option<u64>,
    /// Resident memory in bytes, as PM2 last measured it.
    pub memory_bytes: u64,
    /// Share of one processor in per cent, as PM2 last measured it.
    pub cpu_percent: f64,
    /// PM2's UUID for it.
    pub unique_id: Option<String>,
    /// Whether it is a PM2 module.
    pub module: bool,
}

/// One entry as the daemon gives it.
#[derive(Debug, Deserialize)]
pub(crate) struct Entry {
    #[serde(default)]
    pid: Option<u32>,
    name: String,
    pm_id: serde_json::Value,
    #[serde(default)]
    monit: Monit,
    pm2_env: Env,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Monit {
    memory: Option<u64>,
    cpu: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Env {
    status: Status,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    exec_mode: Option<String>,
    #[serde(default)]
    restart_time: u64,
    #[serde(default)]
    pm_uptime: Option<u64>,
    #[serde(default)]
    unique_id: Option<String>,
    #[serde(default)]
    pmx_module: Option<serde_json::Value>,
}

impl client::Entry for Entry {
    const WANTED: Wanted = Wanted::Members(&[
        ("pid", Wanted::All),
        ("name", Wanted::All),
        ("pm_id", Wanted::All),
        ("monit", Wanted::All),
        (
            "pm2_env",
            Wanted::Named(&[
                "status",
                "namespace",
                "exec_mode",
                "restart_time",
                "pm_uptime",
                "unique_id",
                "pmx_module",
            ]),
        ),
    ]);
}

/// The rows of the daemon's list. Entries without a number of their own (workers that a reload is replacing) are left
/// out.
pub(crate) fn rows(entries: Vec<Entry>) -> Vec<Overview> {
    entries.into_iter().filter_map(Entry::overview).collect()
}

impl Entry {
    fn overview(self) -> Option<Overview> {
        let pm_id = u32::try_from(self.pm_id.as_u64()?).ok()?;
        let Self { pid, name, monit, pm2_env: env, .. } = self;
        let cluster = env.exec_mode.as_deref().is_some_and(|mode| mode.starts_with("cluster"));
        Some(Overview {
            pm_id,
            name,
            namespace: env.namespace.unwrap_or_else(|| "default".to_owned()),
            status: env.status,
            pid: pid.filter(|pid| *pid != 0),
            exec_mode: if cluster { ExecMode::Cluster } else { ExecMode::Fork },
            restarts: env.restart_time,
            started_unix_ms: env.pm_uptime,
            memory_bytes: monit.memory.unwrap_or(0),
            cpu_percent: monit.cpu.unwrap_or(0.0),
            unique_id: env.unique_id,
            module: env.pmx_module.is_some_and(|mark| {
                !matches!(mark, serde_json::Value::Null | serde_json::Value::Bool(false))
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skim;

    #[test]
    fn an_entry_is_read_without_its_variables() {
        let json = r#"[{"pid":7,"name":"api","pm_id":0,"monit":{"memory":1024,"cpu":0.5},
            "pm2_env":{"status":"online","exec_mode":"cluster_mode","restart_time":2,"env":{"SECRET":"x"}}},
            {"pid":8,"name":"api","pm_id":"_old_0","pm2_env":{"status":"stopping"}}]"#;
        let rows = rows(serde_json::from_str(json).unwrap());
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].pm_id, rows[0].exec_mode, rows[0].memory_bytes), (0, ExecMode::Cluster, 1024));
        assert!(!format!("{rows:?}").contains("SECRET"));
    }

    /// Whoever adds a field has to want it.
    #[test]
    fn everything_that_is_read_is_wanted() {
        let json = r#"{"pid":7,"name":"api","pm_id":0,"monit":{"memory":1024,"cpu":0.5},"pm2_env":{"status":"online",
            "namespace":"a","exec_mode":"cluster_mode","restart_time":2,"pm_uptime":3,"unique_id":"u",
            "pmx_module":true,"name":"api"}}"#;
        let json = json.replace(['\n', ' '], "");
        let mut slim = Vec::new();
        skim::object(json.as_bytes(), &<Entry as client::Entry>::WANTED, &mut slim).unwrap();
        let of = |json: &[u8]| rows(vec![serde_json::from_slice(json).unwrap()]);
        assert_eq!(of(&slim), of(json.as_bytes()));
        assert!(slim.len() < json.len(), "its second name is not wanted");
    }
}
