//! Every store against the suite, and what each of them promises beyond it.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests by the lint")]

mod faults;
mod full;
mod leases;
mod outcomes;
mod postgres;
mod races;
mod sqlite;

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
