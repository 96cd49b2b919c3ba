//! The command line of `palisade-firewall`.

use std::ffi::OsString;
use std::path::PathBuf;

/// How it is called.
pub const USAGE: &str = "\
Usage: palisade-firewall --pm2-home HOME [--private-rpc PATH] [--private-pub PATH] [--group]
                         [--take-over] [--detached]

Listens on HOME/rpc.sock and HOME/pub.sock and judges each call before the daemon sees it.
The daemon listens on the private sockets: whoever starts it sets PM2_DAEMON_RPC_PORT and
PM2_DAEMON_PUB_PORT to them.

  --pm2-home HOME      the daemon's PM2_HOME
  --private-rpc PATH   the daemon's own command socket [HOME/private/rpc.sock]
  --private-pub PATH   the daemon's own bus [HOME/private/pub.sock]
  --take-over          take the places of a daemon that listens there and on its private sockets too
  --detached           in a session of its own, so that the end of a login does not end it
  --group              let the sockets' group connect too (mode 0770; else 0700)
  --version, --help

The policy is the one that `palisade` uses: /etc/palisade/palisade.toml, else
$XDG_CONFIG_HOME/palisade/palisade.toml. It is read once, at the start.";

/// The options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The daemon's home.
    pub home: PathBuf,
    /// The daemon's command socket.
    pub private_rpc: PathBuf,
    /// The daemon's bus.
    pub private_pub: PathBuf,
    /// Whether the group may connect.
    pub group: bool,
    /// Whether to take the places of a daemon that is reached on its private sockets as well.
    pub take_over: bool,
    /// Whether to run in a session of its own.
    pub detached: bool,
}

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// To run.
    Run(Options),
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
    /// No home.
    #[error("--pm2-home is missing; there is no default home")]
    NoHome,
}

/// Reads the arguments, the program's name left out.
///
/// # Errors
/// What is wrong with them.
pub fn read(args: impl IntoIterator<Item = OsString>) -> Result<Wanted, UsageError> {
    let mut args = args.into_iter();
    let (mut home, mut rpc, mut publish, mut group) = (None, None, None, false);
    let (mut take_over, mut detached) = (false, false);
    while let Some(arg) = args.next() {
        let mut path = |name| absolute(name, args.next());
        match arg.to_str() {
            Some("--pm2-home") => home = Some(path("--pm2-home")?),
            Some("--private-rpc") => rpc = Some(path("--private-rpc")?),
            Some("--private-pub") => publish = Some(path("--private-pub")?),
            Some("--group") => group = true,
            Some("--take-over") => take_over = true,
            Some("--detached") => detached = true,
            Some("--help" | "-h") => return Ok(Wanted::Help),
            Some("--version" | "-V") => return Ok(Wanted::Version),
            Some(_) | None => return Err(UsageError::Unknown(arg.to_string_lossy().into_owned())),
        }
    }
    let home: PathBuf = home.ok_or(UsageError::NoHome)?;
    let private = |name| home.join("private").join(name);
    let private_rpc = rpc.unwrap_or_else(|| private("rpc.sock"));
    let private_pub = publish.unwrap_or_else(|| private("pub.sock"));
    Ok(Wanted::Run(Options { home, private_rpc, private_pub, group, take_over, detached }))
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
    }
}
