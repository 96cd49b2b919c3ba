//! graphile_worker: local queue of 500, 100 at once, up to 20 connections, ends written together each millisecond.

use std::time::Duration;

use graphile_worker::{
    IntoTaskHandlerResult, JobSpec, LocalQueueConfig, TaskHandler, Worker, WorkerContext, WorkerOptions,
    WorkerUtils,
};
use riverqueue::sqlx;
use serde::{Deserialize, Serialize};

use crate::tally::{Fault, Figures, Watch, handled};
use crate::tasks::{Caller, Peer};

#[derive(Clone, Deserialize, Serialize)]
struct Task {
    sent_us: u64,
}

impl TaskHandler for Task {
    const IDENTIFIER: &'static str = "task";

    async fn run(self, _context: WorkerContext) -> impl IntoTaskHandlerResult {
        handled(self.sent_us);
        Ok::<(), String>(())
    }
}

pub(crate) struct Graphile {
    pool: sqlx::PgPool,
    utils: WorkerUtils,
    worker: Option<Worker>,
}

impl Graphile {
    pub(crate) async fn open(url: &str) -> Result<Self, Fault> {
        let pool = sqlx::postgres::PgPoolOptions::new().max_connections(20).connect(url).await?;
        let options = WorkerOptions::default().concurrency(100).define_job::<Task>().pg_pool(pool.clone());
        // Its documentation advises 1 to 5 ms for throughput; without it each job is a commit of its own.
        let options = options.complete_job_batch_delay(Duration::from_millis(1));
        let worker = options.local_queue(LocalQueueConfig::default().with_size(500)).init().await?;
        Ok(Self { pool, utils: worker.create_utils(), worker: Some(worker) })
    }
}

impl Caller for WorkerUtils {
    async fn one(&mut self, sent_us: u64) -> Result<(), Fault> {
        self.add_job(Task { sent_us }, JobSpec::default()).await?;
        Ok(())
    }
}

impl Peer for Graphile {
    type Caller = WorkerUtils;

    async fn caller(&self) -> Result<WorkerUtils, Fault> {
        Ok(self.utils.clone())
    }

    async fn bulk(&self, jobs: usize) -> Result<Figures, Fault> {
        let spec = JobSpec::default();
        let all = vec![(Task { sent_us: 0 }, &spec); jobs];
        let watch = Watch::start();
        for some in all.chunks(5_000) {
            self.utils.add_jobs::<Task>(some).await?;
        }
        Ok(watch.stop(jobs))
    }

    async fn start(&mut self) -> Result<(), Fault> {
        let worker = self.worker.take().ok_or("it was started before")?;
        tokio::spawn(async move { worker.run().await });
        Ok(())
    }

    async fn left(&self) -> Result<bool, Fault> {
        const LEFT: &str = "SELECT EXISTS (SELECT 1 FROM graphile_worker._private_jobs)";
        Ok(sqlx::query_scalar(LEFT).fetch_one(&self.pool).await?)
    }
}
