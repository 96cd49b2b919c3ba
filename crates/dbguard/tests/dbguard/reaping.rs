//! Reaps against completions, beats, other terms and a held row: exactly one outcome each.

use palisade_core::Intended;
use palisade_dbguard::columns::Columns;
use palisade_dbguard::proof::AppKey;
use palisade_dbguard::reap::{self, Beat, Fence, Look, Reaped, Running, Wanted};
use palisade_dbguard::script::Named;
use palisade_dbguard::{Error, Installed, Rules, Table, identity, installed};
use palisade_postgres::{Session, Target};

use super::fixture::{Jobs, at_length, named, rules, wait};
use crate::stamps::stamp;

/// Jobs in each round of races.
const JOBS: usize = 500;

const RUN_ALL: &str = "DELETE FROM backfill_jobs WHERE status <> 'running'; \
    INSERT INTO backfill_jobs (name, status, heartbeat_at) \
    SELECT gen_random_uuid()::text, 'running', now() - interval '2 hours' FROM generate_series(1, 500)";

const COMPLETE: &str = "UPDATE backfill_jobs SET status = 'completed' WHERE id = $1::uuid AND status = 'running' \
    RETURNING 'done'::text";

/// Nothing is recorded here but in the database.
static NO_JOURNAL: Intended = Intended::without_journal();

fn fence(term: u64) -> Fence<'static> {
    Fence { lease: "reaper/t", term, holder: "a", identity: None, intended: &NO_JOURNAL }
}

/// A term that lasts, of a reaper that gives back to `queued`.
fn with_lease(jobs: Jobs) -> Jobs {
    jobs.admin(
        "INSERT INTO palisade.lease (name, term, holder, acquired_at, expires_at) \
         VALUES ('reaper/t', 7, 'a', now(), now() + interval '1 hour')",
    );
    jobs
}

async fn session(jobs: &Jobs, role: &str) -> Session {
    Session::connect(&Target::parse(&jobs.server.url(role, "jobs")).unwrap()).await.unwrap()
}

/// A reaper without a rule: it reaps what it is told to.
struct Hand {
    session: Session,
    table: Table,
    guard: Installed,
    columns: Columns,
}

impl Hand {
    async fn of(jobs: &Jobs, table: &str) -> Self {
        let session = session(jobs, "postgres").await;
        let table = Table::find(&session, table).await.unwrap();
        let guard = installed(&session).await.unwrap().remove(0);
        let columns = reap::columns(&guard, &table).unwrap();
        Self { session, table, guard, columns }
    }

    async fn look(&self) -> Look {
        reap::look(&self.session, &self.guard, &self.table, &self.columns).await.unwrap()
    }

    async fn reap(&self, fence: Fence<'_>, seen: &[Running]) -> Result<Vec<Reaped>, Error> {
        let wanted: Vec<_> = seen
            .iter()
            .map(|seen| Wanted { seen, reason: format!("reaped: job {}. Reaper: m", seen.key) })
            .collect();
        reap::reap(&self.session, &self.guard, &self.table, &self.columns, fence, "queued", &wanted).await
    }

    async fn reap_one(&self, fence: Fence<'_>, seen: &Running) -> Reaped {
        self.reap(fence, std::slice::from_ref(seen)).await.unwrap()[0]
    }
}

#[test]
fn of_thousands_of_races_of_reap_and_completion_each_has_one_outcome() {
    let (reaped, completed) = race(if at_length() { 20 } else { 4 });
    println!("{reaped} reaped, {completed} completed");
    assert!(reaped > 0 && completed > 0);
}

/// How many jobs were reaped, and how many were completed. Each is one of both.
fn race(rounds: usize) -> (usize, usize) {
    let jobs = with_lease(Jobs::guarded("15"));
    wait(async {
        let (hand, worker) = (Hand::of(&jobs, "public.backfill_jobs").await, session(&jobs, "app").await);
        let (mut reaped, mut completed) = (0, 0);
        for _ in 0..rounds {
            jobs.admin(RUN_ALL);
            let look = hand.look().await;
            assert_eq!(look.running.len(), JOBS);
            for (at, seen) in look.running.iter().enumerate() {
                let reap = hand.reap_one(fence(7), seen);
                let key = [Some(&*seen.key)];
                let complete = worker.ask("complete", COMPLETE, &key);
                // Both are on their way at once; who is asked first alternates.
                let (taken, done) = if at % 2 == 0 {
                    tokio::join!(reap, complete)
                } else {
                    let (done, taken) = tokio::join!(complete, reap);
                    (taken, done)
                };
                let (taken, done) = (taken == Reaped::Taken, !done.unwrap().is_empty());
                assert!(taken != done, "job {}: reaped {taken}, completed {done}", seen.key);
                reaped += usize::from(taken);
                completed += usize::from(done);
            }
        }
        assert_eq!(reaped + completed, rounds * JOBS);
        (reaped, completed)
    })
}

#[test]
fn a_beat_another_term_another_holder_and_an_expired_lease_refute() {
    let jobs = with_lease(Jobs::guarded("15"));
    wait(async {
        jobs.admin(RUN_ALL);
        let hand = Hand::of(&jobs, "public.backfill_jobs").await;
        let look = hand.look().await;
        let seen = &look.running[0];
        assert_eq!(hand.reap_one(fence(6), seen).await, Reaped::TermOver);
        assert_eq!(hand.reap_one(Fence { holder: "b", ..fence(7) }, seen).await, Reaped::TermOver);
        let older = Running { beat: Beat::At([0; 8]), ..seen.clone() };
        assert_eq!(hand.reap_one(fence(7), &older).await, Reaped::Refuted);
        jobs.admin("UPDATE palisade.lease SET expires_at = now()");
        assert_eq!(hand.reap_one(fence(7), seen).await, Reaped::TermOver);
        jobs.admin("UPDATE palisade.lease SET expires_at = now() + interval '1 hour'");
        assert_eq!(hand.reap_one(fence(7), seen).await, Reaped::Taken);
        assert_eq!(hand.reap_one(fence(7), seen).await, Reaped::Refuted);
        assert_eq!(jobs.admin("SELECT count(*) FROM backfill_jobs WHERE status = 'queued'"), "1");
        let reason = format!("SELECT error FROM backfill_jobs WHERE id = '{}'", seen.key);
        assert_eq!(jobs.admin(&reason), format!("reaped: job {}. Reaper: m", seen.key));
    });
}

#[test]
fn a_row_that_somebody_holds_is_left_alone_and_the_others_go() {
    let jobs = with_lease(Jobs::guarded("15"));
    wait(async {
        jobs.admin(RUN_ALL);
        let hand = Hand::of(&jobs, "public.backfill_jobs").await;
        let look = hand.look().await;
        let mut worker = jobs.server.session("app", "jobs");
        worker.ask("BEGIN");
        worker.ask(&format!(
            "UPDATE backfill_jobs SET heartbeat_at = clock_timestamp() WHERE id = '{}'",
            look.running[1].key
        ));
        let reaped = hand.reap(fence(7), &look.running[..3]).await.unwrap();
        assert_eq!(reaped, [Reaped::Taken, Reaped::Refuted, Reaped::Taken]);
        worker.ask("COMMIT");
        // It has beaten: what was seen of it is over.
        assert_eq!(hand.reap_one(fence(7), &look.running[1]).await, Reaped::Refuted);
        assert_eq!(hand.look().await.running.len(), JOBS - 2);
    });
}

#[test]
fn a_reap_finds_its_rows_by_the_index_also_under_a_key_of_two_columns() {
    const TABLE: &str = "CREATE TABLE runs (shard int, id bigint, status text, heartbeat_at timestamptz, error text, \
        PRIMARY KEY (shard, id)); INSERT INTO runs SELECT 1, n, CASE n % 10000 WHEN 0 THEN 'running' ELSE 'queued' END, \
        now() - interval '2 hours', NULL FROM generate_series(1, 200000) n; ANALYZE runs";
    let jobs = Jobs::unguarded("15");
    jobs.admin(TABLE);
    let named = Named { mark: None, ..named() };
    let rules = Rules { mark: None, ..rules() };
    jobs.install("public.runs", &named, &rules).unwrap();
    jobs.up_for_a_day();
    let jobs = with_lease(jobs);
    wait(async {
        let hand = Hand::of(&jobs, "public.runs").await;
        let look = hand.look().await;
        assert_eq!(look.running.len(), 20);
        assert_eq!(&*look.running[0].key, "(1,10000)");
        assert!(matches!(look.running[0].beat, Beat::At(_)));
        let scans = || jobs.admin("SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'runs'");
        hand.session.run("flush", "SELECT pg_stat_force_next_flush(); SELECT 1").await.unwrap();
        let before = scans();
        let reaped = hand.reap(fence(7), &look.running).await.unwrap();
        assert_eq!(reaped, [Reaped::Taken; 20]);
        hand.session.run("flush", "SELECT pg_stat_force_next_flush(); SELECT 1").await.unwrap();
        assert_eq!(scans(), before, "the whole table was read");
        let found = "SELECT idx_scan >= 20 FROM pg_stat_user_tables WHERE relname = 'runs'";
        assert_eq!(jobs.admin(found), "t");
    });
}

#[test]
fn where_an_identity_is_asked_for_a_reap_shows_one_and_stays_behind_the_rule_of_age() {
    let jobs = with_lease(Jobs::guarded("15"));
    jobs.running(5, "2 hours");
    stamp(&jobs.server, "production");
    jobs.admin("UPDATE palisade.guard SET identity_required = true");
    wait(async {
        let hand = Hand::of(&jobs, "public.backfill_jobs").await;
        assert!(hand.guard.identity_required);
        let look = hand.look().await;
        let refused = hand.reap(fence(7), &look.running[..1]).await.unwrap_err();
        assert!(refused.to_string().contains("PL321"), "{refused}");

        let (app, environment) = ("janitor".parse().unwrap(), "production".parse().unwrap());
        let key: AppKey = identity::key(&hand.session, &app, &environment).await.unwrap();
        let now = || jobs.admin("SELECT extract(epoch FROM clock_timestamp())::bigint").parse().unwrap();
        let proven = |term| Fence { identity: Some((&key, now())), ..fence(term) };
        assert_eq!(hand.reap_one(proven(6), &look.running[0]).await, Reaped::TermOver);
        assert_eq!(hand.reap_one(proven(7), &look.running[0]).await, Reaped::Taken);
        let recorded = "SELECT ground, identity, lease, term FROM palisade.history WHERE event = 'exit'";
        assert_eq!(jobs.admin(recorded), "old|janitor/production|reaper/t|7");

        // A term is no right to take the young, unless its lease is the one that the guard names.
        jobs.admin("UPDATE backfill_jobs SET heartbeat_at = clock_timestamp() - interval '10 minutes' \
            WHERE status = 'running' AND id IN (SELECT id FROM backfill_jobs WHERE status = 'running' LIMIT 1)");
        let young = hand.look().await.running;
        let young: Vec<_> = young.into_iter().filter(|one| !look.running.contains(one)).collect();
        let refused = hand.reap(proven(7), &young).await.unwrap_err();
        assert!(refused.to_string().contains("PL301"), "{refused}");
        jobs.admin("UPDATE palisade.guard SET lease = 'reaper/t'");
        assert_eq!(hand.reap(proven(7), &young).await.unwrap(), [Reaped::Taken]);
    });
}
