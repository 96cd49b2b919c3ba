//! Jobs that hang while their worker beats, and a brake that somebody hears of.

use std::fs;

use palisade_core::Exit;
use palisade_jobs::{JobStore as _, State};
use palisade_testkit::{Postgres, Scratch, eventually, process};

use super::checker::check;
use super::reaped::{QUICK, UNTIL_GO, options, reaps};
use super::yard::{Yard, run};

/// Says every while that it gets on.
const GETS_ON: &str =
    r#"n=0; while [ ! -e "$HOME/GO" ]; do n=$((n + 1)); palisade job progress "$n"; sleep 0.2; done"#;

/// A policy that tells a command, which writes down each letter.
fn tell_into(yard: &Yard, file: &str) {
    let folder = yard.scratch.join(".config/palisade");
    fs::create_dir_all(&folder).unwrap();
    let out = yard.scratch.join(file).display().to_string();
    let lines = format!(
        "[notify]\ncommand = [\"/bin/sh\", \"-c\", \"cat >> {out}; echo >> {out}\"]\nwindow = \"1s\"\n"
    );
    fs::write(folder.join("palisade.toml"), format!("revision = 1\n\n[environments.production]\n\n{lines}"))
        .unwrap();
}

/// How many letters with that code are there.
fn letters(yard: &Yard, file: &str, code: &str) -> usize {
    fs::read_to_string(yard.scratch.join(file))
        .unwrap_or_default()
        .matches(&format!("\"code\":\"{code}\""))
        .count()
}

async fn a_job_that_hangs(mut yard: Yard) {
    tell_into(&yard, "told");
    let set = |rule: &str| {
        let words = ["queue", "set", "work", "progress-deadline", "1500ms", "on-stuck", rule];
        yard.palisade(&words).ends(Exit::Done);
    };
    set("alert");
    let hangs = yard.enqueue(1, 5).await[0];
    let worker = yard.work(&options("patient"), &["sh", "-c", UNTIL_GO]);
    eventually("it is told of", || (letters(&yard, "told", "PAL-554") > 0).then_some(()));
    assert_eq!(yard.job(hangs).await.state, State::Running, "it is told of, and goes on");
    assert!(reaps(&yard, hangs).await.is_empty());
    let words = ["queue", "set", "work", "on-stuck", "hold"];
    yard.palisade(&words).ends(Exit::Done);
    let held = yard.until_state(hangs, State::Held).await;
    assert!(held.reason.is_some_and(|reason| reason.contains("stuck, without progress")));
    let (evidence, _) = &reaps(&yard, hangs).await[0];
    let idle = evidence.stuck.unwrap();
    assert!(idle.idle_ms >= 1_500 && idle.deadline_ms == 1_500 && idle.step.checkpoint == 1, "{evidence:?}");
    eventually("its worker lets go", || {
        let lost = |said: &serde_json::Value| said["what"] == "lost";
        yard.told()[0].iter().any(lost).then_some(())
    });
    assert_eq!(letters(&yard, "told", "PAL-554"), 1, "a standstill is told once");
    yard.palisade(&["verify", "history"]).ends(Exit::Done);
    process::terminate(worker.pid());
    worker.ends();
    // One that gets on is left alone, and so is one that was claimed without a deadline.
    let busy = yard.enqueue(1, 5).await[0];
    let worker = yard.work(&options("busy"), &["sh", "-c", GETS_ON]);
    yard.until(busy, "it gets on", |job| job.progress.is_some_and(|progress| progress > 15)).await;
    fs::write(yard.scratch.join("GO"), "").unwrap();
    yard.until_state(busy, State::Succeeded).await;
    process::terminate(worker.pid());
    worker.ends();
    check(&yard, &[busy], State::Succeeded).await;
}

#[test]
fn a_job_that_hangs_while_its_worker_beats_is_told_of_and_taken_as_its_queue_says() {
    run(async { a_job_that_hangs(Yard::unelected().await).await });
}

#[test]
fn a_job_that_hangs_while_its_worker_beats_is_taken_on_postgresql() {
    let server = Postgres::start("15");
    server.sql("postgres", "CREATE DATABASE jobs");
    let url = server.admin("jobs");
    run(async { a_job_that_hangs(Yard::on(Scratch::new(), url.clone(), url, Box::new(|| {})).await).await });
}

#[test]
fn a_brake_that_holds_is_told_once_to_those_whom_the_policy_names() {
    run(async {
        let mut yard = Yard::unelected().await;
        tell_into(&yard, "told");
        let jobs = yard.enqueue(3, 5).await;
        let names = ["one", "two", "three"];
        let workers: Vec<_> = names
            .iter()
            .map(|name| yard.work(&["--name", name, "--no-reaper"], &["sh", "-c", UNTIL_GO]))
            .collect();
        for job in &jobs {
            yard.until(*job, "it runs", |job| job.checkpoint.is_some()).await;
        }
        let reaper = yard.start(&[&["reaper", "run"][..], &QUICK].concat());
        let lease =
            || yard.palisade(&["reaper", "status", "--json"]).ends(Exit::Done).json()["lease"].clone();
        eventually("it is elected", || (!lease().is_null()).then_some(()));
        workers.iter().for_each(|worker| process::freeze(worker.pid()));
        eventually("it is told", || (letters(&yard, "told", "PAL-553") > 0).then_some(()));
        // As long again as it took: nothing is taken, and nothing is said twice.
        tokio::time::sleep(std::time::Duration::from_millis(super::yard::TERMS.reap_after_ms)).await;
        for job in &jobs {
            assert!(yard.store.job(*job).await.unwrap().unwrap().state == State::Running);
        }
        assert_eq!(letters(&yard, "told", "PAL-553"), 1);
        process::terminate(reaper.pid());
        reaper.ends();
    });
}

#[test]
fn checkpoints_that_stay_behind_are_told_once_and_the_job_goes_on() {
    run(async {
        let mut yard = Yard::sqlite().await;
        tell_into(&yard, "told");
        let folder = yard.scratch.join("checkpoints");
        fs::create_dir(&folder).unwrap();
        // A file where the environment's folder has to be: nothing can be put.
        fs::write(folder.join("unset"), "").unwrap();
        let job = yard.enqueue(1, 5).await[0];
        let place = folder.display().to_string();
        let worker = yard.work(&["--no-reaper", "--checkpoints", &place], &["sh", "-c", UNTIL_GO]);
        eventually("it is told of", || (letters(&yard, "told", "PAL-534") > 0).then_some(()));
        assert!(yard.job(job).await.trouble.is_some_and(|trouble| trouble.contains("is not stored")));
        fs::remove_file(folder.join("unset")).unwrap();
        yard.until(job, "the checkpoint is stored", |job| job.checkpoint.is_some()).await;
        fs::write(yard.scratch.join("GO"), "").unwrap();
        yard.until_state(job, State::Succeeded).await;
        assert_eq!(letters(&yard, "told", "PAL-534"), 1, "a lag is told once");
        let away = |said: &serde_json::Value| said["what"] == "checkpoints_away" && said["place"] == place;
        assert!(yard.told()[0].iter().any(away), "it was said at the start");
        process::terminate(worker.pid());
        worker.ends();
    });
}
