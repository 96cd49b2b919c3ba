//! awa: its queue storage, no deadline, 1000 at once, two claimers, batches of 512.

use std::time::Duration;

use awa::model::job::InsertParams;
use awa::{
    Client, InsertOpts, JobArgs, JobResult, QueueConfig, QueueStorage, QueueStorageConfig, insert_with,
};
use serde::{Deserialize, Serialize};

use crate::Order;
use crate::tally::{Fault, Figures, Watch, handled, now_us, until_handled};

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

pub(crate) async fn run(order: &Order) -> Result<Figures, Fault> {
    let pool = sqlx::postgres::PgPoolOptions::new().max_connections(20).connect(&order.url).await?;
    awa::migrations::run(&pool).await?;
    let store = QueueStorage::new(QueueStorageConfig::default())?;
    store.install(&pool).await?;
    let params =
        InsertParams { kind: "task".to_owned(), args: serde_json::json!({ "sent_us": 0 }), opts: opts() };
    let bulk = async |jobs: usize| -> Result<(), Fault> {
        for some in vec![params.clone(); jobs].chunks(5_000) {
            store.enqueue_params_copy(&pool, some).await?;
        }
        Ok(())
    };
    match order.task.as_str() {
        "bulk" => {
            let watch = Watch::start();
            bulk(order.jobs).await?;
            Ok(watch.stop(order.jobs))
        }
        "single" => {
            let watch = Watch::start();
            let mut callers = tokio::task::JoinSet::new();
            for _ in 0..order.callers {
                let (pool, jobs) = (pool.clone(), order.jobs / order.callers);
                callers.spawn(async move {
                    for _ in 0..jobs {
                        insert_with(&pool, &Task { sent_us: 0 }, opts()).await.map_err(Fault::from)?;
                    }
                    Ok::<(), Fault>(())
                });
            }
            while let Some(ended) = callers.join_next().await {
                ended??;
            }
            Ok(watch.stop(order.jobs))
        }
        "drain" => {
            let client = client(&pool)?;
            let watch = Watch::start();
            client.start().await?;
            // In its favour: its own count of what is left takes longer than many a drain.
            until_handled(order.jobs).await?;
            Ok(watch.stop(order.jobs))
        }
        "latency" => {
            let client = client(&pool)?;
            client.start().await?;
            let watch = Watch::start();
            let mut tick = tokio::time::interval(Duration::from_millis(20));
            for _ in 0..order.jobs {
                tick.tick().await;
                insert_with(&pool, &Task { sent_us: now_us() }, opts()).await?;
            }
            until_handled(order.jobs).await?;
            Ok(watch.stop(order.jobs))
        }
        other => Err(format!("there is no task {other}").into()),
    }
}
