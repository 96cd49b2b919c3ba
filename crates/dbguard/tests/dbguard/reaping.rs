//! Reaps against completions, beats, other terms and a held row: exactly one outcome each.

use palisade_dbguard::reap::{self, Fence, Reaped, Running};
use palisade_dbguard::{Table, installed};
use palisade_postgres::{Session, Target};

use super::fixture::{Jobs, wait};

/// Rounds of races, and jobs in each.
const ROUNDS: usize = 20;
const JOBS: usize = 500;

const RUN_ALL: &str = "DELETE FROM backfill_jobs WHERE status <> 'running'; \
    INSERT INTO backfill_jobs (name, status, heartbeat_at) \
    SELECT gen_random_uuid()::text, 'running', now() - interval '2 hours' FROM generate_series(1, 500)";

const COMPLETE: &str = "UPDATE backfill_jobs SET status = 'completed' WHERE id = $1::uuid AND status = 'running' \
    RETURNING 'done'::text";

fn fence(term: u64) -> Fence<'static> {
    Fence { lease: "reaper/t", term, holder: "a" }
}

fn with_lease() -> Jobs {
    let jobs = Jobs::guarded("15");
    jobs.admin(
        "INSERT INTO palisade.lease (name, term, holder, acquired_at, expires_at) \
         VALUES ('reaper/t', 7, 'a', now(), now() + interval '1 hour')",
    );
    jobs
}

async fn session(jobs: &Jobs, role: &str) -> Session {
    Session::connect(&Target::parse(&jobs.server.url(role, "jobs")).unwrap()).await.unwrap()
}

#[test]
fn of_ten_thousand_races_of_reap_and_completion_each_has_one_outcome() {
    let jobs = with_lease();
    wait(async {
        let (judge, worker) = (session(&jobs, "postgres").await, session(&jobs, "app").await);
        let table = Table::find(&judge, "public.backfill_jobs").await.unwrap();
        let guard = installed(&judge).await.unwrap().remove(0);
        let columns = reap::columns(&guard, &table).unwrap();
        let (mut reaped, mut completed) = (0, 0);
        for _ in 0..ROUNDS {
            jobs.admin(RUN_ALL);
            let look = reap::look(&judge, &guard, &table, &columns).await.unwrap();
            assert_eq!(look.running.len(), JOBS);
            for (at, seen) in look.running.iter().enumerate() {
                let to = ("queued", "reaped: a race. Reaper: m");
                let reap = reap::reap(&judge, &guard, &table, &columns, fence(7), seen, to);
                let key = [Some(seen.key.as_str())];
                let complete = worker.ask("complete", COMPLETE, &key);
                // Both are on their way at once; who is asked first alternates.
                let (taken, done) = if at % 2 == 0 {
                    tokio::join!(reap, complete)
                } else {
                    let (done, taken) = tokio::join!(complete, reap);
                    (taken, done)
                };
                let (taken, done) = (taken.unwrap() == Reaped::Taken, !done.unwrap().is_empty());
                assert!(taken != done, "job {}: reaped {taken}, completed {done}", seen.key);
                reaped += usize::from(taken);
                completed += usize::from(done);
            }
        }
        println!("{reaped} reaped, {completed} completed");
        assert!(reaped + completed == ROUNDS * JOBS && reaped > 0 && completed > 0);
    });
}

#[test]
fn a_beat_another_term_another_holder_and_an_expired_lease_refute() {
    let jobs = with_lease();
    wait(async {
        let judge = session(&jobs, "postgres").await;
        jobs.admin(RUN_ALL);
        let table = Table::find(&judge, "public.backfill_jobs").await.unwrap();
        let guard = installed(&judge).await.unwrap().remove(0);
        let columns = reap::columns(&guard, &table).unwrap();
        let look = reap::look(&judge, &guard, &table, &columns).await.unwrap();
        let seen = &look.running[0];
        let to = ("queued", "reaped: it is dead. Reaper: m");
        let reap = |fence, seen: &Running| {
            let seen = seen.clone();
            let (judge, guard, table, columns) = (&judge, &guard, &table, &columns);
            async move { reap::reap(judge, guard, table, columns, fence, &seen, to).await.unwrap() }
        };
        assert_eq!(reap(fence(6), seen).await, Reaped::TermOver);
        assert_eq!(reap(Fence { holder: "b", ..fence(7) }, seen).await, Reaped::TermOver);
        let older = Running { counter: "2020-01-01".to_owned(), ..seen.clone() };
        assert_eq!(reap(fence(7), &older).await, Reaped::Refuted);
        jobs.admin("UPDATE palisade.lease SET expires_at = now()");
        assert_eq!(reap(fence(7), seen).await, Reaped::TermOver);
        jobs.admin("UPDATE palisade.lease SET expires_at = now() + interval '1 hour'");
        assert_eq!(reap(fence(7), seen).await, Reaped::Taken);
        assert_eq!(reap(fence(7), seen).await, Reaped::Refuted);
    });
}

#[test]
fn a_reap_that_waits_for_the_row_finds_the_beat_that_it_waited_for() {
    let jobs = with_lease();
    wait(async {
        let judge = session(&jobs, "postgres").await;
        jobs.admin(RUN_ALL);
        let table = Table::find(&judge, "public.backfill_jobs").await.unwrap();
        let guard = installed(&judge).await.unwrap().remove(0);
        let columns = reap::columns(&guard, &table).unwrap();
        let look = reap::look(&judge, &guard, &table, &columns).await.unwrap();
        let seen = look.running[0].clone();
        let mut worker = jobs.server.session("app", "jobs");
        worker.ask("BEGIN");
        worker.ask(&format!(
            "UPDATE backfill_jobs SET heartbeat_at = clock_timestamp() WHERE id = '{}'",
            seen.key
        ));
        let reap = reap::reap(&judge, &guard, &table, &columns, fence(7), &seen, ("queued", "Reaper: m"));
        let commit = async {
            while jobs
                .server
                .sql("jobs", "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
                == "0"
            {
                tokio::task::yield_now().await;
            }
            worker.ask("COMMIT");
        };
        let (reaped, ()) = tokio::join!(reap, commit);
        assert_eq!(reaped.unwrap(), Reaped::Refuted);
    });
}
