//! The thread that owns the connection.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::sync::{mpsc, oneshot};

use palisade_jobs::Error;

use super::schema;
use super::turn::Turn;

/// So many calls may wait; further ones wait to be let in.
const WAITING_MOST: usize = 1024;

/// So many writes share one transaction.
const SHARED_MOST: usize = 256;

/// What SQLite itself waits for another writer, beyond our own turns: a checkpoint of the log, or a foreign program.
const BUSY_WAIT: Duration = Duration::from_secs(30);

/// What a call does to the open database, within a transaction where it writes.
pub(super) struct Store<'a> {
    /// The connection.
    pub(super) sql: &'a Connection,
    /// The store's clock at the begin of this call, in milliseconds since 1970.
    pub(super) now: i64,
    name: &'a str,
}

impl Store<'_> {
    /// What an error of SQLite means to the caller.
    pub(super) fn failed(&self, error: &rusqlite::Error) -> Error {
        failed(self.name, error)
    }
}

fn failed(name: &str, error: &rusqlite::Error) -> Error {
    let passing = [
        ErrorCode::DatabaseBusy,
        ErrorCode::DatabaseLocked,
        ErrorCode::DiskFull,
        ErrorCode::SystemIoFailure,
        ErrorCode::CannotOpen,
        ErrorCode::ReadOnly,
        ErrorCode::PermissionDenied,
    ];
    let (store, problem) = (name.to_owned(), error.to_string());
    if error.sqlite_error_code().is_some_and(|code| passing.contains(&code)) {
        Error::Unreachable { store, problem: format!("{problem}; nothing of this was written") }
    } else {
        Error::Refused(format!("{store}: {problem}; nothing of this was written"))
    }
}

/// A commit that failed. Where the disk failed under it, all of it may stand in the log already, and the next process
/// that opens the database would find it there.
fn uncommitted(name: &str, error: &rusqlite::Error) -> Error {
    match error.sqlite_error_code() {
        Some(ErrorCode::SystemIoFailure) => {
            Error::Unknown { store: name.to_owned(), problem: error.to_string() }
        }
        _ => failed(name, error),
    }
}

/// Why a transaction did not begin or did not end well.
enum Fault {
    Sql(rusqlite::Error),
    File(std::io::Error),
}

impl Fault {
    fn told(&self, name: &str) -> Error {
        match self {
            Self::Sql(error) => failed(name, error),
            Self::File(error) => unreachable(name, error),
        }
    }
}

/// Tells a caller what came of its call, once its transaction is over.
type Tell = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// A write. Given an error, it only tells that.
type Work = Box<dyn FnOnce(Result<&Store<'_>, Error>) -> Option<Tell> + Send>;

enum Call {
    Read(Box<dyn FnOnce(&Store<'_>) + Send>),
    Write(Work),
}

/// A handle to the thread.
#[derive(Debug, Clone)]
pub(super) struct Engine {
    calls: mpsc::Sender<Call>,
    name: Arc<str>,
}

impl Engine {
    pub(super) async fn open(path: &Path) -> Result<Self, Error> {
        let name: Arc<str> = format!("sqlite:{}", path.display()).into();
        let (calls, waiting) = mpsc::channel(WAITING_MOST);
        let (opened, is_open) = oneshot::channel();
        let (path, thread_name) = (path.to_owned(), Arc::clone(&name));
        let run = move || match open(&path, &thread_name) {
            Ok((connection, turn)) => {
                // A caller that no longer waits also drops its handle, which ends the loop.
                opened.send(Ok(())).unwrap_or_default();
                serve(&connection, &turn, waiting, &thread_name);
            }
            Err(error) => opened.send(Err(error)).unwrap_or_default(),
        };
        let spawned = std::thread::Builder::new().name("palisade-sqlite".to_owned()).spawn(run);
        spawned.map_err(|error| unreachable(&name, &error))?;
        is_open.await.map_err(|_| ended(&name))??;
        Ok(Self { calls, name })
    }

    /// Runs `work` in a transaction and answers once it is on the disk.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (tell, told) = oneshot::channel();
        let call = Call::Write(Box::new(move |store| {
            // A caller that gave up while it waited gets nothing written.
            if tell.is_closed() {
                return None;
            }
            let done = match store {
                Ok(store) => in_savepoint(store, work),
                Err(error) => Err(error),
            };
            Some(Box::new(move |committed| {
                drop(tell.send(done.and_then(|value| committed.map(|()| value))));
            }))
        }));
        self.ask(call, told).await
    }

    /// Runs `work`, which only reads.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (tell, told) = oneshot::channel();
        let call = Call::Read(Box::new(move |store| drop(tell.send(work(store)))));
        self.ask(call, told).await
    }

    async fn ask<T>(&self, call: Call, told: oneshot::Receiver<Result<T, Error>>) -> Result<T, Error> {
        self.calls.send(call).await.map_err(|_| ended(&self.name))?;
        told.await.map_err(|_| ended(&self.name))?
    }
}

fn ended(name: &str) -> Error {
    Error::Unknown { store: name.to_owned(), problem: "the thread of the store has ended".to_owned() }
}

fn unreachable(name: &str, error: &std::io::Error) -> Error {
    Error::Unreachable { store: name.to_owned(), problem: error.to_string() }
}

fn open(path: &Path, name: &str) -> Result<(Connection, Turn), Error> {
    let failed = |error: rusqlite::Error| failed(name, &error);
    // SQLite gives its log and its index the mode of the database, and would make that one readable by a group.
    let made = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path);
    made.map_err(|error| match path.parent() {
        Some(folder) if error.kind() == std::io::ErrorKind::NotFound => Error::Unreachable {
            store: name.to_owned(),
            problem: format!("there is no folder {}", folder.display()),
        },
        _ => unreachable(name, &error),
    })?;
    let turn = Turn::beside(path).map_err(|error| unreachable(name, &error))?;
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
    connection.busy_timeout(BUSY_WAIT).map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(128);
    {
        let _held = turn.take().map_err(|error| unreachable(name, &error))?;
        // What was answered is on the disk: FULL, because a job that was accepted survives a power cut.
        connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL").map_err(failed)?;
        schema::migrate(&connection, &PathBuf::from(path), name, failed)?;
    }
    Ok((connection, turn))
}

fn serve(connection: &Connection, turn: &Turn, mut waiting: mpsc::Receiver<Call>, name: &str) {
    let mut next = waiting.blocking_recv();
    while let Some(call) = next.take() {
        match call {
            Call::Read(work) => match now(connection) {
                Ok(now) => work(&Store { sql: connection, now, name }),
                // The caller learns that there is no answer.
                Err(_) => drop(work),
            },
            Call::Write(work) => {
                let mut works = vec![work];
                while works.len() < SHARED_MOST {
                    match waiting.try_recv() {
                        Ok(Call::Write(work)) => works.push(work),
                        Ok(other) => {
                            next = Some(other);
                            break;
                        }
                        Err(_) => break,
                    }
                }
                write_together(connection, turn, works, name);
            }
        }
        if next.is_none() {
            next = waiting.blocking_recv();
        }
    }
}

fn write_together(connection: &Connection, turn: &Turn, works: Vec<Work>, name: &str) {
    let refuse = |works: Vec<Work>, fault: &Fault| {
        let tells: Vec<Tell> = works.into_iter().filter_map(|work| work(Err(fault.told(name)))).collect();
        tells.into_iter().for_each(|tell| tell(Ok(())));
    };
    let held = match turn.take() {
        Ok(held) => held,
        Err(error) => return refuse(works, &Fault::File(error)),
    };
    let begun = connection.execute_batch("BEGIN IMMEDIATE").and_then(|()| now(connection));
    let now = match begun {
        Ok(now) => now,
        Err(error) => {
            // Without effect where none has begun.
            drop(connection.execute_batch("ROLLBACK"));
            return refuse(works, &Fault::Sql(error));
        }
    };
    let store = Store { sql: connection, now, name };
    let tells: Vec<Tell> = works.into_iter().filter_map(|work| work(Ok(&store))).collect();
    let committed = connection.execute_batch("COMMIT");
    if committed.is_err() {
        drop(connection.execute_batch("ROLLBACK"));
    }
    drop(held);
    for tell in tells {
        tell(committed.as_ref().copied().map_err(|error| uncommitted(name, error)));
    }
}

/// All of `work` or nothing of it, beside what else its transaction holds.
fn in_savepoint<T>(store: &Store<'_>, work: impl FnOnce(&Store<'_>) -> Result<T, Error>) -> Result<T, Error> {
    let batch = |sql: &str| store.sql.execute_batch(sql).map_err(|error| store.failed(&error));
    batch("SAVEPOINT call")?;
    let done = work(store);
    if done.is_err() {
        batch("ROLLBACK TO call")?;
    }
    batch("RELEASE call")?;
    done
}

fn now(connection: &Connection) -> rusqlite::Result<i64> {
    const NOW: &str = "SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)";
    connection.prepare_cached(NOW)?.query_row([], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn a_commit_over_which_the_disk_failed_is_not_told_as_unwritten() {
        let told = |code| uncommitted("jobs", &rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
        assert!(matches!(told(ffi::SQLITE_IOERR_FSYNC), Error::Unknown { .. }));
        for code in [ffi::SQLITE_FULL, ffi::SQLITE_BUSY] {
            assert!(matches!(told(code), Error::Unreachable { .. }), "{code}");
        }
    }
}
