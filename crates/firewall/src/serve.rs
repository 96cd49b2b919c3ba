//! The shell: reads the policy, makes sure of the daemon, listens, and ends in order.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use palisade_core::Exit;
use palisade_host::environment::Environment;
use palisade_host::state::{Locations, NoHome};
use palisade_host::{files, peer, random};
use palisade_pipeline::calls::CallLog;
use palisade_pm2::locate::{Location, Origin, TwoDaemonsError};
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::connection::{self, Shared};
use crate::guard::{Guard, QUEUE};
use crate::listen::{self, ListenError, Place};
use crate::options::Options;
use crate::publish::publish;
use crate::view::View;

/// Most connections at once, on both sockets together; further ones are closed at once. Each takes two files, and
/// a process may have 1024 by default.
const CONNECTIONS: usize = 400;
/// How long connections may go on after SIGTERM.
const DRAIN: Duration = Duration::from_secs(5);

/// The firewall does not start, or ended by a failure. The daemon was not touched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The policy is missing or wrong.
    #[error(transparent)]
    Policy(#[from] palisade_config::Error),
    /// Policy and state have no place.
    #[error(transparent)]
    Place(#[from] NoHome),
    /// The state folder cannot be used.
    #[error(transparent)]
    State(#[from] files::Error),
    /// The journal is damaged, or names a newer policy.
    #[error(transparent)]
    Journal(#[from] palisade_pipeline::Error),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] random::Error),
    /// No daemon answers on the private socket.
    #[error("no PM2 daemon on its private socket: {0}; start it with PM2_DAEMON_RPC_PORT set to that path")]
    Daemon(String),
    /// Another daemon serves the home.
    #[error(transparent)]
    TwoDaemons(#[from] TwoDaemonsError),
    /// A socket cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The task that decides ended by itself: a defect.
    #[error("the guard's task ended, so nothing is passed on any more")]
    GuardEnded,
    /// The kernel refused a signal handler or a connection.
    #[error("the kernel refused")]
    Io(#[from] std::io::Error),
}

impl Error {
    /// The exit code.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Journal(_) => Exit::Journal,
            Self::Daemon(_) | Self::TwoDaemons(_) => Exit::Unreachable,
            Self::Policy(_)
            | Self::Place(_)
            | Self::State(_)
            | Self::Random(_)
            | Self::Listen(_)
            | Self::GuardEnded
            | Self::Io(_) => Exit::Failure,
        }
    }
}

/// Runs until SIGTERM or SIGINT. `ready` is called once both sockets take connections.
///
/// # Errors
/// See [`Error`]. Sockets that were made are removed.
pub async fn run(options: &Options, ready: impl FnOnce()) -> Result<(), Error> {
    let environment = Environment::of_this_process();
    let uid = rustix::process::geteuid().as_raw();
    let locations = Locations::default();
    let host = palisade_config::load(&locations.policy_path(&environment, uid)?)?;
    let state = locations.state(&environment, uid)?;
    files::private_folder(state.root())?;
    let window = host.policy().limits.window;
    let log = CallLog::open(state.clone(), host.reference().clone(), window)?;

    let socket = options.private_rpc.clone();
    let location = Location { home: options.home.clone(), socket, origin: Origin::Explicit };
    let mut view = View::new(location.clone(), homes(&environment))?;
    let policy = host.into_policy();
    let offered = view.offered().await.map_err(Error::Daemon)?.to_vec();
    let (seen, _) = view.look(&policy).await.map_err(Error::Daemon)?;
    location.check_only_daemon(seen.daemon.process, location.daemons()?)?;

    let _lock = listen::lock(&options.home)?;
    let mode = if options.group { 0o770 } else { 0o700 };
    let listen = if options.take_over { listen::take_over } else { listen::listen };
    let rpc = listen(&options.home.join("rpc.sock"), mode)?;
    let bus = listen(&options.home.join("pub.sock"), mode)?;
    let (mut terminated, mut interrupted) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);

    let (questions, asked) = mpsc::channel(QUEUE);
    let (offers, offered) = watch::channel(offered.into());
    let (drain, draining) = watch::channel(false);
    let guard = Guard::new(policy, state, view, log, offers);
    let shared = Shared {
        private_rpc: Arc::new(options.private_rpc.clone()),
        guard: questions,
        offered,
        total: Arc::new(AtomicUsize::new(0)),
        drain: draining,
    };
    let mut guards = JoinSet::new();
    guards.spawn(guard.run(asked));
    ready();
    let mut tasks = JoinSet::new();
    let stop = async {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
            // Without its guard the firewall answers nothing, so it ends and says so.
            _ = guards.join_next() => {}
        }
    };
    accept(&rpc, &bus, &mut tasks, &shared, options, stop).await;
    drop((rpc, bus));
    let guard_ended = guards.is_empty();
    drain.send_replace(true);
    drop(shared);
    drained(&mut tasks, &mut guards).await;
    if guard_ended { Err(Error::GuardEnded) } else { Ok(()) }
}

/// Takes connections until `stop`.
async fn accept(
    rpc: &Place,
    bus: &Place,
    tasks: &mut JoinSet<()>,
    shared: &Shared,
    options: &Options,
    stop: impl Future<Output = ()>,
) {
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => return,
            Ok((client, _)) = rpc.listener.accept() => call(tasks, client, shared),
            Ok((client, _)) = bus.listener.accept() => subscribe(tasks, client, shared, options),
            Some(_) = tasks.join_next() => {}
        }
    }
}

fn call(tasks: &mut JoinSet<()>, client: UnixStream, shared: &Shared) {
    // The kernel knows the peer of every connected socket; one that it does not know is not served.
    if let Ok(peer) = peer::of(&client)
        && tasks.len() < CONNECTIONS
    {
        tasks.spawn(connection::serve(client, peer, shared.clone()));
    }
}

fn subscribe(tasks: &mut JoinSet<()>, client: UnixStream, shared: &Shared, options: &Options) {
    if tasks.len() < CONNECTIONS {
        let (private, mut drain) = (options.private_pub.clone(), shared.drain.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = publish(client, &private) => {}
                () = crate::stream::draining(&mut drain) => {}
            }
        });
    }
}

/// Lets connections end by themselves for a while, then the guard, which writes what it has counted.
async fn drained(tasks: &mut JoinSet<()>, guards: &mut JoinSet<()>) {
    // What has not ended by then is cut off.
    drop(timeout(DRAIN, async { while tasks.join_next().await.is_some() {} }).await);
    tasks.shutdown().await;
    drop(timeout(DRAIN, async { while guards.join_next().await.is_some() {} }).await);
    guards.shutdown().await;
}

/// Home folders of the host's users: somebody's home is no app's folder.
fn homes(environment: &Environment) -> Vec<PathBuf> {
    let passwd = files::read_bounded(&Locations::default().passwd, 1 << 20).unwrap_or_default();
    let passwd = String::from_utf8_lossy(&passwd);
    let listed = passwd.lines().filter_map(|line| line.split(':').nth(5)).map(PathBuf::from);
    let homes: BTreeSet<PathBuf> = listed.chain(environment.absolute_path("HOME")).collect();
    homes.into_iter().collect()
}
