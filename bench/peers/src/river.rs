//! riverqueue: 2000 at once, 1 ms between fetches.

use std::time::Duration;

use riverqueue::migrate::PostgresMigrator;
use riverqueue::{BoxError, Client, Job, JobArgs, QueueConfig, WorkContext, WorkOutcome, Workers, sqlx};
use serde::{Deserialize, Serialize};

use crate::tally::{Fault, Figures, Watch, handled};
use crate::tasks::{Caller, Peer};

#[derive(Clone, Debug, Deserialize, JobArgs, Serialize)]
#[river(kind = "task")]
struct Task {
    sent_us: u64,
}

async fn work(_context: WorkContext, job: Job<Task>) -> Result<WorkOutcome, BoxError> {
    handled(job.args.sent_us);
    Ok(WorkOutcome::Complete)
}

pub(crate) struct River {
    pool: sqlx::PgPool,
    client: Client,
}

impl River {
    pub(crate) async fn open(url: &str) -> Result<Self, Fault> {
        let pool = sqlx::postgres::PgPoolOptions::new().max_connections(20).connect(url).await?;
        PostgresMigrator::new(pool.clone()).migrate_up().await?;
        let mut workers = Workers::new();
        workers.add_fn(work)?;
        let (cooldown, poll) = (Duration::from_millis(1), Duration::from_millis(50));
        let queue = QueueConfig::new(2_000).with_fetch_cooldown(cooldown).with_fetch_poll_interval(poll);
        let client = Client::builder(pool.clone()).workers(workers).fetch_cooldown(cooldown);
        Ok(Self { pool, client: client.queue("default", queue).build()? })
    }
}

impl Caller for Client {
    async fn one(&mut self, sent_us: u64) -> Result<(), Fault> {
        self.insert(Task { sent_us }).await?;
        Ok(())
    }
}

impl Peer for River {
    type Caller = Client;

    async fn caller(&self) -> Result<Client, Fault> {
        Ok(self.client.clone())
    }

    async fn bulk(&self, jobs: usize) -> Result<Figures, Fault> {
        let all = vec![Task { sent_us: 0 }; jobs];
        let watch = Watch::start();
        for some in all.chunks(1_000) {
            self.client.insert_many(some.to_vec()).await?;
        }
        Ok(watch.stop(jobs))
    }

    async fn start(&mut self) -> Result<(), Fault> {
        // What it gives back ends the worker when it is dropped; this process ends first.
        std::mem::forget(self.client.start()?);
        Ok(())
    }

    async fn left(&self) -> Result<bool, Fault> {
        const LEFT: &str = "SELECT EXISTS (SELECT 1 FROM river_job WHERE state IN ('available', 'running'))";
        Ok(sqlx::query_scalar(LEFT).fetch_one(&self.pool).await?)
    }
}
