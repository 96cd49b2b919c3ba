//! Whose turn it is to write, over all processes.
//!
//! Two locks, as a door and the room behind it: a writer takes the door, waits there for the room, and leaves the
//! door open once it is in. Whoever has just been in has to pass the door again, behind the one that waits at it. So
//! a process that writes all the time cannot keep the others out. The kernel frees both where a process dies.
//!
//! This is about fairness only. That two writers never write at once is SQLite's own promise.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The two locks of one database.
#[derive(Debug)]
pub(crate) struct Turn {
    door: File,
    room: File,
}

/// Being in. It ends when this is dropped.
pub(crate) struct Held<'a>(&'a File);

impl Turn {
    /// Beside the database: `jobs.db-door` and `jobs.db-room`.
    pub(crate) fn beside(database: &Path) -> io::Result<Self> {
        let open = |suffix: &str| {
            let mut path = database.as_os_str().to_owned();
            path.push(suffix);
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)
        };
        Ok(Self { door: open("-door")?, room: open("-room")? })
    }

    /// Waits for the turn.
    pub(crate) fn take(&self) -> io::Result<Held<'_>> {
        self.door.lock()?;
        let taken = self.room.lock();
        self.door.unlock()?;
        taken.map(|()| Held(&self.room))
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // Fails only for a file that is not open, and this one is.
        self.0.unlock().unwrap_or_default();
    }
}
