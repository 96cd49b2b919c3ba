//! Durable jobs: Palisade beside other queues on one PostgreSQL, each in a process and a database of its own.

mod growth;
mod peers;

use std::time::Duration;

use palisade_host::clock::Stopwatch;
use palisade_testkit::Postgres;

use crate::Outcome;
use crate::report::{Section, Target};
use crate::rounds::Plan;
use crate::say;
use crate::stats::{Ratio, Series};
use peers::Measured;

/// What can be measured of jobs, each alone or all with `jobs`.
pub(crate) const ROWS: [&str; 7] = ["drain", "bulk", "single", "commit", "latency", "beats", "growth"];

/// A server that writes what it promises, as one in use does.
pub(super) fn server(synchronous: bool) -> Postgres {
    let mut settings = vec!["fsync=on", "shared_buffers=512MB", "max_wal_size=4GB", "max_connections=200"];
    settings.extend((!synchronous).then_some("synchronous_commit=off"));
    Postgres::start_with("15", &settings)
}

/// Every section that was asked for.
pub(crate) fn all(plan: &Plan) -> Outcome<Vec<Section>> {
    let mut sections = Vec::new();
    for (row, measure) in [
        ("drain", drain as fn(&Plan) -> Outcome<Vec<Section>>),
        ("bulk", bulk),
        ("single", single),
        ("commit", commit),
        ("latency", latency),
        ("beats", growth::beats),
        ("growth", growth::growth),
    ] {
        if plan.has(row) {
            say(row);
            sections.extend(measure(plan)?);
        }
    }
    Ok(sections)
}

/// After this much of a row three rounds have to do.
const LONG: Duration = Duration::from_secs(50);
/// After this much, those that there are.
const ENOUGH: Duration = Duration::from_secs(90);

/// What every note about peers ends with.
const GUESSED: &str = "PostgreSQL 15, fsync on, each contender in a process and an empty database of its own. The settings of \
    every peer are a guess from its documentation (bench/peers, bench/queues.mjs): nobody who knows them well has tuned \
    them, so no figure of a peer is fit to be quoted.";

/// What every contender took, each once in each round.
struct Rounds {
    /// Palisade first.
    names: Vec<&'static str>,
    all: Vec<Vec<Measured>>,
    /// What the same task takes with no queue at all, in the same rounds.
    floors: Vec<(&'static str, Vec<Measured>)>,
    /// Peers that failed or did not end, and why: the others go on without them.
    left_out: Vec<String>,
}

/// Every contender once in each round, in alternating order.
fn rounds(plan: &Plan, server: &Postgres, (task, jobs, callers): (&str, usize, usize)) -> Outcome<Rounds> {
    let mut contenders = peers::all()?;
    let floors = peers::floors(task)?;
    let first_floor = contenders.len();
    contenders.extend(floors);
    let mut all: Vec<Option<Vec<Measured>>> = contenders.iter().map(|_| Some(Vec::new())).collect();
    let (watch, mut left_out) = (Stopwatch::start(), Vec::new());
    for round in 0..plan.rounds(5) {
        let mut order: Vec<usize> = (0..contenders.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for place in order {
            let Some(measured) = &mut all[place] else { continue };
            say(&format!("{task}, round {}: {}", round + 1, contenders[place].name));
            match contenders[place].run(server, task, jobs, callers) {
                Ok(one) => measured.push(one),
                Err(problem) if (1..first_floor).contains(&place) => {
                    say(&problem.to_string());
                    left_out.push(problem.to_string());
                    all[place] = None;
                }
                Err(problem) => return Err(problem),
            }
        }
        let taken = watch.elapsed();
        if taken > ENOUGH || (taken > LONG && round >= 2) {
            break;
        }
    }
    let floors: Vec<Vec<Measured>> = all.split_off(first_floor).into_iter().flatten().collect();
    let floors = contenders[first_floor..].iter().map(|one| one.name).zip(floors).collect::<Vec<_>>();
    let there = contenders.iter().map(|one| one.name).zip(all);
    let (names, all) = there.filter_map(|(name, all)| Some((name, all?))).unzip();
    Ok(Rounds { names, all, floors, left_out })
}

impl Rounds {
    fn series(&self, unit: &'static str, of: impl Fn(&Measured) -> f64) -> Vec<Series> {
        let one = |(name, rounds): (&&'static str, &Vec<Measured>)| Series {
            values: rounds.iter().map(&of).collect(),
            ..Series::new(*name, unit)
        };
        self.names.iter().zip(&self.all).map(one).collect()
    }

    /// The floors in the same unit, and what Palisade takes of each.
    fn floors(
        &self,
        ours: &Series,
        unit: &'static str,
        of: impl Fn(&Measured) -> f64,
    ) -> (Vec<Series>, Vec<Ratio>) {
        let one = |(name, rounds): &(&'static str, Vec<Measured>)| Series {
            values: rounds.iter().map(&of).collect(),
            ..Series::new(*name, unit)
        };
        let floors: Vec<Series> = self.floors.iter().map(one).collect();
        let ratios = floors.iter().map(|floor| Ratio::of(ours, floor)).collect();
        (floors, ratios)
    }

    /// What the note about peers says of this row.
    fn note(&self) -> String {
        self.left_out.iter().fold(GUESSED.to_owned(), |note, one| format!("{note} Left out: {one}"))
    }
}

/// The best of the peers, by its median: the largest or the smallest.
fn best(series: &[Series], largest: bool) -> &Series {
    let sign = if largest { 1.0 } else { -1.0 };
    let by = |one: &&Series, other: &&Series| (sign * one.median()).total_cmp(&(sign * other.median()));
    series[1..].iter().max_by(by).unwrap_or(&series[0])
}

fn ratios(series: &[Series]) -> Vec<Ratio> {
    series[1..].iter().map(|peer| Ratio::of(&series[0], peer)).collect()
}

fn drain(plan: &Plan) -> Outcome<Vec<Section>> {
    let (server, jobs) = (server(true), plan.jobs(20_000));
    let all = rounds(plan, &server, ("drain", jobs, 1))?;
    let speed = all.series("jobs/s", Measured::per_second);
    let processor = all.series("us", |one| one.processor_us_per_job);
    let memory = all.series("MiB", |one| one.resident_mib);
    let most = best(&speed, true);
    let graphile = all.names.iter().position(|name| name.starts_with("graphile_worker"));
    let graphile = processor.get(graphile.unwrap_or(0)).map_or(f64::NAN, Series::median);
    let targets = vec![
        Target::at_least(
            "drain at least 1.5 times the best peer",
            speed[0].median() / most.median(),
            1.5,
            " times",
        ),
        Target::at_most(
            "worker CPU per job at most a fifth of graphile_worker's",
            processor[0].median() / graphile,
            0.2,
            " times",
        ),
        Target::at_most("a worker's memory at most 16 MiB", memory[0].max(), 16.0, " MiB"),
    ];
    let (floor, of_floor) = all.floors(&processor[0], "us", |one| one.processor_us_per_job);
    let least = floor.first().map_or(f64::NAN, Series::median) / graphile;
    let section = |title, note: String, series: Vec<Series>, targets| Section {
        title,
        note,
        ratios: ratios(&series),
        series,
        targets,
    };
    let mut sections = vec![
        section(
            "Jobs: drain",
            format!(
                "{jobs} jobs that do nothing, from the start of a worker until all are done. Palisade: its worker, 1000 at \
                 once, with two connections for work and one for beats. {}",
                all.note()
            ),
            speed,
            targets,
        ),
        section(
            "Jobs: the worker's CPU for each job",
            format!(
                "Of the same drains. The bare loop reads rows of the same fields and writes their ends: {least:.2} of \
                graphile_worker's, below which no client of this library comes."
            ),
            processor,
            Vec::new(),
        ),
        section(
            "Jobs: the worker's memory",
            "Resident, after the same drains; another process had enqueued the jobs.".to_owned(),
            memory,
            Vec::new(),
        ),
    ];
    sections[1].series.extend(floor);
    sections[1].ratios.extend(of_floor);
    Ok(sections)
}

fn bulk(plan: &Plan) -> Outcome<Vec<Section>> {
    let (server, jobs) = (server(true), plan.jobs(50_000));
    let all = rounds(plan, &server, ("bulk", jobs, 1))?;
    let series = all.series("jobs/s", Measured::per_second);
    let ratio = series[0].median() / best(&series, true).median();
    Ok(vec![Section {
        title: "Jobs: bulk enqueue",
        note: format!(
            "{jobs} jobs, 5000 in a call (riverqueue: 1000), made before the clock starts where calls borrow them. {}",
            all.note()
        ),
        ratios: ratios(&series),
        targets: vec![Target::at_least("bulk enqueue at least twice the best peer", ratio, 2.0, " times")],
        series,
    }])
}

fn single(plan: &Plan) -> Outcome<Vec<Section>> {
    let (server, jobs) = (server(true), plan.jobs(2_000));
    let all = rounds(plan, &server, ("single", jobs, 8))?;
    let series = all.series("jobs/s", Measured::per_second);
    let ratio = series[0].median() / best(&series, true).median();
    Ok(vec![Section {
        title: "Jobs: one at a time, 8 callers",
        note: format!(
            "{jobs} jobs by 8 callers of one process, each of which waits for its answer. Palisade's callers share commits. {}",
            all.note()
        ),
        ratios: ratios(&series),
        targets: vec![Target::at_least(
            "single enqueue with 8 callers at least twice the best peer",
            ratio,
            2.0,
            " times",
        )],
        series,
    }])
}

fn commit(plan: &Plan) -> Outcome<Vec<Section>> {
    let (server, jobs) = (server(true), plan.jobs(20_000));
    let ours = [peers::ours("8 callers, each with a connection of its own")?];
    let shared = [peers::ours("64 callers of one process")?];
    let (mut alone, mut together) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds(7) {
        alone.push(ours[0].run(&server, "alone", jobs / 4, 8)?);
        together.push(shared[0].run(&server, "single", jobs, 64)?);
    }
    let names = vec![shared[0].name, ours[0].name];
    let both = Rounds { names, all: vec![together, alone], floors: Vec::new(), left_out: Vec::new() };
    let series = both.series("jobs/s", Measured::per_second);
    let ratio = Ratio::of(&series[0], &series[1]);
    Ok(vec![Section {
        title: "Jobs: group commit",
        note: format!(
            "{jobs} jobs, each caller waits for its answer. Both are ours; PostgreSQL 15, fsync on."
        ),
        targets: vec![Target::at_least(
            "group commit at 64 callers at least 5 times our own single path",
            ratio.of_medians,
            5.0,
            " times",
        )],
        series,
        ratios: vec![ratio],
    }])
}

fn latency(plan: &Plan) -> Outcome<Vec<Section>> {
    let mut sections = Vec::new();
    let jobs = plan.jobs(100);
    for (synchronous, title, text) in [
        (true, "Jobs: latency at 50 jobs/s", "latency p50 at most 0.75 of the best peer's"),
        (
            false,
            "Jobs: latency at 50 jobs/s, synchronous_commit off",
            "latency p50 at most 0.75 of the best peer's, synchronous_commit off",
        ),
    ] {
        let server = server(synchronous);
        let all = rounds(plan, &server, ("latency", jobs, 1))?;
        let p50 = all.series("ms", |one| one.waited(0.5));
        let ratio = p50[0].median() / best(&p50, false).median();
        let (floors, of_floors) = all.floors(&p50[0], "ms", |one| one.waited(0.5));
        let p95 = all.series("ms", |one| one.waited(0.95));
        let p95: Vec<String> = p95.iter().map(|one| format!("{} {:.2}", one.name, one.median())).collect();
        sections.push(Section {
            title,
            note: format!(
                "From before the enqueue until the handler begins, p50 of {jobs} jobs in each round. Median p95 in ms: {}. {}",
                p95.join(", "),
                all.note()
            ),
            ratios: ratios(&p50).into_iter().chain(of_floors).collect(),
            targets: vec![Target::at_most(text, ratio, 0.75, " times")],
            series: p50.into_iter().chain(floors).collect(),
        });
    }
    Ok(sections)
}
