//! Faults of a real server around the reapers that workers bring along: no job of a living worker is reaped, and the
//! job of a dead one is, and goes on from its checkpoint.

use std::fs;
use std::time::Duration;

use palisade_jobs::State;
use palisade_testkit::postgres::PASSWORD;
use palisade_testkit::{Fault, Postgres, Proxy, Scratch, process};

use super::checker::check;
use super::reaped::{UNTIL_GO, options, reaps};
use super::yard::{TERMS, Yard, run};

struct Bay {
    server: Postgres,
    proxy: Proxy,
    yard: Yard,
}

async fn bay() -> Bay {
    let server = Postgres::start("15");
    server.sql("postgres", "CREATE DATABASE jobs");
    let proxy = Proxy::before(server.port());
    let url = format!("postgres://postgres:{PASSWORD}@127.0.0.1:{}/jobs", proxy.port());
    let yard = Yard::on(Scratch::new(), url.clone(), url, Box::new(|| {})).await;
    Bay { server, proxy, yard }
}

fn wait(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// Two workers, each with a job and a reaper; then the fault, and then a death.
async fn only_the_dead(strike: impl FnOnce(&mut Bay)) {
    let mut bay = bay().await;
    let jobs = bay.yard.enqueue(2, 50).await;
    let doomed = bay.yard.work(&options("doomed"), &["sh", "-c", UNTIL_GO]);
    let heir = bay.yard.work(&options("heir"), &["sh", "-c", UNTIL_GO]);
    for job in &jobs {
        bay.yard.until(*job, "it has a checkpoint", |job| job.checkpoint.is_some()).await;
    }
    strike(&mut bay);
    // A worker that could not beat for a while has let go by itself, and takes the job up again from its checkpoint.
    for job in &jobs {
        bay.yard.until(*job, "it runs", |job| job.state == State::Running).await;
    }
    tokio::time::sleep(Duration::from_millis(2 * TERMS.reap_after_ms)).await;
    for job in &jobs {
        assert!(reaps(&bay.yard, *job).await.is_empty(), "a living worker's job was taken");
    }
    process::kill(doomed.pid());
    drop(doomed);
    let mut taken = 0;
    while taken == 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        taken = reaps(&bay.yard, jobs[0]).await.len() + reaps(&bay.yard, jobs[1]).await.len();
    }
    fs::write(bay.yard.scratch.join("GO"), "").unwrap();
    for job in &jobs {
        bay.yard.until_state(*job, State::Succeeded).await;
    }
    process::terminate(heir.pid());
    heir.ends();
    assert!(!bay.yard.effects().is_empty(), "nobody went on from a checkpoint");
    check(&bay.yard, &jobs, State::Succeeded).await;
}

#[test]
fn a_server_that_is_paused_for_ten_thresholds() {
    run(only_the_dead(|bay| {
        let pid = bay.server.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        let all: Vec<u32> =
            children.split_whitespace().map(|pid| pid.parse().unwrap()).chain([pid]).collect();
        all.iter().for_each(|pid| process::freeze(*pid));
        wait(10 * TERMS.reap_after_ms);
        all.iter().for_each(|pid| process::thaw(*pid));
    }));
}

#[test]
fn a_server_that_is_ended_at_once_and_is_away_for_longer_than_a_threshold() {
    run(only_the_dead(|bay| {
        bay.proxy.lead_to(1);
        bay.server.crash();
        wait(TERMS.reap_after_ms + 1_000);
        bay.proxy.lead_to(bay.server.port());
    }));
}

#[test]
fn answers_that_are_cut_late_and_half_closed() {
    run(only_the_dead(|bay| {
        for bytes in [1, 60, 600, 2_000] {
            bay.proxy.order(Fault::Short(bytes));
            wait(TERMS.reap_after_ms / 4);
        }
        bay.proxy.order(Fault::HalfClose);
        wait(TERMS.reap_after_ms / 4);
        bay.proxy.order(Fault::Hold);
        wait(2 * TERMS.reap_after_ms);
        bay.proxy.order(Fault::None);
    }));
}

#[test]
fn a_worker_that_drains_ends_though_its_server_says_nothing() {
    run(async {
        let mut bay = bay().await;
        let job = bay.yard.enqueue(1, 50).await[0];
        let worker = bay.yard.work(&options("w"), &["sh", "-c", UNTIL_GO]);
        bay.yard.until(job, "it has a checkpoint", |job| job.checkpoint.is_some()).await;
        bay.proxy.order(Fault::Hold);
        process::terminate(worker.pid());
        // It tries for 20 s.
        wait(15_000);
        worker.ends();
        bay.proxy.order(Fault::None);
        assert_eq!(bay.yard.job(job).await.state, State::Running, "for a reaper to take");
    });
}
