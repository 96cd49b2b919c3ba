//! What a sweep over a million running jobs and ten thousand reaps cost: `cargo run -p palisade-store --example reap_costs`.
//!
//! On a PostgreSQL 15 of its own with default settings. Server time is what the server itself says of the one statement, with
//! the time of its processor beside it, which a busy machine does not lengthen so much. The two bare statements are what no
//! reap can do without: one row goes for each job, and one comes, with its two indexes.

#![expect(clippy::unwrap_used, reason = "a measurement ends where something is missing")]

use std::io::Write as _;
use std::time::Duration;

use palisade_host::clock::Stopwatch;
use palisade_jobs::reaper::{Ground, Proof, Silence, reaps};
use palisade_jobs::store::{Fence, Reap, Reaped};
use palisade_jobs::{Incarnation, JobStore as _, Note, Worker};
use palisade_postgres::Target;
use palisade_store::Postgres;
use palisade_testkit::Postgres as Server;

const JOBS: u32 = 1_000_000;
const WORKERS: u64 = 20;

fn say(line: &str) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}

fn worker(number: u64) -> Worker {
    Worker {
        name: format!("w{number}"),
        incarnation: Incarnation::from_bits(u128::from(number) + 1),
        by: Note {
            app: None,
            environment: None,
            version: Some("palisade 0.1.0".to_owned()),
            host: "web-1".to_owned(),
            pid: 4242,
            machine_id: "9f2c01".to_owned(),
        },
        start_ticks: 1,
        boot_id: "boot".to_owned(),
        pid_space: None,
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = Server::start("15");
        server.sql("postgres", "CREATE DATABASE jobs");
        let store = Postgres::open(Target::parse(&server.admin("jobs")).unwrap()).await.unwrap();
        let workers: Vec<_> = (0..WORKERS).map(worker).collect();
        for worker in &workers {
            store.register(worker).await.unwrap();
        }
        let names: Vec<String> =
            workers.iter().map(|worker| format!("'{}'", worker.incarnation.as_str())).collect();
        server.sql(
            "jobs",
            &format!(
                "INSERT INTO palisade_jobs.queue (name, beat_every_ms, reap_after_ms, self_fence_ms, handover_delay_ms,
                    on_silence, backoff_first_ms, backoff_most_ms, retention_ms)
                    VALUES ('q', 20000, 3600000, 2100000, 10000, 'requeue', 10000, 3600000, 2592000000);
                 INSERT INTO palisade_jobs.job (queue, payload, priority, enqueued_ms, run_ms, max_attempts, by)
                    SELECT 'q', '{{\"day\":\"2026-02-17\"}}', 0, 0, 0, 20, '{{}}' FROM generate_series(1, {JOBS});
                 INSERT INTO palisade_jobs.job_run (job, queue, priority, attempts, token, incarnation, worker, keyed,
                    limited, beat_every_ms, reap_after_ms, self_fence_ms, max_attempts)
                    SELECT id, 'q', 0, 1, nextval('palisade_jobs.token'), (ARRAY[{}])[id % {WORKERS} + 1], 'w', false,
                    false, 20000, 3600000, 2100000, 20 FROM palisade_jobs.job;
                 INSERT INTO palisade_jobs.lease VALUES ('reaper', 1, 'stage', now(), now() + interval '1 day')",
                names.join(", ")
            ),
        );
        server.sql("jobs", "VACUUM ANALYZE");
        sweeps(&store, &server).await;
        server.sql("jobs", "ALTER DATABASE jobs SET log_statement_stats = on");
        let store = Postgres::open(Target::parse(&server.admin("jobs")).unwrap()).await.unwrap();
        for (at, worker) in workers.iter().take(5).enumerate() {
            bare(&server, &worker.incarnation);
            mass_reap(&store, &server, &worker.incarnation, at).await;
        }
        many_workers(&store, &server, &workers[5].incarnation).await;
    });
}

async fn sweeps(store: &Postgres, server: &Server) {
    // As `postgres/look.rs` asks.
    let explained = server.sql(
        "jobs",
        "EXPLAIN (ANALYZE, BUFFERS, SUMMARY) SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, \
         (extract(epoch FROM pg_catalog.pg_postmaster_start_time()) * 1000000)::bigint, b.incarnation, b.beat \
         FROM (SELECT 1) one LEFT JOIN palisade_jobs.worker_beat b ON NOT b.gone",
    );
    say(&format!("an idle sweep at {JOBS} running jobs on {WORKERS} workers:\n{explained}"));
    let watch = Stopwatch::start();
    for _ in 0..100 {
        assert_eq!(store.beats().await.unwrap().workers.len(), 20);
    }
    say(&format!("from the client, one of 100: {:?}", watch.elapsed() / 100));
}

/// What the server said of its own work since it was asked last: processor and elapsed milliseconds of each statement that
/// took more than two.
fn said(server: &Server, told: &mut usize) -> Vec<String> {
    let log = server.log();
    let lines: Vec<&str> = log.lines().collect();
    let number =
        |word: Option<&str>| word.and_then(|word| word.parse::<f64>().ok()).map(|seconds| seconds * 1e3);
    let mut found = Vec::new();
    for line in &lines[*told..] {
        // "!	0.048042 s user, 0.007751 s system, 0.128154 s elapsed"
        let words: Vec<&str> = line.split([' ', '\t']).collect();
        let Some(at) = words.iter().position(|word| *word == "user,") else { continue };
        let of = |at: usize| number(words.get(at).copied());
        let Some((user, system, elapsed)) = (|| Some((of(at - 2)?, of(at + 1)?, of(at + 4)?)))() else {
            continue;
        };
        if elapsed > 2.0 {
            found.push(format!("{:.0} ms of the processor, {elapsed:.0} ms elapsed", user + system));
        }
    }
    *told = lines.len();
    found
}

/// The same rows out of one table and into the other, and nothing else; taken back.
fn bare(server: &Server, who: &Incarnation) {
    let mut told = server.log().lines().count();
    let name = who.as_str();
    let mut session = server.session("postgres", "jobs");
    session.ask("SET log_statement_stats = off");
    session.ask(&format!(
        "CREATE TEMP TABLE picked AS SELECT job, queue, priority, attempts FROM palisade_jobs.job_run WHERE incarnation = '{name}' LIMIT 10000"
    ));
    session.ask("BEGIN");
    session.ask("SET log_statement_stats = on");
    session.ask("DELETE FROM palisade_jobs.job_run r WHERE r.job = ANY (ARRAY(SELECT job FROM picked))");
    session.ask(
        "INSERT INTO palisade_jobs.job_wait (job, queue, priority, attempts, state, run_ms) \
         SELECT job, queue, priority, attempts, 'handover', 1771322400000 FROM picked",
    );
    session.ask("SET log_statement_stats = off");
    session.ask("ROLLBACK");
    let found = said(server, &mut told);
    say(&format!("10,000 rows gone, bare, and come, bare: {}", found.join("; ")));
}

fn silence() -> Silence {
    Silence {
        silent_ms: 3_600_001,
        threshold_ms: 3_600_000,
        longer: 1,
        seen_ms: 3_600_001,
        sweeps: 720,
        population: 20,
        suspects: 1,
    }
}

async fn take(store: &Postgres, server: &Server, reaps: &[Reap]) {
    let under = Fence { term: 1, holder: "stage".to_owned() };
    let mut told = server.log().lines().count();
    let watch = Stopwatch::start();
    let answers = store.reap(&under, reaps).await.unwrap();
    let elapsed = watch.elapsed();
    assert!(answers.iter().all(|answer| matches!(answer, Reaped::Taken(_))));
    let found = said(server, &mut told).join("; ");
    say(&format!("{} jobs reaped in one statement: {found}; seen from the client {elapsed:?}", reaps.len()));
}

async fn mass_reap(store: &Postgres, server: &Server, who: &Incarnation, at: usize) {
    let claims = store.claims_of(who, 10_000).await.unwrap();
    let ground =
        if at == 4 { Ground::Proof { proof: Proof::ProcessGone } } else { Ground::Silence(silence()) };
    let under = Fence { term: 1, holder: "stage".to_owned() };
    let reaps = reaps(who, 0, ground, Duration::ZERO, &claims, &worker(99).by, &under);
    take(store, server, &reaps).await;
}

/// 500 workers with 20 jobs each, who were all one before.
async fn many_workers(store: &Postgres, server: &Server, one: &Incarnation) {
    server.sql(
        "jobs",
        &format!(
            "INSERT INTO palisade_jobs.worker SELECT 'many' || n, worker, 0 FROM palisade_jobs.worker,
                generate_series(0, 499) n WHERE incarnation = '{0}';
             INSERT INTO palisade_jobs.worker_beat (incarnation) SELECT 'many' || n FROM generate_series(0, 499) n;
             UPDATE palisade_jobs.job_run r SET incarnation = 'many' || place % 500 FROM (
                SELECT job, row_number() OVER () AS place FROM palisade_jobs.job_run
                WHERE incarnation = '{0}' LIMIT 10000) p WHERE r.job = p.job;",
            one.as_str()
        ),
    );
    let under = Fence { term: 1, holder: "stage".to_owned() };
    let mut all = Vec::new();
    for number in 0..500 {
        let who = Incarnation::from_text(&format!("many{number}"));
        let claims = store.claims_of(&who, 10_000).await.unwrap();
        let ground = Ground::Silence(silence());
        all.extend(reaps(&who, 0, ground, Duration::ZERO, &claims, &worker(99).by, &under));
    }
    take(store, server, &all).await;
}
