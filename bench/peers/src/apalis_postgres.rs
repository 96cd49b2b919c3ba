//! apalis-postgres: notifications and a look each 50 ms, batches of 500, 100 at once.

use std::time::Duration;

use apalis::layers::WorkerBuilderExt as _;
use apalis::prelude::*;
use apalis_postgres::{Config, PostgresStorage, queries::push_tasks};
use riverqueue::sqlx;

use crate::Order;
use crate::tally::{Fault, Figures, Watch, handled, now_us, until_handled};

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

/// Runs until the process ends.
fn start(pool: &sqlx::PgPool) {
    let config = Config::default().queue(QUEUE).batch_size(500);
    let backend = PostgresStorage::<u64>::new(pool)
        .with_config(config)
        .with_pubsub()
        .poll_with_interval(Duration::from_millis(50));
    let worker = WorkerBuilder::new("bench-1").backend(backend).concurrency(100).build(work);
    tokio::spawn(async move { worker.run().await.map_err(|error| eprintln!("apalis: {error}")) });
}

pub(crate) async fn run(order: &Order) -> Result<Figures, Fault> {
    let pool = sqlx::postgres::PgPoolOptions::new().max_connections(20).connect(&order.url).await?;
    PostgresStorage::<()>::setup(&pool).await?;
    let mut connection = pool.acquire().await?.detach();
    match order.task.as_str() {
        "bulk" => {
            let watch = Watch::start();
            for at in (0..order.jobs).step_by(5_000) {
                push(&mut connection, 0, 5_000.min(order.jobs - at)).await?;
            }
            Ok(watch.stop(order.jobs))
        }
        "single" => {
            let watch = Watch::start();
            let mut callers = tokio::task::JoinSet::new();
            for _ in 0..order.callers {
                let (pool, jobs) = (pool.clone(), order.jobs / order.callers);
                callers.spawn(async move {
                    let mut connection = pool.acquire().await?.detach();
                    for _ in 0..jobs {
                        push(&mut connection, 0, 1).await?;
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
            start(&pool);
            until_handled(order.jobs).await?;
            const LEFT: &str =
                "SELECT EXISTS (SELECT 1 FROM apalis.jobs WHERE status IN ('Pending', 'Queued', 'Running'))";
            while sqlx::query_scalar::<_, bool>(LEFT).fetch_one(&pool).await? {}
            Ok(watch.stop(order.jobs))
        }
        "latency" => {
            start(&pool);
            let watch = Watch::start();
            let mut tick = tokio::time::interval(Duration::from_millis(20));
            for _ in 0..order.jobs {
                tick.tick().await;
                push(&mut connection, now_us(), 1).await?;
            }
            until_handled(order.jobs).await?;
            Ok(watch.stop(order.jobs))
        }
        other => Err(format!("there is no task {other}").into()),
    }
}
