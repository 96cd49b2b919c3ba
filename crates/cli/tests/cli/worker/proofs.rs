//! What may happen to a worker and its store while jobs run.

use std::fs;
use std::time::Duration;

use palisade_host::clock::Stopwatch;
use palisade_jobs::claim::Terms;
use palisade_jobs::{JobId, JobStore as _, Queue, State};
use palisade_testkit::{Fault, Postgres, Proxy, eventually, process};

use super::checker::check;
use super::yard::{Running, TERMS, Yard, note, run};

/// Counts to its end in steps, with a checkpoint after each, and writes down when it does something.
const STEPS: &str = r#"
n=0
[ -z "${PALISADE_RESUME_FILE:-}" ] || read -r n <"$PALISADE_RESUME_FILE"
state="$OUT.$$"
while [ "$n" -lt "${STEPS:-6}" ]; do
  n=$((n + 1))
  echo "$PALISADE_JOB_ID $PALISADE_TOKEN $$ $(cut -d ' ' -f 1 /proc/uptime)" >>"$OUT"
  sleep 0.1
  echo "$n" >"$state"
  palisade job checkpoint "$state" || exit 1
done
rm -f "$state"
"#;

/// Works for ever, and writes down when it does something. Its checkpoint is one that [`STEPS`] goes on from.
const ENDLESS: &str = r#"
palisade job progress 1
echo 1 >mark; palisade job checkpoint mark
while :; do echo "$PALISADE_TOKEN $$ $(cut -d ' ' -f 1 /proc/uptime)" >>"$OUT"; sleep 0.05; done
"#;

fn uptime() -> f64 {
    let text = fs::read_to_string("/proc/uptime").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// When the attempt with that token last did something, in seconds since boot.
fn last_effect(yard: &Yard, token: i64) -> f64 {
    let effects = yard.effects();
    let mine = effects.iter().filter(|line| line.starts_with(&format!("{token} ")));
    mine.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).fold(0.0, f64::max)
}

async fn sweep_until(yard: &mut Yard, job: JobId, what: &str, fits: impl Fn(State) -> bool) {
    let watch = Stopwatch::start();
    while watch.elapsed() < Duration::from_secs(30) {
        yard.sweep().await;
        if fits(yard.job(job).await.state) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("waited in vain: {what}: {:?}", yard.job(job).await);
}

#[test]
fn the_program_of_a_killed_worker_is_ended_and_another_goes_on_from_its_checkpoint() {
    run(async {
        let mut yard = Yard::sqlite().await;
        let jobs = yard.enqueue(1, 3).await;
        let worker = yard.work(&[], &["sh", "-c", ENDLESS]);
        let running = yard.until(jobs[0], "it has a checkpoint", |job| job.checkpoint.is_some()).await;
        let program: u32 =
            eventually("it does something", || yard.effects().first()?.split(' ').nth(1)?.parse().ok());
        process::kill(worker.pid());
        process::wait_gone(program);
        let done = uptime();
        sweep_until(&mut yard, jobs[0], "it is reaped", |state| state != State::Running).await;
        assert!(last_effect(&yard, running.token.unwrap().0) <= done, "an effect after the program's end");
        yard.work(&["--until-empty"], &["sh", "-c", r#"cat "$PALISADE_RESUME_FILE" >>"$OUT""#]).ends();
        assert_eq!(yard.effects().last().map(String::as_str), Some("1"));
        check(&yard, &jobs, State::Succeeded).await;
    });
}

#[test]
fn the_program_of_a_frozen_worker_stops_before_anybody_else_may_start() {
    run(async {
        let mut yard = Yard::sqlite().await;
        let jobs = yard.enqueue(1, 3).await;
        let frozen = yard.work(&["--name", "twin"], &["sh", "-c", ENDLESS]);
        let running = yard.until(jobs[0], "it has a checkpoint", |job| job.checkpoint.is_some()).await;
        process::freeze(frozen.pid());
        let silent_from = uptime();
        sweep_until(&mut yard, jobs[0], "it is reaped", |state| state != State::Running).await;
        let late = last_effect(&yard, running.token.unwrap().0) - silent_from;
        let limit = Duration::from_millis(TERMS.reap_after_ms).as_secs_f64();
        assert!(late < limit, "an effect {late} s after the last beat, with a threshold of {limit} s");
        // Another worker of the same name takes it; the first one wakes up and can do no harm.
        let twin = yard.work(&["--name", "twin"], &["sh", "-c", STEPS]);
        yard.until_state(jobs[0], State::Succeeded).await;
        process::thaw(frozen.pid());
        process::terminate(frozen.pid());
        frozen.ends();
        process::terminate(twin.pid());
        twin.ends();
        check(&yard, &jobs, State::Succeeded).await;
    });
}

#[test]
fn a_program_of_a_spent_claim_is_ended_and_can_say_nothing() {
    run(async {
        let mut yard = Yard::sqlite().await;
        let jobs = yard.enqueue(1, 3).await;
        // It looks at its claim with its own means, in a group of its own, and does not listen to SIGTERM. What it says
        // carries its own token, so that a word of the first attempt after its claim was spent would be seen.
        let program = r#"palisade job progress "$PALISADE_TOKEN"; setsid sh -c 'trap "" TERM
while :; do palisade job progress "$PALISADE_TOKEN" && echo "$PALISADE_TOKEN $$" >>"$OUT"
palisade job checkpoint "$PALISADE_PAYLOAD_FILE"; sleep 0.05; done' &
wait"#;
        let worker = yard.work(&[], &["sh", "-c", program]);
        let running = yard.until(jobs[0], "it runs", |job| job.progress.is_some()).await;
        let spent = running.token.unwrap().0;
        let looks =
            || yard.effects().iter().find_map(|line| line.strip_prefix(&format!("{spent} "))?.parse().ok());
        let outside: u32 = eventually("it looks from a group of its own", looks);
        process::freeze(worker.pid());
        sweep_until(&mut yard, jobs[0], "it is reaped", |state| state != State::Running).await;
        process::thaw(worker.pid());
        // What left the group was ended too, and the worker takes the job again under a token of its own.
        process::wait_gone(outside);
        let again = |job: &palisade_jobs::Job| {
            job.token.is_some_and(|token| token.0 > spent && job.progress == Some(token.0))
        };
        yard.until(jobs[0], "somebody runs it again", again).await;
        process::terminate(worker.pid());
        worker.ends();
        yard.work(&["--until-empty"], &["true"]).ends();
        check(&yard, &jobs, State::Succeeded).await;
        assert_ne!(yard.job(jobs[0]).await.progress, Some(spent), "the spent claim said something");
    });
}

/// Kills, freezes and thaws workers of two names while they work, until every job is done.
pub(super) async fn chaos(yard: &mut Yard, jobs: &[JobId], mut harm: impl FnMut(usize)) {
    let mut workers: Vec<Running> = Vec::new();
    for name in ["left", "right", "left"] {
        workers.push(yard.work(&["--name", name, "--concurrency", "3"], &["sh", "-c", STEPS]));
    }
    let watch = Stopwatch::start();
    let mut round = 0;
    loop {
        yard.sweep().await;
        let mut left = 0;
        for &job in jobs {
            // A store that is down has not lost it.
            let found = yard.store.job(job).await.ok().flatten();
            left += usize::from(found.is_none_or(|job| job.state != State::Succeeded));
        }
        if left == 0 {
            break;
        }
        assert!(watch.elapsed() < Duration::from_secs(150), "{left} jobs are not done");
        round += 1;
        harm(round);
        match round {
            4 => process::kill(workers[0].pid()),
            6 => process::freeze(workers[1].pid()),
            8 => workers.push(yard.work(&["--name", "right", "--concurrency", "3"], &["sh", "-c", STEPS])),
            30 => process::thaw(workers[1].pid()),
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    process::thaw(workers[1].pid());
    process::kill(workers.remove(0).pid());
    for worker in workers {
        process::terminate(worker.pid());
        worker.ends();
    }
    check(yard, jobs, State::Succeeded).await;
}

#[test]
fn killed_and_frozen_workers_lose_no_job_and_complete_none_twice() {
    run(async {
        let mut yard = Yard::sqlite().await;
        let jobs = yard.enqueue(12, 20).await;
        chaos(&mut yard, &jobs, |_| {}).await;
    });
}

/// A store in PostgreSQL, which workers reach through a proxy that fails on order.
async fn behind_a_proxy(server: &Postgres) -> (Yard, Proxy) {
    server.sql("postgres", "CREATE DATABASE jobs");
    let proxy = Proxy::before(server.port());
    let direct = server.admin("jobs");
    let url = direct.replace(&format!(":{}/", server.port()), &format!(":{}/", proxy.port()));
    (Yard::postgres(url, direct).await, proxy)
}

#[test]
fn answers_that_are_cut_after_the_commit_lose_no_job_and_complete_none_twice() {
    let server = Postgres::start("18");
    run(async {
        let (mut yard, proxy) = behind_a_proxy(&server).await;
        let jobs = yard.enqueue(12, 20).await;
        let cut = |round: usize| {
            let tag: &[u8] = if round.is_multiple_of(2) { b"COMMIT" } else { b"SELECT " };
            proxy.order(Fault::CutAt(tag.to_vec()));
        };
        chaos(&mut yard, &jobs, |round| if round < 40 { cut(round) } else { proxy.order(Fault::None) }).await;
        assert!(proxy.cuts() > 2, "{} cuts", proxy.cuts());
    });
}

#[test]
fn a_database_that_hangs_or_is_gone_for_a_while_loses_no_job() {
    let server = Postgres::start("18");
    run(async {
        let (mut yard, proxy) = behind_a_proxy(&server).await;
        let jobs = yard.enqueue(12, 20).await;
        let harm = |round: usize| match round {
            5 => proxy.order(Fault::Hold),
            20 => proxy.order(Fault::Refuse),
            30 => proxy.order(Fault::Mute),
            40 => proxy.order(Fault::None),
            _ => {}
        };
        chaos(&mut yard, &jobs, harm).await;
    });
}

#[test]
fn a_missed_beat_is_in_the_log_in_the_metrics_and_at_the_job() {
    let server = Postgres::start("18");
    run(async {
        let (mut yard, proxy) = behind_a_proxy(&server).await;
        // Beats as often as may be, and a fence that is far away: the attempt goes on.
        let mut rules = yard.store.queues().await.unwrap().remove(0);
        rules.terms = Terms { beat_every_ms: 500, ..Queue::new(rules.name.clone()).terms };
        yard.store.set_queue(&rules, &note()).await.unwrap();
        let job = yard.enqueue(1, 1).await[0];
        let (metrics, go) = (yard.scratch.join("metrics"), yard.scratch.join("go"));
        let wait = format!("until [ -e {} ]; do sleep 0.05; done", go.display());
        let file = metrics.display().to_string();
        let worker = yard.work(&["--until-empty", "--metrics-file", &file], &["sh", "-c", &wait]);
        yard.until_state(job, State::Running).await;
        proxy.order(Fault::Hold);
        let log = worker.log.clone();
        let logged = |what: &str| fs::read_to_string(&log).unwrap().contains(what).then_some(());
        eventually("the log has it", || logged("beat_missed"));
        proxy.order(Fault::None);
        let seen = yard.until(job, "the job shows it", |job| job.trouble.is_some()).await;
        assert!(seen.trouble.unwrap().contains("missed"));
        eventually("the log has its end", || logged("beats_again"));
        let counted = |text: &str| {
            let mut lines =
                text.lines().filter(|line| line.starts_with("palisade_worker_beats_missed_total{"));
            lines.any(|line| !line.ends_with(" 0"))
        };
        eventually("it is counted", || fs::read_to_string(&metrics).ok().filter(|text| counted(text)));
        fs::write(go, "").unwrap();
        worker.ends();
        check(&yard, &[job], State::Succeeded).await;
    });
}

#[test]
fn a_disk_that_is_full_loses_no_job_and_is_seen() {
    run(async {
        let server = Postgres::start("18");
        let (mut yard, _proxy) = behind_a_proxy(&server).await;
        let jobs = yard.enqueue(1, 1).await;
        fs::write(yard.scratch.join("big"), [0; 3000]).unwrap();
        // No file of the worker and what it starts may grow beyond 2000 bytes: neither checkpoint nor log fit.
        let program = r#"head -c 4000 /dev/zero | tr '\0' x
palisade job checkpoint "$HOME/big" && palisade job progress 2"#;
        let limit = r#"trap "" XFSZ; exec prlimit --fsize=2000 palisade worker --queue work --until-empty --json -- sh -c "$1""#;
        let worker = yard.work_by(&["sh", "-c", limit, "sh", program]);
        let lagging = yard.until(jobs[0], "the job shows it", |job| job.trouble.is_some()).await;
        assert!(lagging.trouble.unwrap().contains("is not stored"));
        worker.ends();
        check(&yard, &jobs, State::Succeeded).await;
    });
}
