//! `palisade db identify`, on a real server.

use std::process::Command;

use palisade_core::Exit;
use palisade_testkit::{PgBouncer, Postgres, Scratch};

use crate::said::Said;

/// Variables and words of one command line.
type Way<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);

/// Runs the binary with these variables, in a home of its own.
fn palisade(home: &Scratch, variables: &[(&str, &str)], words: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_palisade"));
    command.args(words).env_clear().env("HOME", home.path()).envs(variables.iter().copied());
    Said::from(command.output().unwrap())
}

#[test]
fn the_url_comes_from_a_file_a_variable_or_the_default_and_its_password_is_never_said() {
    let (home, server) = (Scratch::new(), Postgres::start("15"));
    server.role("app", "");
    let url = server.url("app", "postgres");
    let file = format!("@{}", home.write("url", &format!("{url}\n")).display());
    let ways: [Way; 4] = [
        (&[("PALISADE_DATABASE_URL", &url)], &["db", "identify"]),
        (&[("DATABASE_URL", &url)], &["db", "identify", "env:DATABASE_URL"]),
        (&[], &["db", "identify", &file]),
        (&[], &["db", "identify", "--database", &url]),
    ];
    for (variables, words) in ways {
        let said = palisade(&home, variables, words).ends(Exit::Done);
        assert!(said.stdout.contains("PostgreSQL 15"), "{words:?}: {}", said.stdout);
        let document = palisade(&home, variables, &[words, &["--json"]].concat()).ends(Exit::Done).json();
        assert_eq!(document["role"]["name"], "app", "{words:?}");
        for text in [said.stdout, said.stderr.clone(), document.to_string()] {
            assert!(!text.contains("test-only"), "{words:?}: {text}");
        }
        let warned = said.stderr.contains("is seen by every user");
        assert_eq!(warned, words.contains(&url.as_str()), "{words:?}: {}", said.stderr);
    }
}

#[test]
fn no_url_a_wrong_one_and_an_unreachable_one_end_with_their_own_exit_codes() {
    let home = Scratch::new();
    let said = palisade(&home, &[], &["db", "identify"]).ends(Exit::Usage);
    assert!(said.stderr.contains("PALISADE_DATABASE_URL"), "{}", said.stderr);
    palisade(&home, &[], &["db", "identify", "env:NOT_SET"]).ends(Exit::Usage);
    let said = palisade(&home, &[], &["db", "identify", "@/no/such/file"]).ends(Exit::Failure);
    assert!(said.stderr.contains("fix: name a file that is there"), "{}", said.stderr);
    let said = palisade(&home, &[], &["db", "identify", "postgres://a@h:99999/b"]).ends(Exit::Usage);
    assert!(said.stderr.contains("0 to 65535"), "{}", said.stderr);
    palisade(&home, &[], &["db", "identify", "mysql://a@b/c"]).ends(Exit::Usage);
    let said = palisade(&home, &[], &["db", "identify", "postgres://a@127.0.0.1:1/b"]);
    assert!(said.ends(Exit::Unreachable).stderr.contains("PAL-005"));
}

#[test]
fn identify_names_everything_that_tells_a_database_a_role_and_a_way_from_others() {
    let home = Scratch::new();
    let server = Postgres::start_with(
        "15",
        &["neon.project_id=dry-1", "neon.branch_id=br-main", "neon.endpoint_id=ep-7"],
    );
    server.sql("postgres", "CREATE DATABASE jobs");
    server.role("app", "CREATEROLE");
    server.as_role("app", "jobs", "SELECT 1").succeeds();
    server.sql("jobs", "CREATE TABLE j (id int PRIMARY KEY, status text, beat timestamptz)");
    let admin = [("PALISADE_DATABASE_URL", &*server.admin("jobs"))];
    palisade(&home, &admin, &["db", "stamp", "--environment", "production"]).ends(Exit::Done);
    let guard = "guard install table j --status status --running r --heartbeat beat";
    palisade(&home, &admin, &guard.split(' ').collect::<Vec<_>>()).ends(Exit::Done);
    let pooler = PgBouncer::before(&server, &["app"]);
    let facts = server.sql(
        "jobs",
        "SELECT (SELECT system_identifier FROM pg_control_system()), oid FROM pg_database WHERE datname = 'jobs'",
    );
    let (system, oid) = facts.split_once('|').unwrap();
    let by_app = [("PALISADE_DATABASE_URL", &*pooler.url("app", "jobs"))];
    let said = palisade(&home, &by_app, &["db", "identify"]).ends(Exit::Done).stdout;
    for part in [
        &format!("jobs ({system}/{oid}/br-main)"),
        &format!(
            "PostgreSQL 15.{}",
            server.sql("jobs", "SHOW server_version").split(['.', ' ']).nth(1).unwrap()
        ),
        &format!(" at 127.0.0.1:{}", server.port()),
        &format!("system identifier {system}, oid {oid}, timeline 1"),
        "provider    Neon",
        "neon.project_id dry-1",
        "neon.branch_id br-main",
        "neon.endpoint_id ep-7",
        "app: may make roles; owns 0 tables",
        "a pooler in transaction mode",
        "stamp       production",
        "guarded",
        "here Palisade can",
        "rotate a role",
        "let the database sleep",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let document = palisade(&home, &by_app, &["db", "identify", "--json"]).ends(Exit::Done).json();
    assert_eq!(document["server"]["system_identifier"], system);
    assert_eq!(document["server"]["database_oid"].to_string(), oid);
    assert_eq!(document["server"]["address"], format!("127.0.0.1:{}", server.port()));
    assert_eq!(
        (document["server"]["timeline"].as_u64(), &document["between"]),
        (Some(1), &"transaction-pooler".into())
    );
    assert_eq!(document["server"]["provider_ids"].as_array().unwrap().len(), 3);
    assert_eq!(
        (&document["role"]["create_role"], &document["role"]["superuser"]),
        (&true.into(), &false.into())
    );
    assert_eq!(document["stamp"]["environment"], "production");
    let abilities = document["abilities"].as_array().unwrap();
    assert!(
        abilities.len() == 7
            && abilities.iter().all(|one| one["level"].is_string() && one["reason"].is_string())
    );
    // The branch of such a provider is another database, though everything else is the same.
    server.sql("postgres", "ALTER DATABASE jobs SET neon.branch_id = 'br-copy'");
    let id = document["id"].as_str().unwrap();
    let said = palisade(&home, &admin, &["db", "identify", "--expect", id]).ends(Exit::Refused);
    assert!(said.stderr.contains("PAL-311"), "{}", said.stderr);
    let said =
        palisade(&home, &admin, &["guard", "mode", "table", "j", "enforce", "--environment", "production"]);
    assert!(said.ends(Exit::Refused).stderr.contains("another branch of the provider"));
    assert_eq!(server.sql("jobs", "SELECT palisade.flaw()"), "copy");
}

#[test]
fn another_database_than_the_expected_one_ends_with_exit_3() {
    let (home, server) = (Scratch::new(), Postgres::start("18"));
    server.sql("postgres", "CREATE DATABASE jobs");
    // What a server says is said once.
    let none = palisade(&home, &[("NONE", &server.admin("nowhere"))], &["db", "identify", "env:NONE"]);
    let none = none.ends(Exit::Unreachable).stderr;
    assert_eq!(none.matches("\"nowhere\" does not exist").count(), 1, "{none}");
    assert!(!none.contains("because:"), "{none}");
    server.sql("postgres", "CREATE DATABASE copy TEMPLATE jobs");
    let variables = [("MEANT", server.admin("jobs")), ("COPY", server.admin("copy"))];
    let variables: Vec<_> = variables.iter().map(|(name, url)| (*name, url.as_str())).collect();
    let ask = |words: &[&str]| palisade(&home, &variables, &[&["db", "identify"], words].concat());
    let id = ask(&["env:MEANT", "--json"]).ends(Exit::Done).json()["id"].as_str().unwrap().to_owned();
    ask(&["env:MEANT", "--expect", &id]).ends(Exit::Done);
    let said = ask(&["env:COPY", "--expect", &id]).ends(Exit::Refused);
    assert!(said.stderr.contains("PAL-311") && said.stdout.is_empty(), "{}{}", said.stdout, said.stderr);
}

/// The incident's table with a silent job in it, and the words that guard it.
fn jobs_table(server: &Postgres) -> Vec<&'static str> {
    server.sql("postgres", "CREATE DATABASE jobs");
    server.sql(
        "jobs",
        "CREATE TYPE job_status AS ENUM ('queued', 'running', 'completed', 'failed', 'cancelled'); \
         CREATE TABLE backfill_jobs (id int PRIMARY KEY, status job_status, heartbeat_at timestamptz, error text); \
         INSERT INTO backfill_jobs VALUES (1, 'running', now() - interval '12 minutes', NULL)",
    );
    let words =
        "guard install table public.backfill_jobs --status status --running running --heartbeat heartbeat_at";
    let more = "--done completed --own queued,failed";
    words.split(' ').chain(more.split(' ')).collect()
}

#[test]
fn a_guard_is_installed_listed_reported_verified_and_removed_from_the_command_line() {
    let (home, server) = (Scratch::new(), Postgres::start("15"));
    let install = jobs_table(&server);
    let url = server.admin("jobs");
    let run = |words: &[&str]| palisade(&home, &[("PALISADE_DATABASE_URL", &url)], words);
    let table = "public.backfill_jobs";
    run(&["guard", "report", "table", table]).ends(Exit::Failure);
    run(&["guard", "remove", "table", table]).ends(Exit::Failure);
    let proposed = run(&["guard", "install", "table", table, "--inspect"]).ends(Exit::Done);
    assert!(proposed.stdout.contains(&install.join(" ")), "{}", proposed.stdout);
    let shown = run(&[&install[..], &["--dry-run"]].concat()).ends(Exit::Done).stdout;
    assert_eq!(
        server.sql("jobs", "SELECT to_regnamespace('palisade') IS NULL"),
        "t",
        "a dry run writes nothing"
    );
    let unfinished = run(&install[..install.len() - 4]).ends(Exit::Done).stderr;
    assert!(unfinished.contains("no state is named with --done"), "{unfinished}");
    let finished = run(&install).ends(Exit::Done).stderr;
    assert!(!finished.contains("--done"), "{finished}");
    let guards = run(&["guard", "list", "table", "--json"]).ends(Exit::Done).json();
    assert_eq!(guards[0]["rules"]["mode"], "observe");
    let reaper = "UPDATE backfill_jobs SET status = 'cancelled' WHERE id = 1";
    server.sql("jobs", &format!("BEGIN; {reaper}; ROLLBACK"));
    run(&["guard", "mode", "table", table, "enforce"]).ends(Exit::Done);
    server.as_role("postgres", "jobs", reaper).fails("PL301");
    let report = run(&["guard", "report", "table"]).ends(Exit::Done);
    assert!(report.stdout.contains("refused:  1 in this database"), "{}", report.stdout);
    run(&["guard", "verify", "table"]).ends(Exit::Done);
    server.sql("jobs", "ALTER TABLE backfill_jobs DISABLE TRIGGER palisade_rows");
    let damaged = run(&["guard", "verify", "table"]).ends(Exit::VerificationFailed);
    assert!(damaged.stdout.contains("PAL-316"), "{}", damaged.stdout);
    run(&["guard", "remove", "table", table]).ends(Exit::Done);
    assert_eq!(server.sql("jobs", "SELECT to_regnamespace('palisade') IS NULL"), "t");
    assert_eq!(server.sql("jobs", "SELECT to_regrole('palisade_owner') IS NULL"), "t");
    // What a dry run shows is what installs.
    server.sql("jobs", &shown);
    run(&["guard", "verify", "table"]).ends(Exit::Done);
}

#[test]
fn a_stolen_job_names_its_thief_and_is_given_back() {
    let (home, server) = (Scratch::new(), Postgres::start("15"));
    let install = jobs_table(&server);
    let url = server.admin("jobs");
    let run = |words: &[&str]| palisade(&home, &[("PALISADE_DATABASE_URL", &url)], words);
    let table = "public.backfill_jobs";
    run(&["explain", "row", table, "1"]).ends(Exit::Failure);
    run(&install).ends(Exit::Done);
    let nothing = run(&["explain", "row", table, "1"]).ends(Exit::Done);
    assert!(nothing.stdout.contains("no exit is recorded"), "{}", nothing.stdout);
    let reaper =
        "SET application_name = 'atom-saas-test'; UPDATE backfill_jobs SET status = 'cancelled' WHERE id = 1";
    server.sql("jobs", reaper);
    let said = run(&["explain", "row", table, "1"]).ends(Exit::Done);
    for part in [
        "running -> cancelled",
        "atom-saas-test",
        "proved:    nothing, holding no term",
        "broke PAL-301",
        "role postgres",
    ] {
        assert!(said.stdout.contains(part), "{part}: {}", said.stdout);
    }
    assert!(said.stderr.contains("undo: palisade db undo"), "{}", said.stderr);
    let undo = ["db", "undo", table, "--since", "1h", "--by", "atom-saas-test"];
    let planned = run(&[&undo[..], &["--dry-run"]].concat()).ends(Exit::Done);
    assert!(planned.stdout.contains("goes back to running"), "{}", planned.stdout);
    let status = || server.sql("jobs", "SELECT status FROM backfill_jobs");
    assert_eq!(status(), "cancelled", "a dry run touches nothing");
    let given = run(&[&undo[..], &["--json"]].concat()).ends(Exit::Done).json();
    assert_eq!((given["given_back"][0].as_str(), status().as_str()), (Some("1"), "running"));
    run(&["db", "undo", table]).ends(Exit::Usage);
}

#[test]
fn wrong_words_for_a_guard_are_told_before_a_database_is_written() {
    let (home, server) = (Scratch::new(), Postgres::start("18"));
    let install = jobs_table(&server);
    let url = server.admin("jobs");
    let run =
        |words: &[&str]| palisade(&home, &[("PALISADE_DATABASE_URL", &url)], &[&install[..], words].concat());
    for words in [
        &["--quiet-after", "30s"][..],
        &["--min-age", "1m"],
        &["--budget", "3"],
        &["--user-mark", "error"],
        &["--reason", "^x"],
        &["--reason", "(", "--reason-column", "error"],
        &["--running", ""],
    ] {
        run(words).ends(Exit::Usage);
    }
    run(&["--done", "finished"]).ends(Exit::Failure);
    run(&["--expect", "1/2"]).ends(Exit::Refused);
    assert_eq!(server.sql("jobs", "SELECT to_regnamespace('palisade') IS NULL"), "t");
}

#[test]
fn a_librarys_table_is_recognised_and_guarded_by_its_profile() {
    let (home, server) = (Scratch::new(), Postgres::start("15"));
    server.sql(
        "postgres",
        "CREATE TABLE _private_jobs (id bigint PRIMARY KEY, task_id int, run_at timestamptz, attempts int, max_attempts int, \
         last_error text, locked_at timestamptz, locked_by text)",
    );
    let url = server.admin("postgres");
    let run = |words: &[&str]| palisade(&home, &[("PALISADE_DATABASE_URL", &url)], words);
    let install = ["guard", "install", "table", "_private_jobs"];
    let proposed = run(&[&install[..], &["--inspect"]].concat()).ends(Exit::Done);
    let next = "palisade guard install table public._private_jobs --profile graphile-worker";
    assert!(proposed.stdout.contains(next), "{}", proposed.stdout);
    assert!(proposed.stderr.contains("completes a job by deleting it"), "{}", proposed.stderr);
    // What is typed goes before what the profile says.
    run(&[&install[..], &["--profile", "graphile-worker", "--min-age", "5h"]].concat()).ends(Exit::Done);
    let guards = run(&["guard", "list", "table", "--json"]).ends(Exit::Done).json();
    assert_eq!((&guards[0]["claimed"], &guards[0]["rules"]["done"][0]), (&true.into(), &"DELETE".into()));
    assert_eq!(guards[0]["rules"]["min_age"]["secs"], 5 * 3600);
    assert_eq!(guards[0]["rules"]["quiet_after"]["secs"], 4 * 3600 - 1);
    run(&["guard", "verify", "table"]).ends(Exit::Done);
    let said = run(&["db", "undo", "_private_jobs", "--since", "1h"]).ends(Exit::Failure);
    assert!(said.stderr.contains("is taken up again"), "{}", said.stderr);
    let said = run(&[&install[..], &["--profile", "river"]].concat()).ends(Exit::Failure);
    assert!(said.stderr.contains("no column \"state\""), "{}", said.stderr);
    run(&[&install[..], &["--profile", "sidekiq"]].concat()).ends(Exit::Usage);
    run(&[&install[..], &["--claimed", "locked_at"]].concat()).ends(Exit::Usage);
}

#[test]
fn a_role_is_bound_to_an_environment_listed_and_let_go() {
    let (home, server) = (Scratch::new(), Postgres::start("15"));
    let install = jobs_table(&server);
    let url = server.admin("jobs");
    let run = |words: &[&str]| palisade(&home, &[("PALISADE_DATABASE_URL", &url)], words);
    server.role("atom_test", "");
    run(&["db", "bind", "atom_test", "test"]).ends(Exit::Failure);
    run(&install).ends(Exit::Done);
    run(&["db", "bind", "atom_test"]).ends(Exit::Usage);
    run(&["db", "bind", "atom_tset", "test"]).ends(Exit::Usage);
    run(&["db", "bind", "atom_test", "test"]).ends(Exit::Done);
    let listed = run(&["db", "bind", "--json"]).ends(Exit::Done).json();
    assert_eq!((&listed[0]["role"], &listed[0]["environment"]), (&"atom_test".into(), &"test".into()));
    run(&["db", "bind", "atom_test", "--remove"]).ends(Exit::Done);
    assert_eq!(run(&["db", "bind", "--json"]).ends(Exit::Done).json().as_array().map(Vec::len), Some(0));
}

#[test]
fn partitions_that_came_later_are_repaired_and_an_old_history_is_pruned_from_the_command_line() {
    let (home, server) = (Scratch::new(), Postgres::start("15"));
    server.role("app", "");
    server.sql("postgres", "CREATE DATABASE jobs OWNER app");
    server.sql("jobs", "GRANT ALL ON SCHEMA public TO app");
    let url = server.url("app", "jobs");
    let run = |words: &[&str]| palisade(&home, &[("PALISADE_DATABASE_URL", &url)], words);
    let made = "CREATE TABLE parts (id int PRIMARY KEY, status text, heartbeat_at timestamptz) PARTITION BY RANGE (id)";
    server.as_role("app", "jobs", made).succeeds();
    let install = "guard install table parts --status status --running running --heartbeat heartbeat_at";
    run(&install.split(' ').collect::<Vec<_>>()).ends(Exit::Done);
    let later = "CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (100)";
    server.as_role("app", "jobs", later).succeeds();
    let found = run(&["guard", "verify", "table"]).ends(Exit::VerificationFailed).stdout;
    assert!(found.contains("palisade_truncate is missing on public.parts_1"), "{found}");
    let repaired = run(&["guard", "verify", "table", "--repair"]).ends(Exit::Done).stdout;
    assert!(repaired.contains("repaired: parts_1"), "{repaired}");
    run(&["guard", "verify", "table"]).ends(Exit::Done);

    run(&["guard", "prune", "table", "--keep", "1h"]).ends(Exit::Usage);
    let prune = ["guard", "prune", "table", "--keep", "30d"];
    assert!(run(&prune).ends(Exit::Done).stdout.contains("nothing is older than"));
    server.sql(
        "jobs",
        "INSERT INTO palisade.history (day, at, guard, event) SELECT ((extract(epoch FROM now())::bigint / 86400 - 31) % 32)::smallint, \
         now() - interval '31 days', 1, 'exit'",
    );
    let count = || server.sql("jobs", "SELECT count(*) FROM palisade.history");
    let planned = run(&[&prune[..], &["--dry-run"]].concat()).ends(Exit::Done).stdout;
    assert!(planned.contains("would be emptied") && count() == "1", "{planned}");
    let days = run(&[&prune[..], &["--json"]].concat()).ends(Exit::Done).json();
    assert_eq!((days["days"][0]["done"].as_str(), count().as_str()), (Some("emptied"), "0"));
}
