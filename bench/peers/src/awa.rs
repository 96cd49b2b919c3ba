//! awa: its queue storage, no deadline, 1000 at once, two claimers, batches of 512.

use std::time::Duration;

use awa::model::job::InsertParams;
use awa::{
    Client, InsertOpts, JobArgs, JobResult, QueueConfig, QueueStorage, QueueStorageConfig, insert_with,
};
use serde::{Deserialize, Serialize};

use crate::tally::{Fault, Figures, Watch, handled};
use crate::tasks::{Caller, Peer};

#[derive(Clone, Debug, Serialize, Deserialize, JobArgs)]
struct Task {
    sent_us: u64,
}

fn opts() -> InsertOpts {
    InsertOpts { queue: "bench".to_owned(), ..InsertOpts::default() }
}

fn client(pool: &sqlx::PgPool) -> Result<Client, Fault> {
    let queue = QueueConfig {
        max_workers: 1_000,
        claimers: 2,
        claim_batch_size: 512,
        deadline_duration: Duration::ZERO,
        poll_interval: Duration::from_millis(50),
        ..QueueConfig::default()
    };
    let client =
        Client::builder(pool.clone()).queue("bench", queue).register::<Task, _, _>(|task, _| async move {
            handled(task.sent_us);
            Ok(JobResult::Completed)
        });
    Ok(client.build()?)
}

pub(crate) struct Awa {
    pool: sqlx::PgPool,
    store: QueueStorage,
    client: Client,
}

impl Awa {
    pub(crate) async fn open(url: &str) -> Result<Self, Fault> {
        let pool = sqlx::postgres::PgPoolOptions::new().max_connections(20).connect(url).await?;
        awa::migrations::run(&pool).await?;
        let store = QueueStorage::new(QueueStorageConfig::default())?;
        store.install(&pool).await?;
        Ok(Self { client: client(&pool)?, pool, store })
    }
}

/// One who enqueues through the pool.
pub(crate) struct Through(sqlx::PgPool);

impl Caller for Through {
    async fn one(&mut self, sent_us: u64) -> Result<(), Fault> {
        insert_with(&self.0, &Task { sent_us }, opts()).await?;
        Ok(())
    }
}

impl Peer for Awa {
    type Caller = Through;

    async fn caller(&self) -> Result<Through, Fault> {
        Ok(Through(self.pool.clone()))
    }

    async fn bulk(&self, jobs: usize) -> Result<Figures, Fault> {
        let args = serde_json::json!({ "sent_us": 0 });
        let params = InsertParams { kind: "task".to_owned(), args, opts: opts() };
        let all = vec![params; jobs];
        let watch = Watch::start();
        for some in all.chunks(5_000) {
            self.store.enqueue_params_copy(&self.pool, some).await?;
        }
        Ok(watch.stop(jobs))
    }

    async fn start(&mut self) -> Result<(), Fault> {
        Ok(self.client.start().await?)
    }

    /// In its favour: its own count of what is left takes longer than many a drain.
    async fn left(&self) -> Result<bool, Fault> {
        Ok(false)
    }
}
