//! apalis-postgres: notifications and a look each 50 ms, batches of 500, 100 at once.

use std::time::Duration;

use apalis::layers::WorkerBuilderExt as _;
use apalis::prelude::*;
use apalis_postgres::{Config, PostgresStorage, queries::push_tasks};
use riverqueue::sqlx;

use crate::tally::{Fault, Figures, Watch, handled};
use crate::tasks::{Caller, Peer};

const QUEUE: &str = "bench";

async fn work(sent_us: u64) -> Result<(), BoxDynError> {
    handled(sent_us);
    Ok(())
}

async fn push(connection: &mut sqlx::PgConnection, sent_us: u64, jobs: usize) -> Result<(), Fault> {
    let bytes = serde_json::to_vec(&sent_us)?;
    let tasks = (0..jobs).map(|_| TaskBuilder::new(bytes.clone()).build()).collect();
    Ok(push_tasks(connection, QUEUE, tasks).await?)
}

pub(crate) struct Apalis {
    pool: sqlx::PgPool,
}

impl Apalis {
    pub(crate) async fn open(url: &str) -> Result<Self, Fault> {
        let pool = sqlx::postgres::PgPoolOptions::new().max_connections(20).connect(url).await?;
        PostgresStorage::<()>::setup(&pool).await?;
        Ok(Self { pool })
    }
}

impl Caller for sqlx::PgConnection {
    async fn one(&mut self, sent_us: u64) -> Result<(), Fault> {
        push(self, sent_us, 1).await
    }
}

impl Peer for Apalis {
    type Caller = sqlx::PgConnection;

    async fn caller(&self) -> Result<sqlx::PgConnection, Fault> {
        Ok(self.pool.acquire().await?.detach())
    }

    async fn bulk(&self, jobs: usize) -> Result<Figures, Fault> {
        let mut connection = self.caller().await?;
        let watch = Watch::start();
        for at in (0..jobs).step_by(5_000) {
            push(&mut connection, 0, 5_000.min(jobs - at)).await?;
        }
        Ok(watch.stop(jobs))
    }

    async fn start(&mut self) -> Result<(), Fault> {
        let config = Config::default().queue(QUEUE).batch_size(500);
        let backend = PostgresStorage::<u64>::new(&self.pool)
            .with_config(config)
            .with_pubsub()
            .poll_with_interval(Duration::from_millis(50));
        let worker = WorkerBuilder::new("bench-1").backend(backend).concurrency(100).build(work);
        tokio::spawn(async move { worker.run().await.map_err(|error| eprintln!("apalis: {error}")) });
        Ok(())
    }

    async fn left(&self) -> Result<bool, Fault> {
        const LEFT: &str =
            "SELECT EXISTS (SELECT 1 FROM apalis.jobs WHERE status IN ('Pending', 'Queued', 'Running'))";
        Ok(sqlx::query_scalar(LEFT).fetch_one(&self.pool).await?)
    }
}
