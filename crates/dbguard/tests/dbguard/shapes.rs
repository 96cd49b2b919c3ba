//! Tables shaped as those of River, Oban, GoodJob, Solid Queue and a home-made one of SQLAlchemy, under their own load.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use palisade_dbguard::script::Named;
use palisade_dbguard::{Mode, Rules};
use palisade_testkit::{Psql, eventually};

use crate::fixture::{Jobs, rules};
use crate::libraries::profiled;

/// A library's table, what its workers say in a round, and how it ends that somebody else takes five running jobs.
struct Shape {
    table: &'static str,
    profile: Option<&'static str>,
    made: &'static str,
    /// One round of work: claim, beat, fail, claim again, complete.
    round: &'static [&'static str],
    /// Five jobs that run, with a claim or beat of twelve minutes.
    running: &'static str,
    /// What somebody else does to them, and the error; `00000` where nothing tells him from their worker.
    deeds: &'static [(&'static str, &'static str)],
    /// The library's own rescue; it passes once the claim is as old as the library waits.
    rescue: &'static str,
}

const SHAPES: [Shape; 5] = [
    Shape {
        table: "river_job",
        profile: Some("river"),
        made: "CREATE TYPE river_job_state AS ENUM ('available', 'cancelled', 'completed', 'discarded', 'pending', \
            'retryable', 'running', 'scheduled'); \
            CREATE TABLE river_job (id bigserial PRIMARY KEY, state river_job_state NOT NULL DEFAULT 'available', \
            attempt smallint NOT NULL DEFAULT 0, max_attempts smallint NOT NULL DEFAULT 25, attempted_at timestamptz, \
            attempted_by text[], created_at timestamptz NOT NULL DEFAULT now(), errors jsonb[], finalized_at timestamptz, \
            scheduled_at timestamptz NOT NULL DEFAULT now(), kind text NOT NULL DEFAULT 'k', unique_key bytea)",
        round: &[
            "INSERT INTO river_job DEFAULT VALUES",
            "UPDATE river_job SET state = 'running', attempt = attempt + 1, attempted_at = now(), \
             attempted_by = array_append(attempted_by, 'a') WHERE state = 'available'",
            "UPDATE river_job SET state = 'retryable', errors = array_append(errors, '{\"error\":\"e\"}'::jsonb), \
             scheduled_at = now() WHERE state = 'running'",
            "UPDATE river_job SET state = 'running', attempted_at = now() WHERE state = 'retryable'",
            "UPDATE river_job SET state = 'completed', finalized_at = now() WHERE state = 'running'",
        ],
        running: "INSERT INTO river_job (state, attempted_at) SELECT 'running', now() - interval '12 minutes' \
            FROM generate_series(1, 5)",
        deeds: &[
            ("UPDATE river_job SET state = 'cancelled' WHERE state = 'running'", "PL302"),
            ("UPDATE river_job SET state = 'available' WHERE state = 'running'", "PL302"),
            ("DELETE FROM river_job WHERE state = 'running'", "PL302"),
            (
                "BEGIN; UPDATE river_job SET state = 'retryable', errors = array_append(errors, '{}'::jsonb) \
                 WHERE state = 'running'; ROLLBACK",
                "00000",
            ),
        ],
        rescue: "UPDATE river_job SET state = 'retryable', scheduled_at = now(), \
            errors = array_append(errors, '{\"error\":\"Stuck job rescued by Rescuer\"}'::jsonb) WHERE state = 'running'",
    },
    Shape {
        table: "oban_jobs",
        profile: Some("oban"),
        made: "CREATE TYPE oban_job_state AS ENUM ('available', 'scheduled', 'executing', 'retryable', 'completed', \
            'discarded', 'cancelled'); \
            CREATE TABLE oban_jobs (id bigserial PRIMARY KEY, state oban_job_state NOT NULL DEFAULT 'available', \
            queue text NOT NULL DEFAULT 'default', worker text NOT NULL DEFAULT 'W', errors jsonb[] NOT NULL DEFAULT '{}', \
            attempt int NOT NULL DEFAULT 0, max_attempts int NOT NULL DEFAULT 20, scheduled_at timestamp NOT NULL \
            DEFAULT timezone('UTC', now()), attempted_at timestamp, attempted_by text[], completed_at timestamp, \
            discarded_at timestamp, cancelled_at timestamp)",
        round: &[
            "INSERT INTO oban_jobs DEFAULT VALUES",
            "UPDATE oban_jobs SET state = 'executing', attempted_at = timezone('UTC', now()), attempt = attempt + 1 \
             WHERE state IN ('available', 'retryable')",
            "UPDATE oban_jobs SET state = 'retryable', errors = errors || '{}'::jsonb, \
             scheduled_at = timezone('UTC', now()) WHERE state = 'executing'",
            "UPDATE oban_jobs SET state = 'executing', attempted_at = timezone('UTC', now()) WHERE state = 'retryable'",
            "UPDATE oban_jobs SET state = 'completed', completed_at = timezone('UTC', now()) WHERE state = 'executing'",
        ],
        running: "INSERT INTO oban_jobs (state, attempted_at) SELECT 'executing', \
            timezone('UTC', now()) - interval '12 minutes' FROM generate_series(1, 5)",
        // What an old Lifeline does with a threshold of ten minutes.
        deeds: &[
            ("UPDATE oban_jobs SET state = 'available' WHERE state = 'executing'", "PL302"),
            ("UPDATE oban_jobs SET state = 'cancelled' WHERE state = 'executing'", "PL302"),
            ("UPDATE oban_jobs SET state = 'discarded' WHERE state = 'executing'", "PL302"),
        ],
        rescue: "UPDATE oban_jobs SET state = 'available' WHERE state = 'executing'",
    },
    Shape {
        table: "good_jobs",
        profile: Some("good_job"),
        made: "CREATE TABLE good_job_processes (id uuid PRIMARY KEY, updated_at timestamp NOT NULL); \
            INSERT INTO good_job_processes VALUES ('00000000-0000-0000-0000-000000000001', timezone('UTC', now())), \
            ('00000000-0000-0000-0000-000000000002', timezone('UTC', now()) - interval '3 minutes'); \
            CREATE TABLE good_jobs (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), active_job_id uuid, performed_at timestamp, \
            finished_at timestamp, error text, locked_by_id uuid, locked_at timestamp)",
        round: &[
            "INSERT INTO good_jobs DEFAULT VALUES",
            "UPDATE good_jobs SET performed_at = timezone('UTC', now()), locked_at = timezone('UTC', now()), \
             locked_by_id = '00000000-0000-0000-0000-000000000001' WHERE finished_at IS NULL AND locked_by_id IS NULL",
            "UPDATE good_job_processes SET updated_at = timezone('UTC', now()) WHERE id::text LIKE '%1'",
            "UPDATE good_jobs SET finished_at = timezone('UTC', now()), locked_by_id = NULL, locked_at = NULL \
             WHERE locked_by_id::text LIKE '%1'",
        ],
        running: "INSERT INTO good_jobs (locked_by_id) SELECT '00000000-0000-0000-0000-000000000002' \
            FROM generate_series(1, 5)",
        deeds: &[("TRUNCATE good_jobs", "PL303")],
        rescue: "UPDATE good_jobs SET locked_by_id = NULL WHERE locked_by_id IS NOT NULL",
    },
    Shape {
        table: "solid_queue_claimed_executions",
        profile: Some("solid_queue"),
        made: "CREATE TABLE solid_queue_processes (id bigint PRIMARY KEY, last_heartbeat_at timestamp(6) NOT NULL); \
            INSERT INTO solid_queue_processes VALUES (1, timezone('UTC', now())), \
            (2, timezone('UTC', now()) - interval '3 minutes'); \
            CREATE TABLE solid_queue_claimed_executions (id bigserial PRIMARY KEY, job_id bigint NOT NULL DEFAULT 1, \
            process_id bigint, created_at timestamp(6) NOT NULL DEFAULT timezone('UTC', now()))",
        round: &[
            "INSERT INTO solid_queue_claimed_executions (process_id) VALUES (1)",
            "UPDATE solid_queue_processes SET last_heartbeat_at = timezone('UTC', now()) WHERE id = 1",
            "DELETE FROM solid_queue_claimed_executions WHERE process_id = 1",
        ],
        running: "INSERT INTO solid_queue_claimed_executions (process_id) SELECT 2 FROM generate_series(1, 5)",
        deeds: &[
            ("TRUNCATE solid_queue_claimed_executions", "PL303"),
            ("UPDATE solid_queue_claimed_executions SET id = id + 100", "PL306"),
        ],
        rescue: "DELETE FROM solid_queue_claimed_executions WHERE process_id = 2",
    },
    Shape {
        table: "\"Job\"",
        profile: None,
        // As SQLAlchemy makes it from `Enum(native_enum=False)`, `DateTime()` and a composite key.
        made: "CREATE TABLE \"Job\" (tenant integer NOT NULL, id serial NOT NULL, status varchar(9) NOT NULL DEFAULT 'QUEUED' \
            CHECK (status IN ('QUEUED', 'RUNNING', 'COMPLETED', 'FAILED', 'CANCELLED')), heartbeat_at timestamp, \
            payload json, PRIMARY KEY (tenant, id))",
        round: &[
            "INSERT INTO \"Job\" (tenant, payload) VALUES (1, '{}')",
            "UPDATE \"Job\" SET status = 'RUNNING', heartbeat_at = timezone('UTC', now()) WHERE status = 'QUEUED'",
            "UPDATE \"Job\" SET heartbeat_at = timezone('UTC', now()) WHERE status = 'RUNNING'",
            "UPDATE \"Job\" SET status = 'FAILED' WHERE status = 'RUNNING'",
            "UPDATE \"Job\" SET status = 'RUNNING', heartbeat_at = timezone('UTC', now()) WHERE status = 'FAILED'",
            "UPDATE \"Job\" SET status = 'COMPLETED' WHERE status = 'RUNNING'",
        ],
        running: "INSERT INTO \"Job\" (tenant, status, heartbeat_at) SELECT 2, 'RUNNING', \
            timezone('UTC', now()) - interval '12 minutes' FROM generate_series(1, 5)",
        deeds: &[
            ("UPDATE \"Job\" SET status = 'CANCELLED' WHERE status = 'RUNNING'", "PL301"),
            ("UPDATE \"Job\" SET status = 'FAILED' WHERE status = 'RUNNING'", "PL301"),
        ],
        rescue: "UPDATE \"Job\" SET status = 'CANCELLED' WHERE status = 'RUNNING'",
    },
];

fn chosen(jobs: &Jobs, shape: &Shape) -> (Named, Rules) {
    if let Some(profile) = shape.profile {
        return profiled(jobs, shape.table, profile);
    }
    let named = Named { status: "status".to_owned(), beat: "heartbeat_at".to_owned(), ..Named::default() };
    let upper = |states: &[String]| states.iter().map(|state| state.to_uppercase()).collect();
    let plain = rules();
    let rules = Rules {
        running: upper(&plain.running),
        done: upper(&plain.done),
        own: upper(&plain.own),
        reason: None,
        mark: None,
        ..plain
    };
    (named, rules)
}

#[test]
fn each_shape_goes_on_while_a_guard_comes_refuses_and_goes() {
    let jobs = Jobs::unguarded("15");
    for shape in &SHAPES {
        jobs.app(shape.made).succeeds();
        let before = jobs.server.dump_as("postgres", "jobs");
        let (named, rules) = chosen(&jobs, shape);
        let (rounds, over) = (AtomicUsize::new(0), AtomicBool::new(false));
        let failures = std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                let mut session = Psql::open(&jobs.url());
                session.ask("SET lock_timeout = '1s'");
                let mut failures: Vec<&str> = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    let failed = shape.round.iter().copied().filter(|sql| session.ask(sql).1 != "00000");
                    failures.extend(failed);
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
                failures
            });
            let go_on = || {
                let before = rounds.load(Ordering::Relaxed);
                eventually(shape.table, || (rounds.load(Ordering::Relaxed) > before + 10).then_some(()));
            };
            go_on();
            jobs.install(shape.table, &named, &Rules { mode: Mode::Observe, ..rules.clone() }).unwrap();
            go_on();
            jobs.install(shape.table, &named, &rules).unwrap();
            go_on();
            assert_eq!(crate::verified::damages(&jobs), [""; 0]);
            jobs.remove("postgres", shape.table, true).unwrap();
            go_on();
            over.store(true, Ordering::Relaxed);
            worker.join().unwrap()
        });
        assert_eq!(failures, Vec::<&str>::new(), "{}", shape.table);
        assert_eq!(jobs.server.dump_as("postgres", "jobs"), before, "{}", shape.table);
    }
}

#[test]
fn each_shape_bounds_or_refuses_who_takes_its_jobs_early_and_lets_its_own_rescue_pass() {
    let jobs = Jobs::unguarded("18");
    for shape in &SHAPES {
        jobs.app(shape.made).succeeds();
        jobs.app(shape.running).succeeds();
        let (named, rules) = chosen(&jobs, shape);
        jobs.install(shape.table, &named, &rules).unwrap();
        jobs.up_for_a_day();
        for (deed, sqlstate) in shape.deeds {
            let said = jobs.app(deed);
            let expected = if *sqlstate == "00000" { said.success } else { said.stderr.contains(sqlstate) };
            assert!(expected, "{deed}: {}", said.stderr);
        }
        // The library waits for as long as its profile says.
        jobs.admin("UPDATE palisade.guard SET min_age = '11 minutes', quiet_after = '10 minutes'");
        jobs.app(shape.rescue).succeeds();
        let grounds = jobs.admin("SELECT DISTINCT ground FROM palisade.history WHERE event = 'exit'");
        let expected = match shape.profile {
            Some("good_job") => "own",
            Some("solid_queue") => "done",
            _ => "old",
        };
        assert_eq!(grounds, expected, "{}", shape.table);
        jobs.remove("postgres", shape.table, true).unwrap();
    }
}

#[test]
fn a_beat_in_another_table_is_read_there_and_its_loss_refuses_only_what_needs_it() {
    let jobs = Jobs::unguarded("15");
    let shape = &SHAPES[2];
    jobs.app(shape.made).succeeds();
    jobs.app(shape.running).succeeds();
    let (named, rules) = chosen(&jobs, shape);
    // Between quiet and old the process's beat decides: three minutes here.
    let rules = Rules { quiet_after: std::time::Duration::from_secs(120), ..rules };
    jobs.install(shape.table, &named, &rules).unwrap();
    jobs.up_for_a_day();
    let said = jobs.app(shape.rescue).fails("PL301");
    assert!(said.contains("0h 03m"), "{said}");
    let role = jobs.admin("SELECT has_table_privilege('palisade_hand', 'good_job_processes', 'SELECT')");
    assert_eq!(role, "t");
    jobs.app("ALTER TABLE good_job_processes RENAME updated_at TO seen_at").succeeds();
    let said = jobs.app(shape.rescue).fails("PL301");
    assert!(said.contains("0h 03m"), "a renamed column is followed: {said}");
    jobs.app("UPDATE good_job_processes SET seen_at = timezone('UTC', now())").succeeds();
    jobs.app(
        "UPDATE good_jobs SET locked_by_id = NULL WHERE id = (SELECT min(id::text)::uuid FROM good_jobs)",
    )
    .succeeds();
    jobs.app("DROP TABLE good_job_processes").succeeds();
    jobs.app(shape.rescue).fails("PL307");
    jobs.app("DELETE FROM good_jobs").succeeds();
    jobs.remove("postgres", shape.table, true).unwrap();
    assert_eq!(jobs.admin("SELECT to_regrole('palisade_owner') IS NOT NULL"), "t");
}
