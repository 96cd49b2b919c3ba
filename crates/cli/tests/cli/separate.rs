//! Users of their own for daemon, guard and deployers: by one controlled restart, and what it stops.
//!
//! To act as other users takes root.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use palisade_core::Exit;
use palisade_testkit::{EightApps, PATIENCE, Scratch, eventually, process};
use serde_json::Value;

use crate::env::{POLICY, TestEnv, crawler};
use crate::guard::{Guarded, firewall, of_this_home};
use crate::notify::server;
use crate::said::Said;

const DAEMON: u32 = 5101;
const GUARD: u32 = 5102;
const DEPLOYERS: u32 = 5103;
/// A deployer of flyer-crawler in production, and one of stock-alert.
const OF_CRAWLER: u32 = 5111;
const OF_STOCK: u32 = 5112;
/// A runner's user that deploys both.
const OF_BOTH: u32 = 5113;

/// A host whose daemon runs as root with eight apps, and where other users get to everything that they need.
struct Host {
    guarded: Guarded,
    program: PathBuf,
    _place: Scratch,
}

impl Host {
    fn new() -> Self {
        let guarded = Guarded(TestEnv::around(EightApps::start("7.0.4").pm2));
        let env = &guarded.0;
        assert_eq!(env.home().metadata().unwrap().uid(), 0, "run this as root: it takes other users");
        let deployers = |uid: u32| format!("deployers = [{{ uid = {uid} }}, {{ uid = {OF_BOTH} }}]\n");
        let policy = POLICY
            .replace(
                "processes = [\"flyer-crawler-*\"]\n",
                &format!("processes = [\"flyer-crawler-*\"]\n{}", deployers(OF_CRAWLER)),
            )
            .replace(
                "processes = [\"stock-alert\"]\nconfirm = [\"delete\"]\n",
                &format!("processes = [\"stock-alert\"]\n{}", deployers(OF_STOCK)),
            )
            .replace("[environments.production]", "[environments.production]\nmode = \"enforce\"");
        env.write_policy(&policy);
        let place = Scratch::new();
        let program = place.join("palisade-firewall");
        fs::copy(firewall(), &program).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_palisade"), place.join("palisade")).unwrap();
        for path in [place.path(), env.home(), &env.home().join("state"), env.pm2.home(), &program] {
            fs::create_dir_all(path).unwrap_or_default();
            fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
        }
        Self { guarded, program, _place: place }
    }

    fn env(&self) -> &TestEnv {
        &self.guarded.0
    }

    fn install(&self, more: &[&str]) -> Said {
        let (home, pm2) = (self.env().pm2.home().display().to_string(), self.env().pm2.bin().join("pm2"));
        let (program, pm2) = (self.program.display().to_string(), pm2.display().to_string());
        let (daemon, guard, deployers) = (DAEMON.to_string(), GUARD.to_string(), DEPLOYERS.to_string());
        let words = [
            "guard",
            "install",
            "pm2",
            "--isolation",
            "separate-uid",
            "--pm2-home",
            &home,
            "--firewall",
            &program,
            "--pm2",
            &pm2,
            "--daemon-user",
            &daemon,
            "--guard-user",
            &guard,
            "--deployer-group",
            &deployers,
        ];
        self.env().palisade(&[&words, more].concat())
    }

    fn installed() -> Self {
        let host = Self::new();
        host.install(&[&host.confirm()]).ends(Exit::Done);
        host
    }

    fn confirm(&self) -> String {
        format!("--confirm={}", self.env().pm2.home().display())
    }

    /// A command as a deployer of that number, in a session of its own.
    fn as_user(&self, uid: u32, words: &[&str]) -> Said {
        let mut command = Command::new("setsid");
        command.args(["--wait", "setpriv", "--reuid", &uid.to_string(), "--regid", &uid.to_string()]);
        command.args(["--groups", &DEPLOYERS.to_string()]).args(words);
        command
            .env_clear()
            .current_dir("/")
            .env("HOME", "/nonexistent")
            .env("PM2_HOME", self.env().pm2.home());
        #[expect(clippy::disallowed_methods, reason = "node is found by the caller's PATH")]
        command.env("PATH", std::env::var_os("PATH").unwrap());
        command.stdin(Stdio::null()).output().unwrap().into()
    }

    fn pm2_as(&self, uid: u32, args: &[&str]) -> Said {
        let script = self.env().pm2.bin().join("pm2").canonicalize().unwrap();
        self.as_user(uid, &[&["node", script.to_str().unwrap()], args].concat())
    }

    /// `palisade pm2` as a deployer of that number.
    fn palisade_as(&self, uid: u32, words: &[&str]) -> Said {
        let palisade = self.program.with_file_name("palisade");
        self.as_user(uid, &[&[palisade.to_str().unwrap(), "pm2"], words].concat())
    }

    /// Event and user of the journal's records, as the guard's user reads it.
    fn recorded(&self) -> Vec<(String, u64)> {
        let palisade = self.program.with_file_name("palisade").display().to_string();
        let folder = |name: &str, of: &str| format!("{name}={}", self.env().home().join(of).display());
        let (config, state) = (folder("XDG_CONFIG_HOME", "config"), folder("XDG_STATE_HOME", "state"));
        let said = self.as_user(GUARD, &["env", &config, &state, &palisade, "journal", "export"]);
        let records = said.ends(Exit::Done).json_lines();
        let entry = |record: Value| {
            let uid = record["actor"]["observed"]["uid"].as_u64().unwrap();
            (record["event"].as_str().unwrap().to_owned(), uid)
        };
        records.into_iter().map(entry).collect()
    }

    /// A script below a process of `uid` that is no shell, as a runner's is; `admit APP RUN` in it admits a job.
    fn job_as(&self, uid: u32, script: &str) -> Said {
        let palisade = self.program.with_file_name("palisade");
        let pm2 = self.env().pm2.bin().join("pm2").canonicalize().unwrap();
        let script = format!(
            "pm2() {{ node {} \"$@\"; }}\nadmit() {{ GITHUB_ACTIONS=true GITHUB_REPOSITORY=o/r GITHUB_JOB=deploy \
             GITHUB_RUN_ATTEMPT=1 GITHUB_RUN_ID=$2 {} ci admit --offline --app $1 --environment production; }}\n\
             {script}",
            pm2.display(),
            palisade.display()
        );
        let runner = "const run = require('child_process').spawnSync('sh', ['-c', process.argv[1]], { stdio: 'inherit' }); \
                      process.exit(run.status)";
        self.as_user(uid, &["node", "-e", runner, &script])
    }

    /// Names and pids of what runs, by the daemon's own list.
    fn running(&self) -> Vec<(String, u64)> {
        let rows = self.env().palisade(&["pm2", "list", "--json"]).ends(Exit::Done).json();
        let row = |row: &Value| {
            let process = &row["process"];
            Some((process["name"].as_str()?.to_owned(), process["pid"].as_u64()?))
        };
        rows.as_array().unwrap().iter().filter_map(row).collect()
    }

    fn daemon(&self) -> u32 {
        let daemons = self.env().pm2.daemons();
        assert_eq!(daemons.len(), 1, "{daemons:?}");
        daemons[0]
    }
}

fn uid_of(pid: u32) -> u32 {
    fs::metadata(format!("/proc/{pid}")).unwrap().uid()
}

#[test]
fn three_users_are_put_in_force_by_one_confirmed_restart_that_may_be_repeated() {
    let host = Host::new();
    let before = host.running();
    assert_eq!(before.len(), 8);
    let raise = ["ci", "epoch", "raise", "--repository", "acme/shop", "--workflow", "Deploy", "--to", "1"];
    host.env().palisade(&raise).ends(Exit::Done);
    let shown = host.install(&["--dry-run"]).ends(Exit::Done);
    assert!(shown.stdout.contains("END THE DAEMON WITH ALL ITS APPS"), "{}", shown.stdout);
    host.install(&[]).ends(Exit::ConfirmationNeeded);
    assert_eq!(host.running(), before, "nothing was touched");

    host.install(&[&host.confirm()]).ends(Exit::Done);
    let names = |list: &[(String, u64)]| list.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let after = host.running();
    assert_eq!(names(&after), names(&before));
    assert_eq!(uid_of(host.daemon()), DAEMON);
    assert!(after.iter().all(|(_, pid)| uid_of(u32::try_from(*pid).unwrap()) == DAEMON), "{after:?}");
    let list = of_this_home(host.env(), &["guard", "list", "--json"]).ends(Exit::Done).json();
    let guard = &list["guards"][0];
    assert_eq!(
        (&guard["isolation"], &guard["guarded"], &guard["private"]),
        (&"separate-uid".into(), &true.into(), &true.into())
    );
    for process in ["holder", "judge"] {
        assert_eq!(uid_of(u32::try_from(guard[process].as_u64().unwrap()).unwrap()), GUARD, "{process}");
    }
    assert!(!guard["does_not_stop"].to_string().contains("dump.pm2"), "{guard}");

    // What is meant to be open to the guard is no finding, and its own files are not for root to judge.
    let doctor = host.env().palisade(&["doctor"]).ends(Exit::Done).stdout;
    assert!(!doctor.contains("may give the daemon orders"), "its fix would shut the guard out: {doctor}");
    assert!(!doctor.contains("jobs change nothing here"), "{doctor}");
    assert!(doctor.contains(&format!("are kept by uid {GUARD}")), "{doctor}");

    let again = host.install(&[]).ends(Exit::Done);
    assert!(again.stdout.contains("as before"), "{}", again.stdout);
    assert_eq!(host.running(), after, "a repeated call restarts nothing");
}

#[test]
fn deployers_reach_their_own_app_through_the_guard_and_nothing_past_it() {
    let host = Host::installed();
    let (home, before) = (host.env().pm2.home().to_owned(), host.running());
    let pid = |name: &str| before.iter().find(|(own, _)| own == name).unwrap().1.to_string();

    // Through the guard: reading, and one's own.
    let list = host.pm2_as(OF_CRAWLER, &["jlist", "--silent"]);
    assert_eq!(list.exit, Some(0), "{}", list.stderr);
    assert_eq!(host.pm2_as(OF_CRAWLER, &["delete", "all"]).exit, Some(1));
    assert_eq!(host.pm2_as(OF_CRAWLER, &["delete", "stock-alert"]).exit, Some(1));
    assert_eq!(host.pm2_as(OF_STOCK, &["delete", "flyer-crawler-api"]).exit, Some(1));
    assert_eq!(host.pm2_as(5119, &["delete", "stock-alert"]).exit, Some(1), "no deployer of anything");
    assert_eq!(host.running(), before);
    assert_eq!(host.pm2_as(OF_STOCK, &["restart", "stock-alert"]).exit, Some(0));
    assert_eq!(host.pm2_as(OF_STOCK, &["reload", "stock-alert"]).exit, Some(0));

    // Past it: the daemon's own socket, signals, files, a second daemon.
    let direct = format!("PM2_DAEMON_RPC_PORT={}", home.join("private/rpc.sock").display());
    let script = host.env().pm2.bin().join("pm2").canonicalize().unwrap();
    let past = host.as_user(OF_CRAWLER, &["env", &direct, "node", script.to_str().unwrap(), "delete", "all"]);
    assert_ne!(past.exit, Some(0), "{}", past.stdout);
    let daemon = host.daemon();
    for target in [daemon.to_string(), pid("stock-alert"), pid("flyer-crawler-api")] {
        assert_ne!(host.as_user(OF_CRAWLER, &["kill", "-9", &target]).exit, Some(0), "{target}");
    }
    for act in [
        "cat dump.pm2",
        "echo x > dump.pm2",
        "rm dump.pm2",
        "rm rpc.sock",
        "mv guard guard2",
        "rm guard/rpc.sock",
        "ls private",
        "echo x >> logs/stock-alert-out.log",
        "touch new",
    ] {
        let said = host.as_user(OF_CRAWLER, &["sh", "-c", &format!("cd {} && {act}", home.display())]);
        assert_ne!(said.exit, Some(0), "{act} worked: {}", said.stdout);
    }
    assert_ne!(host.pm2_as(OF_CRAWLER, &["flush"]).exit, Some(0));
    let dump = fs::read(home.join("dump.pm2")).unwrap();
    host.pm2_as(OF_CRAWLER, &["save"]);
    assert_eq!(fs::read(home.join("dump.pm2")).unwrap(), dump, "a save of a redacted list is no dump");
    assert_eq!(host.daemon(), daemon);
    // The daemon's own user cannot put another socket in the place of the guard's either.
    let said = Command::new("setpriv")
        .args(["--reuid", &DAEMON.to_string(), "--regid", &DAEMON.to_string(), "--clear-groups", "rm", "-f"])
        .arg(home.join("rpc.sock"))
        .output()
        .unwrap();
    assert!(!said.status.success() && home.join("rpc.sock").is_symlink());
    let untouched: Vec<_> = host.running().into_iter().filter(|(name, _)| name != "stock-alert").collect();
    assert_eq!(untouched.len(), 7);
    assert!(untouched.iter().all(|app| before.contains(app)), "{untouched:?}");
}

#[test]
fn while_the_guard_is_dead_nobody_starts_a_second_daemon() {
    let host = Host::installed();
    let before = host.running();
    for _ in 0..2 {
        host.guarded.firewalls().into_iter().for_each(process::kill);
    }
    // A judge that is just being started shows no name yet, and has the socket.
    let listens = || UnixStream::connect(host.env().pm2.home().join("rpc.sock")).is_ok();
    eventually("the firewall is gone", || {
        host.guarded.firewalls().into_iter().for_each(process::kill);
        (host.guarded.firewalls().is_empty() && !listens()).then_some(())
    });
    for words in [&["list"][..], &["resurrect"], &["delete", "all"]] {
        assert_ne!(host.pm2_as(OF_CRAWLER, words).exit, Some(0), "{words:?}");
    }
    assert_eq!(host.env().pm2.daemons().len(), 1);
    host.install(&[]).ends(Exit::Done);
    assert_eq!(host.pm2_as(OF_CRAWLER, &["jlist", "--silent"]).exit, Some(0));
    assert_eq!(host.running(), before, "the guard alone was started");
}

#[test]
fn what_would_not_separate_anything_is_refused_before_anything_is_touched() {
    let host = Host::new();
    let before = host.running();
    let said = host.install(&["--guard-user", "5101", &host.confirm()]);
    assert!(said.exit != Some(0), "{}", said.stdout);
    fs::set_permissions(host.env().policy(), Permissions::from_mode(0o600)).unwrap();
    let said = host.install(&[&host.confirm()]).ends(Exit::Failure);
    assert!(said.stderr.contains("could not read") && said.stderr.contains("chmod o+r"), "{}", said.stderr);
    assert_eq!(host.running(), before);
    let without = host.env().palisade(&["guard", "install", "pm2", "--isolation", "separate-uid"]);
    assert!(without.ends(Exit::Usage).stderr.contains("--daemon-user"));
}

#[test]
fn a_removal_restarts_nothing_and_leaves_the_daemon_to_its_user() {
    let host = Host::installed();
    let before = host.running();
    of_this_home(host.env(), &["guard", "remove", "pm2"]).ends(Exit::Done);
    assert_eq!(host.running(), before);
    assert!(host.guarded.firewalls().is_empty());
    let home = host.env().pm2.home();
    assert_eq!((home.metadata().unwrap().uid(), host.env().state().metadata().unwrap().uid()), (DAEMON, 0));
    assert_ne!(host.pm2_as(OF_CRAWLER, &["list"]).exit, Some(0), "the daemon is its own user's now");
    of_this_home(host.env(), &["guard", "remove", "pm2"]).ends(Exit::Done);
    host.install(&[]).ends(Exit::Done);
    assert_eq!(host.running(), before, "the daemon runs as its user already: only the guard is started");
}

#[test]
fn a_job_that_was_admitted_is_told_by_its_runners_process_where_its_variables_are_hidden() {
    let host = Host::installed();
    let ran = |uid: u32, script: &str| {
        let said = host.job_as(uid, script);
        (said.exit, format!("{}{}", said.stdout, said.stderr))
    };
    let is_refused = |(exit, text): (Option<i32>, String), code: &str| {
        assert!(exit == Some(1) && text.contains(code), "{code}: {exit:?} {text}");
    };
    is_refused(ran(OF_BOTH, "pm2 restart flyer-crawler-api"), "PAL-401");
    let (exit, text) = ran(OF_BOTH, "admit flyer-crawler 7 && pm2 restart flyer-crawler-api");
    assert!(exit == Some(0) && text.contains("registered:"), "{text}");
    is_refused(ran(OF_BOTH, "admit flyer-crawler 7 && pm2 restart stock-alert"), "PAL-101");
    // Two jobs of two apps below one process: without their variables nothing tells them apart.
    let two = "admit flyer-crawler 7 && admit stock-alert 8 && pm2 restart stock-alert";
    is_refused(ran(OF_BOTH, two), "PAL-401");
    // A registration adds no app.
    is_refused(ran(OF_CRAWLER, "admit stock-alert 9; pm2 restart stock-alert"), "PAL-");
}

#[test]
fn palisades_own_requests_of_other_users_are_carried_out_recorded_and_told_by_the_guard() {
    let (host, (port, bodies)) = (Host::new(), server(&["200 OK"]));
    let policy = fs::read_to_string(host.env().policy()).unwrap();
    let notify = format!("[notify]\nwebhook = \"http://127.0.0.1:{port}/\"\nwindow = \"1s\"\n");
    host.env().write_policy(&format!("{policy}\n{notify}"));
    host.install(&[&host.confirm()]).ends(Exit::Done);
    let before = host.running();
    let planned = host.palisade_as(OF_CRAWLER, &crawler(&["stop", "flyer-crawler-api", "--dry-run"]));
    assert!(planned.ends(Exit::Done).stdout.contains("nothing was touched"));
    for uid in [OF_STOCK, 5119] {
        let said = host.palisade_as(uid, &crawler(&["stop", "flyer-crawler-api"])).ends(Exit::Refused);
        assert!(said.stderr.contains("PAL-431"), "{uid}: {}", said.stderr);
    }
    for _ in 0..3 {
        let said = host.palisade_as(OF_CRAWLER, &crawler(&["stop", "stock-alert"])).ends(Exit::Refused);
        assert!(said.stdout.contains("PAL-101"), "{}", said.stdout);
    }
    // Each refusal of an order is told, equal ones of a caller together.
    let mut told = BTreeMap::<(String, u64), u64>::new();
    let expected = [(("PAL-101", OF_CRAWLER), 3), (("PAL-431", OF_STOCK), 1), (("PAL-431", 5119), 1)]
        .map(|((code, uid), count)| ((code.to_owned(), u64::from(uid)), count));
    while told.values().sum::<u64>() < 5 {
        let body = bodies.recv_timeout(PATIENCE).unwrap();
        let key = (body["code"].as_str().unwrap().to_owned(), body["fields"]["uid"].as_u64().unwrap());
        *told.entry(key).or_default() += body["count"].as_u64().unwrap();
    }
    assert_eq!(told, BTreeMap::from(expected));
    host.palisade_as(OF_CRAWLER, &crawler(&["restart", "--update-env"])).ends(Exit::Usage);
    let palisade = host.program.with_file_name("palisade").display().to_string();
    let deploy = [&crawler(&[&palisade, "deploy"])[..], &["--", "true"]].concat();
    let said = host.as_user(OF_CRAWLER, &deploy).ends(Exit::Refused);
    assert!(said.stderr.contains("takes the lease"), "{}", said.stderr);
    host.env().palisade(&deploy[1..]).ends(Exit::Refused);
    let said = host.palisade_as(OF_CRAWLER, &["restore"]).ends(Exit::Refused);
    assert!(said.stderr.contains("root alone may order it"), "{}", said.stderr);
    assert_eq!(host.running(), before);
    a_plan_is_drawn_without_values_and_carried_out_as_shown(&host);

    let said = host.palisade_as(OF_CRAWLER, &crawler(&["restart", "flyer-crawler-api"])).ends(Exit::Done);
    assert!(said.stdout.contains("by its guard") && said.stdout.contains("verified"), "{}", said.stdout);
    assert!(said.stderr.contains("snapshot ") && said.stderr.contains("8 processes"), "{}", said.stderr);
    let deleted = host.env().palisade(&crawler(&["pm2", "delete", "--json"])).ends(Exit::Done).json();
    assert!(deleted["outcome"].as_u64().is_some(), "{deleted}");
    let left = host.running();
    let names: Vec<&str> = left.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(left.len(), 5, "{names:?}");
    assert!(left.iter().all(|app| before.contains(app)), "{names:?}");

    let recorded = host.recorded();
    for entry in [("refused", OF_CRAWLER), ("outcome", OF_CRAWLER), ("intent", 0), ("outcome", 0)] {
        let entry = (entry.0.to_owned(), u64::from(entry.1));
        assert!(recorded.contains(&entry), "{entry:?} is not in {recorded:?}");
    }
    let said = host.env().palisade(&["pm2", "restore"]).ends(Exit::Done);
    assert!(said.stdout.contains("by its guard") && said.stdout.contains("3 targets"), "{}", said.stdout);
    assert_eq!(host.running().len(), 8);
}

fn a_plan_is_drawn_without_values_and_carried_out_as_shown(host: &Host) {
    let folder = Scratch::new();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
    let file = folder.join("plan.json").display().to_string();
    let draw = [&crawler(&["plan", "restart", "flyer-crawler-worker"])[..], &["--out", &file]].concat();
    let said = host.palisade_as(OF_CRAWLER, &draw).ends(Exit::Done);
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let shown = format!("{}{}{}", said.stdout, said.stderr, fs::read_to_string(&file).unwrap());
    for text in ["environment_names", "NODE_ENV", "CANARY"] {
        assert!(!shown.contains(text), "{text} is in {shown}");
    }
    // Only for whom the app is open, and only once: then it is another process.
    host.palisade_as(OF_STOCK, &["apply", &file]).ends(Exit::Refused);
    let said = host.palisade_as(OF_CRAWLER, &["apply", &file]).ends(Exit::Done);
    assert!(said.stdout.contains("by its guard: 1 targets"), "{}", said.stdout);
    let said = host.palisade_as(OF_CRAWLER, &["apply", &file]).ends(Exit::PlanStale);
    assert!(said.stdout.contains("PAL-112"), "{}", said.stdout);
    let list = host.pm2_as(OF_CRAWLER, &["jlist", "--silent"]);
    assert!(!list.stdout.contains("CANARY"), "the list shows no more than the plan");
}
