//! Workers as processes on PostgreSQL: through a pooler, many of them, and with a server that stands still or crashes.

use std::time::Duration;

use palisade_jobs::State;
use palisade_testkit::postgres::PASSWORD;
use palisade_testkit::{Between, PgBouncer, Postgres};

use super::checker::check;
use super::proofs::chaos;
use super::yard::{Running, Yard, run};

fn server(version: &'static str) -> Postgres {
    let server = Postgres::start(version);
    server.role("worker", "");
    server.sql("postgres", "CREATE DATABASE jobs OWNER worker");
    server
}

#[test]
fn killed_and_frozen_workers_behind_a_transaction_pooler_lose_no_job() {
    let server = server("15");
    let pooler = PgBouncer::before(&server, &["worker"]);
    run(async {
        let mut yard = Yard::postgres(pooler.url("worker", "jobs"), server.url("worker", "jobs")).await;
        let jobs = yard.enqueue(12, 20).await;
        chaos(&mut yard, &jobs, |_| {}).await;
    });
}

fn yard_file(yard: &Yard, number: usize) -> String {
    yard.scratch.join(format!("metrics-{number}")).display().to_string()
}

/// The number in the line of a file of metrics that ends in `label` and it.
fn counted(file: &str, label: &str) -> u64 {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().find_map(|line| line.split_once(label)?.1.parse().ok()).unwrap()
}

#[test]
fn sixteen_worker_processes_share_out_a_queue() {
    let server = server("15");
    let url = server.url("worker", "jobs");
    run(async {
        let mut yard = Yard::postgres(url.clone(), url).await;
        let jobs = yard.enqueue(64, 3).await;
        let program = r#"echo "$PALISADE_JOB_ID" >>"$OUT""#;
        let mut all: Vec<Running> = Vec::new();
        for number in 0..16 {
            let file = yard_file(&yard, number);
            let options = ["--until-empty", "--concurrency", "2", "--metrics-file", &file];
            all.push(yard.work(&options, &["sh", "-c", program]));
        }
        all.into_iter().for_each(Running::ends);
        check(&yard, &jobs, State::Succeeded).await;
        let mut ran: Vec<i64> = yard.effects().iter().map(|line| line.parse().unwrap()).collect();
        ran.sort_unstable();
        assert_eq!(ran, jobs.iter().map(|job| job.0).collect::<Vec<_>>(), "each job ran once");
        let completed = (0..16).map(|number| counted(&yard_file(&yard, number), "how=\"completed\"} "));
        assert_eq!(completed.sum::<u64>(), 64, "what the workers counted");
    });
}

#[test]
fn a_server_that_stands_still_or_crashes_under_its_workers_loses_no_job() {
    let mut server = server("18");
    let between = Between::before(server.port());
    let url = format!("postgres://worker:{PASSWORD}@127.0.0.1:{}/jobs", between.port());
    run(async {
        let mut yard = Yard::postgres(url.clone(), url).await;
        let jobs = yard.enqueue(12, 20).await;
        let (mut stood_still, mut crashed) = (Vec::new(), 0);
        let harm = |round: usize| match round {
            1 | 12 => {
                let paused = server.pause();
                // Longer than the workers' own fence; the yard's own calls wait meanwhile as any client does.
                stood_still.push(std::thread::spawn(move || {
                    std::thread::sleep(Duration::from_secs(2));
                    drop(paused);
                }));
            }
            4 | 18 => {
                stood_still.drain(..).for_each(|still| still.join().unwrap());
                server.crash();
                between.lead_to(server.port());
                crashed += 1;
            }
            _ => {}
        };
        chaos(&mut yard, &jobs, harm).await;
        assert!(crashed > 0, "the jobs were done before the server crashed");
    });
}
