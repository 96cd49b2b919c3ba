//! The reaper that a worker brings along, on real processes: one that dies, one that is frozen, one that is slow.

use std::fs;
use std::path::Path;

use palisade_core::Exit;
use palisade_host::context::{host_name, machine_id};
use palisade_jobs::{EventKind, Job, JobId, JobStore as _, State};
use palisade_testkit::{Postgres, Scratch, eventually, process};

use super::checker::check;
use super::yard::{Yard, run};

/// Looks often, so that a test is short.
pub(crate) const QUICK: [&str; 6] = ["--sweep-every", "200ms", "--reconnect-grace", "1s", "--lease", "2s"];

/// Hands over a checkpoint and works on until the file GO is there; goes on from a checkpoint.
pub(crate) const UNTIL_GO: &str = r#"
[ -z "${PALISADE_RESUME_FILE:-}" ] || echo "resumed $(cat "$PALISADE_RESUME_FILE")" >>"$OUT"
echo "$PALISADE_TOKEN" >mark; palisade job checkpoint mark
while [ ! -e "$HOME/GO" ]; do sleep 0.05; done
"#;

async fn on_postgres(server: &Postgres) -> Yard {
    server.sql("postgres", "CREATE DATABASE jobs");
    let url = server.admin("jobs");
    Yard::on(Scratch::new(), url.clone(), url, Box::new(|| {})).await
}

pub(crate) fn options(name: &str) -> Vec<&str> {
    [&["--name", name][..], &QUICK].concat()
}

/// The evidence of each reap of a job.
pub(crate) async fn reaps(yard: &Yard, job: JobId) -> Vec<(palisade_jobs::claim::Evidence, String)> {
    let events = yard.store.events(job).await.unwrap();
    let reap = |kind| match kind {
        EventKind::Reaped { evidence, reason } => Some((evidence, reason)),
        _ => None,
    };
    events.into_iter().filter_map(|event| reap(event.kind)).collect()
}

fn is_of(name: &str) -> impl Fn(&Job) -> bool {
    move |job| job.state == State::Running && job.worker.as_deref() == Some(name) && job.checkpoint.is_some()
}

/// One line for each reap, which ends in the id of the machine that did it.
fn explained(yard: &Yard, job: JobId) -> Vec<String> {
    let said = yard.palisade(&["explain", "job", &job.to_string()]).ends(Exit::Done).stdout;
    said.lines().filter(|line| line.contains("reaped")).map(str::to_owned).collect()
}

async fn a_killed_worker(mut yard: Yard) {
    let jobs = yard.enqueue(1, 5).await;
    let doomed = yard.work(&options("doomed"), &["sh", "-c", UNTIL_GO]);
    let first = yard.until(jobs[0], "it has a checkpoint", is_of("doomed")).await.token.unwrap();
    let running = yard.palisade(&["explain", "job", &jobs[0].to_string(), "--json"]).ends(Exit::Done).json();
    assert!(running["beats"]["acknowledged"].is_u64(), "{running}");
    let heir = yard.work(&options("heir"), &["sh", "-c", UNTIL_GO]);
    process::kill(doomed.pid());
    // Only who waits for it takes it out of the process table.
    drop(doomed);
    yard.until(jobs[0], "the other worker runs it", is_of("heir")).await;
    fs::write(yard.scratch.join("GO"), "").unwrap();
    yard.until_state(jobs[0], State::Succeeded).await;
    process::terminate(heir.pid());
    heir.ends();
    let events = yard.store.events(jobs[0]).await.unwrap();
    assert_eq!(yard.effects(), [format!("resumed {first}")], "it goes on from the checkpoint: {events:#?}");
    let reaps = reaps(&yard, jobs[0]).await;
    assert_eq!(reaps.len(), 1, "{reaps:?}");
    assert_eq!(reaps[0].0.proof.as_deref(), Some("process gone"), "{reaps:?}");
    let lines = explained(&yard, jobs[0]);
    let machine = machine_id(Path::new("/etc/machine-id")).unwrap_or_else(host_name);
    assert!(lines.len() == 1 && lines[0].ends_with(&format!(" {machine}")), "{lines:?}");
    let verified = yard.palisade(&["verify", "history", "--json"]).ends(Exit::Done).json();
    assert_eq!((&verified["audit"]["reaps"], &verified["code"]), (&1.into(), &serde_json::Value::Null));
    check(&yard, &jobs, State::Succeeded).await;
}

#[test]
fn the_job_of_a_killed_worker_goes_on_elsewhere_from_its_checkpoint() {
    run(async { a_killed_worker(Yard::unelected().await).await });
}

#[test]
fn the_job_of_a_killed_worker_goes_on_elsewhere_from_its_checkpoint_on_postgresql() {
    let server = Postgres::start("15");
    run(async { a_killed_worker(on_postgres(&server).await).await });
}

async fn a_frozen_worker(mut yard: Yard) {
    let jobs = yard.enqueue(1, 5).await;
    let frozen = yard.work(&options("frozen"), &["sh", "-c", UNTIL_GO]);
    let first = yard.until(jobs[0], "it has a checkpoint", is_of("frozen")).await.token.unwrap();
    process::freeze(frozen.pid());
    let heir = yard.work(&options("heir"), &["sh", "-c", UNTIL_GO]);
    yard.until(jobs[0], "the other worker runs it", is_of("heir")).await;
    let reaped = reaps(&yard, jobs[0]).await;
    let (evidence, reason) = &reaped[0];
    assert!(evidence.proof.is_none() && evidence.silent_ms >= evidence.reap_after_ms, "{evidence:?}");
    assert!(evidence.sweeps >= 4 && reason.contains("policy 2"), "{evidence:?} {reason}");
    process::thaw(frozen.pid());
    eventually("the first one has let go", || {
        let told = yard.told();
        let lost = |said: &serde_json::Value| said["what"] == "lost" && said["token"] == first.0;
        told[0].iter().any(lost).then_some(())
    });
    fs::write(yard.scratch.join("GO"), "").unwrap();
    yard.until_state(jobs[0], State::Succeeded).await;
    for worker in [frozen, heir] {
        process::terminate(worker.pid());
        worker.ends();
    }
    assert_eq!(reaps(&yard, jobs[0]).await.len(), 1);
    assert_eq!(explained(&yard, jobs[0]).len(), 1);
    check(&yard, &jobs, State::Succeeded).await;
}

#[test]
fn a_frozen_worker_is_fenced_and_refused_when_it_thaws() {
    run(async { a_frozen_worker(Yard::unelected().await).await });
}

#[test]
fn a_frozen_worker_is_fenced_and_refused_when_it_thaws_on_postgresql() {
    let server = Postgres::start("18");
    run(async { a_frozen_worker(on_postgres(&server).await).await });
}

#[test]
fn a_slow_job_that_beats_is_never_taken_while_a_dead_one_beside_it_is() {
    run(async {
        let mut yard = Yard::unelected().await;
        let slow = yard.enqueue(1, 5).await;
        // It says nothing at all for three times the threshold; its worker beats.
        let patient = yard.work(&options("patient"), &["sleep", "12"]);
        yard.until(slow[0], "it runs", |job| job.state == State::Running).await;
        let dead = yard.enqueue(1, 5).await;
        let doomed = yard.work(&options("doomed"), &["sh", "-c", UNTIL_GO]);
        yard.until(dead[0], "it has a checkpoint", is_of("doomed")).await;
        process::freeze(doomed.pid());
        yard.until(dead[0], "it is taken", |job| job.state != State::Running).await;
        yard.until_state(slow[0], State::Succeeded).await;
        assert!(reaps(&yard, slow[0]).await.is_empty());
        assert_eq!(reaps(&yard, dead[0]).await.len(), 1);
        drop((patient, doomed));
        check(&yard, &slow, State::Succeeded).await;
    });
}

#[test]
fn who_only_looks_takes_nothing_and_says_what_it_would() {
    run(async {
        let mut yard = Yard::unelected().await;
        let jobs = yard.enqueue(1, 5).await;
        let options = ["--name", "doomed", "--no-reaper"];
        let doomed = yard.work(&options, &["sh", "-c", UNTIL_GO]);
        yard.until(jobs[0], "it has a checkpoint", is_of("doomed")).await;
        process::freeze(doomed.pid());
        let words = [&["reaper", "run", "--dry-run", "--json"][..], &QUICK].concat();
        let looking = yard.start(&words);
        eventually("it says so", || {
            let said = fs::read_to_string(&looking.log).unwrap_or_default();
            said.contains("would_reap").then_some(())
        });
        assert_eq!(yard.job(jobs[0]).await.state, State::Running);
        let status = yard.palisade(&["reaper", "status", "--json"]).ends(Exit::Done).json();
        assert_eq!(status["silent"][0]["worker"]["name"], "doomed", "{status}");
        process::terminate(looking.pid());
        looking.ends();
        let reaping = yard.start(&[&["reaper", "run"][..], &QUICK].concat());
        yard.until(jobs[0], "it is taken", |job| job.state != State::Running).await;
        process::terminate(reaping.pid());
        reaping.ends();
    });
}

#[test]
fn what_somebody_wrote_into_the_tables_is_found_by_verify_history() {
    let server = Postgres::start("15");
    run(async {
        let mut yard = on_postgres(&server).await;
        let jobs = yard.enqueue(3, 5).await;
        let key = ["job", "enqueue", "--queue", "work", "--idempotency-key", "day 9", "--json"];
        let keyed = yard.palisade(&key).ends(Exit::Done).json()["jobs"][0]["id"].clone();
        yard.work(&["--until-empty"], &["true"]).ends();
        yard.palisade(&["verify", "history"]).ends(Exit::Done);
        let plant = format!(
            "INSERT INTO palisade_jobs.event (job, at_ms, token, kind)
                VALUES ({0}, 1, 1, '{{\"kind\":\"checkpoint\",\"sequence\":9}}');
             DELETE FROM palisade_jobs.job_end WHERE job = {1};
             WITH twin AS (
                INSERT INTO palisade_jobs.job (queue, payload, priority, enqueued_ms, run_ms, max_attempts, by, idempotency_key)
                SELECT queue, payload, priority, enqueued_ms, run_ms, max_attempts, by, idempotency_key
                FROM palisade_jobs.job WHERE id = {keyed} RETURNING id, queue, priority)
             INSERT INTO palisade_jobs.job_ready SELECT queue, priority, id, 0 FROM twin",
            jobs[0], jobs[1]
        );
        server.sql("jobs", &plant);
        let said = yard.palisade(&["verify", "history"]).ends(Exit::VerificationFailed);
        let (out, err) = (&said.stdout, &said.stderr);
        assert!(out.contains(&format!("S3 job {}", jobs[0])), "{out}");
        assert!(out.contains(&format!("S4 job {}: lost", jobs[1])), "{out}");
        let doubled = format!("idempotency key \"day 9\" of queue work, which is the key of job {keyed}");
        assert!(out.lines().any(|line| line.starts_with("S4") && line.contains(&doubled)), "{out}");
        assert!(!out.contains(&format!("job {}", jobs[2])) && err.contains("PAL-552"), "{out} {err}");
    });
}

#[test]
fn a_worker_claims_nothing_while_the_beacon_of_its_database_is_stale() {
    let server = Postgres::start("15");
    run(async {
        let mut yard = on_postgres(&server).await;
        let beacon = "CREATE SCHEMA palisade; CREATE TABLE palisade.beacon (at timestamptz, max_age interval, agent text); \
            INSERT INTO palisade.beacon VALUES (now() - interval '1 hour', '5 minutes', 'web-1')";
        server.sql("jobs", beacon);
        let jobs = yard.enqueue(1, 5).await;
        let worker = yard.work(&[], &["true"]);
        eventually("it says so", || {
            let told = yard.told();
            told[0].iter().any(|said| said["what"] == "dispatch_closed").then_some(())
        });
        assert_eq!(yard.job(jobs[0]).await.attempts, 0);
        let mut once = yard.work(&["--until-empty"], &["true"]);
        process::wait_gone(once.pid());
        let said = fs::read_to_string(once.log.with_extension("err")).unwrap();
        assert_eq!(once.child.wait().unwrap().code(), Some(3), "{said}");
        assert!(said.contains("PAL-013") && said.contains("web-1"), "{said}");
        server.sql("jobs", "UPDATE palisade.beacon SET at = clock_timestamp()");
        yard.until_state(jobs[0], State::Succeeded).await;
        process::terminate(worker.pid());
        worker.ends();
    });
}
