//! Job queues of others, each with the same small tasks: `peers NAME TASK URL JOBS CALLERS` prints one JSON document.
//!
//! Tasks: `bulk` and `single` enqueue, `drain` works off what a `bulk` before it left, `latency` does both at 50 jobs a
//! second. Each ends with its process. The settings are guesses from their
//! documentation until somebody who knows them better tunes them.

mod apalis_postgres;
mod awa;
mod graphile;
mod river;
mod tally;
mod tasks;

use std::process::ExitCode;

use tally::{Fault, Figures};

/// What a contender is asked to do.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) task: String,
    pub(crate) url: String,
    pub(crate) jobs: usize,
    pub(crate) callers: usize,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [name, task, url, jobs, callers] = words.as_slice() else {
        eprintln!("usage: peers graphile|river|apalis|awa bulk|single|drain|latency URL JOBS CALLERS");
        return ExitCode::from(2);
    };
    let (Ok(jobs), Ok(callers)) = (jobs.parse(), callers.parse()) else {
        eprintln!("JOBS and CALLERS are numbers");
        return ExitCode::from(2);
    };
    let order = Order { task: task.clone(), url: url.clone(), jobs, callers };
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let done: Result<Figures, Fault> = runtime.block_on(async {
        match name.as_str() {
            "graphile" => tasks::run(graphile::Graphile::open(&order.url).await?, &order).await,
            "river" => tasks::run(river::River::open(&order.url).await?, &order).await,
            "apalis" => tasks::run(apalis_postgres::Apalis::open(&order.url).await?, &order).await,
            "awa" => tasks::run(awa::Awa::open(&order.url).await?, &order).await,
            other => Err(format!("there is no contender {other}").into()),
        }
    });
    match done {
        Ok(figures) => {
            println!("{}", figures.document());
            // What still runs in the background has been measured.
            std::process::exit(0)
        }
        Err(error) => {
            eprintln!("{name} {task}: {error}");
            std::process::exit(1)
        }
    }
}
