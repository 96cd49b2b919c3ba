//! riverqueue: 2000 at once, 1 ms between fetches.

use std::time::Duration;

use riverqueue::migrate::PostgresMigrator;
use riverqueue::{BoxError, Client, Job, JobArgs, QueueConfig, WorkContext, WorkOutcome, Workers, sqlx};
use serde::{Deserialize, Serialize};

use crate::Order;
use crate::tally::{Fault, Figures, Watch, handled, now_us, until_handled};

#[derive(Clone, Debug, Deserialize, JobArgs, Serialize)]
#[river(kind = "task")]
struct Task {
    sent_us: u64,
}

async fn work(_context: WorkContext, job: Job<Task>) -> Result<WorkOutcome, BoxError> {
    handled(job.args.sent_us);
    Ok(WorkOutcome::Complete)
}

pub(crate) async fn run(order: &Order) -> Result<Figures, Fault> {
    let pool = sqlx::postgres::PgPoolOptions::new().max_connections(20).connect(&order.url).await?;
    PostgresMigrator::new(pool.clone()).migrate_up().await?;
    let mut workers = Workers::new();
    workers.add_fn(work)?;
    let (cooldown, poll) = (Duration::from_millis(1), Duration::from_millis(50));
    let queue = QueueConfig::new(2_000).with_fetch_cooldown(cooldown).with_fetch_poll_interval(poll);
    let client = Client::builder(pool.clone())
        .workers(workers)
        .fetch_cooldown(cooldown)
        .queue("default", queue)
        .build()?;
    let bulk = async |jobs: usize| -> Result<(), Fault> {
        for some in vec![Task { sent_us: 0 }; jobs].chunks(1_000) {
            client.insert_many(some.to_vec()).await?;
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
                let (client, jobs) = (client.clone(), order.jobs / order.callers);
                callers.spawn(async move {
                    for _ in 0..jobs {
                        client.insert(Task { sent_us: 0 }).await.map_err(Fault::from)?;
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
            let watch = Watch::start();
            let _running = client.start()?;
            until_handled(order.jobs).await?;
            const LEFT: &str =
                "SELECT EXISTS (SELECT 1 FROM river_job WHERE state IN ('available', 'running'))";
            while sqlx::query_scalar::<_, bool>(LEFT).fetch_one(&pool).await? {}
            Ok(watch.stop(order.jobs))
        }
        "latency" => {
            let _running = client.start()?;
            let watch = Watch::start();
            let mut tick = tokio::time::interval(Duration::from_millis(20));
            for _ in 0..order.jobs {
                tick.tick().await;
                client.insert(Task { sent_us: now_us() }).await?;
            }
            until_handled(order.jobs).await?;
            Ok(watch.stop(order.jobs))
        }
        other => Err(format!("there is no task {other}").into()),
    }
}
