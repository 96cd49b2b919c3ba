//! Connections: few, each checked when it is new, none kept that a call was cut off on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use palisade_postgres::{CopyIn, Error as PgError, Listener, Notes, Session, Target, TypedRow, Value, id_of};
use tokio::sync::{Semaphore, SemaphorePermit};

use palisade_jobs::Error;

use super::schema;

/// So many connections at most.
const CONNECTIONS_MOST: usize = 8;

/// A client that stands still in the middle of a transaction holds its locks for so long: the server ends it then.
const BEGIN: &str = "BEGIN; SET LOCAL idle_in_transaction_session_timeout = '10s'";

/// Where nothing stands between, the server looks so often whether whoever waits for a statement is still there, and ends
/// the statement where nobody is: a lock that somebody holds would else gather sessions of callers that gave up long ago,
/// and what they asked for would be done once it is free. A server whose system cannot tell says so, and does not look.
const NOBODY_WAITS: &str = "SET client_connection_check_interval = '1s'";

/// What lost a race against another transaction is tried so often.
const TRIES: u32 = 20;

#[derive(Debug, Clone)]
pub(super) struct Pool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    target: Target,
    id: String,
    /// `None`: the stamp is not looked at. Else what it has to say where there is one.
    environment: Option<Option<String>>,
    idle: Mutex<Vec<Session>>,
    /// The one that listens, for claims and nothing else: a call has just woken its process of the server, so that a claim
    /// through it is answered sooner than through one that slept.
    called: Mutex<Option<Session>>,
    free: Semaphore,
    /// Queues that this store has seen, so that not every job has to ask.
    known: Mutex<std::collections::BTreeSet<String>>,
}

/// One connection for one call. It goes back only when the call is over: one that was given up in the middle is
/// closed, and the server takes back what it had begun once it sees that.
pub(super) struct Line<'a> {
    session: Option<Session>,
    is_called: bool,
    pool: &'a Shared,
    _permit: SemaphorePermit<'a>,
}

impl Pool {
    pub(super) async fn open(target: Target, environment: Option<Option<&str>>) -> Result<Self, Error> {
        let name = target.to_string();
        let failed = |error: PgError| before(&name, &error);
        let mut session = Session::connect(&target).await.map_err(failed)?;
        let id = id_of(&session).await.map_err(failed)?;
        keep(&mut session).await.map_err(failed)?;
        let environment = environment.map(|environment| environment.map(str::to_owned));
        fits(&session, &name, environment.as_ref()).await?;
        schema::prepare(&session, &name).await?;
        let shared = Shared {
            target,
            id,
            environment,
            idle: Mutex::new(vec![session]),
            called: Mutex::default(),
            free: Semaphore::new(CONNECTIONS_MOST),
            known: Mutex::default(),
        };
        Ok(Self(Arc::new(shared)))
    }

    pub(super) fn place(&self) -> String {
        self.0.target.to_string()
    }

    pub(super) fn id(&self) -> &str {
        &self.0.id
    }

    /// Whether it looks at whose database this is.
    pub(super) fn knows_environment(&self) -> bool {
        self.0.environment.is_some()
    }

    /// Whether the queue is known to be written down.
    pub(super) fn knows(&self, queue: &str) -> bool {
        locked(&self.0.known).contains(queue)
    }

    pub(super) fn remember(&self, queue: &str) {
        locked(&self.0.known).insert(queue.to_owned());
    }

    /// A connection, a new one where none is idle.
    pub(super) async fn line(&self) -> Result<Line<'_>, Error> {
        let shared = &*self.0;
        let closed =
            |_| Error::Unreachable { store: self.place(), problem: "the store is closed".to_owned() };
        let permit = shared.free.acquire().await.map_err(closed)?;
        let idle = loop {
            let session = locked(&shared.idle).pop();
            match session {
                Some(session) if session.is_closed() => {}
                other => break other,
            }
        };
        let session = match idle {
            Some(session) => session,
            None => self.connect().await?,
        };
        Ok(Line { session: Some(session), is_called: false, pool: shared, _permit: permit })
    }

    /// The connection that listens, where there is one and nobody has it; any other else.
    async fn called_line(&self) -> Result<Line<'_>, Error> {
        if let Ok(permit) = self.0.free.try_acquire() {
            let session = locked(&self.0.called).take().filter(|session| !session.is_closed());
            if session.is_some() {
                return Ok(Line { session, is_called: true, pool: &self.0, _permit: permit });
            }
        }
        self.line().await
    }

    async fn connect(&self) -> Result<Session, Error> {
        let connecting = Session::connect(&self.0.target).await;
        self.checked(connecting.map_err(|error| before(&self.place(), &error))?).await
    }

    /// A new connection, once it is known to lead where it should.
    async fn checked(&self, mut session: Session) -> Result<Session, Error> {
        let name = self.place();
        let failed = |error: PgError| before(&name, &error);
        self.same(&id_of(&session).await.map_err(failed)?)?;
        keep(&mut session).await.map_err(failed)?;
        fits(&session, &name, self.0.environment.as_ref()).await?;
        schema::check(&session, &name).await?;
        Ok(session)
    }

    /// Listens to that channel from now on, on the connection that claims use; `None` where a pooler stands between. What
    /// is heard ends with the connection.
    pub(super) async fn listen(&self, channel: &str) -> Result<Option<Notes>, Error> {
        let name = self.place();
        let failed = |error: PgError| before(&name, &error);
        let Some(listener) = Listener::connect(&self.0.target).await.map_err(failed)? else {
            return Ok(None);
        };
        listener.listen(channel).await.map_err(failed)?;
        let (session, notes) = listener.split();
        let session = self.checked(session).await?;
        *locked(&self.0.called) = Some(session);
        Ok(Some(notes))
    }

    /// Whether that is the database that this store was opened on.
    fn same(&self, reached: &str) -> Result<(), Error> {
        let shared = &*self.0;
        if reached == shared.id {
            return Ok(());
        }
        Err(Error::Refused(format!(
            "{} leads to database {reached} by now, and this store was opened on {}: nothing was written",
            shared.target, shared.id
        )))
    }

    /// The rows of one statement that is a transaction of its own.
    pub(super) async fn write(
        &self,
        what: &str,
        sql: &str,
        values: &[Value<'_>],
    ) -> Result<Vec<TypedRow>, Error> {
        for _ in 0..TRIES {
            let line = self.line().await?;
            let done = line.session().typed(what, sql, values).await;
            if let Some(ended) = line.ended(done) {
                return ended;
            }
        }
        Err(Error::Unreachable { store: self.0.target.to_string(), problem: busy(what) })
    }

    /// As [`Self::write`], for what is run again and again: planned once for each connection where that is possible.
    pub(super) async fn write_often(
        &self,
        what: &str,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<Vec<TypedRow>, Error> {
        self.often(what, sql, values, || self.line()).await
    }

    /// As [`Self::write_often`], by the connection that listens.
    pub(super) async fn claim(
        &self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<Vec<TypedRow>, Error> {
        self.often("claim", sql, values, || self.called_line()).await
    }

    async fn often<'a, F>(
        &self,
        what: &str,
        sql: &'static str,
        values: &[Value<'_>],
        line: impl Fn() -> F,
    ) -> Result<Vec<TypedRow>, Error>
    where
        F: Future<Output = Result<Line<'a>, Error>>,
    {
        for _ in 0..TRIES {
            let line = line().await?;
            let done = line.session().planned(what, sql, values).await;
            if let Some(ended) = line.ended(done) {
                return ended;
            }
        }
        Err(Error::Unreachable { store: self.0.target.to_string(), problem: busy(what) })
    }

    /// As [`Self::write`]; `None` where a row is locked for longer than the statement waits for it, and nothing was written.
    pub(super) async fn write_unless_locked(
        &self,
        what: &str,
        sql: &str,
        values: &[Value<'_>],
    ) -> Result<Option<Vec<TypedRow>>, Error> {
        for _ in 0..TRIES {
            let line = self.line().await?;
            let done = line.session().typed(what, sql, values).await;
            if done.as_ref().is_err_and(|error| error.sqlstate() == Some("55P03")) {
                line.done();
                return Ok(None);
            }
            if let Some(ended) = line.ended(done) {
                return ended.map(Some);
            }
        }
        Err(Error::Unreachable { store: self.0.target.to_string(), problem: busy(what) })
    }

    /// The rows of one statement that only reads.
    pub(super) async fn read(
        &self,
        what: &str,
        sql: &str,
        values: &[Value<'_>],
    ) -> Result<Vec<TypedRow>, Error> {
        let line = self.line().await?;
        let rows = line.session().typed(what, sql, values).await.map_err(|error| line.unwritten(&error))?;
        line.done();
        Ok(rows)
    }

    /// A connection with an open transaction.
    pub(super) async fn begin(&self, what: &str) -> Result<Line<'_>, Error> {
        let line = self.line().await?;
        line.session().run(what, BEGIN).await.map_err(|error| line.unwritten(&error))?;
        Ok(line)
    }

    /// Ends a transaction. `None` where it lost a race and is worth another try.
    pub(super) async fn end<T>(
        &self,
        what: &str,
        line: Line<'_>,
        done: Result<T, Stop>,
        tries: u32,
    ) -> Option<Result<T, Error>> {
        let ended = match &done {
            Ok(_) => line.session().run(what, "COMMIT").await,
            Err(_) => line.session().run(what, "ROLLBACK").await,
        };
        match (done, ended) {
            (Ok(value), Ok(())) => {
                line.done();
                Some(Ok(value))
            }
            (Ok(_), Err(error)) => Some(Err(line.written(&error))),
            (Err(Stop::Statement(error)), Ok(())) if lost_a_race(&error) => {
                line.done();
                let store = self.0.target.to_string();
                (tries >= TRIES).then(|| Err(Error::Unreachable { store, problem: busy(what) }))
            }
            (Err(stop), ended) => {
                let error = stop.told(&line);
                if ended.is_ok() {
                    line.done();
                }
                Some(Err(error))
            }
        }
    }
}

/// Runs a future that uses the connection `$line` between BEGIN and COMMIT, again where it lost a race.
macro_rules! transact {
    ($pool:expr, $what:expr, $line:ident => $work:expr) => {{
        let mut tries = 0;
        loop {
            tries += 1;
            let held = $pool.begin($what).await?;
            let done = {
                let $line = &held;
                $work.await
            };
            if let Some(ended) = $pool.end($what, held, done, tries).await {
                break ended;
            }
        }
    }};
}
pub(super) use transact;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a new connection is told where it is the server's own.
async fn keep(session: &mut Session) -> Result<(), PgError> {
    if !session.keep_plans().await? {
        return Ok(());
    }
    session.run("be looked at", NOBODY_WAITS).await.or_else(|error| error.sqlstate().map(drop).ok_or(error))
}

/// Whether the database's stamp, where it bears one, is the client's environment.
async fn fits(session: &Session, name: &str, expected: Option<&Option<String>>) -> Result<(), Error> {
    let Some(expected) = expected else { return Ok(()) };
    let stamp = palisade_postgres::stamp_of(session).await.map_err(|error| before(name, &error))?;
    match (stamp, expected) {
        (None, _) => Ok(()),
        (Some(stamp), Some(expected)) => stamp
            .expect(&[expected])
            .map_err(|error| Error::Refused(format!("{name}: {error}; nothing was written"))),
        (Some(stamp), None) => Err(Error::Refused(format!(
            "{name} is a database of {}, and nothing says that you mean that: set PALISADE_ENVIRONMENT={0}, or give \
             --environment {0}; nothing was written",
            stamp.environment
        ))),
    }
}

/// What ends a transaction without effect.
pub(super) enum Stop {
    /// A statement failed.
    Statement(PgError),
    /// A rule of ours says no.
    Rule(Error),
}

impl From<PgError> for Stop {
    fn from(error: PgError) -> Self {
        Self::Statement(error)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Rule(error)
    }
}

impl Stop {
    fn told(self, line: &Line<'_>) -> Error {
        match self {
            Self::Statement(error) => line.unwritten(&error),
            Self::Rule(error) => error,
        }
    }
}

impl Line<'_> {
    fn session(&self) -> &Session {
        self.session.as_ref().expect("it is there until the call is over")
    }

    /// Begins to put rows into a table, within a transaction.
    pub(super) async fn copy_in<'b>(&self, what: &'b str, sql: &'static str) -> Result<CopyIn<'b>, PgError> {
        self.session().copy_in(what, sql).await
    }

    /// The rows of one statement of a transaction.
    pub(super) async fn ask(
        &self,
        what: &str,
        sql: &str,
        values: &[Value<'_>],
    ) -> Result<Vec<TypedRow>, PgError> {
        self.session().typed(what, sql, values).await
    }

    /// What one statement came to that is a transaction of its own. `None` where it lost a race.
    fn ended<T>(self, done: Result<T, PgError>) -> Option<Result<T, Error>> {
        match done {
            Ok(value) => {
                self.done();
                Some(Ok(value))
            }
            Err(error) if lost_a_race(&error) => {
                self.done();
                None
            }
            Err(error) => Some(Err(self.written(&error))),
        }
    }

    fn done(mut self) {
        let Some(session) = self.session.take().filter(|session| !session.is_closed()) else { return };
        if self.is_called {
            locked(&self.pool.called).get_or_insert(session);
        } else {
            locked(&self.pool.idle).push(session);
        }
    }

    /// An error before anything could have been kept.
    fn unwritten(&self, error: &PgError) -> Error {
        before(&self.pool.target.to_string(), error)
    }

    /// An error of what would have been kept: where the server did not say no, nobody knows.
    fn written(&self, error: &PgError) -> Error {
        let store = self.pool.target.to_string();
        match error.sqlstate() {
            None => Error::Unknown { store, problem: error.to_string() },
            Some(_) => before(&store, error),
        }
    }
}

/// An error after which nothing is written.
pub(super) fn before(name: &str, error: &PgError) -> Error {
    // Shutting down, starting up, out of connections or of disk, stood still too long: the same may work later.
    let passing =
        |state: &str| ["57P", "53", "08", "55P", "40", "25P03"].iter().any(|class| state.starts_with(class));
    let refused = matches!(error, PgError::Statement { .. } | PgError::Url { .. } | PgError::Roots { .. });
    if refused && error.sqlstate().is_some_and(|state| !passing(state)) {
        return Error::Refused(format!("{name}: {error}; nothing of this was written"));
    }
    Error::Unreachable { store: name.to_owned(), problem: format!("{error}; nothing of this was written") }
}

/// Serialization failures, deadlocks and keys that another transaction made in between.
fn lost_a_race(error: &PgError) -> bool {
    matches!(error.sqlstate(), Some("40001" | "40P01" | "23505"))
}

fn busy(what: &str) -> String {
    format!("to {what} lost against other transactions {TRIES} times; nothing of this was written")
}
