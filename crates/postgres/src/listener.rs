//! Notifications of the server, where nothing stands between: a pooler hands its connections to others.

use tokio::sync::mpsc;

use crate::error::Error;
use crate::session::Session;
use crate::target::Target;

/// So many notifications wait for whoever listens. Further ones are dropped: they say that there is something to look
/// at, and so do those that wait.
pub(crate) const WAITING_MOST: usize = 1_024;

/// A connection that can listen. It ends when this value is dropped.
#[derive(Debug)]
pub struct Listener {
    session: Session,
    notes: Notes,
}

/// What a connection hears.
#[derive(Debug)]
pub struct Notes(mpsc::Receiver<String>);

impl Listener {
    /// Connects, without listening yet. `None` where a pooler or anything else stands between, so that the server sees
    /// another port than ours: what is set on such a connection stays there for whoever gets it next.
    ///
    /// # Errors
    /// As [`Session::connect`], and [`Error::Statement`].
    pub async fn connect(target: &Target) -> Result<Option<Self>, Error> {
        let (session, notes) = Session::with_notes(target).await?;
        Ok(session.is_direct().await?.then_some(Self { session, notes: Notes(notes) }))
    }

    /// Listens to a channel, which has to be a plain name of small letters and underscores.
    ///
    /// # Errors
    /// [`Error::Statement`].
    pub async fn listen(&self, channel: &str) -> Result<(), Error> {
        debug_assert!(channel.chars().all(|one| one.is_ascii_lowercase() || one == '_'), "{channel}");
        self.session.run("listen", &format!("LISTEN {channel}")).await
    }

    /// The connection, for statements, and what it hears beside them. Its end is the end of the other.
    #[must_use]
    pub fn split(self) -> (Session, Notes) {
        (self.session, self.notes)
    }
}

impl Notes {
    /// The payload of the next notification; `None` once the connection has ended.
    pub async fn next(&mut self) -> Option<String> {
        self.0.recv().await
    }
}
