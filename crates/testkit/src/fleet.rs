//! What runs under a daemon, as the process table shows it: a witness that asks neither PM2 nor its client.

use std::collections::BTreeSet;

use crate::{Pm2, process};

/// A daemon and its running apps at one moment. Two that are equal mean that nothing was restarted in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fleet {
    /// Pid and start time of every daemon on the home.
    pub daemons: BTreeSet<(u32, u64)>,
    /// The apps.
    pub apps: BTreeSet<Running>,
}

/// One running process of an app.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Running {
    /// The app's name.
    pub name: String,
    /// Process id.
    pub pid: u32,
    /// Start time in clock ticks since boot.
    pub start_ticks: u64,
}

impl Fleet {
    /// Looks at the process table.
    #[must_use]
    pub fn of(pm2: &Pm2) -> Self {
        let started = |pid: u32| Some((pid, process::start_ticks(pid)?));
        let daemons = pm2.daemons().into_iter().filter_map(started).collect();
        let running =
            |pid: u32| Some(Running { name: app_name(pid)?, pid, start_ticks: process::start_ticks(pid)? });
        let apps = process::with_variable("PM2_HOME", pm2.home()).into_iter().filter_map(running).collect();
        Self { daemons, apps }
    }

    /// The names of what runs, sorted, one for each process.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.apps.iter().map(|app| app.name.as_str()).collect()
    }

    /// The same moment without the apps of these names.
    #[must_use]
    pub fn without(&self, names: &[&str]) -> Self {
        let mut rest = self.clone();
        rest.apps.retain(|app| !names.contains(&app.name.as_str()));
        rest
    }
}

/// The name that PM2 gave the process: a variable in fork mode, a field of one in cluster mode.
fn app_name(pid: u32) -> Option<String> {
    if let Some(name) = process::variable(pid, "name") {
        return Some(name);
    }
    let settings: serde_json::Value = serde_json::from_str(&process::variable(pid, "pm2_env")?).ok()?;
    Some(settings["name"].as_str()?.to_owned())
}
