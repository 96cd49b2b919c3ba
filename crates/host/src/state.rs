//! Where policy and state live.
//!
//! The rule is one sentence: where the system policy exists it is in force for everybody and state goes to the
//! system's folder; else both are the user's own. There is no variable that points at another policy, for a caller
//! must not bring its own.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use crate::environment::Environment;
use crate::files;

/// Largest user database that is read.
const MAX_PASSWD_BYTES: u64 = 4 * 1024 * 1024;

/// Where the system's policy and state are. The default is what a release uses; tests point elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locations {
    /// The system policy: `/etc/palisade/palisade.toml`.
    pub system_policy: PathBuf,
    /// The state folder that goes with it: `/var/lib/palisade`.
    pub system_state: PathBuf,
    /// The user database: `/etc/passwd`.
    pub passwd: PathBuf,
}

impl Default for Locations {
    fn default() -> Self {
        Self {
            system_policy: "/etc/palisade/palisade.toml".into(),
            system_state: "/var/lib/palisade".into(),
            passwd: "/etc/passwd".into(),
        }
    }
}

/// No place for a policy or state could be named.
#[derive(Debug, thiserror::Error)]
#[error("user {uid} has no home folder: neither HOME nor {} names one; set HOME", passwd.display())]
pub struct NoHome {
    uid: u32,
    passwd: PathBuf,
}

impl Locations {
    /// Whether the system policy is the one in force.
    ///
    /// Only its proven absence says no: a policy that is there and may not be read is in force all the same.
    #[must_use]
    pub fn system_policy_is_in_force(&self) -> bool {
        match self.system_policy.symlink_metadata() {
            Ok(_) => true,
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    /// Home folders of the host's users, and the caller's own: somebody's home is no app's folder.
    #[must_use]
    pub fn homes(&self, environment: &Environment) -> Vec<PathBuf> {
        let passwd = files::read_bounded(&self.passwd, MAX_PASSWD_BYTES).unwrap_or_default();
        let passwd = String::from_utf8_lossy(&passwd);
        let listed = passwd.lines().filter_map(|line| line.split(':').nth(5)).map(PathBuf::from);
        let homes: BTreeSet<PathBuf> = listed.chain(environment.absolute_path("HOME")).collect();
        homes.into_iter().collect()
    }

    /// Path of the policy in force: the system's, else `$XDG_CONFIG_HOME/palisade/palisade.toml`, else
    /// `~/.config/palisade/palisade.toml`. The user's need not exist.
    ///
    /// # Errors
    /// If the system has no policy and the user no home.
    pub fn policy_path(&self, environment: &Environment, uid: u32) -> Result<PathBuf, NoHome> {
        if self.system_policy_is_in_force() {
            return Ok(self.system_policy.clone());
        }
        let folder = self.user_folder(environment, uid, "XDG_CONFIG_HOME", ".config")?;
        Ok(folder.join("palisade/palisade.toml"))
    }

    /// The state folder that goes with the policy in force. Nothing is made: whoever writes into a
    /// folder makes it, and checks that it is private.
    ///
    /// # Errors
    /// If the system has no policy and the user no home.
    pub fn state(&self, environment: &Environment, uid: u32) -> Result<StateDirectory, NoHome> {
        if self.system_policy_is_in_force() {
            return Ok(StateDirectory::at(self.system_state.clone()));
        }
        let folder = self.user_folder(environment, uid, "XDG_STATE_HOME", ".local/state")?;
        Ok(StateDirectory::at(folder.join("palisade")))
    }

    /// The folder that `variable` names, else `below` the home that HOME or the user database names.
    fn user_folder(
        &self,
        environment: &Environment,
        uid: u32,
        variable: &str,
        below: &str,
    ) -> Result<PathBuf, NoHome> {
        if let Some(folder) = environment.absolute_path(variable) {
            return Ok(folder);
        }
        let home = environment.absolute_path("HOME").or_else(|| home_of(&self.passwd, uid));
        home.map(|home| home.join(below)).ok_or_else(|| NoHome { uid, passwd: self.passwd.clone() })
    }
}

/// Palisade's own folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDirectory {
    root: PathBuf,
}

impl StateDirectory {
    /// The state folder under the default [`Locations`].
    ///
    /// # Errors
    /// As [`Locations::state`].
    pub fn locate(environment: &Environment, uid: u32) -> Result<Self, NoHome> {
        Locations::default().state(environment, uid)
    }

    /// The state folder at `root`.
    #[must_use]
    pub const fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Folder of the journal.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    /// File of the key that signs the journal's heads.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.root.join("key")
    }

    /// Folder of registrations.
    #[must_use]
    pub fn registrations(&self) -> PathBuf {
        self.root.join("registrations")
    }

    /// Folder of snapshots, which are redacted.
    #[must_use]
    pub fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    /// Folder of restore bundles, which hold values.
    #[must_use]
    pub fn bundles(&self) -> PathBuf {
        self.root.join("bundles")
    }

    /// Folder of daemons that were met before.
    #[must_use]
    pub fn daemons(&self) -> PathBuf {
        self.root.join("daemons")
    }

    /// Folder of deployment leases.
    #[must_use]
    pub fn leases(&self) -> PathBuf {
        self.root.join("leases")
    }

    /// File of the lowest epochs that workflows may run with.
    #[must_use]
    pub fn epochs(&self) -> PathBuf {
        self.root.join("epochs.json")
    }
}

/// Name of user `uid` in the user database at `passwd`. Only local users: directory services are not asked.
#[must_use]
pub fn user_name(passwd: &Path, uid: u32) -> Option<String> {
    entry(passwd, uid)?.first().cloned()
}

/// Home folder of user `uid` in the user database at `passwd`.
#[must_use]
pub fn home_of(passwd: &Path, uid: u32) -> Option<PathBuf> {
    entry(passwd, uid)?.get(5).map(PathBuf::from).filter(|home| home.is_absolute())
}

/// The fields of the first line of user `uid`: `NAME:PASSWORD:UID:GID:GECOS:HOME:SHELL`.
fn entry(passwd: &Path, uid: u32) -> Option<Vec<String>> {
    let bytes = files::read_bounded(passwd, MAX_PASSWD_BYTES).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let mut entries = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let found = entries.find(|fields| fields.get(2).and_then(|field| field.parse().ok()) == Some(uid))?;
    Some(found.into_iter().map(str::to_owned).collect())
}
