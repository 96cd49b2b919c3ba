//! The paths of one daemon's home that an install deals with.

use std::path::{Path, PathBuf};

use palisade_pm2::Guarded;

/// Where things are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// The daemon's `PM2_HOME`.
    pub home: PathBuf,
    /// Where PM2's clients look for the daemon.
    pub rpc: PathBuf,
    /// Where they look for its bus.
    pub bus: PathBuf,
    /// The folder of the daemon's own sockets, 0700.
    pub private: PathBuf,
    /// The daemon's own command socket.
    pub private_rpc: PathBuf,
    /// The daemon's own bus.
    pub private_bus: PathBuf,
}

impl Places {
    /// Those of `home`; where a guard says that the daemon listens elsewhere, there.
    #[must_use]
    pub fn of(home: &Path, guarded: Option<&Guarded>) -> Self {
        let private = home.join("private");
        let private_rpc = guarded.map_or_else(|| private.join("rpc.sock"), |said| said.private_rpc.clone());
        let private_bus = guarded.map_or_else(|| private.join("pub.sock"), |said| said.private_pub.clone());
        let private = private_rpc.parent().map_or(private, Path::to_owned);
        Self {
            home: home.to_owned(),
            rpc: home.join("rpc.sock"),
            bus: home.join("pub.sock"),
            private,
            private_rpc,
            private_bus,
        }
    }
}
