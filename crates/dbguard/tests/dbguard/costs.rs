//! What a reaper costs over a table of somebody else's: `./run costs` prints the figures of docs/reaper.md.

use palisade_core::Intended;
use palisade_dbguard::columns::Columns;
use palisade_dbguard::reap::{self, Fence, Reaped, Running, Wanted};
use palisade_dbguard::{Installed, Table, installed};
use palisade_postgres::Session;

use super::fixture::{Jobs, at_length, named, rules, wait};

/// Jobs that are given back in one pass, at most, and in one statement.
const REAPED: usize = 10_000;
const BATCH: usize = 500;

/// Milliseconds since this machine booted.
fn clock_ms() -> f64 {
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    uptime.split(' ').next().unwrap().parse::<f64>().unwrap() * 1000.0
}

/// Calls, milliseconds, buffers and bytes of WAL of the statements that hold this text, since it was last asked.
fn spent(jobs: &Jobs, text: &str) -> (u64, f64, u64, u64) {
    let sql = format!(
        "SELECT sum(calls), sum(total_exec_time), sum(shared_blks_hit + shared_blks_read), sum(wal_bytes) \
         FROM pg_stat_statements WHERE query LIKE '%{text}%' AND query NOT LIKE '%pg_stat_statements%'"
    );
    let row = jobs.admin(&sql);
    let fields: Vec<&str> = row.split('|').collect();
    let whole = |at: usize| fields[at].parse::<f64>().unwrap_or_default() as u64;
    jobs.admin("SELECT pg_stat_statements_reset()");
    (whole(0), fields[1].parse().unwrap_or_default(), whole(2), whole(3))
}

/// One statement of a reaper.
async fn take(session: &Session, guard: &Installed, table: &Table, columns: &Columns, batch: &[Running]) {
    let intended = Intended::without_journal();
    let fence = Fence { lease: "reaper/t", term: 7, holder: "a", identity: None, intended: &intended };
    let wanted: Vec<_> =
        batch.iter().map(|seen| Wanted { seen, reason: "reaped: Reaper: m".to_owned() }).collect();
    let reaped = reap::reap(session, guard, table, columns, fence, "queued", &wanted).await;
    assert!(reaped.unwrap().iter().all(|one| *one == Reaped::Taken));
}

#[test]
fn a_sweep_over_many_rows_writes_nothing_and_a_pass_takes_what_it_names() {
    let sizes = if at_length() { vec![100_000, 1_000_000] } else { vec![2_000] };
    println!(
        "| running rows | a sweep: server ms | by the judge's clock, ms | buffers | WAL, bytes | 10,000 reaped: server ms | WAL, MB | without the guard's triggers: server ms | WAL, MB | statements |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for rows in sizes {
        let jobs = Jobs::unguarded_with(
            "15",
            &[
                "shared_preload_libraries=pg_stat_statements",
                "shared_buffers=512MB",
                "pg_stat_statements.track=top",
            ],
        );
        jobs.admin("CREATE EXTENSION pg_stat_statements");
        jobs.admin(&format!(
            "INSERT INTO backfill_jobs (name, status, heartbeat_at) SELECT n::text, 'running', \
             now() - interval '2 hours' FROM generate_series(1, {rows}) n; VACUUM ANALYZE backfill_jobs"
        ));
        jobs.install("public.backfill_jobs", &named(), &rules()).unwrap();
        jobs.up_for_a_day();
        jobs.admin(
            "INSERT INTO palisade.lease (name, term, holder, acquired_at, expires_at) \
             VALUES ('reaper/t', 7, 'a', now(), now() + interval '1 hour')",
        );
        wait(async {
            let session = jobs.connect("postgres").await;
            let table = Table::find(&session, "public.backfill_jobs").await.unwrap();
            let guard = installed(&session).await.unwrap().remove(0);
            let columns = reap::columns(&guard, &table).unwrap();
            let mut look = reap::look(&session, &guard, &table, &columns).await.unwrap();
            spent(&jobs, "palisade.change");
            let mut by_clock = f64::MAX;
            for _ in 0..3 {
                let asked = clock_ms();
                look = reap::look(&session, &guard, &table, &columns).await.unwrap();
                by_clock = by_clock.min(clock_ms() - asked);
            }
            assert_eq!(look.running.len(), rows);
            let (calls, ms, buffers, wal) = spent(&jobs, "palisade.change");
            assert_eq!(wal, 0, "a sweep writes");
            let most = REAPED.min(rows / 2);
            let pass = async |from: usize| {
                for batch in look.running[from..from + most].chunks(BATCH) {
                    take(&session, &guard, &table, &columns, batch).await;
                }
            };
            pass(0).await;
            let (statements, reaping, _, written) = spent(&jobs, "SKIP LOCKED");
            // The same once more, where nobody judges and records what leaves.
            jobs.admin("ALTER TABLE backfill_jobs DISABLE TRIGGER USER");
            pass(rows - most).await;
            let (_, bare, _, bare_written) = spent(&jobs, "SKIP LOCKED");
            println!(
                "| {rows} | {:.0} | {by_clock:.0} | {} | {} | {reaping:.0} | {:.1} | {bare:.0} | {:.1} | {statements} |",
                ms / calls as f64,
                buffers / calls,
                wal / calls,
                written as f64 / 1e6,
                bare_written as f64 / 1e6
            );
        });
    }
}
