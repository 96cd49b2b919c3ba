//! Faults of real servers, connections and judges, with the stale reaper of the report running all the time, and the two
//! naive rules beside ours: what each takes from the living, and how soon each finds the dead.
//!
//! `./run trials` runs them with one, two and ten workers and prints the table.

mod place;
mod site;
mod works;

use std::time::Duration;

use palisade_host::clock;
use palisade_testkit::{Fault, Postgres, eventually, process};

use place::{Place, SWEEP_MS, T_MS};
use site::Site;
use works::Works;

/// Workers that come back at once, and workers that are slower than the reaper.
const SOON: Duration = Duration::from_millis(100);
const SLOWLY: Duration = Duration::from_millis(1_500);

/// What one fault does to a site.
struct Trial<P> {
    name: &'static str,
    back: Duration,
    own_clock: bool,
    strike: fn(&mut P),
}

/// One line of the table.
struct Row {
    name: &'static str,
    workers: usize,
    /// Of the living, by the client's clock, by the server's clock, by ours.
    killed: [usize; 3],
    /// Of the dead, in milliseconds.
    found: [u64; 3],
    refused: u64,
}

fn wait(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

fn pause(site: &mut impl Place, ms: u64) {
    // The judges look before the beats that waited for the server are written: who wakes first is not left to chance.
    site.far().order(Fault::Hold);
    wait(SWEEP_MS);
    let all = site.processes();
    all.iter().for_each(|pid| process::freeze(*pid));
    wait(ms);
    all.iter().for_each(|pid| process::thaw(*pid));
    wait(3 * SWEEP_MS);
    site.far().order(Fault::None);
}

fn trials<P: Place>() -> [Trial<P>; 10] {
    [
        Trial { name: "none", back: SOON, own_clock: false, strike: |_| {} },
        Trial {
            name: "server paused for 10 T",
            back: SOON,
            own_clock: false,
            strike: |site| pause(site, 10 * T_MS),
        },
        Trial {
            name: "server restarted at once, workers slow to return",
            back: SLOWLY,
            own_clock: false,
            strike: |site| {
                // Away for longer than the rule, so that every beat is old when it is back.
                site.near().lead_to(1);
                site.far().lead_to(1);
                site.server().crash();
                wait(T_MS + 500);
                site.follow();
            },
        },
        Trial {
            name: "restored from an older backup",
            // Slowly, so that the judges see the old beats before the workers are back.
            back: SLOWLY,
            own_clock: false,
            strike: |site| {
                site.server().back_up();
                site.follow();
                wait(2 * T_MS);
                site.server().restore();
                site.after_restore();
                site.follow();
            },
        },
        Trial {
            name: "server's clock steps an hour ahead and back",
            back: SOON,
            own_clock: true,
            strike: |site| {
                site.server().step_clock(3_600);
                wait(T_MS);
                site.server().step_clock(0);
            },
        },
        Trial {
            name: "judge cut off for 3 T, then late",
            back: SOON,
            own_clock: false,
            strike: |site| {
                site.near().order(Fault::Hold);
                wait(3 * T_MS);
                site.near().order(Fault::None);
            },
        },
        Trial {
            name: "judge's answers cut at byte n, then half closed",
            back: SOON,
            own_clock: false,
            strike: |site| {
                for bytes in [1, 40, 400, 1_000, 4_000] {
                    site.near().order(Fault::Short(bytes));
                    wait(T_MS / 3);
                }
                site.near().order(Fault::HalfClose);
                wait(T_MS);
                site.near().order(Fault::None);
            },
        },
        Trial {
            name: "workers' connections late, cut and half closed",
            back: SOON,
            own_clock: false,
            strike: |site| {
                for fault in
                    [Fault::Hold, Fault::Short(40), Fault::Short(900), Fault::Short(4_000), Fault::HalfClose]
                {
                    site.far().order(fault);
                    wait(T_MS / 3);
                    site.far().order(Fault::None);
                    wait(T_MS / 3);
                }
            },
        },
        Trial {
            name: "all connections late, cut and half closed at once",
            back: SOON,
            own_clock: false,
            strike: |site| {
                for fault in [Fault::Hold, Fault::Short(400), Fault::HalfClose] {
                    site.near().order(fault.clone());
                    site.far().order(fault);
                    wait(T_MS + 500);
                    site.near().order(Fault::None);
                    site.far().order(Fault::None);
                    wait(T_MS / 3);
                }
            },
        },
        Trial {
            name: "reaper stopped past its term, awake beside the next",
            back: SOON,
            own_clock: false,
            strike: |site| {
                let next = site.reaper();
                let term = site.term().unwrap();
                // The first one is stopped for so long that its term is over; it wakes up beside its successor.
                let first = site.first().as_ref().map(|first| first.0.id()).unwrap();
                process::freeze(first);
                site.elected(term);
                process::thaw(first);
                wait(T_MS);
                *site.first() = Some(next);
            },
        },
    ]
}

fn run<P: Place>(trial: &Trial<P>, workers: usize) -> Row {
    run_with(trial, workers, |_| {})
}

/// As [`run`], with `more` after the trial's own fault.
fn run_with<P: Place>(trial: &Trial<P>, workers: usize, more: impl FnOnce(&mut P)) -> Row {
    let server = match trial.own_clock {
        true => Postgres::with_a_clock_of_its_own("15"),
        false => Postgres::start("15"),
    };
    let mut site = P::new(server, workers, trial.back);
    *site.first() = Some(site.reaper());
    site.elected(0);
    wait(T_MS);
    (trial.strike)(&mut site);
    more(&mut site);
    let killed = site.aftermath();
    assert_eq!(killed[2], 0);
    let found = site.death();
    Row { name: trial.name, workers, killed, found, refused: site.refused() }
}

fn named(name: &str) -> Trial<Site> {
    trials().into_iter().find(|trial| trial.name.starts_with(name)).unwrap()
}

#[test]
fn a_pause_of_ten_times_the_rule_takes_no_living_job() {
    let row = run(&named("server paused"), 2);
    assert!(row.killed[1] > 0, "the naive rule took nobody, so that nothing is shown");
}

#[test]
fn a_restart_with_workers_slower_than_the_reaper_takes_no_living_job() {
    let row = run(&named("server restarted"), 2);
    assert!(row.killed[0] > 0 && row.killed[1] > 0, "the naive rules took nobody");
}

#[test]
fn a_restored_backup_takes_no_living_job() {
    assert!(run(&named("restored"), 2).killed[1] > 0, "the naive rule took nobody");
}

#[test]
fn a_step_of_the_servers_clock_takes_no_living_job() {
    assert!(run(&named("server's clock"), 2).killed[1] > 0, "the naive rule took nobody");
}

#[test]
fn connections_that_are_late_or_cut_take_no_living_job() {
    run_with(&named("judge's answers"), 2, named("workers' connections").strike);
}

#[test]
fn a_reap_that_comes_after_its_term_writes_nothing_though_a_third_held_the_row() {
    let mut site = Site::new(Postgres::start("15"), 3, SOON);
    let first = site.reaper();
    let term = site.elected(0);
    // The reap of job 1 is on its way, its reaper is stopped, and the worker is back with a beat that is not committed.
    site.near.order(Fault::HoldAt(b"SKIP LOCKED".to_vec()));
    site.bury(1);
    eventually("a reap is on its way", || site.near.holds().then_some(()));
    process::freeze(first.0.id());
    let mut third = site.server.session("app", "postgres");
    third.ask("BEGIN");
    third.ask("UPDATE jobs SET heartbeat_at = clock_timestamp() WHERE id = 1");
    // What holds the first one's connection holds nobody else's.
    let second = site.reaper_directly();
    site.elected(term);
    third.ask("COMMIT");
    site.work(1, SOON);
    site.near.order(Fault::None);
    process::thaw(first.0.id());
    site.aftermath();
    assert_eq!(
        site.server.sql("postgres", "SELECT count(*) FROM palisade.history WHERE event = 'exit'"),
        "0"
    );
    drop(second);
}

#[test]
fn a_late_reap_of_a_claim_writes_nothing_once_its_term_is_over() {
    let works = Works::new(Postgres::start("15"), 2, SOON);
    let first = works.reaper();
    let term = works.elected(0);
    // The reap is on its way, its reaper is stopped, and the worker is back, though a third holds its claim.
    works.near.order(Fault::HoldAt(b"silent AS MATERIALIZED".to_vec()));
    works.freeze(1);
    eventually("a reap is on its way", || works.near.holds().then_some(()));
    process::freeze(first.0.id());
    let mut third = works.server.session("postgres", "postgres");
    third.ask("BEGIN");
    third.ask("SELECT FROM palisade_jobs.job_run WHERE worker = 'w01' FOR UPDATE");
    works.thaw(1);
    let second = works.reaper_directly();
    works.elected(term);
    third.ask("COMMIT");
    works.near.order(Fault::None);
    process::thaw(first.0.id());
    wait(2 * T_MS);
    works.everybody_works();
    assert_eq!(works.reaped(), [].into());
    drop(second);
}

#[test]
fn a_claim_that_a_third_holds_stops_neither_its_reaper_nor_the_next_one() {
    let works = Works::new(Postgres::start("15"), 2, SOON);
    let first = works.reaper();
    let term = works.elected(0);
    let mut third = works.server.session("postgres", "postgres");
    third.ask("BEGIN");
    third.ask("SELECT FROM palisade_jobs.job_run WHERE worker = 'w01' FOR UPDATE");
    works.freeze(1);
    // Between its decision and its end: the statement waits for the row.
    let waits =
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'WITH term%' AND wait_event_type = 'Lock'";
    eventually("the reap waits", || (works.server.sql("postgres", waits) == "1").then_some(()));
    assert_eq!(works.term(), Some(term), "a row that is locked ends no term");
    process::freeze(first.0.id());
    let second = works.reaper_directly();
    let next = works.elected(term);
    assert_eq!(works.reaped(), [].into());
    third.ask("COMMIT");
    let taken = eventually("the dead worker's job is taken", || works.reaped().into_values().next());
    assert!(taken.1.contains(&format!("term {next}")), "{taken:?}");
    process::thaw(first.0.id());
    wait(T_MS);
    assert_eq!(works.reaped().len(), 1);
    drop(second);
}

fn at_length() -> bool {
    palisade_host::Environment::of_this_process().text("PALISADE_AT_LENGTH").is_some()
}

/// Faults have tests of their own; `./run trials` asks for all of them, with one, two and ten workers, and
/// `./run trials NAME` for those whose name contains that.
#[expect(clippy::print_stdout, reason = "`./run trials` prints this table")]
fn table<P: Place>(of: &str) {
    let only = palisade_host::Environment::of_this_process().text("PALISADE_TRIAL").unwrap_or_default();
    let (most, crews): (usize, &[usize]) = if at_length() { (usize::MAX, &[1, 2, 10]) } else { (1, &[1]) };
    println!(
        "| of | fault | workers | living jobs taken: client's clock | server's clock | ours | a death found after ms: client's clock | server's clock | ours | stale reaper refused |"
    );
    println!("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|");
    let since = clock::boot_ms();
    for trial in trials::<P>().iter().filter(|trial| trial.name.contains(&only)).take(most) {
        for &workers in crews {
            let Row { name, workers, killed: [c, s, o], found: [fc, fs, fo], refused } = run(trial, workers);
            println!("| {of} | {name} | {workers} | {c} | {s} | {o} | {fc} | {fs} | {fo} | {refused} |");
        }
    }
    println!("{of}: {} s", (clock::boot_ms() - since) / 1000);
}

#[test]
fn each_fault_beside_the_naive_rules() {
    std::thread::scope(|scope| {
        // In short, only the job engine's: faults around a table have tests of their own above.
        if at_length() {
            scope.spawn(|| table::<Site>("table"));
        }
        table::<Works>("job engine");
    });
}
