//! Looks at one daemon again and again: its list, over a connection that is kept.

use std::time::Duration;

use palisade_core::process::{DaemonIdentity, Process};
use palisade_host::clock::{self, Stopwatch};
use palisade_host::files;

use crate::client::{Answer, Client, ConnectError};
use crate::glance::Glance;
use crate::locate::Location;
use crate::methods::Call;

/// How long the daemon may take to take a connection, and to give its list.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);
const LIST_DEADLINE: Duration = Duration::from_secs(5);

/// The daemon, or its list, cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// Nobody answers on its socket.
    #[error(transparent)]
    Away(#[from] ConnectError),
    /// It answered with an error.
    #[error("the daemon gave no list: {0}")]
    Refused(String),
    /// The connection ended, or it took too long.
    #[error("the daemon gave no list: {0}")]
    Lost(String),
    /// Its list is not one that this version reads.
    #[error("the daemon's list cannot be read: it is not as this version knows it")]
    Unreadable,
    /// This boot cannot be told from another one.
    #[error("this boot has no id")]
    Boot(#[from] files::Error),
}

/// Who looks.
#[derive(Debug)]
pub struct Looker {
    location: Location,
    client: Option<Client>,
    waited: Duration,
}

impl Looker {
    /// Looks at the daemon at `location`; nothing is asked yet.
    #[must_use]
    pub const fn new(location: Location) -> Self {
        Self { location, client: None, waited: Duration::ZERO }
    }

    /// Where the daemon is.
    #[must_use]
    pub const fn location(&self) -> &Location {
        &self.location
    }

    /// How long the daemon and its list were waited for, since this was last asked.
    pub fn take_waited(&mut self) -> Duration {
        std::mem::take(&mut self.waited)
    }

    /// The daemon and its list, as they are now.
    ///
    /// # Errors
    /// It cannot be reached, or gives no list that is known here.
    pub async fn look(&mut self) -> Result<(DaemonIdentity, Vec<Process>), LookError> {
        let started = Stopwatch::start();
        // A daemon that was restarted closes the connection that was there before: one more try.
        let had_connection = self.client.is_some();
        let looked = match self.ask().await {
            Err(_) if had_connection => self.ask().await,
            answered => answered,
        };
        self.waited += started.elapsed();
        looked
    }

    async fn ask(&mut self) -> Result<(DaemonIdentity, Vec<Process>), LookError> {
        let mut client = match self.client.take() {
            Some(client) => client,
            None => Client::connect(&self.location.socket, CONNECT_DEADLINE).await?,
        };
        let list = match client.call_list::<Glance>(&Call::list(), LIST_DEADLINE, &mut |_| {}).await {
            Err(Answer::NoReply(lost) | Answer::NotSent(lost)) => {
                return Err(LookError::Lost(lost.to_string()));
            }
            Ok(Some(list)) => Ok(list),
            Ok(None) | Err(Answer::Done(_)) => Err(LookError::Unreadable),
            Err(Answer::Refused(message)) => Err(LookError::Refused(message)),
        };
        let daemon = DaemonIdentity {
            process: client.daemon(),
            uid: client.uid(),
            boot_id: clock::boot_id()?,
            version: client.version().to_owned(),
            home: self.location.home.display().to_string(),
            socket: self.location.socket.display().to_string(),
        };
        self.client = Some(client);
        Ok((daemon, list?.into_iter().filter_map(Glance::process).collect()))
    }
}
