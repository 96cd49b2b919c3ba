//! The loop over a docket in memory: what it asks, writes down, takes and tells, and in which order.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use palisade_core::Intended;
use palisade_core::record::Phase;
use palisade_jobs::reaper::{Condemned, Limits, Remembered, Subject};
use palisade_lease::{Held, Holder, Memory, Name, Ttl};

use crate::clerk::{Clerk, Job, News, Of, Taking};
use crate::docket::{Answer, Docket, Look, Remembers};
use crate::sitting::{Chair, Settings, Term};

const SWEEP: Duration = Duration::from_secs(1);

/// Jobs by their number, each with its beat. Each look is one sweep after the one before.
#[derive(Default)]
struct Board {
    beats: BTreeMap<u64, u64>,
    now_us: u64,
    /// Their threshold, where it is not five sweeps.
    after: Option<Duration>,
    /// To these the store objects.
    bad: Vec<u64>,
    anew: bool,
    /// It asks for the jobs of so many in one pass.
    at_once: Option<usize>,
    observed: bool,
    over: bool,
    /// How many jobs each statement had.
    statements: Vec<usize>,
    left: Vec<Remembered<u64, u64>>,
}

#[derive(Debug, thiserror::Error)]
#[error("job {0} is bad")]
struct Bad(u64);

impl Docket for Board {
    type Key = u64;
    type Counter = u64;
    type Wanted = u64;
    type Error = Bad;

    const IN_A_PASS: usize = usize::MAX;
    const TOGETHER: usize = 4;

    fn is_observed(&self) -> bool {
        self.observed
    }

    async fn begin(&mut self) -> Result<Remembers<Self>, Bad> {
        Ok(self.left.clone())
    }

    async fn look(&mut self) -> Result<Look<u64, u64>, Bad> {
        self.now_us += 1_000_000;
        let subject = |(key, beat): (&u64, &u64)| Subject {
            key: *key,
            counter: *beat,
            reap_after: self.after.unwrap_or(SWEEP * 5),
            fixed: false,
            beat_every: SWEEP,
            proof: None,
        };
        Ok(Look {
            run: 1,
            store_us: self.now_us,
            judge_us: self.now_us,
            took: Duration::ZERO,
            anew: std::mem::take(&mut self.anew),
            subjects: self.beats.iter().map(subject).collect(),
        })
    }

    async fn remember(&mut self, silences: &[Remembered<u64, u64>], _: &[u64]) -> Result<(), Bad> {
        self.left = silences.to_vec();
        Ok(())
    }

    async fn wanted(
        &mut self,
        condemned: &[Condemned<u64, u64>],
        _: &Held,
    ) -> Result<(Vec<u64>, usize), Bad> {
        let of = condemned.len().min(self.at_once.unwrap_or(usize::MAX));
        Ok((condemned[..of].iter().map(|one| one.key).collect(), of))
    }

    fn takings(&self, wanted: &[&u64]) -> Vec<Taking> {
        let taking = |key: &&u64| Taking {
            of: Of::Table("t".to_owned()),
            jobs: vec![Job::Key(key.to_string())],
            reason: format!("silent {key}"),
            ground: None,
        };
        wanted.iter().map(taking).collect()
    }

    async fn take(&mut self, wanted: &[u64], _: &Held, _: &Intended) -> Result<Vec<Answer>, Bad> {
        self.statements.push(wanted.len());
        if let Some(bad) = wanted.iter().find(|key| self.bad.contains(key)) {
            return Err(Bad(*bad));
        }
        if self.over {
            return Ok(vec![Answer::TermOver; wanted.len()]);
        }
        self.beats.retain(|key, _| !wanted.contains(key));
        Ok(vec![Answer::Taken; wanted.len()])
    }

    fn is_of_a_job(_: &Bad) -> bool {
        true
    }
}

/// Writes all of it on one sheet, unless there is none.
struct Sheet {
    lines: Mutex<Vec<String>>,
    there: bool,
}

struct Entry(Intended);

impl AsRef<Intended> for Entry {
    fn as_ref(&self) -> &Intended {
        &self.0
    }
}

impl Sheet {
    fn new() -> Self {
        Self { lines: Mutex::default(), there: true }
    }

    fn write(&self, line: String) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.lines.lock().unwrap())
    }
}

impl Clerk for Sheet {
    type Record = Entry;

    fn tell(&self, news: &News) {
        let told = serde_json::to_value(news).unwrap();
        let job = told["jobs"][0].as_str().unwrap_or_default();
        self.write(format!("{} {job}", told["news"].as_str().unwrap()).trim().to_owned());
    }

    fn begin(&self, details: Vec<String>) -> Option<Entry> {
        self.there.then(|| {
            self.write(format!("begun: {}", details.join("; ")));
            Entry(Intended::without_journal())
        })
    }

    fn end(&self, _: Entry, phase: Phase, details: Vec<String>) {
        self.write(format!("{phase:?}: {}", details.join("; ")));
    }
}

fn settings() -> Settings {
    Settings {
        limits: Limits { sweep_every: SWEEP, reconnect_grace: SWEEP, ..Limits::default() },
        name: Name::new("reaper/t").unwrap(),
        lease: Ttl::new(Duration::from_secs(30)).unwrap(),
        dry: false,
        lift_brake: false,
    }
}

/// Sweeps until somebody would be condemned, and one more.
const ENOUGH: usize = 8;

/// A term over a board on which `silent` of `all` jobs do not beat.
async fn sweeps(board: &mut Board, sheet: &Sheet, settings: Settings, silent: u64, all: u64) -> Term<Board> {
    let leases = Memory::default();
    let chair = Chair { settings, leases: &leases, clerk: sheet, holder: Holder::new("a").unwrap() };
    board.beats = (1..=all).map(|key| (key, 0)).collect();
    let mut term = chair.acquire(board, &mut None).await.unwrap();
    for _ in 0..ENOUGH {
        chair.sweep(board, &mut term).await;
        board.beats.iter_mut().filter(|(key, _)| **key > silent).for_each(|(_, beat)| *beat += 1);
        if term.over {
            break;
        }
    }
    term
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

#[test]
fn a_pass_is_recorded_before_and_after_and_leaves_nothing_to_the_next_term() {
    let (mut board, sheet) = (Board::default(), Sheet::new());
    block_on(sweeps(&mut board, &sheet, settings(), 2, 9));
    assert_eq!(
        sheet.take(),
        [
            "elected",
            "begun: term 1; 2 jobs; job 1: silent 1; job 2: silent 2",
            "reaped 1",
            "reaped 2",
            "Done: term 1; 2 jobs; job 1: silent 1; job 2: silent 2",
        ]
    );
    assert_eq!(board.beats.keys().copied().collect::<Vec<_>>(), (3..=9).collect::<Vec<_>>());
}

#[test]
fn whom_a_pass_leaves_out_the_next_one_takes_in_the_same_sweep_and_the_brake_holds_for_all_of_them() {
    let (mut board, sheet) = (Board { at_once: Some(2), ..Board::default() }, Sheet::new());
    block_on(sweeps(&mut board, &sheet, settings(), 5, 20));
    let begun: Vec<_> = sheet.take().into_iter().filter(|line| line.starts_with("begun")).collect();
    assert_eq!(begun.len(), 3, "{begun:?}");
    assert!(begun[0].starts_with("begun: term 1; 2 jobs;") && begun[2].starts_with("begun: term 1; 1 jobs;"));
    assert_eq!(board.statements, [2, 2, 1]);

    let (mut board, sheet) = (Board { at_once: Some(2), ..Board::default() }, Sheet::new());
    block_on(sweeps(&mut board, &sheet, settings(), 7, 20));
    assert_eq!((sheet.take(), board.statements.len()), (vec!["elected".to_owned(), "held".to_owned()], 0));
}

#[test]
fn what_cannot_be_recorded_is_not_done() {
    let (mut board, sheet) = (Board::default(), Sheet { there: false, ..Sheet::new() });
    block_on(sweeps(&mut board, &sheet, settings(), 2, 9));
    assert_eq!((sheet.take(), board.statements.len(), board.beats.len()), (vec!["elected".to_owned()], 0, 9));
}

#[test]
fn what_the_store_objects_to_keeps_no_other_job_from_going() {
    let (mut board, sheet) = (Board { bad: vec![3], ..Board::default() }, Sheet::new());
    let mut settings = settings();
    settings.limits.brake_percent = 100;
    block_on(sweeps(&mut board, &sheet, settings, 6, 20));
    let lines = sheet.take();
    // Four, then its halves, then the half of the bad one, then the rest; and the bad one again with the last sweeps.
    assert_eq!(board.statements[..6], [4, 2, 2, 1, 1, 2]);
    assert_eq!(lines[2..8], ["reaped 1", "reaped 2", "reaped 4", "reaped 5", "reaped 6", "not_reaped 3"]);
    assert!(
        lines[8].starts_with("Failed: term 1; 6 jobs; job 1: silent 1")
            && lines[8].ends_with("job 3: job 3 is bad")
    );
    assert_eq!(board.beats.len(), 15);
}

#[test]
fn too_many_are_told_of_once_and_nobody_is_taken() {
    let (mut board, sheet) = (Board::default(), Sheet::new());
    block_on(sweeps(&mut board, &sheet, settings(), 6, 9));
    assert_eq!(sheet.take(), ["elected", "held"]);
    assert_eq!((board.statements.len(), board.left.len()), (0, 6), "their silence is kept for the next term");
}

#[test]
fn a_dry_reaper_and_one_of_a_table_in_observe_tell_once_and_take_nothing() {
    for observed in [false, true] {
        let (mut board, sheet) = (Board { observed, ..Board::default() }, Sheet::new());
        block_on(sweeps(&mut board, &sheet, Settings { dry: !observed, ..settings() }, 1, 9));
        assert_eq!(sheet.take(), ["elected", "would_reap 1"]);
        assert_eq!(board.statements.len(), 0);
    }
}

#[test]
fn a_term_that_is_over_at_the_write_ends() {
    let (mut board, sheet) = (Board { over: true, ..Board::default() }, Sheet::new());
    let term = block_on(sweeps(&mut board, &sheet, settings(), 1, 9));
    let lines = sheet.take();
    assert!(
        term.over
            && lines.ends_with(&[
                "Failed: term 1; 1 jobs; job 1: the term is over".to_owned(),
                "term_over".to_owned()
            ]),
        "{lines:?}"
    );
}

#[test]
fn another_history_begins_every_silence_anew() {
    let (mut board, sheet) =
        (Board { anew: true, after: Some(SWEEP * 50), ..Board::default() }, Sheet::new());
    board.left = vec![Remembered { key: 1, counter: 0, silent: SWEEP * 60 }];
    block_on(sweeps(&mut board, &sheet, settings(), 1, 9));
    assert_eq!(sheet.take()[..2], ["elected", "other_timeline"]);
    assert!(board.beats.contains_key(&1), "the silence of another history was charged");
}
