//! A host of its own for each test: home, policy, state, a real daemon with eight apps.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use palisade_core::Exit;
use palisade_testkit::{App, EightApps, Pm2, Scratch, process};
use serde_json::Value;

use crate::said::{Said, settled};

/// The PM2 that these tests run on; the adapter's own tests cover the other versions.
const VERSION: &str = "7.0.4";

/// Its least form, and one app whose deletion a person has to confirm.
pub(crate) const POLICY: &str = r#"revision = 1

[environments.production]

[environments.test]
suffix = "-test"

[[app]]
name = "flyer-crawler"
environment = "production"
processes = ["flyer-crawler-*"]

[[app]]
name = "flyer-crawler"
environment = "test"
processes = ["flyer-crawler-*-test"]

[[app]]
name = "stock-alert"
environment = "production"
processes = ["stock-alert"]
confirm = ["delete"]

[[app]]
name = "projectium-site"
environment = "production"
processes = ["projectium-site"]
"#;

/// The scope whose three processes most tests take down.
pub(crate) const CRAWLER: [&str; 4] = ["--app", "flyer-crawler", "--environment", "production"];

/// Words of a command line, ending with the scope [`CRAWLER`].
pub(crate) fn crawler<'a>(words: &[&'a str]) -> Vec<&'a str> {
    [words, &CRAWLER].concat()
}

/// One host.
#[derive(Debug)]
pub(crate) struct TestEnv {
    pub(crate) pm2: Pm2,
    folder: Scratch,
    /// Name and pid of what ran when the host was made.
    running: Vec<(String, u32)>,
}

impl TestEnv {
    /// A host whose daemon runs the eight apps, under [`POLICY`].
    pub(crate) fn new() -> Self {
        Self::around(EightApps::start(VERSION).pm2)
    }

    /// A host whose daemon runs these apps.
    pub(crate) fn with(apps: &[App]) -> Self {
        let pm2 = Pm2::start(VERSION);
        pm2.start_apps(apps);
        Self::around(pm2)
    }

    /// A host without a daemon.
    pub(crate) fn without_daemon() -> Self {
        let pm2 = Pm2::home_only(VERSION);
        let env = Self { running: Vec::new(), pm2, folder: Scratch::new() };
        env.write_policy(POLICY);
        env
    }

    /// A host around a daemon that runs, under [`POLICY`].
    pub(crate) fn around(pm2: Pm2) -> Self {
        let running = pm2.running();
        let env = Self { running, pm2, folder: Scratch::new() };
        env.write_policy(POLICY);
        env
    }

    /// Its HOME, which holds `config`, `state` and whatever a test puts there.
    pub(crate) fn home(&self) -> &Path {
        self.folder.path()
    }

    /// The state folder.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.join("state/palisade")
    }

    /// The policy's path.
    pub(crate) fn policy(&self) -> PathBuf {
        self.folder.join("config/palisade/palisade.toml")
    }

    /// Puts another policy in force.
    pub(crate) fn write_policy(&self, text: &str) {
        assert!(
            !Path::new("/etc/palisade/palisade.toml").exists(),
            "this host has a Palisade policy of its own, which would be in force here: test elsewhere"
        );
        std::fs::create_dir_all(self.policy().parent().unwrap()).unwrap();
        std::fs::write(self.policy(), text).unwrap();
    }

    /// Writes a file into HOME and gives its path as text.
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        self.folder.write(name, text).display().to_string()
    }

    /// A path in HOME as text.
    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// The binary with this host's variables and no others but PATH.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_palisade"));
        command.args(args);
        self.surround(&mut command);
        command
    }

    /// Gives a command this host's variables and no others but PATH.
    pub(crate) fn surround(&self, command: &mut Command) {
        command.env_clear().current_dir(self.home()).stdin(Stdio::null());
        command.env("HOME", self.home()).env("PM2_HOME", self.pm2.home());
        command.env("XDG_CONFIG_HOME", self.folder.join("config"));
        command.env("XDG_STATE_HOME", self.folder.join("state"));
        // Guards that one test opens are not open in another.
        command.env("PALISADE_RUNTIME", self.folder.join("runtime"));
        // The switch of the ablation run goes through to the binary under test.
        for name in ["PATH", "PALISADE_ABLATE"] {
            #[expect(clippy::disallowed_methods, reason = "a test hands on two of its own variables")]
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
    }

    /// Runs the binary to its end.
    pub(crate) fn palisade(&self, args: &[&str]) -> Said {
        self.command(args).output().unwrap().into()
    }

    /// Runs the binary with further variables.
    pub(crate) fn palisade_with(&self, args: &[&str], variables: &[(&str, &str)]) -> Said {
        self.command(args).envs(variables.iter().copied()).output().unwrap().into()
    }

    /// Starts the binary; its outputs are kept until [`ended`].
    pub(crate) fn spawn(&self, args: &[&str]) -> Child {
        self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// The journal's records, oldest first.
    pub(crate) fn records(&self) -> Vec<Value> {
        self.palisade(&["journal", "export"]).ends(Exit::Done).json_lines()
    }

    /// The records of that event.
    pub(crate) fn events(&self, event: &str) -> Vec<Value> {
        self.records().into_iter().filter(|record| record["event"] == event).collect()
    }

    /// Pids that ran under this name when the host was made.
    pub(crate) fn pid_of(&self, name: &str) -> u32 {
        let found = self.running.iter().find(|(running, _)| running == name);
        found.unwrap_or_else(|| panic!("no {name} ran at first")).1
    }

    /// Checks, in the process table, that each process beside these has run on since the host was made.
    #[track_caller]
    pub(crate) fn assert_untouched_but(&self, taken: &[&str]) {
        for (name, pid) in &self.running {
            if !taken.contains(&name.as_str()) {
                assert!(process::is_running(*pid), "{name} (pid {pid}) was touched");
            }
        }
    }

    /// `text` with this host's paths, pids, times and ids replaced by their kinds.
    pub(crate) fn settled(&self, text: &str) -> String {
        let pm2_home = self.pm2.home().display().to_string();
        let home = self.home().display().to_string();
        settled(&text.replace(&pm2_home, "PM2_HOME").replace(&home, "HOME"))
    }
}

/// Waits for the end of a spawned run.
pub(crate) fn ended(child: Child) -> Said {
    child.wait_with_output().unwrap().into()
}

/// The three processes of [`CRAWLER`].
pub(crate) const CRAWLER_PROCESSES: [&str; 3] =
    ["flyer-crawler-api", "flyer-crawler-worker", "flyer-crawler-analytics-worker"];
