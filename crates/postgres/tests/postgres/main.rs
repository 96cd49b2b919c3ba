//! Whom did I reach, asked of real servers.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has nobody to return an error to")]

mod copy;
mod encryption;
mod identity;

/// Runs one future to its end.
fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
