//! What there is: a server with one job and one lease, workers, reapers, and messages on their way.

/// A tick of the server's clock.
pub(crate) type Tick = u8;

/// How many workers and how many reapers there are, apart from the stale one.
pub(crate) const PAIR: usize = 2;

/// Where the job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// Was not enqueued yet.
    Absent,
    /// Waits for a worker.
    Queued,
    /// Was claimed, by the attempt that the row has.
    Running,
    /// Done.
    Done,
    /// Ended by a reaper for good.
    Cancelled,
}

/// The row of the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Job {
    /// Where it stands.
    pub(crate) stage: Stage,
    /// Its last claim; 0 before the first.
    pub(crate) attempt: u8,
    /// When its last beat was accepted. A judge compares it and sees whether there was one since.
    pub(crate) beat: Tick,
    /// The number of its last checkpoint.
    pub(crate) checkpoint: u8,
    /// How often it was completed, which takes effect each time.
    pub(crate) completions: u8,
}

/// The row of the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Lease {
    /// Raised by each take-over.
    pub(crate) term: u8,
    /// It may be taken from this tick on.
    pub(crate) expires: Tick,
}

/// Whether a worker does anything. Without a bound of time, one that does nothing is as good as paused or dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Health {
    /// It does what it has to.
    Well,
    /// It stands still and may go on later.
    Paused,
    /// It never does anything again.
    Dead,
}

/// A worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Worker {
    /// Whether it does anything.
    pub(crate) health: Health,
    /// The attempt that it works on, 0 for none.
    pub(crate) attempt: u8,
    /// The last step that it did.
    pub(crate) step: u8,
    /// The next tick at which it may send a beat: one for each tick.
    pub(crate) next_beat: Tick,
}

/// What a judge looked at, or decided on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Look {
    /// The attempt in the row.
    pub(crate) attempt: u8,
    /// The beat in the row.
    pub(crate) beat: Tick,
    /// When it was first seen so.
    pub(crate) since: Tick,
}

/// How far a judge is with its reap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reap {
    /// There is none.
    Nothing,
    /// Decided under this term and not begun.
    Decided(Look, u8),
    /// The transaction has read the lease and not written the job.
    Open(Look, u8),
}

/// A judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Reaper {
    /// Whether it was killed. One that does nothing is paused.
    pub(crate) dead: bool,
    /// The term that it thinks it holds, 0 for none.
    pub(crate) term: u8,
    /// What it remembers of the job.
    pub(crate) seen: Option<Look>,
    /// Its reap.
    pub(crate) reap: Reap,
    /// The next tick at which it has to look: with a bound of time only.
    pub(crate) next_sweep: Tick,
}

/// What a worker, or who enqueues, sends to the server. It may be late, come out of order, never, or twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Message {
    /// Make this job, under its key.
    Enqueue,
    /// I am alive.
    Beat(u8),
    /// This attempt, and the number of the checkpoint.
    Checkpoint(u8, u8),
    /// This attempt has done it.
    Complete(u8),
}

impl Message {
    /// The attempt that it carries; 0 for none.
    pub(crate) const fn attempt(self) -> u8 {
        match self {
            Self::Enqueue => 0,
            Self::Beat(attempt) | Self::Checkpoint(attempt, _) | Self::Complete(attempt) => attempt,
        }
    }
}

/// What may still go wrong in a run with a bound of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Faults {
    /// Restores of the server from a backup.
    pub(crate) restores: u8,
    /// Workers that may be paused.
    pub(crate) pauses: u8,
    /// Workers that may die.
    pub(crate) crashes: u8,
    /// Reapers that may die.
    pub(crate) kills: u8,
}

/// Claims as they are, apart from the numbers that the server gives them. A server that is set back may give a number twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Claims {
    /// How many there were: the last one.
    pub(crate) made: u8,
    /// Those above this one were made after the restore.
    pub(crate) old: u8,
    /// And bear numbers that are so much lower than they are.
    pub(crate) set_back: u8,
}

/// Everything at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    /// The server's clock.
    pub(crate) now: Tick,
    /// The job.
    pub(crate) job: Job,
    /// The lease.
    pub(crate) lease: Lease,
    /// The claims.
    pub(crate) claims: Claims,
    /// When a beat or a claim was accepted last, which no restore undoes.
    pub(crate) heard: Tick,
    /// A backup: the row, and how many claims there were. Of which one is restored.
    pub(crate) backup: Option<(Job, u8)>,
    /// The workers.
    pub(crate) workers: [Worker; PAIR],
    /// The reapers.
    pub(crate) reapers: [Reaper; PAIR],
    /// Whether the stale reaper, without lease or term, has decided.
    pub(crate) stale: bool,
    /// On their way, in order of their kind.
    pub(crate) messages: Vec<Message>,
    /// Whether a message was doubled: once in each run.
    pub(crate) doubled: bool,
    /// What may still go wrong.
    pub(crate) faults: Faults,
    /// Since when the job has no worker though there is one and a judge: with a bound of time only.
    pub(crate) orphan: Option<Tick>,
    /// The bits of the promises that were broken.
    pub(crate) broken: u8,
}

impl World {
    /// The beginning: a job that is about to be enqueued, a lease that is free.
    pub(crate) fn new(faults: Faults) -> Self {
        let worker = Worker { health: Health::Well, attempt: 0, step: 0, next_beat: 0 };
        let reaper = Reaper { dead: false, term: 0, seen: None, reap: Reap::Nothing, next_sweep: 0 };
        Self {
            now: 0,
            job: Job { stage: Stage::Absent, attempt: 0, beat: 0, checkpoint: 0, completions: 0 },
            lease: Lease { term: 0, expires: 0 },
            claims: Claims { made: 0, old: 0, set_back: 0 },
            heard: 0,
            backup: None,
            workers: [worker; PAIR],
            reapers: [reaper; PAIR],
            stale: false,
            messages: vec![Message::Enqueue],
            doubled: false,
            faults,
            orphan: None,
            broken: 0,
        }
    }

    /// Whether the job runs as this attempt.
    pub(crate) fn runs(&self, attempt: u8) -> bool {
        self.job.stage == Stage::Running && self.job.attempt == attempt
    }

    /// Whether the server sees it run as this attempt: it compares numbers.
    pub(crate) fn seems_to_run(&self, attempt: u8) -> bool {
        self.job.stage == Stage::Running && self.number(self.job.attempt) == self.number(attempt)
    }

    fn number(&self, attempt: u8) -> u8 {
        if attempt > self.claims.old { attempt - self.claims.set_back } else { attempt }
    }

    /// Whether this reaper holds the lease at this moment.
    pub(crate) fn leads(&self, reaper: usize) -> bool {
        let term = self.reapers[reaper].term;
        term != 0 && term == self.lease.term && self.lease.expires > self.now
    }

    /// Puts a message on its way. The order among them means nothing, so that equal worlds are equal.
    pub(crate) fn send(&mut self, message: Message) {
        self.messages.push(message);
        self.messages.sort_unstable();
    }

    /// Takes one message of several equal ones off its way.
    pub(crate) fn take(&mut self, message: Message) {
        if let Some(at) = self.messages.iter().position(|other| *other == message) {
            self.messages.remove(at);
        }
    }
}
