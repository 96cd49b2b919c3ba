//! Programs as handlers: what they get, what they can say, and how they are ended.

use std::fs;

use palisade_core::Exit;
use palisade_jobs::State;
use palisade_jobs::store::Deed;
use palisade_testkit::{eventually, process};

use super::checker::check;
use super::yard::{Yard, run};

/// The block of docs/worker.md in that language.
fn snippet(language: &str) -> String {
    let docs = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/worker.md")).unwrap();
    let start = docs.split_once(&format!("```{language}\n")).expect("the language is in the document").1;
    start.split_once("```").expect("a block ends").0.to_owned()
}

/// The program of the documentation is drained in its middle, goes on where it was, and has the right sum.
fn goes_on_where_it_stopped(language: &str, interpreter: &str) {
    run(async {
        let mut yard = Yard::sqlite().await;
        let program = yard.program("program", &snippet(language));
        let jobs = yard.enqueue(1, 1).await;
        let worker = yard.work(&[], &[interpreter, &program]);
        yard.until(jobs[0], "it is in its middle", |job| {
            job.checkpoint.as_ref().is_some_and(|last| last.sequence > 2)
        })
        .await;
        process::terminate(worker.pid());
        worker.ends();
        let back = yard.job(jobs[0]).await;
        assert_eq!((back.state, back.attempts), (State::Ready, 0), "{back:?}");
        yard.work(&["--until-empty"], &[interpreter, &program]).ends();
        check(&yard, &jobs, State::Succeeded).await;
        let logs = yard.palisade(&["job", "output", &jobs[0].to_string()]).ends(Exit::Done);
        assert!(logs.stdout.contains("goes on after") && logs.stdout.contains("sum 465"), "{}", logs.stdout);
    });
}

#[test]
fn a_shell_script_goes_on_where_it_stopped() {
    goes_on_where_it_stopped("sh", "sh");
}

#[test]
fn a_python_program_goes_on_where_it_stopped() {
    goes_on_where_it_stopped("python", "python3");
}

#[test]
fn a_node_program_goes_on_where_it_stopped() {
    goes_on_where_it_stopped("js", "node");
}

#[test]
fn a_program_gets_its_files_and_variables_and_none_of_the_workers_secrets() {
    run(async {
        let mut yard = Yard::sqlite().await;
        let job = yard.enqueue(1, 1).await[0];
        let look = r#"env >"$OUT"; echo "payload $(cat "$PALISADE_PAYLOAD_FILE")" >>"$OUT""#;
        yard.work(&["--until-empty"], &["sh", "-c", look]).ends();
        let seen = yard.effects();
        let has = |line: &str| seen.iter().any(|seen| seen == line);
        assert!(has(&format!("PALISADE_JOB_ID={job}")) && has("PALISADE_ATTEMPT=1"), "{seen:?}");
        assert!(has("PALISADE_QUEUE=work") && has(r#"payload {"number":0}"#), "{seen:?}");
        for name in ["DATABASE_URL=", "PALISADE_RESUME_FILE="] {
            assert!(!seen.iter().any(|line| line.starts_with(name)), "{name} {seen:?}");
        }
        let job = yard.enqueue(1, 1).await;
        yard.work(&["--until-empty", "--pass", "DATABASE_URL"], &["sh", "-c", look]).ends();
        assert!(yard.effects().iter().any(|line| line.starts_with("DATABASE_URL=")));
        check(&yard, &job, State::Succeeded).await;
        // Nothing of an attempt stays in the runtime folder.
        let left = fs::read_dir(yard.scratch.join("run/palisade")).unwrap().count();
        assert_eq!(left, 0);
    });
}

#[test]
fn the_code_that_a_program_ends_with_decides() {
    run(async {
        for (code, state) in [("65", State::Dead), ("78", State::Held), ("3", State::Dead)] {
            let mut yard = Yard::sqlite().await;
            let job = yard.enqueue(1, 1).await[0];
            yard.work(&["--until-empty"], &["sh", "-c", &format!("exit {code}")]).ends();
            let found = yard.until_state(job, state).await;
            assert!(found.reason.unwrap().contains(code));
        }
    });
}

#[test]
fn a_program_that_is_not_there_is_a_wrong_command_line_and_later_holds_the_job() {
    run(async {
        let mut yard = Yard::sqlite().await;
        let words = ["worker", "--queue", "work", "--", "no-such-program"];
        let said = yard.palisade(&words).ends(Exit::Usage);
        assert!(said.stderr.contains("PAL-536"), "{}", said.stderr);

        let program = yard.program("brief", "#!/bin/sh\n");
        fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let worker = yard.work(&[], &[&program]);
        eventually("the worker started", || {
            fs::read_to_string(&worker.log).unwrap().contains("started").then_some(())
        });
        fs::remove_file(&program).unwrap();
        let job = yard.enqueue(1, 1).await[0];
        let held = yard.until_state(job, State::Held).await;
        assert!(held.reason.unwrap().contains("PAL-536"));
    });
}

#[test]
fn a_worker_that_the_store_does_not_take_says_so() {
    let yard = run(Yard::sqlite());
    let words = ["worker", "--queue", "work", "--store", "mysql://x", "--", "true"];
    let said = yard.palisade(&words).ends(Exit::Failure);
    assert!(said.stderr.contains("PAL-535"), "{}", said.stderr);
    let said = yard.palisade(&["job", "progress", "3"]).ends(Exit::Usage);
    assert!(said.stderr.contains("PALISADE_SOCKET"), "{}", said.stderr);
}

/// Ends by nothing but SIGKILL, and leaves a child that left its process group.
const STUBBORN: &str = r#"trap "" TERM INT HUP
setsid sh -c 'trap "" TERM; while :; do sleep 0.05; done' &
echo "$! $$" >"$OUT"
palisade job progress 1
while :; do sleep 0.05; palisade job progress 2 || echo refused >>"$OUT"; done"#;

fn pids(yard: &Yard) -> Vec<u32> {
    let first = yard.effects().first().cloned().unwrap_or_default();
    first.split(' ').filter_map(|pid| pid.parse().ok()).collect()
}

#[test]
fn a_cancelled_program_is_ended_with_all_that_it_started() {
    run(async {
        let mut yard = Yard::sqlite().await;
        let job = yard.enqueue(1, 1).await[0];
        let worker = yard.work(&["--cancel-grace", "300ms"], &["sh", "-c", STUBBORN]);
        yard.until(job, "it runs", |job| job.progress.is_some()).await;
        let pids = pids(&yard);
        assert_eq!(pids.len(), 2);
        yard.do_to(Deed::Cancel { reason: None }, job).await;
        yard.until_state(job, State::Cancelled).await;
        pids.into_iter().for_each(process::wait_gone);
        process::interrupt(worker.pid());
        worker.ends();
        check(&yard, &[job], State::Cancelled).await;
    });
}

#[test]
fn a_drained_program_hands_over_what_it_has_and_its_0_is_not_taken_for_done() {
    run(async {
        let mut yard = Yard::sqlite().await;
        let jobs = yard.enqueue(2, 1).await;
        let job = jobs[0];
        // The second one is far too late: it is ended 1.5 s after it was told.
        let program = r#"trap '[ "$PALISADE_JOB_ID" = 1 ] || sleep 6; echo half >half; palisade job checkpoint half; exit 0' TERM
palisade job progress 1
while :; do sleep 0.05; done"#;
        let worker = yard.work(&["--concurrency", "2"], &["sh", "-c", program]);
        for &job in &jobs {
            yard.until(job, "it runs", |job| job.progress.is_some()).await;
        }
        process::terminate(worker.pid());
        worker.ends();
        for (&job, stored) in jobs.iter().zip([Some(5), None]) {
            let back = yard.job(job).await;
            assert_eq!((back.state, back.attempts), (State::Ready, 0), "{back:?}");
            assert_eq!(back.checkpoint.map(|checkpoint| checkpoint.bytes), stored);
        }

        // One that did finish says so.
        let program = r#"trap 'palisade job done; exit 0' TERM
cat "$PALISADE_RESUME_FILE" >"$OUT"
palisade job progress 2
while :; do sleep 0.05; done"#;
        let worker = yard.work(&[], &["sh", "-c", program]);
        yard.until(job, "it runs again", |job| job.progress == Some(2)).await;
        process::terminate(worker.pid());
        worker.ends();
        assert_eq!(yard.effects(), ["half"]);
        let told = yard.told();
        let started = |number: usize| told[number].iter().find(|said| said["what"] == "started").unwrap();
        assert_ne!(started(0)["incarnation"], started(1)["incarnation"], "each start is a fresh one");
        check(&yard, &[job], State::Succeeded).await;
    });
}
