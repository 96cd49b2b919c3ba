//! Where the tests call `palisade` from: a home with a policy and state of its own, beside a daemon.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use palisade_testkit::{Pm2, Ran, Scratch};
use serde_json::Value;

/// The policy for the eight apps of the first incident: exact names in production, the suffix in test.
pub(crate) const EIGHT: &str = r#"revision = 1
[environments.production]
[environments.test]
suffix = "-test"
[[app]]
name = "flyer-crawler"
environment = "production"
processes = ["flyer-crawler-api", "flyer-crawler-worker", "flyer-crawler-analytics-worker"]
[[app]]
name = "flyer-crawler"
environment = "test"
processes = ["flyer-crawler-*-test"]
[[app]]
name = "stock-alert"
environment = "production"
processes = ["stock-alert"]
[[app]]
name = "projectium-site"
environment = "production"
processes = ["projectium-site"]
"#;

pub(crate) const PRODUCTION: &str = "flyer-crawler/production";
pub(crate) const TEST: &str = "flyer-crawler/test";

/// What production's flyer-crawler owns.
pub(crate) const OWN: [&str; 3] =
    ["flyer-crawler-api", "flyer-crawler-worker", "flyer-crawler-analytics-worker"];

/// Who calls: variables, a working folder, a session. Budgets run over it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Caller {
    variables: Vec<(String, String)>,
    folder: Option<PathBuf>,
    own_session: bool,
}

impl Caller {
    /// A job of a GitHub runner, in a run that no other caller has.
    pub(crate) fn job() -> Self {
        static RUNS: AtomicU32 = AtomicU32::new(1);
        let run = RUNS.fetch_add(1, Ordering::Relaxed).to_string();
        Self::default()
            .with("GITHUB_ACTIONS", "true")
            .with("GITHUB_REPOSITORY", "team/flyer-crawler")
            .with("GITHUB_RUN_ID", &run)
            .with("GITHUB_RUN_ATTEMPT", "1")
            .with("GITHUB_JOB", "deploy")
    }

    /// A session of its own without a terminal, as cron and sshd make them.
    pub(crate) fn session() -> Self {
        Self { own_session: true, ..Self::default() }
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn at(mut self, folder: &Path) -> Self {
        self.folder = Some(folder.to_owned());
        self
    }
}

/// A user's home beside a daemon.
pub(crate) struct Site<'d> {
    pm2: &'d Pm2,
    home: Scratch,
}

impl<'d> Site<'d> {
    /// A home with that policy.
    pub(crate) fn new(pm2: &'d Pm2, policy: &str) -> Self {
        let site = Self::without_policy(pm2);
        site.write_policy(policy);
        site
    }

    pub(crate) fn without_policy(pm2: &'d Pm2) -> Self {
        let home = Scratch::new();
        std::fs::create_dir_all(home.join("config/palisade")).unwrap();
        Self { pm2, home }
    }

    pub(crate) fn write_policy(&self, text: &str) {
        self.home.write("config/palisade/palisade.toml", text);
    }

    /// A new folder of that name, as a checkout is one.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        let folder = self.home.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// Runs `palisade` with these words.
    pub(crate) fn palisade(&self, caller: &Caller, words: &[&str]) -> Ran {
        self.run(caller, binary().as_os_str(), words)
    }

    /// `palisade pm2 OPERATION --app .. --environment .. WORDS`; `scope` is `app/environment`.
    pub(crate) fn operate(&self, caller: &Caller, operation: &str, scope: &str, words: &[&str]) -> Ran {
        let (app, environment) = scope.split_once('/').unwrap();
        let head = ["pm2", operation, "--app", app, "--environment", environment];
        self.palisade(caller, &[&head, words].concat())
    }

    /// Runs a shell script in which both `palisade` and `pm2` can be called.
    pub(crate) fn shell(&self, caller: &Caller, script: &str) -> Ran {
        self.run(caller, "sh".as_ref(), &["-euc", script])
    }

    /// Runs a script of `fixtures/` with its arguments.
    pub(crate) fn script(&self, caller: &Caller, words: &[&str]) -> Ran {
        self.run(caller, "sh".as_ref(), words)
    }

    /// The document of `palisade WORDS --json`, and the exit status.
    pub(crate) fn json(&self, caller: &Caller, words: &[&str]) -> (Option<i32>, Value) {
        let ran = self.palisade(caller, &[words, &["--json", "--quiet"]].concat());
        let document = serde_json::from_str(&ran.stdout);
        (ran.exit, document.unwrap_or_else(|error| panic!("no document: {error}: {ran:?}")))
    }

    fn run(&self, caller: &Caller, program: &std::ffi::OsStr, words: &[&str]) -> Ran {
        let mut command = if caller.own_session {
            let mut command = Command::new("setsid");
            command.args(["--wait".as_ref(), program]);
            command
        } else {
            Command::new(program)
        };
        // Apps that a script starts get its folder as their own, so it has to stay as long as they do.
        let folder = caller.folder.as_deref().unwrap_or(self.pm2.home());
        command.args(words).current_dir(folder).stdin(Stdio::null());
        command.env_clear().env("PATH", self.path()).env("HOME", self.home.path());
        command.env("XDG_CONFIG_HOME", self.home.join("config"));
        command.env("XDG_STATE_HOME", self.home.join("state")).env("PM2_HOME", self.pm2.home());
        command.envs(caller.variables.iter().map(|(name, value)| (name, value)));
        let ran = command.output().unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        Ran {
            exit: ran.status.code(),
            stdout: String::from_utf8_lossy(&ran.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&ran.stderr).into_owned(),
        }
    }

    /// The real pm2 and the built palisade, before the tests' own PATH.
    #[expect(clippy::disallowed_methods, reason = "node, sh and setsid are found on the tests' own PATH")]
    fn path(&self) -> OsString {
        let folders = [self.pm2.bin(), binary().parent().unwrap().to_owned()];
        let own = std::env::var_os("PATH").unwrap_or_default();
        std::env::join_paths(folders.into_iter().chain(std::env::split_paths(&own))).unwrap()
    }
}

/// The built `palisade`, beside the tests in the target folder.
pub(crate) fn binary() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let binary = tests.parent().and_then(Path::parent).unwrap().join("palisade");
    assert!(
        binary.exists(),
        "{} is not there: run `cargo build --package palisade-cli --features ablation` first",
        binary.display()
    );
    binary
}

/// A file of `fixtures/`.
pub(crate) fn fixture(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/incidents/fixtures");
    folder.join(name).to_str().unwrap().to_owned()
}

/// What a command said and how it ended, checked.
pub(crate) trait Ended {
    /// Insists on the exit status.
    fn with(self, exit: i32) -> Self;
    /// Insists that it was refused by policy, on these grounds among others.
    fn refused(self, codes: &[&str]) -> Self;
    /// For the end of a table's row.
    fn quiet(self);
}

impl Ended for Ran {
    #[track_caller]
    fn with(self, exit: i32) -> Self {
        assert_eq!(self.exit, Some(exit), "\n{}\n{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    fn refused(self, codes: &[&str]) -> Self {
        let ran = self.with(3);
        let said = format!("{}\n{}", ran.stdout, ran.stderr);
        for code in codes {
            assert!(said.contains(code), "no {code} in:\n{said}");
        }
        ran
    }

    fn quiet(self) {}
}
