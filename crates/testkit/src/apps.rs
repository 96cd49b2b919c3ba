//! Apps to start under PM2: cheap ones that do nothing for a long time.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::Pm2;
use crate::scratch::random_hex;

/// One app, as an entry of an ecosystem file.
#[derive(Debug, Clone)]
pub struct App {
    settings: Map<String, Value>,
}

impl App {
    /// An app that sleeps: the cheapest process there is, in fork mode without an interpreter.
    #[must_use]
    pub fn sleep(name: &str) -> Self {
        Self { settings: Map::new() }
            .set("name", json!(name))
            .set("script", json!("/bin/sleep"))
            .set("args", json!(["100000"]))
            .set("interpreter", json!("none"))
    }

    /// An app that does not end when asked to: PM2 waits `kill_timeout_ms` for it and then kills it. What is done
    /// to it takes that long, so a test can come in between.
    #[must_use]
    pub fn stubborn(name: &str, kill_timeout_ms: u32) -> Self {
        Self::sleep(name)
            .set("script", json!("/bin/sh"))
            .set("args", json!(["-c", "trap '' INT TERM; exec sleep 100000"]))
            .set("kill_timeout", json!(kill_timeout_ms))
    }

    /// A Node app that idles, in fork mode. Its script lies in every home.
    #[must_use]
    pub fn node(name: &str) -> Self {
        Self { settings: Map::new() }.set("name", json!(name)).set("script", json!("idle.js"))
    }

    /// A Node app in cluster mode with `instances` instances, which listen on a free local port: a reload waits
    /// for that, and seconds for one that never listens.
    #[must_use]
    pub fn cluster(name: &str, instances: u32) -> Self {
        let app = Self::node(name).set("script", json!("listen.js"));
        app.set("exec_mode", json!("cluster")).set("instances", json!(instances))
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        let variables = self.settings.entry("env").or_insert_with(|| json!({}));
        variables[name] = json!(value);
        self
    }

    /// Sets any key of the ecosystem file: `watch`, `cron_restart`, `namespace`, `max_memory_restart`.
    #[must_use]
    pub fn set(mut self, key: &str, value: Value) -> Self {
        self.settings.insert(key.to_owned(), value);
        self
    }

    pub(crate) fn to_json(&self) -> Value {
        Value::Object(self.settings.clone())
    }
}

/// The host of the first incident: eight apps of three owners on one daemon, each with a canary secret.
#[derive(Debug)]
pub struct EightApps {
    /// The daemon.
    pub pm2: Pm2,
    /// The secret in each app's `DATABASE_URL`, by the app's name. None of them may ever show up anywhere.
    pub canaries: BTreeMap<String, String>,
}

impl EightApps {
    /// The names, in the order of their `pm_id`.
    pub const NAMES: [&str; 8] = [
        "flyer-crawler-api",
        "flyer-crawler-worker",
        "flyer-crawler-analytics-worker",
        "flyer-crawler-api-test",
        "flyer-crawler-worker-test",
        "flyer-crawler-analytics-worker-test",
        "stock-alert",
        "projectium-site",
    ];

    /// Starts a daemon of that version with the eight apps.
    ///
    /// # Panics
    /// If PM2 cannot be installed or started.
    #[must_use]
    pub fn start(version: &str) -> Self {
        let pm2 = Pm2::start(version);
        let mut canaries = BTreeMap::new();
        let apps = Self::NAMES.map(|name| {
            let canary = format!("PALISADE-CANARY-{name}-{}", random_hex(8));
            let url = format!("postgres://app:{canary}@db.internal/{name}");
            canaries.insert(name.to_owned(), canary);
            App::sleep(name).env("DATABASE_URL", &url).env("NODE_ENV", environment_of(name))
        });
        pm2.start_apps(&apps);
        Self { pm2, canaries }
    }

    /// The first canary that shows up in `text`, by its app's name.
    #[must_use]
    pub fn leak_in(&self, text: &str) -> Option<&str> {
        let leaked = self.canaries.iter().find(|(_, canary)| text.contains(canary.as_str()));
        leaked.map(|(name, _)| name.as_str())
    }
}

fn environment_of(name: &str) -> &'static str {
    if name.ends_with("-test") { "test" } else { "production" }
}
