//! What a store has to do. One suite says so of every store.

use std::future::Future;

use palisade_core::{Code, Exit, Intended, QueueName, Timestamp};

use crate::claim::{Ask, Beat, BeatAnswer, Checkpoint, Claim, Ending, Evidence, Finish};
use crate::event::Event;
use crate::id::{Incarnation, JobId, Token};
use crate::job::{Enqueued, Job, NewJob, Note};
use crate::queue::{Queue, QueueChange};
use crate::reaper::Paced;
use crate::schedule::Schedule;
use crate::state::State;
use crate::worker::Worker;

/// Where jobs live.
///
/// Every method is one transaction. Time is the store's clock, never a client's. A write of a worker names its
/// claim's token and answers [`Ending::Spent`], having written nothing but the refusal, once that token is spent.
pub trait JobStore: Send + Sync {
    /// Makes jobs, all or none. The answers are in the order of the requests. Many callers at once may share a commit;
    /// what one of them is refused for touches none of the others.
    fn enqueue(&self, jobs: &[NewJob]) -> impl Future<Output = Result<Vec<Enqueued>, Error>> + Send;

    /// Waits until the store hears of new jobs in `queue`: resolves once it was called otherwise than `after` times, with
    /// that number. Only a quickener. A call may come for nothing, or never: whoever waits also looks by itself.
    fn woken(&self, queue: &QueueName, after: u64) -> impl Future<Output = u64> + Send {
        let _ = (queue, after);
        std::future::pending()
    }

    /// Makes a worker known. Its incarnation must be new: a repeat of the same registration is taken as one.
    fn register(&self, worker: &Worker) -> impl Future<Output = Result<(), Error>> + Send;

    /// A worker ends in order: what it still holds is given back, uncharged. From here on its death is proven.
    fn goodbye(&self, incarnation: &Incarnation) -> impl Future<Output = Result<(), Error>> + Send;

    /// Whether jobs may be given out from here at all.
    ///
    /// [`Error::Stale`]: the agent that vouches for this database has not been heard of for too long, so that it may be
    /// a copy of another one, whose jobs are done there.
    fn dispatch(&self) -> impl Future<Output = Result<(), Error>> + Send {
        std::future::ready(Ok(()))
    }

    /// Raises every token above what may have been handed out in time that a restore has taken away. Gives how many
    /// claims are in force; their tokens stay.
    fn after_restore(&self) -> impl Future<Output = Result<u64, Error>> + Send;

    /// Gives out the first jobs of a queue, each with a token of its own: smaller priority first, then the older job.
    /// A worker that never registered or said goodbye gets [`Error::Stranger`].
    fn claim(&self, ask: &Ask) -> impl Future<Output = Result<Vec<Claim>, Error>> + Send;

    /// Takes a sign of life, and says what the worker has to know. A beat that came before counts once.
    /// A worker that never registered or said goodbye gets [`Error::Stranger`] and has to drop everything.
    fn beat(&self, beat: &Beat) -> impl Future<Output = Result<BeatAnswer, Error>> + Send;

    /// Writes the row of a checkpoint whose bytes are stored. Its sequence has to be above the last one of the job;
    /// the very same checkpoint again is taken as one. The last three are kept.
    fn checkpoint(
        &self,
        job: JobId,
        token: Token,
        checkpoint: &Checkpoint,
    ) -> impl Future<Output = Result<Ending, Error>> + Send;

    /// Ends attempts, each by its own token. The answers are in the order of the requests.
    fn finish(&self, ends: &[Finish]) -> impl Future<Output = Result<Vec<Ending>, Error>> + Send;

    /// Makes ready what is due: scheduled, retrying and handed over jobs, and the ticks of schedules. Answers how
    /// many, and when the next is due.
    fn promote(&self) -> impl Future<Output = Result<Promoted, Error>> + Send;

    /// Does by hand what `deed` says to each of `jobs`, whose intent is recorded. The answers are in the order of the
    /// requests.
    fn intervene(
        &self,
        intended: &Intended,
        deed: &Deed,
        jobs: &[JobId],
        by: &Note,
    ) -> impl Future<Output = Result<Vec<Intervened>, Error>> + Send;

    /// One job.
    fn job(&self, id: JobId) -> impl Future<Output = Result<Option<Job>, Error>> + Send;

    /// Jobs, oldest first.
    fn jobs(&self, filter: &Filter) -> impl Future<Output = Result<Vec<Job>, Error>> + Send;

    /// What happened to a job, in order.
    fn events(&self, job: JobId) -> impl Future<Output = Result<Vec<Event>, Error>> + Send;

    /// The queues that somebody set or used.
    fn queues(&self) -> impl Future<Output = Result<Vec<Queue>, Error>> + Send;

    /// How many jobs of each queue stand where, by queue and state; what has none is left out. It counts them one by one.
    fn counts(&self) -> impl Future<Output = Result<Vec<Count>, Error>> + Send;

    /// Replaces the rules of a queue, if its revision is still the one of `queue`; answers the new revision.
    fn set_queue(&self, queue: &Queue, by: &Note) -> impl Future<Output = Result<u64, Error>> + Send;

    /// The rules that a queue has had since somebody set them first, oldest first.
    fn queue_changes(
        &self,
        queue: &QueueName,
    ) -> impl Future<Output = Result<Vec<QueueChange>, Error>> + Send;

    /// Jobs that the store has in no place, or in several at once, with their number: none, unless it was damaged.
    fn misplaced(&self) -> impl Future<Output = Result<Vec<(JobId, u64)>, Error>> + Send;

    /// Jobs that bear a key which another job has, or which the store does not know as theirs: none, unless it was
    /// damaged.
    fn doubled(&self) -> impl Future<Output = Result<Vec<Doubled>, Error>> + Send;

    /// Sets a schedule, or replaces the one of that name.
    fn set_schedule(&self, schedule: &Schedule) -> impl Future<Output = Result<(), Error>> + Send;

    /// Takes a schedule away; `false` where there is none. Jobs that it made stay.
    fn remove_schedule(&self, name: &QueueName) -> impl Future<Output = Result<bool, Error>> + Send;

    /// The schedules, by name.
    fn schedules(&self) -> impl Future<Output = Result<Vec<Schedule>, Error>> + Send;

    /// Forgets jobs that ended longer ago than their queue's retention, at most `most` in one go.
    fn prune(&self, most: u32) -> impl Future<Output = Result<Pruned, Error>> + Send;

    /// The narrow look of a reaper's sweep: the store's clock, and the last beat of every worker that did not say
    /// goodbye. Costs as little with a million running jobs as with ten.
    fn beats(&self) -> impl Future<Output = Result<Beats, Error>> + Send;

    /// Which history of the store this is: it changes when the store is restored or another server takes over.
    fn timeline(&self) -> impl Future<Output = Result<String, Error>> + Send;

    /// What these workers hold, summed up. One that is not known here is left out.
    fn holders(&self, who: &[Incarnation]) -> impl Future<Output = Result<Vec<Holder>, Error>> + Send;

    /// The claims of one worker, at most `most` of them.
    fn claims_of(
        &self,
        who: &Incarnation,
        most: u32,
    ) -> impl Future<Output = Result<Vec<HeldClaim>, Error>> + Send;

    /// The running jobs that have a deadline for their progress, with how far each is.
    fn paced(&self) -> impl Future<Output = Result<Vec<Paced>, Error>> + Send;

    /// Takes jobs from a silent worker, each only if its token and the worker's beat are still the ones named, or stuck
    /// ones, each only if it has made no step since and its queue still wants that; and all of them only while the reaper's lease is in force; nobody can take that over before this is written.
    fn reap(&self, under: &Fence, reaps: &[Reap]) -> impl Future<Output = Result<Vec<Reaped>, Error>> + Send;

    /// Keeps silences for the next reaper, tells the suspects among the workers so at their next beat, and forgets
    /// others.
    fn remember(
        &self,
        timeline: &str,
        silences: &[Silent],
        forget: &[Incarnation],
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// The silences that a reaper before kept in this history of the store.
    fn recall(&self, timeline: &str) -> impl Future<Output = Result<Vec<Silent>, Error>> + Send;
}

/// What `promote` did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Promoted {
    /// So many jobs became ready.
    pub jobs: u64,
    /// When the next one is due, by the store's clock.
    pub next: Option<Timestamp>,
    /// The store's clock.
    pub now: Option<Timestamp>,
}

/// What `prune` did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// So many jobs were forgotten.
    pub jobs: u64,
    /// The checkpoints that they had: nothing points at their bytes any more.
    pub checkpoints: Vec<Checkpoint>,
    /// There are more.
    pub more: bool,
}

/// So many jobs of a queue are in a state.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count {
    /// The queue.
    pub queue: QueueName,
    /// The state.
    pub state: State,
    /// How many, at least one.
    pub jobs: u64,
}

/// A job that bears a key and should not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubled {
    /// The job.
    pub job: JobId,
    /// Its queue.
    pub queue: QueueName,
    /// The key as the job has it.
    pub key: String,
    /// Whether the key is one for ever; else it is one for as long as its job lives.
    pub for_ever: bool,
    /// The job that the store has for this key, if any.
    pub bearer: Option<JobId>,
}

/// The name of the lease whose holder may reap.
pub const REAPER: &str = "reaper";

/// What a person can do to a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// End it: at once where no worker has it, else its handler is told.
    Cancel {
        /// Why.
        reason: Option<String>,
    },
    /// Keep it from running until it is released.
    Hold {
        /// Why.
        reason: String,
    },
    /// Give a held job back to its queue.
    Release,
    /// Let a job that was cancelled go on from its last checkpoint.
    Resume,
    /// Let a dead job run again, with its attempts counted anew.
    Retry,
}

/// What became of one job under a [`Deed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Intervened {
    /// Done; it stands there now.
    Done(State),
    /// Nothing to do: it stood there already.
    Already(State),
    /// Not possible from where it stands.
    Unfit(State),
    /// Not possible while that job bears its unique key.
    KeyTaken(JobId),
    /// There is no such job.
    Missing,
}

/// Which jobs. Nothing chosen is an error of the caller, never "all".
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this queue.
    pub queue: Option<QueueName>,
    /// In one of these states.
    pub states: Vec<State>,
    /// After this one.
    pub after: Option<JobId>,
    /// At most so many.
    pub most: u32,
}

/// What one sweep sees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Beats {
    /// The store's clock in microseconds, from anywhere.
    pub now_us: u64,
    /// Which run of the store's server answered; another one means that it was away in between.
    pub run: u64,
    /// Every worker that did not say goodbye, with its last beat.
    pub workers: Vec<(Incarnation, u64)>,
}

/// A worker and what it holds, summed up.
#[derive(Debug, Clone, PartialEq)]
pub struct Holder {
    /// Who.
    pub worker: Worker,
    /// So many jobs.
    pub jobs: u64,
    /// The shortest of each of their terms; none where it holds nothing.
    pub least: Option<crate::claim::Terms>,
}

/// A claim that a worker holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldClaim {
    /// The job.
    pub job: JobId,
    /// The claim.
    pub token: Token,
    /// Its rules.
    pub terms: crate::claim::Terms,
    /// Its queue.
    pub queue: QueueName,
    /// The revision of that queue's rules now.
    pub revision: u64,
}

/// A silence that one reaper leaves to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silent {
    /// Whose.
    pub incarnation: Incarnation,
    /// The beat that did not change.
    pub beat: u64,
    /// How much silence was charged, in milliseconds.
    pub silent_ms: u64,
    /// Half of its threshold or more.
    pub suspect: bool,
}

/// The lease under which a reaper acts; its name is [`REAPER`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// Its term.
    pub term: u64,
    /// Its holder, new at each start of a reaper.
    pub holder: String,
}

/// One job to take from a silent worker.
#[derive(Debug, Clone, PartialEq)]
pub struct Reap {
    /// The job.
    pub job: JobId,
    /// The claim to end.
    pub token: Token,
    /// Its worker.
    pub incarnation: Incarnation,
    /// On what ground; holds the beat that must still be the last.
    pub evidence: Evidence,
    /// One line for people, ending in the machine id.
    pub reason: String,
    /// Who takes it.
    pub by: Note,
}

/// What became of one [`Reap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaped {
    /// Taken; it stands there now.
    Taken(State),
    /// It beat, made progress, ended or changed hands since: nothing was written.
    Refuted,
    /// The reaper's term is over: nothing was written.
    TermOver,
}

/// Why a store did not do it. Nothing was written, unless [`Error::Unknown`] says that this is not known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot be reached.
    #[error("{store}: {problem}")]
    Unreachable {
        /// Which store, without secrets.
        store: String,
        /// What happened.
        problem: String,
    },
    /// The connection ended before the answer: it may or may not be written. Look before doing it again.
    #[error("{store}: the answer was lost, so it is not known whether this was written: {problem}")]
    Unknown {
        /// Which store, without secrets.
        store: String,
        /// What happened.
        problem: String,
    },
    /// The store refused what was asked.
    #[error("{0}")]
    Refused(String),
    /// The store is of a version that this client cannot serve.
    #[error("{0}")]
    Version(String),
    /// The database's beacon is stale: it may be a copy.
    #[error("{0}")]
    Stale(String),
    /// The worker is not known here, or said goodbye: whatever it runs is no longer its own.
    #[error(
        "worker {0} is not registered here, or said goodbye: drop its jobs, and register a new incarnation"
    )]
    Stranger(Incarnation),
    /// Somebody else changed the rules of the queue first.
    #[error("queue {queue} is at revision {revision} by now: read it again, and change that")]
    QueueChanged {
        /// The queue.
        queue: QueueName,
        /// Its revision.
        revision: u64,
    },
    /// Rules of a queue that do not fit together.
    #[error(transparent)]
    Unsound(#[from] crate::queue::Unsound),
    /// What was asked cannot be.
    #[error("{input}: {rule}")]
    Invalid {
        /// What was given.
        input: String,
        /// The rule that it breaks.
        rule: String,
    },
}

impl Error {
    /// The code with a page about it.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Unreachable { .. } => Code::Unreachable,
            Self::Unknown { .. } => Code::AnswerLost,
            Self::Refused(_) => Code::StoreRefused,
            Self::Version(_) => Code::StoreVersion,
            Self::Stale(_) => Code::BeaconStale,
            Self::Stranger(_) => Code::UnknownWorker,
            Self::QueueChanged { .. } => Code::QueueChanged,
            Self::Unsound(_) => Code::QueueUnsound,
            Self::Invalid { .. } => Code::JobInvalid,
        }
    }

    /// The exit code of a command that ends with this.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Unreachable { .. } | Self::Unknown { .. } => Exit::Unreachable,
            Self::Refused(_) | Self::Version(_) | Self::Stale(_) | Self::Stranger(_) => Exit::Refused,
            Self::QueueChanged { .. } => Exit::PlanStale,
            Self::Unsound(_) | Self::Invalid { .. } => Exit::Usage,
        }
    }

    /// How to go on; empty where the message says it.
    #[must_use]
    pub const fn fix(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "look whether the store runs and has room, and do it again",
            Self::Unknown { .. } => {
                "look at it with `palisade job list` first, or give a key: --idempotency-key KEY"
            }
            Self::QueueChanged { .. } => "do it again: it starts from the rules as they are now",
            _ => "",
        }
    }
}
