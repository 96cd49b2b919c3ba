//! graphile_worker: local queue of 500, 100 at once, up to 20 connections.

use graphile_worker::{
    IntoTaskHandlerResult, JobSpec, LocalQueueConfig, TaskHandler, Worker, WorkerContext, WorkerOptions,
};
use riverqueue::sqlx;
use serde::{Deserialize, Serialize};

use crate::Order;
use crate::tally::{Fault, Figures, Watch, handled, now_us, until_handled};

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

async fn worker(pool: &sqlx::PgPool) -> Result<Worker, Fault> {
    let options = WorkerOptions::default().concurrency(100).define_job::<Task>().pg_pool(pool.clone());
    Ok(options.local_queue(LocalQueueConfig::default().with_size(500)).init().await?)
}

pub(crate) async fn run(order: &Order) -> Result<Figures, Fault> {
    let pool = sqlx::postgres::PgPoolOptions::new().max_connections(20).connect(&order.url).await?;
    let worker = worker(&pool).await?;
    let utils = worker.create_utils();
    let spec = JobSpec::default();
    let bulk = async |jobs: usize| -> Result<(), Fault> {
        let all = vec![(Task { sent_us: 0 }, &spec); jobs];
        for some in all.chunks(5_000) {
            utils.add_jobs::<Task>(some).await?;
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
                let (utils, jobs) = (utils.clone(), order.jobs / order.callers);
                callers.spawn(async move {
                    for _ in 0..jobs {
                        utils.add_job(Task { sent_us: 0 }, JobSpec::default()).await.map_err(Fault::from)?;
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
            tokio::spawn(async move { worker.run().await });
            until_handled(order.jobs).await?;
            while sqlx::query_scalar::<_, bool>("SELECT EXISTS (SELECT 1 FROM graphile_worker._private_jobs)")
                .fetch_one(&pool)
                .await?
            {}
            Ok(watch.stop(order.jobs))
        }
        "latency" => {
            tokio::spawn(async move { worker.run().await });
            let watch = Watch::start();
            let mut tick = tokio::time::interval(std::time::Duration::from_millis(20));
            for _ in 0..order.jobs {
                tick.tick().await;
                utils.add_job(Task { sent_us: now_us() }, JobSpec::default()).await?;
            }
            until_handled(order.jobs).await?;
            Ok(watch.stop(order.jobs))
        }
        other => Err(format!("there is no task {other}").into()),
    }
}
