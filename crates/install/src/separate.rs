//! Users of their own for daemon, guard and deployers: what has to be done, and the doing. It takes root, and one
//! controlled restart, for a process cannot change its user.
//!
//! The home belongs to root with the sticky bit, so that not even the daemon's user can put another socket in the place
//! of the guard's. The daemon's own sockets lie in `private` (0710, daemon and the guard's group), the guard's in `guard`
//! (0750, guard and the deployers' group), and links lead there from where PM2's clients look.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, lchown, symlink};
use std::path::{Path, PathBuf};

use palisade_host::{files, process};
use palisade_pm2::{Guarded, Isolation};

use crate::accounts::Users;
use crate::act::ActError;
use crate::found::Found;
use crate::places::Places;

/// The folder of the guard's sockets, below the home.
pub const GUARD_FOLDER: &str = "guard";

/// One step. Each may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Save what runs, so that it comes back.
    Save,
    /// End the firewall.
    EndFirewall,
    /// End the daemon with its apps.
    EndDaemon,
    /// Give the home, its files and the state to their users.
    GiveAway,
    /// Make the two folders and the links to the guard's sockets.
    MakePlaces,
    /// Start the daemon under its user on the private sockets, and its apps.
    StartDaemon,
    /// Start the guard under its user.
    StartGuard,
}

impl Step {
    /// What it does, for people.
    #[must_use]
    pub const fn told(self) -> &'static str {
        match self {
            Self::Save => "take a snapshot and save every process into dump.pm2",
            Self::EndFirewall => "end the firewall",
            Self::EndDaemon => "END THE DAEMON WITH ALL ITS APPS",
            Self::GiveAway => {
                "give the home and its files to the daemon's user, and Palisade's state to the guard's"
            }
            Self::MakePlaces => {
                "make `private` and `guard` in the home, and link rpc.sock and pub.sock to the guard's"
            }
            Self::StartDaemon => {
                "start the daemon under its user on the private sockets, and its apps from dump.pm2"
            }
            Self::StartGuard => "start the guard under its user",
        }
    }
}

/// What is in the way. Nothing was touched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Barred {
    /// Two of the three are one.
    #[error("daemon, guard and deployers need users and groups of their own: {0}")]
    Shared(String),
    /// A user could not get to the home, or to a file that it needs.
    #[error("{} may not be entered by others (mode {mode:04o}), so the users of daemon, guard and deployers do not get to {}", folder.display(), to.display())]
    Closed {
        /// The folder.
        folder: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// What lies below it.
        to: PathBuf,
    },
    /// The guard could not read its policy.
    #[error("the guard's user could not read {} (mode {mode:04o})", path.display())]
    Policy {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Neither a daemon nor a dump.
    #[error("no PM2 daemon runs on this home, and it has no dump.pm2 to bring apps back from")]
    Nothing,
    /// More than one daemon.
    #[error("{0} PM2 daemons run on this home")]
    Daemons(usize),
}

impl Barred {
    /// How to go on, in one sentence.
    #[must_use]
    pub fn fix(&self) -> String {
        match self {
            Self::Shared(_) => {
                "make them with `useradd --system NAME`; deployers keep their users and share a group"
                    .to_owned()
            }
            Self::Closed { folder, .. } => format!(
                "run `chmod o+x {}`, or move what lies below it: PM2_HOME, or the policy to /etc/palisade/palisade.toml, \
                 whose state is in /var/lib/palisade",
                folder.display()
            ),
            Self::Policy { path, .. } => format!("run `chmod o+r {}`; it holds no secrets", path.display()),
            Self::Nothing => "start it with its apps, and install again".to_owned(),
            Self::Daemons(_) => "end the one that lists no processes, and see PAL-006".to_owned(),
        }
    }
}

/// Whether each of the three has a user or group that no other one has.
///
/// # Errors
/// Two of them are one, or one is root.
pub fn check_users(users: &Users) -> Result<(), Barred> {
    let (daemon, guard) = (&users.daemon, &users.guard);
    let shared = |text: &str| Err(Barred::Shared(text.to_owned()));
    if daemon.uid == guard.uid {
        return shared("the daemon's user is the guard's");
    }
    if daemon.uid == 0 || guard.uid == 0 {
        return shared("neither may be root");
    }
    if [daemon.gid, guard.gid].contains(&users.deployers) {
        return shared("the deployers' group is the daemon's or the guard's");
    }
    if daemon.gid == guard.gid {
        return shared("the daemon's group is the guard's");
    }
    Ok(())
}

/// The steps that put `users` in force; none where they are.
///
/// # Errors
/// Something is in the way.
pub fn plan(found: &Found, users: &Users, uid_of: impl Fn(u32) -> Option<u32>) -> Result<Vec<Step>, Barred> {
    check_users(users)?;
    let daemon = match found.daemons.as_slice() {
        [] => None,
        [daemon] => Some(daemon.pid),
        more => return Err(Barred::Daemons(more.len())),
    };
    let daemon_fits =
        daemon.is_some_and(|pid| uid_of(pid) == Some(users.daemon.uid)) && found.started_private;
    let guard_fits = found.holder.is_some_and(|holder| uid_of(holder.pid) == Some(users.guard.uid));
    let said = found.guarded.as_ref().is_some_and(|said| said.isolation == Isolation::SeparateUid);
    let mut steps = Vec::new();
    if daemon_fits && guard_fits && said && found.is_guarded() {
        return Ok(steps);
    }
    if daemon.is_some() && !daemon_fits {
        steps.push(Step::Save);
    }
    if found.holder.is_some() {
        steps.push(Step::EndFirewall);
    }
    if daemon.is_some() && !daemon_fits {
        steps.push(Step::EndDaemon);
    }
    steps.extend([Step::GiveAway, Step::MakePlaces]);
    if !daemon_fits {
        steps.push(Step::StartDaemon);
    }
    steps.push(Step::StartGuard);
    Ok(steps)
}

/// Whether everybody can get to `path`: each folder above it may be entered by others.
///
/// # Errors
/// [`Barred::Closed`] for the first that may not.
pub fn check_way(path: &Path) -> Result<(), Barred> {
    for folder in path.ancestors().skip(1) {
        let mode = folder.metadata().map_or(0, |found| found.permissions().mode());
        if mode & 0o001 == 0 {
            let (folder, to) = (folder.to_owned(), path.to_owned());
            return Err(Barred::Closed { folder, mode: mode & 0o7777, to });
        }
    }
    Ok(())
}

/// Whether the guard's user can read the policy.
///
/// # Errors
/// It cannot.
pub fn check_policy(path: &Path) -> Result<(), Barred> {
    check_way(path)?;
    let mode = path.metadata().map_or(0, |found| found.permissions().mode());
    if mode & 0o004 == 0 {
        return Err(Barred::Policy { path: path.to_owned(), mode: mode & 0o7777 });
    }
    Ok(())
}

/// The guard's folder.
#[must_use]
pub fn guard_folder(home: &Path) -> PathBuf {
    home.join(GUARD_FOLDER)
}

/// Gives the home's files to the daemon's user. Links are given away and not followed; the two folders of sockets are
/// left, for [`make_places`] knows whose they are.
///
/// # Errors
/// What the kernel said.
pub fn give_home(home: &Path, users: &Users) -> Result<(), ActError> {
    let daemon = (users.daemon.uid, users.daemon.gid);
    let left = [guard_folder(home), home.join("private"), Guarded::path(home)];
    for entry in entries(home)? {
        if !left.contains(&entry) {
            give_tree(&entry, daemon)?;
        }
    }
    own(home, (0, users.daemon.gid), 0o1775)?;
    for name in ["dump.pm2", "dump.pm2.bak"] {
        let path = home.join(name);
        if path.is_file() {
            mode(&path, 0o600)?;
        }
    }
    // What deployers read; and the one file that PM2's own `reload` writes.
    let logs = home.join("logs");
    make(&logs)?;
    own(&logs, (users.daemon.uid, users.deployers), 0o2750)?;
    let lock = home.join("reload.lock");
    if !lock.exists() {
        std::fs::write(&lock, "").map_err(failed("make", &lock))?;
    }
    own(&lock, (users.daemon.uid, users.deployers), 0o660)
}

/// Gives Palisade's state, with journal and key, to the guard's user.
///
/// # Errors
/// What the kernel said.
pub fn give_state(state: &Path, users: &Users) -> Result<(), ActError> {
    give_tree(state, (users.guard.uid, users.guard.gid))
}

/// Gives Palisade's state to root, for the time of an install.
///
/// # Errors
/// What the kernel said.
pub fn take_state(state: &Path) -> Result<(), ActError> {
    if state.exists() { give_tree(state, (0, 0)) } else { Ok(()) }
}

/// Makes the folders of the two kinds of sockets, and the links and the file by which they are found.
///
/// # Errors
/// What the kernel said.
pub fn make_places(places: &Places, users: &Users) -> Result<(), ActError> {
    let (home, private) = (&places.home, places.home.join("private"));
    make(&private)?;
    own(&private, (users.daemon.uid, users.guard.gid), 0o2710)?;
    // A daemon that runs already has made its sockets, perhaps for another group.
    for entry in entries(&private)? {
        lchown(&entry, Some(users.daemon.uid), Some(users.guard.gid)).map_err(failed("give away", &entry))?;
    }
    let guard = guard_folder(home);
    make(&guard)?;
    own(&guard, (users.guard.uid, users.deployers), 0o2750)?;
    for name in ["rpc.sock", "pub.sock"] {
        let beside = home.join(format!(".{name}.new"));
        if beside.symlink_metadata().is_ok() {
            std::fs::remove_file(&beside).map_err(failed("remove the left-over", &beside))?;
        }
        symlink(Path::new(GUARD_FOLDER).join(name), &beside).map_err(failed("link", &beside))?;
        let public = home.join(name);
        std::fs::rename(&beside, &public).map_err(failed("take the place of", &public))?;
    }
    let said = Guarded {
        format: palisade_pm2::guarded::FORMAT,
        private_rpc: private.join("rpc.sock"),
        private_pub: private.join("pub.sock"),
        control: Some(guard.join("control.sock")),
        isolation: Isolation::SeparateUid,
        pid: 0,
    };
    said.write(home).map_err(ActError::Folder)
}

/// Gives a home back to the daemon's user alone, after the guard is gone.
///
/// # Errors
/// What the kernel said.
pub fn give_back(home: &Path, daemon: (u32, u32)) -> Result<(), ActError> {
    let guard = guard_folder(home);
    if guard.is_dir() {
        std::fs::remove_dir_all(&guard).map_err(failed("remove", &guard))?;
    }
    own(&home.join("private"), daemon, 0o700)?;
    own(home, daemon, 0o755)
}

/// Arguments of the guard beyond the home.
#[must_use]
pub fn arguments(home: &Path) -> Vec<String> {
    let guard = guard_folder(home).display().to_string();
    let control = format!("{guard}/control.sock");
    ["--public", &guard, "--group", "--isolation", "separate-uid", "--control", &control]
        .map(str::to_owned)
        .to_vec()
}

/// The user and group that a process runs as.
#[must_use]
pub fn owner_of(pid: u32) -> Option<(u32, u32)> {
    process::credentials(pid).ok().map(|credentials| (credentials.uid, credentials.gid))
}

/// The user that a process runs as.
#[must_use]
pub fn uid_of(pid: u32) -> Option<u32> {
    process::credentials(pid).ok().map(|credentials| credentials.uid)
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ActError {
    let path = path.to_owned();
    move |source| ActError::Io { operation, path, source }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, ActError> {
    let read = folder.read_dir().map_err(failed("list", folder))?;
    Ok(read.flatten().map(|entry| entry.path()).collect())
}

fn make(folder: &Path) -> Result<(), ActError> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed("make", folder)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn own(path: &Path, (uid, gid): (u32, u32), bits: u32) -> Result<(), ActError> {
    lchown(path, Some(uid), Some(gid)).map_err(failed("give away", path))?;
    mode(path, bits)
}

fn mode(path: &Path, bits: u32) -> Result<(), ActError> {
    // A link's target may be anybody's.
    if path.is_symlink() {
        return Err(ActError::Folder(files::Error::Unsafe {
            path: path.to_owned(),
            rule: "is a symbolic link",
            fix: "remove the link and put the real file or folder there",
        }));
    }
    std::fs::set_permissions(path, Permissions::from_mode(bits)).map_err(failed("set the mode of", path))
}

/// A file or a whole folder. Sockets are left, and what has another name elsewhere: it would be given away there too.
fn give_tree(path: &Path, owner: (u32, u32)) -> Result<(), ActError> {
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
    let found = path.symlink_metadata().map_err(failed("look at", path))?;
    if found.file_type().is_socket() || (found.is_file() && found.nlink() > 1) {
        return Ok(());
    }
    lchown(path, Some(owner.0), Some(owner.1)).map_err(failed("give away", path))?;
    if found.is_dir() {
        for entry in entries(path)? {
            give_tree(&entry, owner)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use palisade_core::actor::ProcessRef;

    use super::*;
    use crate::accounts::Account;
    use crate::found::End;

    fn account(uid: u32) -> Account {
        Account { name: format!("u{uid}"), uid, gid: uid, home: "/nowhere".into() }
    }

    fn users() -> Users {
        Users { daemon: account(51), guard: account(52), deployers: 53 }
    }

    fn found(daemon: Option<u32>, holder: Option<u32>, isolation: Isolation) -> Found {
        let process = |pid: u32| ProcessRef { pid, start_ticks: 1 };
        let places = Places::of("/srv/pm2".as_ref(), None);
        let guarded = Guarded {
            format: 1,
            private_rpc: places.private_rpc.clone(),
            private_pub: places.private_bus.clone(),
            control: None,
            isolation,
            pid: 1,
        };
        let end = if holder.is_some() { End::Firewall } else { End::Nothing };
        Found {
            places,
            uid: 0,
            gid: 0,
            rpc: end,
            bus: end,
            private_rpc: End::Daemon,
            private_bus: End::Daemon,
            daemons: daemon.map(process).into_iter().collect(),
            started_private: true,
            guarded: holder.map(|_| guarded),
            holder: holder.map(process),
            apart: None,
            judge: None,
        }
    }

    /// Processes are numbered as their users.
    fn steps(found: &Found) -> Result<Vec<Step>, Barred> {
        plan(found, &users(), Some)
    }

    #[test]
    fn what_is_in_force_needs_no_step_and_what_was_cut_off_goes_on() {
        use Step::*;
        assert_eq!(steps(&found(Some(51), Some(52), Isolation::SeparateUid)), Ok(vec![]));
        let first = vec![Save, EndDaemon, GiveAway, MakePlaces, StartDaemon, StartGuard];
        assert_eq!(steps(&found(Some(7), None, Isolation::SameUid)), Ok(first));
        let guarded = vec![Save, EndFirewall, EndDaemon, GiveAway, MakePlaces, StartDaemon, StartGuard];
        assert_eq!(steps(&found(Some(7), Some(7), Isolation::SameUid)), Ok(guarded));
        // Cut off after the end of the daemon, and after its start.
        assert_eq!(
            steps(&found(None, None, Isolation::SameUid)),
            Ok(vec![GiveAway, MakePlaces, StartDaemon, StartGuard])
        );
        assert_eq!(
            steps(&found(Some(51), None, Isolation::SameUid)),
            Ok(vec![GiveAway, MakePlaces, StartGuard])
        );
    }

    #[test]
    fn users_that_are_one_separate_nothing() {
        let shared = |users: Users| matches!(check_users(&users), Err(Barred::Shared(_)));
        assert_eq!(check_users(&users()), Ok(()));
        assert!(shared(Users { guard: account(51), ..users() }));
        assert!(shared(Users { daemon: account(0), ..users() }));
        assert!(shared(Users { deployers: 52, ..users() }));
        assert!(shared(Users { daemon: Account { gid: 52, ..account(51) }, ..users() }));
    }
}
