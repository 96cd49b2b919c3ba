//! The firewall's binary, and the systemd units of one guard.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use palisade_core::{Code, Exit};
use palisade_host::{files, state};
use palisade_install::act::Program;
use palisade_install::units::{self, Wanted};
use palisade_install::{Found, Places, separate};
use palisade_pm2::Isolation;

use crate::args::guard::PartsArgs;
use crate::failure::Failure;
use crate::session::Session;

const FIREWALL: &str = "palisade-firewall";

/// The firewall's binary: as named, else beside this one, else in PATH.
pub(super) fn program(session: &Session, args: &PartsArgs) -> Result<Program, Failure> {
    let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.join(FIREWALL)));
    let in_path = || in_path(session, FIREWALL);
    let found = match &args.firewall {
        Some(path) => Some(path.clone()).filter(|path| path.is_file()),
        None => beside.filter(|path| path.is_file()).or_else(in_path),
    };
    let path = found.and_then(|path| path.canonicalize().ok()).ok_or_else(|| {
        Failure::new(Exit::Failure, "the binary palisade-firewall is not there")
            .code(Code::GuardStep)
            .hint("install it beside `palisade`, or name it with --firewall FILE")
    })?;
    let root = session.state.root();
    // The state of a guard with a user of its own is that user's, and root looks after it too.
    if files::own_uid() != 0 || !root.exists() {
        files::private_folder(root)?;
    }
    Ok(Program {
        path,
        log: session.state.root().join("firewall.log"),
        args: Vec::new(),
        user: None,
        variables: Vec::new(),
    })
}

/// A program of that name in the caller's PATH.
pub(crate) fn in_path(session: &Session, name: &str) -> Option<PathBuf> {
    let path = session.environment.text("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Where units go, and whether systemd is told.
pub(super) struct Supervisor {
    folder: PathBuf,
    is_running: bool,
}

/// The supervisor whose units this call may write; `None` where there is none, or this user may not.
pub(super) fn supervisor(args: &PartsArgs) -> Option<Supervisor> {
    match &args.unit_folder {
        Some(folder) => Some(Supervisor { folder: folder.clone(), is_running: false }),
        None => (is_systemd_in_charge() && files::own_uid() == 0)
            .then(|| Supervisor { folder: units::FOLDER.into(), is_running: true }),
    }
}

pub(super) fn is_systemd_in_charge() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// What the units of this guard are made from.
pub(super) fn wanted(found: &Found, program: &Program, folder: &Path) -> Wanted {
    let name = |uid: u32| state::user_name(Path::new("/etc/passwd"), uid).unwrap_or_else(|| uid.to_string());
    let isolation = found.guarded.as_ref().map_or(Isolation::SameUid, |said| said.isolation);
    let guard = separate::guard_folder(&found.places.home).metadata().ok();
    let (uid, owner, group) = match (isolation, guard) {
        (Isolation::SeparateUid, Some(guard)) => {
            let daemon = found.daemons.first().and_then(|daemon| separate::uid_of(daemon.pid));
            (daemon.unwrap_or(found.uid), guard.uid(), guard.gid())
        }
        (Isolation::SeparateUid, None) | (Isolation::SameUid, _) => (found.uid, found.uid, found.gid),
    };
    let user = name(uid);
    Wanted {
        places: found.places.clone(),
        startup: units::startup_unit(folder, &user, &found.places.home),
        owner: name(owner),
        group: group.to_string(),
        user,
        isolation,
        firewall: program.path.clone(),
        palisade: std::env::current_exe().unwrap_or_else(|_| "/usr/bin/palisade".into()),
        state: program.log.parent().map(Path::to_owned).unwrap_or_default(),
    }
}

impl Supervisor {
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes the units and has them started from the next boot on. Gives the files.
    pub(super) fn write(&self, wanted: &Wanted) -> Result<Vec<PathBuf>, Failure> {
        let units = wanted.units().map_err(|error| Failure::usage(error.to_string()))?;
        let mut written = Vec::new();
        for unit in units {
            let path = self.folder.join(unit.name);
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder).map_err(|error| {
                    Failure::new(Exit::Failure, format!("cannot make {}: {error}", folder.display()))
                        .code(Code::GuardStep)
                })?;
            }
            files::write_atomic(&path, unit.text.as_bytes(), 0o644)?;
            written.push(path);
        }
        self.tell(&["daemon-reload"])?;
        let sockets = wanted.sockets();
        let service = wanted.service();
        let mut names: Vec<&str> = sockets.iter().map(|(unit, ..)| unit.as_str()).collect();
        names.push(&service);
        let notices = wanted.notices("path");
        names.push(&notices);
        self.tell(&[&["enable"], names.as_slice()].concat())?;
        Ok(written)
    }

    /// Stops and removes the units. Gives the files that were there.
    pub(super) fn remove(&self, wanted: &Wanted) -> Result<Vec<PathBuf>, Failure> {
        let units = wanted.units().map_err(|error| Failure::usage(error.to_string()))?;
        let own = |name: &str| name.starts_with("palisade-");
        let there: Vec<_> = units.iter().filter(|unit| self.folder.join(&unit.name).exists()).collect();
        let mut names: Vec<&str> =
            there.iter().map(|unit| unit.name.as_str()).filter(|name| own(name)).collect();
        // The service first, for a socket that is stopped before it would be asked for again.
        names.sort_by_key(|name| !name.ends_with(".service"));
        if !names.is_empty() {
            self.tell(&[&["disable", "--now"], names.as_slice()].concat())?;
        }
        let mut removed = Vec::new();
        for unit in there {
            let path = self.folder.join(&unit.name);
            std::fs::remove_file(&path).map_err(|error| {
                Failure::new(Exit::Failure, format!("cannot remove {}: {error}", path.display()))
            })?;
            removed.push(path);
        }
        self.tell(&["daemon-reload"])?;
        Ok(removed)
    }

    fn tell(&self, words: &[&str]) -> Result<(), Failure> {
        if !self.is_running {
            return Ok(());
        }
        let said = Command::new("systemctl").args(words).output();
        match said {
            Ok(said) if said.status.success() => Ok(()),
            Ok(said) => Err(String::from_utf8_lossy(&said.stderr).into_owned()),
            Err(error) => Err(error.to_string()),
        }
        .map_err(|why| {
            Failure::new(Exit::Failure, format!("`systemctl {}` failed: {}", words.join(" "), why.trim()))
                .code(Code::GuardStep)
        })
    }
}

/// The line for an init or cron that starts guard and daemon at the next boot.
pub(super) fn boot_line(session: &Session, program: &Program, places: &Places) -> String {
    units::cron_line(&program.path, places, in_path(session, "pm2").as_deref())
}
