//! One connection, and the little of the protocol that also works through a transaction pooler.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_postgres::config::{ChannelBinding, SslMode};
use tokio_postgres::tls::NoTls;
pub use tokio_postgres::types::{FromSql, ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, Config, Connection, SimpleQueryMessage, Statement};
pub use tokio_postgres::{Error as RowError, Row as TypedRow};

use crate::copy::CopyIn;
use crate::error::{Error, said};
use crate::listener::WAITING_MOST;
use crate::target::{Encryption, Target};
use crate::tls::Tls;

/// How long a connection may take: a suspended database of a provider needs several seconds to wake up.
const PATIENCE: Duration = Duration::from_secs(20);

/// A row, every field as text.
pub type Row = Vec<Option<String>>;

/// A parameter and its type.
pub type Value<'a> = (&'a (dyn ToSql + Sync), Type);

/// One connection. It ends when this value is dropped.
#[derive(Debug)]
pub struct Session {
    client: Client,
    /// The task that reads and writes; it ends with this value.
    _driver: JoinSet<()>,
    local_port: u16,
    /// Statements that the server has planned for this connection; `None` where they may not be kept there.
    planned: Option<Mutex<HashMap<&'static str, Statement>>>,
}

impl Session {
    /// Connects and logs in.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Silent`], [`Error::Refused`] or [`Error::Roots`].
    pub async fn connect(target: &Target) -> Result<Self, Error> {
        let silent = |_| Error::Silent { place: target.place(), seconds: PATIENCE.as_secs() };
        timeout(PATIENCE, Self::open(target, None)).await.map_err(silent)?
    }

    /// As [`Self::connect`], with the payloads of notifications.
    pub(crate) async fn with_notes(target: &Target) -> Result<(Self, mpsc::Receiver<String>), Error> {
        let silent = |_| Error::Silent { place: target.place(), seconds: PATIENCE.as_secs() };
        let (notes, noted) = mpsc::channel(WAITING_MOST);
        let session = timeout(PATIENCE, Self::open(target, Some(notes))).await.map_err(silent)??;
        Ok((session, noted))
    }

    async fn open(target: &Target, notes: Option<mpsc::Sender<String>>) -> Result<Self, Error> {
        let unreachable = |source| Error::Unreachable { place: target.place(), source };
        let stream = TcpStream::connect((target.host.as_str(), target.port)).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let local_port = stream.local_addr().map_err(unreachable)?.port();
        let refused = |source: tokio_postgres::Error| Error::Refused {
            place: target.place(),
            problem: said(&source),
            source: Box::new(source),
        };
        let config = config(target);
        let mut driver = JoinSet::new();
        let client = if target.encryption() == Encryption::None {
            let (client, connection) = config.connect_raw(stream, NoTls).await.map_err(refused)?;
            driver.spawn(drive(connection, notes));
            client
        } else {
            let (client, connection) = config.connect_raw(stream, Tls::of(target)?).await.map_err(refused)?;
            driver.spawn(drive(connection, notes));
            client
        };
        Ok(Self { client, _driver: driver, local_port, planned: None })
    }

    /// Whether the connection has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Our own port, as long as nothing stands between also the one that the server sees.
    #[must_use]
    pub fn local_port(&self) -> u16 {
        self.local_port
    }

    /// Whether nothing stands between: the server sees the port that we connected from. A pooler hands its connections
    /// on, with all that was set there.
    ///
    /// # Errors
    /// [`Error::Statement`].
    pub async fn is_direct(&self) -> Result<bool, Error> {
        let rows = self.rows("say who is connected", "SELECT inet_client_port()").await?;
        let seen = rows.into_iter().next().and_then(|row| row.into_iter().next().flatten());
        Ok(seen.is_some_and(|port| port == self.local_port.to_string()))
    }

    /// From now on, what [`Self::planned`] runs is planned once, where nothing stands between. Gives whether that is so.
    ///
    /// # Errors
    /// [`Error::Statement`].
    pub async fn keep_plans(&mut self) -> Result<bool, Error> {
        self.planned = self.is_direct().await?.then(Mutex::default);
        Ok(self.planned.is_some())
    }

    /// Runs statements that take no parameter and answer nothing. Several in one text are one transaction.
    ///
    /// # Errors
    /// [`Error::Statement`], which says that `what` failed.
    pub async fn run(&self, what: &str, sql: &str) -> Result<(), Error> {
        self.client.batch_execute(sql).await.map_err(|error| Error::statement(what, error))
    }

    /// The rows of a statement that takes no parameter; fields of any type come as text.
    ///
    /// # Errors
    /// [`Error::Statement`], which says that `what` failed.
    pub async fn rows(&self, what: &str, sql: &str) -> Result<Vec<Row>, Error> {
        let messages = self.client.simple_query(sql).await.map_err(|error| Error::statement(what, error))?;
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect())
            }
            _ => None,
        });
        Ok(rows.collect())
    }

    /// The rows of a statement with parameters. All are text, and every field it selects has to be text.
    ///
    /// The statement has no name, so it also works through a pooler that hands on the connection.
    ///
    /// # Errors
    /// [`Error::Statement`], which says that `what` failed.
    pub async fn ask(&self, what: &str, sql: &str, parameters: &[Option<&str>]) -> Result<Vec<Row>, Error> {
        let typed: Vec<(&(dyn ToSql + Sync), Type)> =
            parameters.iter().map(|value| (value as &(dyn ToSql + Sync), Type::TEXT)).collect();
        let failed = |error| Error::statement(what, error);
        let rows = self.client.query_typed(sql, &typed).await.map_err(failed)?;
        let fields = |row: &tokio_postgres::Row| (0..row.len()).map(|at| row.try_get(at)).collect();
        rows.iter().map(fields).collect::<Result<_, _>>().map_err(failed)
    }

    /// The rows of a statement whose parameters and fields have types of their own, in one round trip.
    ///
    /// The statement has no name, so it also works through a pooler that hands on the connection. Calls that are
    /// awaited together are sent together and run in the order in which they were first polled.
    ///
    /// # Errors
    /// [`Error::Statement`], which says that `what` failed.
    pub async fn typed(&self, what: &str, sql: &str, values: &[Value<'_>]) -> Result<Vec<TypedRow>, Error> {
        self.client.query_typed(sql, values).await.map_err(|error| Error::statement(what, error))
    }

    /// As [`Self::typed`], with each row as `read` gives it.
    ///
    /// # Errors
    /// [`Error::Statement`], which says that `what` failed, or that a row is not what `read` takes it for.
    pub async fn read<T>(
        &self,
        what: &str,
        sql: &str,
        values: &[Value<'_>],
        read: impl Fn(&TypedRow) -> Result<T, RowError>,
    ) -> Result<Vec<T>, Error> {
        let rows = self.typed(what, sql, values).await?;
        rows.iter().map(read).collect::<Result<_, _>>().map_err(|error| Error::statement(what, error))
    }

    /// As [`Self::typed`], for a statement that is run again and again, outside of a transaction of several statements.
    /// After [`Self::keep_plans`] the server plans it once for this connection.
    ///
    /// # Errors
    /// [`Error::Statement`], which says that `what` failed.
    pub async fn planned(
        &self,
        what: &str,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<Vec<TypedRow>, Error> {
        let Some(planned) = &self.planned else { return self.typed(what, sql, values).await };
        let failed = |error| Error::statement(what, error);
        let types: Vec<Type> = values.iter().map(|(_, of)| of.clone()).collect();
        let statement = self.kept(planned, sql, &types).await.map_err(failed)?;
        let parameters: Vec<&(dyn ToSql + Sync)> = values.iter().map(|(value, _)| *value).collect();
        match self.client.query(&statement, &parameters).await {
            Err(error) if is_forgotten(&error) => {
                lock(planned).remove(sql);
                self.typed(what, sql, values).await
            }
            result => result.map_err(failed),
        }
    }

    /// A statement that the server keeps for this connection.
    async fn kept(
        &self,
        planned: &Mutex<HashMap<&'static str, Statement>>,
        sql: &'static str,
        types: &[Type],
    ) -> Result<Statement, tokio_postgres::Error> {
        let known = lock(planned).get(sql).cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        let statement = self.client.prepare_typed(sql, types).await?;
        lock(planned).insert(sql, statement.clone());
        Ok(statement)
    }

    /// Begins to put rows into a table: `sql` is a `COPY .. FROM STDIN BINARY`.
    ///
    /// # Errors
    /// [`Error::Statement`], which says that `what` failed.
    pub async fn copy_in<'a>(&self, what: &'a str, sql: &'static str) -> Result<CopyIn<'a>, Error> {
        let failed = |error| Error::statement(what, error);
        let sink = match &self.planned {
            Some(planned) => {
                let statement = self.kept(planned, sql, &[]).await.map_err(failed)?;
                self.client.copy_in(&statement).await
            }
            None => self.client.copy_in(sql).await,
        };
        Ok(CopyIn::new(sink.map_err(failed)?, what))
    }
}

/// What the server says to a statement that it has forgotten, or whose tables changed since: nothing of it was run.
fn is_forgotten(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| matches!(code.code(), "26000" | "42P05" | "0A000"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads and writes until the connection ends. What ends it also fails the statement that waits on it, so that its own
/// result says no more.
async fn drive<T>(mut connection: Connection<TcpStream, T>, notes: Option<mpsc::Sender<String>>)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
        if let (AsyncMessage::Notification(note), Some(notes)) = (message, &notes) {
            // Full: who listens has enough to look at.
            notes.try_send(note.payload().to_owned()).unwrap_or_default();
        }
    }
}

fn config(target: &Target) -> Config {
    let mut config = Config::new();
    config.user(&target.role).dbname(&target.database).application_name("palisade");
    config.ssl_mode(if target.encryption() == Encryption::None {
        SslMode::Disable
    } else {
        SslMode::Require
    });
    if target.channel_binding {
        config.channel_binding(ChannelBinding::Require);
    }
    if let Some(password) = &target.password {
        config.password(password);
    }
    config
}
