//! Measures Palisade beside PM2's own command line and beside the bare socket, on real daemons, in one run.
//!
//! `./run bench [--quick]` writes `bench/RESULTS.md` and prints it; `./run bench ROW` measures one row and prints it, of
//! another size with `--size` where the row has one; `./run bench jobs` measures the rows about durable jobs, beside other
//! queues, into `bench/JOBS.md`. Contenders take turns within each round, so that a busy moment of the machine meets all of them;
//! ratios are given of the medians and of each round.

mod bare;
mod commands;
mod contender;
mod machine;
mod raw;
mod report;
mod rounds;
mod rows;
mod stats;

use std::error::Error;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use palisade_host::clock;
use palisade_testkit::Scratch;

use crate::rounds::Plan;

/// What may fail ends the run, with its reason.
type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// What a reader has to know of figures from a machine that did other things too.
const BUSY: &str =
    "**the machine did other work meanwhile**: trust the ratios within a round before the milliseconds";

/// A page of the disk, for its rate of flushes.
const PAGE: usize = 4096;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if let [side @ ("contend" | "bare" | "stated"), rest @ ..] = words.as_slice() {
        return match contender::contend(side, rest).map(|document| writeln!(std::io::stdout(), "{document}"))
        {
            Ok(Ok(())) => ExitCode::SUCCESS,
            Ok(Err(error)) => failed(&error.to_string()),
            Err(error) => failed(&error.to_string()),
        };
    }
    let Some(plan) = planned(&words) else {
        return failed(&format!(
            "usage: ./run bench [--quick] [ROW [--size N]], where ROW is {}, or {} for all of {}; a size is that of the rows \
             audit and guard, or the number of jobs",
            rows::ROWS.join("|"),
            rounds::JOBS,
            rows::jobs::ROWS.join("|")
        ));
    };
    match measure(&plan) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error.to_string()),
    }
}

/// What was asked for, if it can be understood.
fn planned(words: &[&str]) -> Option<Plan> {
    let (quick, words) = match words {
        ["--quick", rest @ ..] => (true, rest),
        all => (false, all),
    };
    let words = words.strip_prefix(&["--only"]).unwrap_or(words);
    let is_of_jobs = |row: &str| row == rounds::JOBS || rows::jobs::ROWS.contains(&row);
    let (only, size) = match words {
        [] => (None, None),
        [row] => (Some(*row), None),
        [row, "--size", size] if is_of_jobs(row) || ["audit", "guard"].contains(row) => {
            (Some(*row), Some(size.parse().ok().filter(|size| (1..=1_000_000).contains(size))?))
        }
        _ => return None,
    };
    if only.is_some_and(|row| !rows::ROWS.contains(&row) && !is_of_jobs(row)) {
        return None;
    }
    Some(Plan::new(quick, only.map(str::to_owned), size))
}

fn failed(reason: &str) -> ExitCode {
    say(reason);
    ExitCode::FAILURE
}

/// A line for whoever waits.
fn say(line: &str) {
    writeln!(std::io::stderr(), "bench: {line}").unwrap_or_default();
}

fn measure(plan: &Plan) -> Outcome<()> {
    let disk = Scratch::new();
    let begun = (clock::now(), machine::load(), machine::flushes_per_second(disk.path(), PAGE)?);
    let sections = rows::all(plan)?;
    let after = machine::flushes_per_second(disk.path(), PAGE)?;

    let (at, load, before) = begun;
    let command = plan.command();
    let mut head = vec![
        format!("command: `{command}`, at {at}, took {} s", plan.seconds()),
        format!("load when it began: {load}; when it ended: {}", machine::load()),
        format!("disk: {before:.0} flushes of 4 KiB per second before, {after:.0} after"),
    ];
    if machine::is_busy(&load) {
        head.push(BUSY.to_owned());
    }
    head.extend(machine::facts());
    let text = report::markdown(&head, &sections);
    if plan.is_of_jobs() {
        std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("JOBS.md"), &text)?;
    }
    if plan.is_whole() {
        std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("RESULTS.md"), &text)?;
    }
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}
