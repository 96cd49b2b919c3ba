//! Adopting the tables of real job libraries, while their own load runs, and letting them go again.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use palisade_dbguard::columns::Elsewhere;
use palisade_dbguard::profile::Profile;
use palisade_dbguard::script::Named;
use palisade_dbguard::{Budget, Mode, Rules, Table};
use palisade_testkit::{clients, eventually, process};
use serde_json::Value;

use crate::fixture::{Jobs, wait};

/// A library at work in a process of its own.
struct Library {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Library {
    /// Every session of it fails where it waits for a lock for a second: nobody may make it wait that long.
    fn start(name: &str, url: &str) -> Self {
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/libraries").join(format!("{name}.mjs"));
        let mut node = Command::new("node");
        node.arg(script).env("QUEUE_MODULES", clients::queues());
        node.env("QUEUE_URL", format!("{url}?options=-c%20lock_timeout%3D1s"));
        let mut child = node.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdin, stdout }
    }

    fn ask(&mut self, line: &str) -> Value {
        writeln!(self.stdin, "{line}").unwrap();
        let mut answer = String::new();
        self.stdout.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{line}: {answer:?}"))
    }

    #[track_caller]
    fn does(&mut self, line: &str) -> Value {
        let answer = self.ask(line);
        assert!(answer.get("error").is_none(), "{line}: {answer}");
        answer
    }

    fn done(&mut self) -> u64 {
        self.does("counts")["done"].as_u64().unwrap()
    }

    /// Waits until it has done so many more jobs.
    fn goes_on(&mut self, what: &str) {
        let before = self.done();
        eventually(what, || (self.done() >= before + 20).then_some(()));
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        process::kill(self.child.id());
        drop(self.child.wait());
    }
}

/// What `--profile` makes of a table.
pub(crate) fn profiled(jobs: &Jobs, table: &str, name: &str) -> (Named, Rules) {
    let profile = Profile::named(name).unwrap();
    let owned = |list: &[&str]| list.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let (found, elsewhere) = wait(async {
        let session = jobs.connect("postgres").await;
        let found = Table::find(&session, table).await.unwrap();
        assert_eq!(Profile::of(&found).map(|profile| profile.name), Some(name), "--inspect knows it");
        let elsewhere = match profile.elsewhere(&found) {
            Some(there) => Some(Elsewhere::find(&session, &there).await.unwrap()),
            None => None,
        };
        (found, elsewhere)
    });
    let named = Named {
        status: profile.status.to_owned(),
        claimed: profile.claimed,
        beat: profile.beat(&found).to_owned(),
        elsewhere,
        own: owned(profile.own_columns),
        reason: profile.reason.map(str::to_owned),
        ..Named::default()
    };
    let rules = Rules {
        mode: Mode::Enforce,
        running: owned(profile.running),
        done: owned(profile.done),
        own: owned(profile.own),
        min_age: profile.min_age(),
        quiet_after: profile.quiet_after(),
        reason: None,
        mark: None,
        budget: Budget { jobs: 3, ..crate::fixture::rules().budget },
        ..crate::fixture::rules()
    };
    (named, rules)
}

/// A database in which the library has made its tables.
fn migrated(version: &'static str, name: &str) -> (Jobs, Library) {
    let jobs = Jobs::unguarded(version);
    jobs.admin("GRANT CREATE ON DATABASE jobs TO app");
    let mut library = Library::start(name, &jobs.url());
    library.does("migrate");
    (jobs, library)
}

fn adopted_and_let_go_under_load(version: &'static str, name: &str, table: &str) {
    let (jobs, mut library) = migrated(version, name);
    let dump = || (version == "15").then(|| jobs.server.dump_as("postgres", "jobs"));
    let before = dump();
    let (named, rules) = profiled(&jobs, table, name);
    library.does("load");
    library.goes_on("without a guard");
    for (mode, role) in [(Mode::Observe, "app"), (Mode::Enforce, "postgres")] {
        let rules = Rules { mode, ..rules.clone() };
        jobs.install_as(role, table, &named, &rules).unwrap();
        library.goes_on("behind a guard");
        jobs.install_as(role, table, &named, &Rules { mode: Mode::Enforce, ..rules }).unwrap();
        library.goes_on("behind a guard that refuses");
        assert_eq!(crate::verified::damages(&jobs), [""; 0]);
        let seen = jobs
            .admin("SELECT count(*) > 20, count(*) FILTER (WHERE code IS NOT NULL) FROM palisade.history");
        assert_eq!(seen, "t|0", "{}", jobs.server.log());
        assert_eq!(
            jobs.admin("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM palisade.refused"),
            "0"
        );
        jobs.remove(role, table, true).unwrap();
        library.goes_on("after the guard is gone");
    }
    if name == "graphile-worker" {
        library.does("hurry");
    }
    let end = library.does("stop");
    assert_eq!((&end["done"], end["errors"].as_array().map(Vec::len)), (&end["sent"], Some(0)), "{end}");
    assert!(end["failed"].as_u64() > Some(5), "attempts that fail are part of the load: {end}");
    assert_eq!(dump(), before);
}

#[test]
fn pg_boss_goes_on_while_its_table_is_adopted_and_let_go() {
    adopted_and_let_go_under_load("15", "pg-boss", "pgboss.job");
}

#[test]
fn graphile_worker_goes_on_while_its_table_is_adopted_and_let_go() {
    adopted_and_let_go_under_load("15", "graphile-worker", "graphile_worker._private_jobs");
}

#[test]
fn both_go_on_on_18_too() {
    adopted_and_let_go_under_load("18", "pg-boss", "pgboss.job");
    adopted_and_let_go_under_load("18", "graphile-worker", "graphile_worker._private_jobs");
}

/// Puts a guard in enforce behind a library's table.
fn guard(jobs: &Jobs, table: &str, name: &str) {
    let (named, rules) = profiled(jobs, table, name);
    jobs.install(table, &named, &rules).unwrap();
    jobs.up_for_a_day();
}

#[test]
fn pg_boss_rescues_what_ran_too_long_and_a_loop_that_cancels_is_bounded() {
    let (jobs, mut boss) = migrated("18", "pg-boss");
    let taken = boss.does("fetch shared 8");
    jobs.admin(
        "UPDATE pgboss.job SET started_on = now() - interval '16 minutes', heartbeat_on = now() - interval '16 minutes'",
    );
    guard(&jobs, "pgboss.job", "pg-boss");
    boss.does("supervise shared");
    assert_eq!(jobs.admin("SELECT state, count(*) FROM pgboss.job GROUP BY 1"), "retry|8", "{taken}");
    assert_eq!(jobs.admin("SELECT DISTINCT ground FROM palisade.history WHERE event = 'exit'"), "old");
    // A queue made later, with a partition of its own, is guarded too.
    boss.does("queue later");
    let taken = boss.does("fetch later 6")["jobs"].clone();
    let id = |at: usize| taken[at].as_str().unwrap();
    boss.does(&format!("complete later {}", id(0)));
    boss.does(&format!("fail later {}", id(1)));
    jobs.admin("UPDATE palisade.job SET entered_at = entered_at - interval '12 minutes'");
    let stale = "UPDATE pgboss.job SET state = 'cancelled' WHERE state = 'active'";
    jobs.app(stale).fails("PL302");
    boss.does(&format!("cancel later {}", id(2)));
    assert_eq!(
        jobs.admin("SELECT state, count(*) FROM pgboss.job WHERE name = 'later' GROUP BY 1 ORDER BY 1"),
        "retry|1\nactive|3\ncompleted|1\ncancelled|1"
    );
}

#[test]
fn graphile_worker_rescues_after_its_four_hours_and_an_early_unlock_is_bounded() {
    let (jobs, mut graphile) = migrated("15", "graphile-worker");
    let locked = |age: &str| {
        jobs.admin(&format!(
            "INSERT INTO graphile_worker._private_tasks (identifier) VALUES ('work') ON CONFLICT DO NOTHING; \
             INSERT INTO graphile_worker._private_jobs (task_id, locked_at, locked_by) \
             SELECT 1, now() - interval '{age}', '{age}' FROM generate_series(1, 5)"
        ));
    };
    let still = |age: &str| {
        jobs.admin(&format!("SELECT count(*) FROM graphile_worker._private_jobs WHERE locked_by = '{age}'"))
    };
    locked("5hours");
    locked("10minutes");
    guard(&jobs, "graphile_worker._private_jobs", "graphile-worker");
    let refused = graphile.ask("unlock 10minutes");
    assert!(refused["error"].as_str().unwrap().starts_with("PL302"), "{refused}");
    graphile.does("rescue");
    assert_eq!((still("5hours").as_str(), still("10minutes").as_str()), ("0", "5"));
    jobs.app("TRUNCATE graphile_worker._private_jobs").fails("PL303");
}
