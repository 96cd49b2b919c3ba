//! `palisade reaper` and `palisade lease`, on a real server with workers that beat.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use palisade_core::Exit;
use palisade_testkit::{Postgres, Scratch, eventually, process};

use crate::said::Said;

const TABLE: &str =
    "CREATE TABLE jobs (id int PRIMARY KEY, status text NOT NULL, heartbeat_at timestamptz, error text);
    INSERT INTO jobs SELECT id, 'running', clock_timestamp(), NULL FROM generate_series(1, 8) id;
    GRANT ALL ON jobs TO app";

fn palisade(home: &Scratch, server: &Postgres, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_palisade"));
    command.args(words).env_clear().env("HOME", home.path());
    command.env("PALISADE_DATABASE_URL", server.admin("postgres"));
    command
}

fn said(home: &Scratch, server: &Postgres, words: &[&str]) -> Said {
    Said::from(palisade(home, server, words).output().unwrap())
}

/// A guarded table of eight running jobs. The rule is shorter than a command would let it be, for the test's sake.
fn guarded(version: &'static str) -> (Scratch, Postgres) {
    let (home, server) = (Scratch::new(), Postgres::start(version));
    server.role("app", "");
    server.sql("postgres", TABLE);
    let install = [
        "guard",
        "install",
        "table",
        "public.jobs",
        "--status",
        "status",
        "--running",
        "running",
        "--heartbeat",
        "heartbeat_at",
        "--done",
        "completed",
        "--own",
        "failed,queued",
        "--reason-column",
        "error",
        "--mode",
        "enforce",
    ];
    said(&home, &server, &install).ends(Exit::Done);
    server.sql("postgres", "UPDATE palisade.guard SET min_age = '3 seconds', quiet_after = '1 second'");
    (home, server)
}

/// Beats for these jobs, from a connection of their own.
struct Workers {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Workers {
    fn of(server: &Postgres, jobs: &str) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let mut session = server.session("app", "postgres");
        let beat = format!(
            "UPDATE jobs SET heartbeat_at = clock_timestamp() WHERE status = 'running' AND id IN ({jobs})"
        );
        let told = Arc::clone(&ends);
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                session.ask(&beat);
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        Self { ends, thread: Some(thread) }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

struct Running(Child);

impl Running {
    fn reaper(home: &Scratch, server: &Postgres) -> Self {
        Self::of(words(home, server, &[]))
    }

    fn of(mut command: Command) -> Self {
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

/// A reaper that is quick enough for a test.
fn words(home: &Scratch, server: &Postgres, more: &[&str]) -> Command {
    let words = [
        "reaper",
        "run",
        "--table",
        "public.jobs",
        "--requeue-to",
        "queued",
        "--beat-every",
        "500ms",
        "--sweep-every",
        "200ms",
        "--reconnect-grace",
        "2s",
        "--lease",
        "3s",
        "--json",
    ];
    palisade(home, server, &[&words, more].concat())
}

impl Drop for Running {
    fn drop(&mut self) {
        process::kill(self.0.id());
        drop(self.0.wait());
    }
}

fn standing(server: &Postgres) -> String {
    server.sql("postgres", "SELECT string_agg(status, ' ' ORDER BY id) FROM jobs")
}

fn holder(home: &Scratch, server: &Postgres) -> Option<(String, u64)> {
    let words = ["reaper", "status", "--table", "public.jobs", "--json"];
    let lease = said(home, server, &words).ends(Exit::Done).json()["lease"].clone();
    lease["valid_for_ms"].as_u64()?;
    Some((lease["holder"].as_str()?.to_owned(), lease["term"].as_u64()?))
}

#[test]
fn a_dead_worker_is_reaped_with_its_reason_and_one_that_beats_is_not_also_by_the_next_reaper() {
    let (home, server) = guarded("15");
    let workers = Workers::of(&server, "1, 2, 3, 4, 5, 6, 7");
    let first = Running::reaper(&home, &server);
    eventually("the dead job is given back", || {
        (standing(&server) == "running running running running running running running queued").then_some(())
    });
    let reason = server.sql("postgres", "SELECT error FROM jobs WHERE id = 8");
    assert!(reason.starts_with("reaped: silent for 3") && reason.contains("term 1, policy "), "{reason}");
    assert!(reason.contains(&format!("pid {}", first.0.id())), "{reason}");
    let machine = reason.rsplit_once(". Reaper: ").unwrap().1;
    assert!(!machine.is_empty() && !machine.contains(' '), "{reason}");
    said(&home, &server, &["verify", "history", "--table", "public.jobs"]).ends(Exit::Done);
    let ground = "SELECT ground FROM palisade.history WHERE event = 'exit' AND key = '8'";
    assert_eq!(server.sql("postgres", ground), "old");

    // A second one waits; when the first is killed it takes over under a higher term, and judges on.
    let second = Running::reaper(&home, &server);
    let (before, term) = holder(&home, &server).unwrap();
    assert_eq!(term, 1);
    drop(first);
    let (after, next) =
        eventually("the second one is elected", || holder(&home, &server).filter(|(_, next)| *next > term));
    assert!(after != before && next == 2);
    drop(workers);
    let _others = Workers::of(&server, "1, 2, 3, 4, 5, 6");
    eventually("the next dead job is given back", || {
        (standing(&server) == "running running running running running running queued queued").then_some(())
    });
    // It ends in order: its lease is free at once.
    process::terminate(second.0.id());
    eventually("the lease is free", || holder(&home, &server).is_none().then_some(()));
}

/// What a reaper's own role needs, and no more.
const RIGHTS: &str = "GRANT SELECT, UPDATE (status, error) ON jobs TO janitor; \
    GRANT SELECT ON palisade.guard, palisade.change TO janitor; \
    GRANT SELECT, INSERT, UPDATE ON palisade.lease TO janitor; \
    CREATE TABLE palisade.silence (guard integer, key text, counter text, silent_us bigint, run text, \
        PRIMARY KEY (guard, key)); GRANT SELECT, INSERT, UPDATE, DELETE ON palisade.silence TO janitor";

#[test]
fn a_role_with_a_reapers_rights_shows_who_it_is_and_journals_each_pass() {
    let (home, server) = guarded("15");
    std::fs::create_dir_all(home.join(".config/palisade")).unwrap();
    home.write(".config/palisade/palisade.toml", "revision = 1\n[environments.production]\n");
    let stamped = ["--environment", "production"];
    said(&home, &server, &[&["db", "stamp"], &stamped[..]].concat()).ends(Exit::Done);
    let key = home.join("janitor.key").display().to_string();
    let create = ["db", "key", "create", "--app", "janitor", "--key", &key];
    said(&home, &server, &[&create, &stamped[..]].concat()).ends(Exit::Done);
    said(&home, &server, &["guard", "require-identity", "table", "public.jobs", "on"]).ends(Exit::Done);
    let nameless =
        said(&home, &server, &["reaper", "run", "--table", "public.jobs", "--requeue-to", "queued"]);
    assert!(nameless.ends(Exit::Usage).stderr.contains("--key-file"));

    server.role("janitor", "");
    server.sql("postgres", RIGHTS);
    let mut reaper = words(&home, &server, &["--key-file", &key]);
    reaper.env("PALISADE_DATABASE_URL", server.url("janitor", "postgres"));
    let _reaper = Running::of(reaper);
    // The workers of this table show nothing, so that they cannot claim any more; who runs may go on and beat.
    let _workers = Workers::of(&server, "1, 2, 3, 4, 5, 6, 7");
    eventually("the dead job is given back", || {
        (server.sql("postgres", "SELECT status FROM jobs WHERE id = 8") == "queued").then_some(())
    });
    let reason = server.sql("postgres", "SELECT error FROM jobs WHERE id = 8");
    assert!(reason.contains("; by janitor palisade 0.1.0 (production) on "), "{reason}");
    let exit = "SELECT ground, role, identity, lease, term FROM palisade.history WHERE event = 'exit'";
    assert_eq!(server.sql("postgres", exit), "old|janitor|janitor/production|reaper/public.jobs|1");
    let records = eventually("the pass is recorded", || {
        let tail = said(&home, &server, &["journal", "tail", "-n", "20"]).ends(Exit::Done).stdout;
        tail.contains("reaped: ")
            .then_some(tail)
            .filter(|tail| tail.contains("reap at public.jobs of") && tail.contains(": done term 1"))
    });
    for act in ["stamp at database postgres", "key for an app at", "change of who needs an identity at"] {
        assert!(records.contains(act), "no {act} in {records}");
    }

    // Without its record nothing is reaped.
    std::fs::rename(home.join(".local/state/palisade/journal"), home.join("away")).unwrap();
    home.write(".local/state/palisade/journal", "no folder");
    server.sql("postgres", "UPDATE palisade.guard SET identity_required = false");
    server
        .sql("postgres", "UPDATE jobs SET status = 'running', heartbeat_at = clock_timestamp() WHERE id = 8");
    eventually("it was silent for twice the rule", || {
        let silent = server.sql("postgres", "SELECT silent_us FROM palisade.silence WHERE key = '8'");
        silent.parse::<u64>().is_ok_and(|us| us > 6_000_000).then_some(())
    });
    assert_eq!(standing(&server), ["running"; 8].join(" "));
    std::fs::remove_file(home.join(".local/state/palisade/journal")).unwrap();
    std::fs::rename(home.join("away"), home.join(".local/state/palisade/journal")).unwrap();
    eventually("the dead job is given back", || {
        (server.sql("postgres", "SELECT status FROM jobs WHERE id = 8") == "queued").then_some(())
    });
}

#[test]
fn a_threshold_below_the_rule_a_state_that_runs_and_an_unguarded_table_are_refused() {
    let (home, server) = guarded("15");
    let run = |words: &[&str]| {
        said(&home, &server, &[&["reaper", "run", "--table", "public.jobs"], words].concat())
    };
    let shorter =
        run(&["--requeue-to", "queued", "--beat-every", "1s", "--reap-after", "2s"]).ends(Exit::Usage);
    assert!(shorter.stderr.contains("is shorter than the guard's rule of 3s"), "{}", shorter.stderr);
    run(&["--requeue-to", "queued", "--beat-every", "2s"]).ends(Exit::Usage);
    run(&[]).ends(Exit::Usage);
    assert!(run(&["--requeue-to", "running"]).stderr.contains("in which it runs"));
    server.sql("postgres", "CREATE TABLE other (id int PRIMARY KEY)");
    let other = said(&home, &server, &["reaper", "run", "--table", "public.other", "--dry-run"]);
    assert!(other.stderr.contains("has no guard"), "{}", other.stderr);
}

#[test]
fn a_history_with_the_zombie_in_it_is_named() {
    let (home, server) = guarded("15");
    said(&home, &server, &["guard", "mode", "table", "public.jobs", "observe"]).ends(Exit::Done);
    // It beats right before, so that it is alive then however long the machine took to get here.
    let zombie = "UPDATE jobs SET heartbeat_at = clock_timestamp() WHERE id = 3; \
        UPDATE jobs SET status = 'cancelled', error = 'Abandoned (server restart or timeout)' WHERE id = 3";
    server.as_role("app", "postgres", zombie).succeeds();
    let words = ["verify", "history", "--table", "public.jobs", "--json"];
    let broken = said(&home, &server, &words).ends(Exit::VerificationFailed).json()["broken"].clone();
    let named: Vec<_> =
        broken.as_array().unwrap().iter().map(|one| one["property"].as_str().unwrap()).collect();
    assert_eq!(named, ["S1", "reason"]);

    // Two reapers under one term, and one whose term is over: each names itself as it should.
    for (job, pid, term) in [(4, 1, 7), (5, 2, 7), (6, 1, 6)] {
        let reason = format!(
            "reaped: silent for 3s of observed time, 3s of it seen by term {term} in 9 sweeps (rule: 3s); 7 of 7 others were \
             alive; by shop 1 (production) on web-1, pid {pid}, term {term}, policy 3. Reaper: 9f2c"
        );
        let take = format!("UPDATE jobs SET status = 'queued', error = '{reason}' WHERE id = {job}");
        server.as_role("app", "postgres", &take).succeeds();
    }
    let broken = said(&home, &server, &words).ends(Exit::VerificationFailed).json()["broken"].clone();
    let ours = |one: &&serde_json::Value| one["property"] == "S2";
    let named: Vec<_> =
        broken.as_array().unwrap().iter().filter(ours).map(|one| one["key"].clone()).collect();
    assert_eq!(named, ["5", "6"]);
}

#[test]
fn leases_of_a_database_are_listed_shown_and_raised_after_a_restore() {
    let (home, server) = guarded("18");
    let reaper = Running::reaper(&home, &server);
    eventually("there is a reaper", || holder(&home, &server));
    let store = ["--store", "env:PALISADE_DATABASE_URL"];
    let ask = |words: &[&str]| said(&home, &server, &[&["lease"], words, &store, &["--json"]].concat());
    let list = ask(&["list"]).ends(Exit::Done).json();
    assert_eq!((&list[0]["name"], &list[0]["term"]), (&"reaper/public.jobs".into(), &1.into()));
    drop(reaper);
    // Of the minimums, those that are there are raised: to what a build has proven, and above what was seen.
    let apps = "INSERT INTO palisade.app (app, environment, minimum_epoch) VALUES ('shop', 'production', 7), \
        ('stock', 'production', NULL); INSERT INTO palisade.history (guard, event, key, at, identity, epoch) \
        VALUES (1, 'entry', '1', now(), 'shop/production', 9), (1, 'entry', '2', now(), NULL, 99)";
    server.sql("postgres", apps);
    let epochs = || {
        let epochs = "SELECT string_agg(app || ' ' || coalesce(minimum_epoch::text, 'none'), ', ' ORDER BY app) FROM palisade.app";
        server.sql("postgres", epochs)
    };
    let raised = ask(&["after-restore", "--above", "41"]).ends(Exit::Done);
    assert!(raised.stderr.contains("shop/production is raised from 7 to 9"), "{}", raised.stderr);
    assert_eq!(epochs(), "shop 9, stock none");
    let raised = raised.json();
    assert_eq!(raised[0]["term"].as_u64(), Some((1 << 32) + 41));
    assert!(raised[0]["valid_for_ms"].is_null());
    let shown = ask(&["show", "reaper/public.jobs"]).ends(Exit::Done).json();
    assert_eq!(shown[0]["term"], raised[0]["term"]);
    ask(&["show", "reaper/nobody"]).ends(Exit::Failure);
    ask(&["after-restore", "--above-epoch", "411"]).ends(Exit::Done);
    assert_eq!(epochs(), "shop 412, stock none");
}

#[test]
fn terms_and_tokens_of_a_store_of_jobs_are_raised_after_a_restore() {
    let (scratch, server) = (Scratch::new(), Postgres::start("15"));
    let file = format!("sqlite:{}", scratch.join("jobs.db").display());
    let url = server.admin("postgres");
    for (store, schema) in [(file.as_str(), &[][..]), (url.as_str(), &["--schema", "palisade_jobs"][..])] {
        let home = Scratch::new();
        let run =
            |words: &[&str]| said(&home, &server, &[words, &["--store", store]].concat()).ends(Exit::Done);
        let token = || {
            let job = run(&["job", "enqueue", "--queue", "work"]).stdout;
            let worker = [
                "worker",
                "--queue",
                "work",
                "--until-empty",
                "--lease",
                "3s",
                "--store",
                store,
                "--",
                "/bin/true",
            ];
            said(&home, &server, &worker).ends(Exit::Done);
            // What a program printed is kept under its attempt and the token of its claim.
            let logs = home.join(format!(".local/state/palisade/job-logs/{}", job.trim()));
            let log = std::fs::read_dir(logs).unwrap().next().unwrap().unwrap().file_name();
            let (_, token) = log.to_str().unwrap().trim_end_matches(".log").split_once('-').unwrap();
            token.parse::<u64>().unwrap()
        };
        let before = token();
        let raised = run(&[&["lease", "after-restore", "--json"], schema].concat());
        assert!(raised.stderr.contains("every token of a claim is raised; 0 jobs run"), "{}", raised.stderr);
        assert!(raised.json()[0]["term"].as_u64() > Some(1 << 32), "{}", raised.stdout);
        let after = token();
        assert!(before < 1 << 32 && after > before + (1 << 32), "{before}, {after}");
    }
}
