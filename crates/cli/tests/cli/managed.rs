//! A managed database: no superuser, no log, a transaction pooler, and connections that are dropped.

use std::process::Command;

use palisade_core::Exit;
use palisade_testkit::{PgBouncer, Postgres, Scratch, psql};

use crate::said::Said;

const TABLE: &str = "CREATE TABLE backfill_jobs (id int PRIMARY KEY, status text, heartbeat_at timestamptz, error text); \
    INSERT INTO backfill_jobs SELECT n, 'running', now() - interval '12 minutes' FROM generate_series(1, 5) n";

/// A database that belongs to the app's role, which is no superuser, through a pooler.
struct Managed {
    home: Scratch,
    server: Postgres,
    pooler: PgBouncer,
}

impl Managed {
    fn new(version: &'static str, settings: &[&str]) -> Self {
        let server = Postgres::start_with(version, settings);
        server.role("app", "");
        server.sql("postgres", "CREATE DATABASE jobs OWNER app");
        server.as_role("app", "jobs", "CREATE SCHEMA IF NOT EXISTS mine").succeeds();
        server.sql("jobs", "GRANT ALL ON SCHEMA public TO app");
        server.as_role("app", "jobs", TABLE).succeeds();
        let pooler = PgBouncer::before(&server, &["app"]);
        Self { home: Scratch::new(), server, pooler }
    }

    fn run(&self, words: &[&str]) -> Said {
        self.run_at(&self.pooler.url("app", "jobs"), words)
    }

    fn run_at(&self, url: &str, words: &[&str]) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_palisade"));
        command.args(words).env_clear().env("HOME", self.home.path());
        command.env("PALISADE_DATABASE_URL", url);
        Said::from(command.output().unwrap())
    }
}

const INSTALL: [&str; 13] = [
    "guard",
    "install",
    "table",
    "backfill_jobs",
    "--status",
    "status",
    "--running",
    "running",
    "--heartbeat",
    "heartbeat_at",
    "--mode",
    "enforce",
    "--done=completed",
];

#[test]
fn on_a_managed_database_each_feature_says_how_much_of_it_there_is_and_the_guard_is_whole() {
    for version in palisade_testkit::postgres::VERSIONS {
        let managed = Managed::new(version, &[]);
        let identity = managed.run(&["db", "identify", "--json"]).ends(Exit::Done).json();
        let level = |feature: &str| {
            let list = identity["abilities"].as_array().unwrap();
            let found = list.iter().find(|ability| ability["feature"] == feature);
            found.unwrap_or_else(|| panic!("no {feature}: {identity}"))["level"].as_str().unwrap().to_owned()
        };
        for (feature, expected) in [
            ("guard tables", "partial"),
            ("guard against the table's owner", "none"),
            ("say who was refused", "partial"),
            ("see every connection", "partial"),
            ("keep who logs in", "none"),
            ("rotate a role", "none"),
            ("let the database sleep", "full"),
        ] {
            assert_eq!(level(feature), expected, "{feature} on {version}");
        }
        managed.run(&INSTALL).ends(Exit::Done);
        let mut stale = palisade_testkit::psql::Psql::open(&managed.pooler.url("app", "jobs"));
        let (_, state) = stale.ask("UPDATE backfill_jobs SET status = 'cancelled'");
        assert_eq!(state, "PL301");
        let report = managed.run(&["guard", "report", "table"]).ends(Exit::Done).stdout;
        assert!(report.contains("refused:  1 in this database; count only"), "{report}");
        let verified = managed.run(&["guard", "verify", "table"]).ends(Exit::Done).stdout;
        assert!(verified.contains("weak: [PAL-356]"), "{verified}");
        managed.run(&["guard", "verify", "table", "--strict"]).ends(Exit::VerificationFailed);
        managed.run(&["db", "expect", "environment", "production"]).ends(Exit::Done);
        managed.run(&["db", "audit", "--for", "1ms", "--every", "1ms"]).stdout.contains("samples");
        managed.run(&["guard", "mode", "table", "backfill_jobs", "observe"]).ends(Exit::Done);
        managed.run(&["guard", "remove", "table", "backfill_jobs"]).ends(Exit::Done);
    }
}

/// What is asked again and again, and how many statements that may be, its connection included.
const LOOKS: [(&[&str], usize); 2] =
    [(&["guard", "verify", "table"], 40), (&["db", "beacon", "--environment", "production", "--once"], 20)];

/// Its figures are those of docs/database.md; `--no-capture` prints them.
#[test]
fn a_look_at_the_guards_costs_few_queries_and_between_two_looks_there_are_none() {
    let managed = Managed::new("15", &["log_statement=all", "log_connections=on"]);
    // The pooler would keep a connection of its own.
    let straight = managed.server.url("app", "jobs");
    managed.run_at(&straight, &INSTALL).ends(Exit::Done);
    managed.run_at(&straight, &["db", "stamp", "--environment", "production"]).ends(Exit::Done);
    let queries = || {
        let log = managed.server.log();
        log.lines().filter(|line| line.contains("statement: ") || line.contains("execute ")).count()
    };
    for (words, most) in LOOKS {
        let before = queries();
        managed.run_at(&straight, words).ends(Exit::Done);
        let cost = queries() - before;
        println!("{}: {cost} queries a look, {} an hour every 5 minutes", words.join(" "), cost * 12);
        assert!((1..=most).contains(&cost), "{words:?} costs {cost} queries");
    }
    // The connection ended with the look: nothing of ours is left to keep a database awake.
    let left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'palisade' AND backend_type = 'client backend'";
    palisade_testkit::eventually("nothing of ours is connected", || {
        (psql(&managed.server.admin("jobs"), left).succeeds() == "0").then_some(())
    });
}
