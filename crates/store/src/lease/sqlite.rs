//! Leases in SQLite: for processes of one user on one machine. Spans are measured by CLOCK_BOOTTIME within one boot;
//! a lease of an earlier boot is over.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use palisade_host::clock;
use palisade_lease::rule::{self, Lease, Moment};
use palisade_lease::{Acquired, Grant, Held, Holder, LeaseStore, Name, Seen, Term, Ttl};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior, params};

use super::Error;
use crate::sqlite::turn::Turn;

/// How long a writer waits for another one.
const BUSY: Duration = Duration::from_secs(10);

/// The table. Times are milliseconds of CLOCK_BOOTTIME in the boot that the row names.
pub const TABLE: &str = "CREATE TABLE IF NOT EXISTS lease (
  name TEXT PRIMARY KEY,
  term INTEGER NOT NULL,
  holder TEXT NOT NULL,
  boot_id TEXT NOT NULL,
  acquired_ms INTEGER NOT NULL,
  expires_ms INTEGER NOT NULL,
  renewals INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID";

/// The leases of one database file.
#[derive(Debug, Clone)]
pub struct SqliteLeases {
    connection: Arc<Mutex<Connection>>,
    path: PathBuf,
    boot: String,
    /// Beside a store of jobs its writers take turns; where that is not possible, SQLite's own wait is left.
    turn: Option<Arc<Turn>>,
}

/// Whether `held` is in force. To be asked inside the `BEGIN IMMEDIATE` that writes: then nobody can take the lease
/// over before its end.
///
/// # Errors
/// What SQLite says.
pub fn fences(
    writing: &Transaction<'_>,
    held: &Held,
    boot_id: &str,
    boot_ms: u64,
) -> Result<bool, rusqlite::Error> {
    let lease = read(writing, &held.name, boot_id)?;
    Ok(rule::fences(lease.as_ref(), held, Moment::from_ms(boot_ms)))
}

impl SqliteLeases {
    /// Opens the file, and makes it with its table where it is not there.
    ///
    /// # Errors
    /// [`Error::Sqlite`] or [`Error::Boot`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = failed(path, "keep leases");
        let connection = Connection::open(path).map_err(&failed)?;
        connection.busy_timeout(BUSY).map_err(&failed)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(&failed)?;
        // A term that was handed out must not be handed out again after a power cut.
        connection.pragma_update(None, "synchronous", "FULL").map_err(&failed)?;
        connection.execute_batch(TABLE).map_err(&failed)?;
        let boot = clock::boot_id().map_err(Error::Boot)?;
        let turn = Turn::beside(path).ok().map(Arc::new);
        Ok(Self { connection: Arc::new(Mutex::new(connection)), path: path.to_owned(), boot, turn })
    }

    /// Does `work` in one writing transaction, on a thread that may wait.
    async fn write<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce(&Transaction<'_>, &str, Moment) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (connection, boot, turn) = (Arc::clone(&self.connection), self.boot.clone(), self.turn.clone());
        let step = move || {
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            let _held = turn.as_ref().and_then(|turn| turn.take().ok());
            let writing = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            // Read after the lock is had: waiting for it takes time too.
            let done = work(&writing, &boot, Moment::from_ms(clock::boot_ms()))?;
            writing.commit()?;
            Ok(done)
        };
        let done = tokio::task::spawn_blocking(step).await;
        let done = done.unwrap_or_else(|_| Err(rusqlite::Error::InvalidQuery));
        done.map_err(failed(&self.path, what))
    }
}

fn failed(path: &Path, what: &'static str) -> impl Fn(rusqlite::Error) -> Error {
    let path = path.display().to_string();
    move |source| Error::Sqlite { what, path: path.clone(), source }
}

impl LeaseStore for SqliteLeases {
    type Error = Error;

    async fn acquire(&self, name: &Name, holder: &Holder, ttl: Ttl) -> Result<Acquired, Error> {
        let (name, holder) = (name.clone(), holder.clone());
        self.write("grant a lease", move |writing, boot, now| {
            let lease = read(writing, &name, boot)?;
            match (rule::acquire(lease.as_ref(), &name, &holder, ttl, now), lease) {
                (None, Some(lease)) => Ok(Acquired::Busy(seen(&lease, now))),
                (granted, _) => {
                    let granted = granted.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
                    put(writing, &granted, boot)?;
                    let held = Held { name, term: granted.term, holder };
                    Ok(Acquired::Granted(Grant { held, ttl }))
                }
            }
        })
        .await
    }

    async fn renew(&self, held: &Held, ttl: Ttl) -> Result<bool, Error> {
        let held = held.clone();
        self.write("renew a lease", move |writing, boot, now| {
            let lease = read(writing, &held.name, boot)?;
            change(writing, rule::renew(lease.as_ref(), &held, ttl, now), boot)
        })
        .await
    }

    async fn release(&self, held: &Held) -> Result<bool, Error> {
        let held = held.clone();
        self.write("release a lease", move |writing, boot, now| {
            let lease = read(writing, &held.name, boot)?;
            change(writing, rule::release(lease.as_ref(), &held, now), boot)
        })
        .await
    }

    async fn show(&self, name: &Name) -> Result<Option<Seen>, Error> {
        let name = name.clone();
        self.write("show a lease", move |reading, boot, now| {
            Ok(read(reading, &name, boot)?.map(|lease| seen(&lease, now)))
        })
        .await
    }

    async fn list(&self) -> Result<Vec<Seen>, Error> {
        self.write("list leases", |reading, boot, now| {
            Ok(all(reading, boot)?.iter().map(|lease| seen(lease, now)).collect())
        })
        .await
    }

    async fn after_restore(&self, shown: Term) -> Result<Vec<Seen>, Error> {
        self.write("raise the terms", move |writing, boot, now| {
            let raised: Vec<Lease> =
                all(writing, boot)?.iter().map(|lease| rule::raise(lease, shown, now)).collect();
            for lease in &raised {
                put(writing, lease, boot)?;
            }
            Ok(raised.iter().map(|lease| seen(lease, now)).collect())
        })
        .await
    }
}

const FIELDS: &str = "name, term, holder, boot_id, acquired_ms, expires_ms, renewals";

fn read(reading: &Transaction<'_>, name: &Name, boot: &str) -> Result<Option<Lease>, rusqlite::Error> {
    let sql = format!("SELECT {FIELDS} FROM lease WHERE name = ?1");
    reading.prepare_cached(&sql)?.query_row([name.as_str()], |row| lease(row, boot)).optional()
}

fn all(reading: &Transaction<'_>, boot: &str) -> Result<Vec<Lease>, rusqlite::Error> {
    let sql = format!("SELECT {FIELDS} FROM lease ORDER BY name");
    reading.prepare_cached(&sql)?.query_map([], |row| lease(row, boot))?.collect()
}

/// A lease of another boot is over: its moments say nothing about this one.
fn lease(row: &Row<'_>, boot: &str) -> Result<Lease, rusqlite::Error> {
    let wrong = |at: usize, error: palisade_lease::InvalidName| {
        rusqlite::Error::FromSqlConversionFailure(at, rusqlite::types::Type::Text, Box::new(error))
    };
    let same = row.get_ref(3)?.as_str()? == boot;
    let moment = |at: usize| -> Result<Moment, rusqlite::Error> {
        let ms = if same { row.get::<_, i64>(at)? } else { 0 };
        Ok(Moment::from_ms(u64::try_from(ms).unwrap_or_default()))
    };
    let number = |at: usize| row.get::<_, i64>(at).map(|number| u64::try_from(number).unwrap_or_default());
    Ok(Lease {
        name: Name::new(row.get_ref(0)?.as_str()?).map_err(|error| wrong(0, error))?,
        term: Term::new(number(1)?),
        holder: Holder::new(row.get_ref(2)?.as_str()?).map_err(|error| wrong(2, error))?,
        acquired_at: moment(4)?,
        expires_at: moment(5)?,
        renewals: number(6)?,
    })
}

fn change(writing: &Transaction<'_>, lease: Option<Lease>, boot: &str) -> Result<bool, rusqlite::Error> {
    lease.map_or(Ok(false), |lease| put(writing, &lease, boot).map(|()| true))
}

fn put(writing: &Transaction<'_>, lease: &Lease, boot: &str) -> Result<(), rusqlite::Error> {
    let sql = format!("INSERT OR REPLACE INTO lease ({FIELDS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)");
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    writing.prepare_cached(&sql)?.execute(params![
        lease.name.as_str(),
        signed(lease.term.number()),
        lease.holder.as_str(),
        boot,
        signed(lease.acquired_at.ms()),
        signed(lease.expires_at.ms()),
        signed(lease.renewals),
    ])?;
    Ok(())
}

fn seen(lease: &Lease, now: Moment) -> Seen {
    Seen {
        name: lease.name.clone(),
        term: lease.term,
        holder: lease.holder.clone(),
        valid_for: now.until(lease.expires_at),
        acquired: now.ms().checked_sub(lease.acquired_at.ms()).map(Duration::from_millis),
        renewals: lease.renewals,
    }
}
