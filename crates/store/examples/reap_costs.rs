//! What a sweep over a million running jobs and ten thousand reaps cost: `cargo run -p palisade-store --example reap_costs`.
//!
//! On a PostgreSQL 15 of its own with default settings. Server time is what its log says of the one statement.

#![expect(clippy::unwrap_used, reason = "a measurement ends where something is missing")]

use std::io::Write as _;
use std::time::Duration;

use palisade_host::clock::Stopwatch;
use palisade_jobs::reaper::{Ground, Proof, Silence, reaps};
use palisade_jobs::store::Fence;
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
                    limited, beat_every_ms, reap_after_ms, self_fence_ms)
                    SELECT id, 'q', 0, 1, nextval('palisade_jobs.token'), (ARRAY[{}])[id % {WORKERS} + 1], 'w', false,
                    false, 20000, 3600000, 2100000 FROM palisade_jobs.job;
                 INSERT INTO palisade_jobs.lease VALUES ('reaper', 1, 'stage', now(), now() + interval '1 day')",
                names.join(", ")
            ),
        );
        server.sql("jobs", "VACUUM ANALYZE");
        server.sql("jobs", "ALTER DATABASE jobs SET log_min_duration_statement = 20");
        let store = Postgres::open(Target::parse(&server.admin("jobs")).unwrap()).await.unwrap();
        sweeps(&store, &server).await;
        for (at, worker) in workers.iter().take(5).enumerate() {
            mass_reap(&store, &worker.incarnation, at).await;
        }
        let log = server.log();
        let lines = log.lines().filter(|line| line.contains("duration:"));
        lines.for_each(|line| say(&line.chars().take(120).collect::<String>()));
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

async fn mass_reap(store: &Postgres, who: &Incarnation, at: usize) {
    let claims = store.claims_of(who, 10_000).await.unwrap();
    let silence = Silence {
        silent_ms: 3_600_001,
        threshold_ms: 3_600_000,
        longer: 1,
        seen_ms: 3_600_001,
        sweeps: 720,
        population: 20,
        suspects: 1,
    };
    let ground = if at == 4 { Ground::Proof { proof: Proof::ProcessGone } } else { Ground::Silence(silence) };
    let under = Fence { term: 1, holder: "stage".to_owned() };
    let by = worker(99).by;
    let reaps = reaps(who, 0, ground, Duration::ZERO, &claims, &by, &under);
    let watch = Stopwatch::start();
    let answers = store.reap(&under, &reaps).await.unwrap();
    say(&format!("{} jobs reaped in one statement: {:?}", answers.len(), watch.elapsed()));
}
