//! How the cost of a job grows with what the store holds and with who works on it.

use std::sync::Arc;

use palisade_host::clock::Stopwatch;
use palisade_jobs::claim::{Ask, Beat, Finish, Order};
use palisade_jobs::{Incarnation, JobStore as _, Worker};
use palisade_store::Store;
use palisade_testkit::Postgres;
use tokio::task::JoinSet;

use super::server;
use crate::Outcome;
use crate::contender::{job, note, queue};
use crate::report::{Section, Target};
use crate::rounds::Plan;
use crate::stats::Series;

fn worker(number: u64) -> Worker {
    Worker {
        name: format!("w{number}"),
        incarnation: Incarnation::from_bits(u128::from(number) + 1),
        by: note(),
        start_ticks: 1,
        boot_id: "bench".to_owned(),
        pid_space: None,
    }
}

/// Bytes of WAL since the server was made.
fn wal(server: &Postgres) -> Outcome<f64> {
    Ok(server.sql("postgres", "SELECT pg_current_wal_insert_lsn() - '0/0'").trim().parse()?)
}

fn ask(who: &Incarnation, most: u16) -> Ask {
    Ask { queue: queue(), most, incarnation: who.clone(), reap_after: None }
}

/// Workers that hold so many jobs between them.
async fn holding(store: &Store, first: u64, workers: u64, jobs: usize) -> Outcome<Vec<Incarnation>> {
    for _ in (0..jobs).step_by(5_000) {
        store.enqueue(&vec![job(0); 5_000.min(jobs)]).await?;
    }
    let each = u16::try_from(jobs / usize::try_from(workers)?)?;
    let mut all = Vec::new();
    for number in first..first + workers {
        let worker = worker(number);
        store.register(&worker).await?;
        let held = store.claim(&ask(&worker.incarnation, each)).await?.len();
        if held != usize::from(each) {
            return Err(format!("a worker got {held} jobs of {each}").into());
        }
        all.push(worker.incarnation);
    }
    Ok(all)
}

/// One beat of each, all at once.
async fn round(workers: &[(Store, Incarnation)], sequence: u64) -> Outcome<f64> {
    let watch = Stopwatch::start();
    let mut beats = JoinSet::new();
    for (store, incarnation) in workers.iter().cloned() {
        beats.spawn(async move {
            let beat = Beat { incarnation, sequence, progress: Vec::new(), trouble: Vec::new() };
            store.beat(&beat).await.map(drop)
        });
    }
    beats.join_all().await.into_iter().collect::<Result<Vec<()>, _>>()?;
    Ok(watch.elapsed().as_secs_f64() * 1e3)
}

/// Rounds of beats: milliseconds and bytes of WAL of each.
async fn beaten(
    server: &Postgres,
    workers: &[(Store, Incarnation)],
    rounds: usize,
    name: &str,
) -> Outcome<[Series; 2]> {
    let mut time = Series::new(format!("{name}, time"), "ms");
    let mut written = Series::new(format!("{name}, WAL"), "KiB");
    server.sql("postgres", "VACUUM");
    server.sql("postgres", "CHECKPOINT");
    for sequence in 1..=rounds as u64 + 3 {
        let before = wal(server)?;
        let ms = round(workers, sequence).await?;
        // The first ones write whole pages after the server's checkpoint.
        if sequence > 3 {
            time.values.push(ms);
            written.values.push((wal(server)? - before) / 1024.0);
        }
    }
    Ok([time, written])
}

fn block_on<T>(act: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(act)
}

/// A database of its own.
async fn store(server: &Postgres, name: &str) -> Outcome<Store> {
    server.sql("postgres", &format!("CREATE DATABASE {name}"));
    Ok(Store::open(&server.admin(name)).await?)
}

pub(super) fn beats(plan: &Plan) -> Outcome<Vec<Section>> {
    let (server, jobs) = (server(true), plan.jobs(10_000));
    let [time, written] = block_on(async {
        let store = store(&server, "beats").await?;
        let mut workers = Vec::new();
        for incarnation in holding(&store, 0, 20, jobs).await? {
            workers.push((Store::open(&server.admin("beats")).await?, incarnation));
        }
        beaten(&server, &workers, plan.rounds(15), "20 workers").await
    })?;
    let targets = vec![
        Target::at_most(
            "a beat round for 10,000 running jobs on 20 workers: 5 ms",
            time.median(),
            5.0,
            " ms",
        ),
        Target::at_most("the same round: 8 KiB of WAL", written.median(), 8.0, " KiB"),
    ];
    Ok(vec![Section {
        title: "Jobs: one beat round",
        note: format!(
            "{jobs} running jobs on 20 workers, one beat of each at once, each with connections of its own. PostgreSQL 15, fsync on."
        ),
        series: vec![time, written],
        ratios: Vec::new(),
        targets,
    }])
}

pub(super) fn growth(plan: &Plan) -> Outcome<Vec<Section>> {
    let server = server(true);
    block_on(async {
        Ok(vec![
            with_the_past(plan, &server).await?,
            with_workers(plan, &server).await?,
            with_beats(plan, &server).await?,
        ])
    })
}

/// What one job costs from its claim to its end while the store holds more and more jobs that ended.
async fn with_the_past(plan: &Plan, server: &Postgres) -> Outcome<Section> {
    const PAST: &str = "INSERT INTO palisade_jobs.job (id, queue, payload, priority, enqueued_ms, run_ms, max_attempts, by) \
            SELECT -n, 'bench', '{\"sent_us\":0}', 0, 0, 0, 20, '{\"host\":\"bench\",\"pid\":1,\"machine_id\":\"b\"}' \
            FROM generate_series(FROM, TO) n; \
        INSERT INTO palisade_jobs.job_end SELECT -n, 'bench', 0, 1, 'succeeded', palisade_jobs.now_ms(), n, n, NULL, NULL \
            FROM generate_series(FROM, TO) n";
    let store = store(server, "past").await?;
    let me = worker(0);
    store.register(&me).await?;
    let (mut all, mut before) = (Vec::new(), 0);
    let full = plan.jobs(1_000_000);
    for past in [0, full / 10, full] {
        if past > before {
            let sql = PAST.replace("FROM, TO", &format!("{}, {past}", before + 1));
            server.sql("past", &sql);
            before = past;
        }
        server.sql("past", "VACUUM (ANALYZE) palisade_jobs.job, palisade_jobs.job_end, palisade_jobs.job_run, palisade_jobs.job_ready");
        let mut series = Series::new(format!("{past} jobs that ended"), "us for each job");
        for number in 0..plan.rounds(7) + 1 {
            store.enqueue(&vec![job(0); 2_000]).await?;
            let watch = Stopwatch::start();
            for _ in 0..4 {
                let claims = store.claim(&ask(&me.incarnation, 500)).await?;
                let ends: Vec<Finish> = claims
                    .iter()
                    .map(|claim| Finish { job: claim.job, token: claim.token, order: Order::Complete })
                    .collect();
                store.finish(&ends).await?;
            }
            if number > 0 {
                series.values.push(watch.elapsed().as_secs_f64() * 1e6 / 2_000.0);
            }
        }
        all.push(series);
    }
    Ok(Section {
        title: "Jobs: cost with what the store holds",
        note: "From claim to end, 500 at a time, one worker. PostgreSQL 15, fsync on.".to_owned(),
        series: all,
        ratios: Vec::new(),
        targets: Vec::new(),
    })
}

/// How many jobs a second all workers do together. Each has connections of its own, as on a machine of its own.
async fn with_workers(plan: &Plan, server: &Postgres) -> Outcome<Section> {
    let base = store(server, "many").await?;
    let mut all = Vec::new();
    let mut number = 0;
    for workers in [1_u64, 2, 4, 8, 16] {
        let mut series = Series::new(format!("{workers} workers"), "jobs/s");
        for _ in 0..plan.rounds(3) {
            let jobs = 10_000;
            for _ in 0..2 {
                base.enqueue(&vec![job(0); jobs / 2]).await?;
            }
            let mut stores = Vec::new();
            for _ in 0..workers {
                number += 1;
                let (me, store) = (worker(number), Store::open(&server.admin("many")).await?);
                store.register(&me).await?;
                stores.push((Arc::new(store), me.incarnation));
            }
            let watch = Stopwatch::start();
            let mut working = JoinSet::new();
            for (store, me) in stores {
                working.spawn(async move {
                    loop {
                        let claims = store.claim(&ask(&me, 100)).await?;
                        if claims.is_empty() {
                            return Ok::<(), palisade_jobs::Error>(());
                        }
                        let end = |claim: &palisade_jobs::Claim| Finish {
                            job: claim.job,
                            token: claim.token,
                            order: Order::Complete,
                        };
                        store.finish(&claims.iter().map(end).collect::<Vec<_>>()).await?;
                    }
                });
            }
            working.join_all().await.into_iter().collect::<Result<Vec<()>, _>>()?;
            series.values.push(jobs as f64 / watch.elapsed().as_secs_f64());
        }
        all.push(series);
    }
    Ok(Section {
        title: "Jobs: workers on one PostgreSQL",
        note: "10,000 jobs, claimed and ended 100 at a time by each worker. PostgreSQL 15, fsync on; server and workers share \
               the cores."
            .to_owned(),
        series: all,
        ratios: Vec::new(),
        targets: Vec::new(),
    })
}

async fn with_beats(plan: &Plan, server: &Postgres) -> Outcome<Section> {
    let mut all = Vec::new();
    for (number, (workers, jobs)) in [(20, 1_000), (20, 10_000), (200, 10_000)].into_iter().enumerate() {
        let store = store(server, &format!("beats{number}")).await?;
        let held = holding(&store, 0, workers, jobs).await?;
        let held: Vec<_> = held.into_iter().map(|incarnation| (store.clone(), incarnation)).collect();
        let name = format!("{workers} workers, {jobs} running jobs");
        all.extend(beaten(server, &held, plan.rounds(7), &name).await?);
    }
    Ok(Section {
        title: "Jobs: beat rounds",
        note:
            "One beat of each worker at once, over the 8 connections of one process. PostgreSQL 15, fsync on."
                .to_owned(),
        series: all,
        ratios: Vec::new(),
        targets: Vec::new(),
    })
}
