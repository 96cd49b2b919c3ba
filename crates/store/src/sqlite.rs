//! Jobs in one SQLite file: for the processes of one user on one machine, on a local disk.
//!
//! One thread per opened store owns the connection. Writes that wait together become one transaction, each in a
//! savepoint of its own, so that many callers share one sync of the disk. Writers of several processes take turns by
//! a pair of file locks beside the database ([`turn`]): SQLite's own wait lets a busy process starve the others.

mod attempt;
mod beat;
mod claim;
mod deed;
mod engine;
mod enqueue;
mod look;
mod read;
mod reap;
mod rows;
mod schedule;
mod schema;
mod tend;
pub(crate) mod turn;

use std::future::Future;
use std::path::{Path, PathBuf};

use palisade_core::{Intended, QueueName};
use palisade_jobs::claim::{Ask, Beat, BeatAnswer, Checkpoint, Claim, Ending, Finish};
use palisade_jobs::id::{Incarnation, JobId, Token};
use palisade_jobs::job::{Enqueued, Job, NewJob, Note};
use palisade_jobs::queue::QueueChange;
use palisade_jobs::reaper::Paced;
use palisade_jobs::store::{
    Beats, Count, Deed, Doubled, Fence, Filter, HeldClaim, Holder, Intervened, Promoted, Pruned, Reap,
    Reaped, Silent,
};
use palisade_jobs::{Error, Event, JobStore, Queue, Schedule, Worker};

use engine::Engine;

/// A store in one file. Clones share its thread, which ends with the last of them.
#[derive(Debug, Clone)]
pub struct Sqlite {
    engine: Engine,
    path: PathBuf,
}

impl Sqlite {
    /// Opens the file, makes it (mode 0600) where there is none, and brings its tables up to date. Its folder has to
    /// be there.
    ///
    /// # Errors
    /// [`Error::Unreachable`] where it cannot be opened, [`Error::Version`] where it is of a version that this one
    /// cannot serve.
    pub async fn open(path: &Path) -> Result<Self, Error> {
        let engine = Engine::open(path).await?;
        Ok(Self { engine, path: path.to_owned() })
    }

    /// Where the file lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl JobStore for Sqlite {
    fn enqueue(&self, jobs: &[NewJob]) -> impl Future<Output = Result<Vec<Enqueued>, Error>> + Send {
        let jobs = enqueue::checked(jobs);
        async move {
            let jobs = jobs?;
            self.engine.write(move |store| enqueue::enqueue(store, &jobs)).await
        }
    }

    fn register(&self, worker: &Worker) -> impl Future<Output = Result<(), Error>> + Send {
        let worker = worker.clone();
        self.engine.write(move |store| beat::register(store, &worker))
    }

    fn goodbye(&self, incarnation: &Incarnation) -> impl Future<Output = Result<(), Error>> + Send {
        let incarnation = incarnation.clone();
        self.engine.write(move |store| attempt::goodbye(store, &incarnation))
    }

    fn after_restore(&self) -> impl Future<Output = Result<u64, Error>> + Send {
        self.engine.write(tend::after_restore)
    }

    fn claim(&self, ask: &Ask) -> impl Future<Output = Result<Vec<Claim>, Error>> + Send {
        let ask = ask.clone();
        self.engine.write(move |store| claim::claim(store, &ask))
    }

    fn beat(&self, beat: &Beat) -> impl Future<Output = Result<BeatAnswer, Error>> + Send {
        let beat = beat.clone();
        self.engine.write(move |store| beat::beat(store, &beat))
    }

    fn checkpoint(
        &self,
        job: JobId,
        token: Token,
        checkpoint: &Checkpoint,
    ) -> impl Future<Output = Result<Ending, Error>> + Send {
        let checkpoint = checkpoint.clone();
        self.engine.write(move |store| attempt::checkpoint(store, job, token, &checkpoint))
    }

    fn finish(&self, ends: &[Finish]) -> impl Future<Output = Result<Vec<Ending>, Error>> + Send {
        let ends = ends.to_vec();
        self.engine.write(move |store| attempt::finish(store, &ends))
    }

    fn promote(&self) -> impl Future<Output = Result<Promoted, Error>> + Send {
        self.engine.write(tend::promote)
    }

    fn intervene(
        &self,
        _intended: &Intended,
        deed: &Deed,
        jobs: &[JobId],
        by: &Note,
    ) -> impl Future<Output = Result<Vec<Intervened>, Error>> + Send {
        let (deed, jobs, by) = (deed.clone(), jobs.to_vec(), by.clone());
        self.engine.write(move |store| deed::intervene(store, &deed, &jobs, &by))
    }

    fn job(&self, id: JobId) -> impl Future<Output = Result<Option<Job>, Error>> + Send {
        self.engine.read(move |store| read::job(store, id))
    }

    fn jobs(&self, filter: &Filter) -> impl Future<Output = Result<Vec<Job>, Error>> + Send {
        let filter = filter.clone();
        self.engine.read(move |store| read::jobs(store, &filter))
    }

    fn events(&self, job: JobId) -> impl Future<Output = Result<Vec<Event>, Error>> + Send {
        self.engine.read(move |store| read::events(store, job))
    }

    fn queues(&self) -> impl Future<Output = Result<Vec<Queue>, Error>> + Send {
        self.engine.read(read::queues)
    }

    fn counts(&self) -> impl Future<Output = Result<Vec<Count>, Error>> + Send {
        self.engine.read(read::counts)
    }

    fn set_queue(&self, queue: &Queue, by: &Note) -> impl Future<Output = Result<u64, Error>> + Send {
        let (queue, by) = (queue.clone(), by.clone());
        self.engine.write(move |store| tend::set_queue(store, &queue, &by))
    }

    fn queue_changes(
        &self,
        queue: &QueueName,
    ) -> impl Future<Output = Result<Vec<QueueChange>, Error>> + Send {
        let queue = queue.clone();
        self.engine.read(move |store| read::queue_changes(store, &queue))
    }

    /// Its one table has each job once.
    async fn misplaced(&self) -> Result<Vec<(JobId, u64)>, Error> {
        Ok(Vec::new())
    }

    fn doubled(&self) -> impl Future<Output = Result<Vec<Doubled>, Error>> + Send {
        self.engine.read(read::doubled)
    }

    fn set_schedule(&self, schedule: &Schedule) -> impl Future<Output = Result<(), Error>> + Send {
        let schedule = schedule.clone();
        self.engine.write(move |store| schedule::set(store, schedule))
    }

    fn remove_schedule(&self, name: &QueueName) -> impl Future<Output = Result<bool, Error>> + Send {
        let name = name.clone();
        self.engine.write(move |store| schedule::remove(store, &name))
    }

    fn schedules(&self) -> impl Future<Output = Result<Vec<Schedule>, Error>> + Send {
        self.engine.read(schedule::all)
    }

    fn prune(&self, most: u32) -> impl Future<Output = Result<Pruned, Error>> + Send {
        self.engine.write(move |store| tend::prune(store, most))
    }

    fn beats(&self) -> impl Future<Output = Result<Beats, Error>> + Send {
        self.engine.read(look::beats)
    }

    fn timeline(&self) -> impl Future<Output = Result<String, Error>> + Send {
        self.engine.read(look::timeline)
    }

    fn holders(&self, who: &[Incarnation]) -> impl Future<Output = Result<Vec<Holder>, Error>> + Send {
        let who = who.to_vec();
        self.engine.read(move |store| look::holders(store, &who))
    }

    fn claims_of(
        &self,
        who: &Incarnation,
        most: u32,
    ) -> impl Future<Output = Result<Vec<HeldClaim>, Error>> + Send {
        let who = who.clone();
        self.engine.read(move |store| look::claims_of(store, &who, most))
    }

    fn paced(&self) -> impl Future<Output = Result<Vec<Paced>, Error>> + Send {
        self.engine.read(look::paced)
    }

    fn reap(&self, under: &Fence, reaps: &[Reap]) -> impl Future<Output = Result<Vec<Reaped>, Error>> + Send {
        let (under, reaps) = (under.clone(), reaps.to_vec());
        self.engine.write(move |store| reap::reap(store, &under, &reaps))
    }

    fn remember(
        &self,
        timeline: &str,
        silences: &[Silent],
        forget: &[Incarnation],
    ) -> impl Future<Output = Result<(), Error>> + Send {
        let (timeline, silences, forget) = (timeline.to_owned(), silences.to_vec(), forget.to_vec());
        self.engine.write(move |store| look::remember(store, &timeline, &silences, &forget))
    }

    fn recall(&self, timeline: &str) -> impl Future<Output = Result<Vec<Silent>, Error>> + Send {
        let timeline = timeline.to_owned();
        self.engine.read(move |store| look::recall(store, &timeline))
    }
}
