//! The command line of `palisade-firewall`.

use std::ffi::OsString;
use std::path::PathBuf;

use palisade_pm2::guarded::Isolation;

/// How it is called.
pub const USAGE: &str = "\
Usage: palisade-firewall --pm2-home HOME [--private-rpc PATH] [--private-pub PATH] [--control PATH] [--group]
                         [--app-socket PATH]... [--public FOLDER] [--leave-notices]
                         [--isolation same-uid|separate-uid] [--take-over] [--detached]
                         [--start-daemon PM2_SCRIPT]

Listens on HOME/rpc.sock and HOME/pub.sock and judges each call before the daemon sees it.
The daemon listens on the private sockets: whoever starts it sets PM2_DAEMON_RPC_PORT and
PM2_DAEMON_PUB_PORT to them.

  --pm2-home HOME      the daemon's PM2_HOME
  --private-rpc PATH   the daemon's own command socket [HOME/private/rpc.sock]
  --private-pub PATH   the daemon's own bus [HOME/private/pub.sock]
  --control PATH       where to listen for requests to the firewall itself; nowhere if left out
  --app-socket PATH    one more command socket (mode 0770), for the app whose deployers name it in the policy;
                       may be given several times
  --public FOLDER      make the public sockets and the lock here, and not in HOME: for a user of its own, whose
                       install links HOME/rpc.sock and HOME/pub.sock to them and writes HOME/.palisade-guard.json
  --leave-notices      keep notices, and start nobody who delivers them: another unit does
  --take-over          take the places of a daemon that listens there and on its private sockets too
  --start-daemon PM2_SCRIPT
                       where nobody else does: start the daemon on its private sockets, and its apps from
                       dump.pm2, now and whenever it has died. PM2_SCRIPT is the command pm2
  --detached           in a session of its own, so that the end of a login does not end it
  --group              let the sockets' group connect too (mode 0770; else 0700)
  --isolation WHICH    what HOME/.palisade-guard.json says of it; it changes nothing [same-uid]
  --version, --help

The policy is the one that `palisade` uses: /etc/palisade/palisade.toml, else
$XDG_CONFIG_HOME/palisade/palisade.toml. It is read again when the file is another one.
Sockets from systemd (LISTEN_FDS) are taken by their names: rpc, pub and control.

SIGTERM ends it in order. SIGHUP makes it run anew, from the file that is there then, on the same sockets.";

/// Given by a holder to its judge.
const JUDGE: &str = "--judge";
/// Given by a process of this firewall to the one that goes on with its sockets.
const HANDED: &str = "--handed";

/// The options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The daemon's home.
    pub home: PathBuf,
    /// Where the public sockets are made: the home, or a folder of the firewall's own user.
    pub public: PathBuf,
    /// Whether somebody else delivers notices.
    pub leave_notices: bool,
    /// The daemon's command socket.
    pub private_rpc: PathBuf,
    /// The daemon's bus.
    pub private_pub: PathBuf,
    /// Where to listen for requests to the firewall itself.
    pub control: Option<PathBuf>,
    /// Further command sockets, each for the apps whose deployers name it.
    pub app_sockets: Vec<PathBuf>,
    /// With which `pm2` to start the daemon where none runs; nobody does, or somebody else, if left out.
    pub start_daemon: Option<PathBuf>,
    /// Whether the group may connect.
    pub group: bool,
    /// Whether to take the places of a daemon that is reached on its private sockets as well.
    pub take_over: bool,
    /// Whether to run in a session of its own.
    pub detached: bool,
    /// What separates callers from the daemon, as whoever installed it says.
    pub isolation: Isolation,
    /// Whether another process of this firewall hands its sockets over on standard input.
    pub handed: bool,
    /// The arguments that say all this, without those that the firewall adds for itself.
    pub args: Vec<OsString>,
}

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// To run.
    Run(Options),
    /// To judge, for the holder that started it.
    Judge(Options),
    /// To say how it is called.
    Help,
    /// To say which version it is.
    Version,
}

/// The command line is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// An option that is not known.
    #[error("unknown option {0:?}")]
    Unknown(String),
    /// An option without its value.
    #[error("{0} needs a path")]
    NoValue(&'static str),
    /// A path that depends on the working folder.
    #[error("{name} is {}, which is not an absolute path", path.display())]
    Relative {
        /// The option.
        name: &'static str,
        /// Its value.
        path: PathBuf,
    },
    /// No isolation that is known.
    #[error("--isolation is same-uid or separate-uid")]
    Isolation,
    /// No home.
    #[error("--pm2-home is missing; there is no default home")]
    NoHome,
}

/// Reads the arguments, the program's name left out.
///
/// # Errors
/// What is wrong with them.
pub fn read(args: impl IntoIterator<Item = OsString>) -> Result<Wanted, UsageError> {
    let given: Vec<OsString> = args.into_iter().collect();
    let mut args = given.iter().cloned();
    let (mut home, mut rpc, mut publish, mut control) = (None, None, None, None);
    let (mut group, mut judge, mut handed, mut isolation) = (false, false, false, Isolation::default());
    let (mut take_over, mut detached, mut app_sockets) = (false, false, Vec::new());
    let (mut start_daemon, mut public, mut leave_notices) = (None, None, false);
    while let Some(arg) = args.next() {
        let mut path = |name| absolute(name, args.next());
        match arg.to_str() {
            Some("--pm2-home") => home = Some(path("--pm2-home")?),
            Some("--private-rpc") => rpc = Some(path("--private-rpc")?),
            Some("--private-pub") => publish = Some(path("--private-pub")?),
            Some("--control") => control = Some(path("--control")?),
            Some("--app-socket") => app_sockets.push(path("--app-socket")?),
            Some("--start-daemon") => start_daemon = Some(path("--start-daemon")?),
            Some("--public") => public = Some(path("--public")?),
            Some("--leave-notices") => leave_notices = true,
            Some("--group") => group = true,
            Some("--take-over") => take_over = true,
            Some("--detached") => detached = true,
            Some("--isolation") => isolation = isolated(args.next())?,
            Some(JUDGE) => judge = true,
            Some(HANDED) => handed = true,
            Some("--help" | "-h") => return Ok(Wanted::Help),
            Some("--version" | "-V") => return Ok(Wanted::Version),
            Some(_) | None => return Err(UsageError::Unknown(arg.to_string_lossy().into_owned())),
        }
    }
    let home: PathBuf = home.ok_or(UsageError::NoHome)?;
    let private = |name| home.join("private").join(name);
    let private_rpc = rpc.unwrap_or_else(|| private("rpc.sock"));
    let private_pub = publish.unwrap_or_else(|| private("pub.sock"));
    let args = given.into_iter().filter(|arg| arg != JUDGE && arg != HANDED).collect();
    let options = Options {
        public: public.unwrap_or_else(|| home.clone()),
        leave_notices,
        home,
        private_rpc,
        private_pub,
        control,
        app_sockets,
        start_daemon,
        group,
        take_over,
        detached,
        isolation,
        handed,
        args,
    };
    Ok(if judge { Wanted::Judge(options) } else { Wanted::Run(options) })
}

fn isolated(value: Option<OsString>) -> Result<Isolation, UsageError> {
    match value.as_ref().and_then(|value| value.to_str()) {
        Some("same-uid") => Ok(Isolation::SameUid),
        Some("separate-uid") => Ok(Isolation::SeparateUid),
        Some(_) | None => Err(UsageError::Isolation),
    }
}

fn absolute(name: &'static str, value: Option<OsString>) -> Result<PathBuf, UsageError> {
    let path = PathBuf::from(value.ok_or(UsageError::NoValue(name))?);
    if path.is_absolute() { Ok(path) } else { Err(UsageError::Relative { name, path }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(args: &[&str]) -> Result<Wanted, UsageError> {
        read(args.iter().map(OsString::from))
    }

    #[test]
    fn private_sockets_lie_below_the_home_unless_they_are_named() {
        let Ok(Wanted::Run(options)) = given(&["--pm2-home", "/srv/pm2", "--private-pub", "/run/p.sock"])
        else {
            panic!("it is a command line");
        };
        assert_eq!(options.private_rpc, PathBuf::from("/srv/pm2/private/rpc.sock"));
        assert_eq!(options.private_pub, PathBuf::from("/run/p.sock"));
        assert!(!options.group);
    }

    #[test]
    fn nothing_is_guessed() {
        assert_eq!(given(&[]), Err(UsageError::NoHome));
        assert_eq!(given(&["--pm2-home"]), Err(UsageError::NoValue("--pm2-home")));
        assert!(matches!(given(&["--pm2-home", "here"]), Err(UsageError::Relative { .. })));
        assert_eq!(given(&["--homes"]), Err(UsageError::Unknown("--homes".to_owned())));
        assert_eq!(given(&["--pm2-home", "/h", "--isolation", "some"]), Err(UsageError::Isolation));
    }

    #[test]
    fn what_the_firewall_says_to_itself_is_not_passed_on() {
        let args = ["--handed", "--pm2-home", "/srv/pm2", "--isolation", "separate-uid"];
        let Ok(Wanted::Run(holder)) = given(&args) else { panic!("it is a command line") };
        assert!(holder.handed && holder.isolation == Isolation::SeparateUid);
        assert_eq!(holder.args, args[1..].iter().map(OsString::from).collect::<Vec<_>>());
        assert!(matches!(given(&["--judge", "--pm2-home", "/srv/pm2"]), Ok(Wanted::Judge(_))));
    }
}
