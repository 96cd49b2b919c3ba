//! The journal beside the disk: durable records per second, and verification.

use std::path::{Path, PathBuf};

use palisade_core::{Record, canonical};
use palisade_journal::{self as journal, Journal, Reader, VerifierKey};
use palisade_testkit::Scratch;

use crate::Outcome;
use crate::commands::Commands;
use crate::machine;
use crate::report::Section;
use crate::rounds::{Plan, timed};
use crate::stats::{Ratio, Series};

const ORIGIN: &str = "palisade/bench/here";
/// Records appended in one round.
const APPENDS: usize = 200;
/// Records that are verified.
const VERIFIED: usize = 200_000;

/// The records that Palisade wrote in the rows before, as examples of what a journal holds.
pub(super) fn written_by(commands: &Commands) -> Outcome<Vec<Record>> {
    let mut records = Vec::new();
    for entry in Reader::open(&commands.journal())? {
        records.push(entry?.record()?);
    }
    if records.is_empty() { Err("Palisade wrote no record".into()) } else { Ok(records) }
}

/// One writer, beside `write` and `fdatasync` of records of the same size.
pub(super) fn appends(plan: &Plan, records: &[Record]) -> Outcome<Section> {
    let folder = Scratch::new();
    let mean = records.iter().map(|record| canonical::json(record).len()).sum::<usize>() / records.len();
    let mut journal = open(folder.path())?;
    let disk = folder.join("disk");
    std::fs::create_dir(&disk)?;
    let series = plan.take_turns(
        plan.rounds(9),
        "per second",
        &mut [
            ("durable records, one writer", &mut || append(&mut journal, records)),
            ("bare `write` and `fdatasync`", &mut || machine::flushes_per_second(&disk, mean)),
        ],
    )?;
    let ratios = vec![Ratio::of(&series[0], &series[1])];
    Ok(Section {
        title: "Journal: durable records",
        note: format!(
            "Records as the rows above wrote them, {mean} bytes each on average, {APPENDS} in a round, each flushed, \
             signed and covered by a new head before its receipt is given. Beside it the disk's own rate for \
             appended records of that size. The folder is on a disk, not in memory, unless TMPDIR says otherwise."
        ),
        series,
        ratios,
        targets: Vec::new(),
    })
}

/// The whole journal, from a warm page cache.
pub(super) fn verify(plan: &Plan, records: &[Record]) -> Outcome<Section> {
    let count = if plan.quick { VERIFIED / 10 } else { VERIFIED };
    let folder = Scratch::new();
    let (built_in_memory, built) = build(folder.path(), records, count)?;
    let key = VerifierKey::read(&journal::public_path(&folder.join("journal.key")))?;
    let mut bytes = 0;
    let (mut gigabytes, mut took) = (Series::new("verify", "GB/s"), Series::new("verify, the whole", "ms"));
    for round in 0..=plan.rounds(3) {
        let (ms, verified) = timed(|| Ok(journal::verify(&folder.join("journal"), &key, &[])?))?;
        if verified.records != built {
            return Err(format!("{} of {built} records were verified", verified.records).into());
        }
        bytes = verified.bytes;
        // The first one fills the page cache.
        if round > 0 {
            gigabytes.values.push(bytes as f64 / ms / 1e6);
            took.values.push(ms);
        }
    }
    let made =
        if built_in_memory { "appended in memory and copied to the disk" } else { "appended on the disk" };
    Ok(Section {
        title: "Journal: verification",
        note: format!(
            "{built} records, {bytes} bytes, {made}, read from a warm page cache by one thread: every checksum, \
             every leaf, the root and its signature."
        ),
        series: vec![gigabytes, took],
        ratios: Vec::new(),
        targets: Vec::new(),
    })
}

fn open(folder: &Path) -> Outcome<Journal> {
    Ok(Journal::open(&folder.join("journal"), &folder.join("journal.key"), ORIGIN)?)
}

/// Records per second.
fn append(journal: &mut Journal, records: &[Record]) -> Outcome<f64> {
    let (took, ()) = timed(|| {
        for record in records.iter().cycle().take(APPENDS) {
            journal.append(record)?;
        }
        Ok(())
    })?;
    Ok(APPENDS as f64 / took * 1e3)
}

/// A journal of `count` records in `folder`. Flushing each is not what is measured here, so it is made in memory
/// where the system has such a folder. Says whether it was, and how many records there are.
fn build(folder: &Path, records: &[Record], count: usize) -> Outcome<(bool, u64)> {
    let memory = PathBuf::from("/dev/shm").join(format!("palisade-bench-{}", std::process::id()));
    let in_memory = std::fs::create_dir(&memory).is_ok();
    let place = if in_memory { memory.as_path() } else { folder };
    let built = fill(place, records, count);
    if in_memory {
        let copied = built.is_ok().then(|| copy(&memory, folder)).transpose();
        std::fs::remove_dir_all(&memory)?;
        copied?;
    }
    Ok((in_memory, built?))
}

fn fill(place: &Path, records: &[Record], count: usize) -> Outcome<u64> {
    let mut journal = open(place)?;
    for record in records.iter().cycle().take(count) {
        journal.append(record)?;
    }
    Ok(journal.size())
}

fn copy(from: &Path, to: &Path) -> Outcome<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
