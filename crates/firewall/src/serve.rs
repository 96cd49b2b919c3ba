//! The holder's process: makes sure of the daemon, listens, keeps a judge running, and ends in order.

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use palisade_core::Exit;
use palisade_core::text::with_causes;
use palisade_host::environment::Environment;
use palisade_host::state::NoHome;
use palisade_host::{files, peer};
use palisade_pm2::guarded::{self, Guarded};
use palisade_pm2::locate::{Location, Origin, TwoDaemonsError};
use tokio::net::UnixStream;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::connection::{self, Shared, Unread};
use crate::control;
use crate::daemon::{self, Offered, Watch};
use crate::holder::{self, Failed, Holder, Program, QUEUE, ToHolder};
use crate::meter::Meter;
use crate::options::Options;
use crate::pair::PairError;
use crate::places::Places;
use crate::publish::publish;
use crate::renewal::Sockets;
use palisade_host::activation::{self, ActivationError, notify, notify_reload};
use palisade_pm2::listen::{ListenError, Place};
use palisade_pm2::upbringing::Nursery;

/// How long to wait before silent clients are told again that others wait.
const PRESS_AGAIN: Duration = Duration::from_secs(1);
/// Most connections at once, on all sockets together; further ones wait for a place. Each takes two files, and
/// a process may have 1024 by default.
const CONNECTIONS: usize = 400;
/// Most of them that listen to the bus. They may be silent for ever, so nobody's call may depend on their end.
const SUBSCRIBERS: usize = 100;
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
    /// No daemon answers on the private socket.
    #[error("no PM2 daemon on its private socket: {0}; start it with PM2_DAEMON_RPC_PORT set to that path")]
    Daemon(String),
    /// Another daemon serves the home.
    #[error(transparent)]
    TwoDaemons(#[from] TwoDaemonsError),
    /// A socket cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The first judge cannot judge.
    #[error("{text}")]
    Judge {
        /// With which exit code.
        exit: Exit,
        /// Why.
        text: String,
    },
    /// The task that asks the judge ended by itself: a defect.
    #[error("the holder's task ended, so nothing is passed on any more")]
    HolderEnded,
    /// What a supervisor handed over cannot be used.
    #[error(transparent)]
    Activation(#[from] ActivationError),
    /// Standard input is no pair of a holder.
    #[error("--judge and --handed are for the firewall itself")]
    Pair(#[from] PairError),
    /// The kernel refused a signal handler or a connection.
    #[error("the kernel refused")]
    Io(#[from] io::Error),
}

impl Error {
    /// The exit code.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Journal(_) => Exit::Journal,
            Self::Daemon(_) | Self::TwoDaemons(_) => Exit::Unreachable,
            Self::Judge { exit, .. } => *exit,
            Self::Policy(_)
            | Self::Place(_)
            | Self::State(_)
            | Self::Listen(_)
            | Self::HolderEnded
            | Self::Activation(_)
            | Self::Pair(_)
            | Self::Io(_) => Exit::Failure,
        }
    }

    /// The error with its causes, as one text.
    #[must_use]
    pub fn told(&self) -> String {
        with_causes(self)
    }
}

/// How the holder ended.
#[derive(Debug)]
pub enum Ended {
    /// As it was told to.
    Done,
    /// It is to run anew, on the sockets that it had.
    Anew(Sockets),
}

/// What ends the holder.
enum Stop {
    Signal,
    Anew,
    Defect,
}

/// Runs until SIGTERM or SIGINT; until SIGHUP, to run anew. `tell` is given what a person at the terminal, or a
/// supervisor's log, should know: first of all that both sockets take connections.
///
/// # Errors
/// See [`Error`]. Sockets that were made are removed.
pub async fn run(options: &Options, program: &Path, tell: impl Fn(&str)) -> Result<Ended, Error> {
    let location = Location {
        home: options.home.clone(),
        socket: options.private_rpc.clone(),
        origin: Origin::Explicit,
    };
    let mut program = Program { path: program.to_owned(), args: options.args.clone(), sockets: Vec::new() };
    let environment = Environment::of_this_process();
    let given = if options.handed { Vec::new() } else { activation::given(&environment)? };
    let is_waited_for = options.handed || !given.is_empty();
    let (places, offered) = taken(options, given, &location, &program).await?;
    program.sockets = places.shared()?;
    let mut signals = Signals::new()?;
    let (asks, asked) = mpsc::channel(QUEUE);
    let mut holders = JoinSet::new();
    let (first, judged) = oneshot::channel();
    let holder = Holder::new(&options.home, program, asked, first);
    let unread = holder.unread();
    holders.spawn(holder.run());
    if !is_waited_for {
        // Where nobody waits for an answer yet, the first one is judged. Whether it came in time makes no difference.
        drop(timeout(DRAIN, judged).await);
    }
    let (offers, offered) = watch::channel(offered);
    let (drain, draining) = watch::channel(false);
    let watch =
        Watch { nursery: nursery(options, &location), location, offered: offers, holder: asks.clone() };
    let shared = shared(options, (asks, unread), offered, draining);
    let mut watchers = JoinSet::new();
    watchers.spawn(daemon::watch(watch));
    let note = note(options);
    // Where the sockets lie elsewhere, the file is the installer's: this user may not write into the home.
    let writes_note = options.public == options.home;
    if writes_note && let Err(error) = note.write(&options.home) {
        tell(&format!("`palisade` will not find the daemon's own socket: {error}"));
    }
    tell(&format!("listening on {}", options.public.join("rpc.sock").display()));
    notify(&environment, "READY=1");
    let mut tasks = JoinSet::new();
    let stop = async {
        tokio::select! {
            stop = signals.next() => stop,
            // Without it no change is answered, so this process ends and its judge takes over.
            _ = holders.join_next() => Stop::Defect,
        }
    };
    let stop = accept(&places, &mut tasks, &shared, options, stop).await;
    let left = leave(&stop, places, &environment)?;
    if left.is_none() && writes_note {
        note.remove(&options.home);
    }
    watchers.shutdown().await;
    drain.send_replace(true);
    drop(shared);
    drained(&mut tasks, &mut holders).await;
    match (stop, left) {
        (Stop::Defect, _) => Err(Error::HolderEnded),
        (Stop::Signal | Stop::Anew, left) => Ok(left.map_or(Ended::Done, Ended::Anew)),
    }
}

/// Gives the sockets up, for whoever goes on with them; `None` if nobody does, and they are gone then.
fn leave(stop: &Stop, places: Places, environment: &Environment) -> Result<Option<Sockets>, Error> {
    match stop {
        // This process anew, or its judge.
        Stop::Anew | Stop::Defect => {
            notify_reload(environment);
            Ok(Some(places.left()?))
        }
        Stop::Signal => {
            notify(environment, "STOPPING=1");
            drop(places);
            Ok(None)
        }
    }
}

/// The sockets to listen on, and what the daemon offers as far as it was asked.
async fn taken(
    options: &Options,
    given: Vec<(String, OwnedFd)>,
    location: &Location,
    program: &Program,
) -> Result<(Places, Offered), Error> {
    if options.handed {
        return Ok((Places::handed(options)?, None));
    }
    if !given.is_empty() {
        // Clients wait already: for an answer, not for a daemon or a policy.
        return Ok((Places::given(options, given)?, None));
    }
    let offered = match (daemon::check(location).await, &options.start_daemon) {
        (Err(Error::Daemon(_)), Some(_)) => None,
        (checked, _) => checked?,
    };
    rehearse(program).await?;
    Ok((Places::made(options)?, offered))
}

/// Whoever starts a firewall is told at once if no judge can judge here, before anybody's place is taken.
async fn rehearse(program: &Program) -> Result<(), Error> {
    holder::rehearse(program, DRAIN * 6).await?.map_err(|Failed { exit, text }| {
        let known = Exit::ALL.into_iter().find(|known| known.number() == exit);
        Error::Judge { exit: known.unwrap_or(Exit::Failure), text }
    })
}

fn nursery(options: &Options, location: &Location) -> Option<Nursery> {
    let script = options.start_daemon.clone()?;
    Some(Nursery { location: location.clone(), private_pub: options.private_pub.clone(), script })
}

fn shared(
    options: &Options,
    (holder, unread): (mpsc::Sender<ToHolder>, Unread),
    offered: watch::Receiver<daemon::Offered>,
    drain: watch::Receiver<bool>,
) -> Shared {
    let private_rpc = Arc::new(options.private_rpc.clone());
    Shared { private_rpc, holder, offered, memory: Arc::default(), unread, pressed: Arc::default(), drain }
}

fn note(options: &Options) -> Guarded {
    Guarded {
        format: guarded::FORMAT,
        private_rpc: options.private_rpc.clone(),
        private_pub: options.private_pub.clone(),
        control: options.control.clone(),
        isolation: options.isolation,
        pid: std::process::id(),
    }
}

struct Signals {
    terminated: Signal,
    interrupted: Signal,
    hung_up: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminated: signal(SignalKind::terminate())?,
            interrupted: signal(SignalKind::interrupt())?,
            hung_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.terminated.recv() => Stop::Signal,
            _ = self.interrupted.recv() => Stop::Signal,
            _ = self.hung_up.recv() => Stop::Anew,
        }
    }
}

/// Takes connections until `stop`.
async fn accept(
    places: &Places,
    tasks: &mut JoinSet<()>,
    shared: &Shared,
    options: &Options,
    stop: impl Future<Output = Stop>,
) -> Stop {
    let mut stop = std::pin::pin!(stop);
    // Each subscriber has a share in it.
    let bus = Arc::new(());
    for number in 0.. {
        // Further ones wait in the kernel's queue, for a place that somebody silent gives up.
        let has_room = tasks.len() < CONNECTIONS;
        if !has_room {
            shared.pressed.notify_waiters();
        }
        tokio::select! {
            stop = &mut stop => return stop,
            // Also looked at again after one that could not be taken.
            () = sleep(PRESS_AGAIN) => {}
            Ok((client, _)) = places.rpc.listener.accept(), if has_room => call(tasks, client, number, &places.rpc, shared),
            Ok((client, app)) = accept_any(&places.apps), if has_room => call(tasks, client, number, app, shared),
            Ok((client, _)) = accept_if_any(places.control.as_ref()), if has_room => control(tasks, client, number, shared),
            Ok((client, _)) = places.bus.listener.accept(), if has_room && Arc::strong_count(&bus) <= SUBSCRIBERS => {
                subscribe(tasks, client, Arc::clone(&bus), shared, options);
            }
            Some(_) = tasks.join_next() => {}
        }
    }
    Stop::Defect
}

/// The next client of any of `places`, and which; waits for ever if there are none.
async fn accept_any(places: &[Place]) -> io::Result<(UnixStream, &Place)> {
    poll_fn(|context| {
        for place in places {
            if let Poll::Ready(accepted) = place.listener.poll_accept(context) {
                return Poll::Ready(accepted.map(|(client, _)| (client, place)));
            }
        }
        Poll::Pending
    })
    .await
}

async fn accept_if_any(place: Option<&Place>) -> io::Result<(UnixStream, &Place)> {
    accept_any(place.map(std::slice::from_ref).unwrap_or_default()).await
}

fn control(tasks: &mut JoinSet<()>, client: UnixStream, number: u64, shared: &Shared) {
    if let Ok(peer) = peer::of(&client)
        && tasks.len() < CONNECTIONS
    {
        let meter = Meter::new(Arc::clone(&shared.memory));
        tasks.spawn(control::serve(client, number, peer, shared.holder.clone(), meter));
    }
}

fn call(tasks: &mut JoinSet<()>, client: UnixStream, number: u64, place: &Place, shared: &Shared) {
    // The kernel knows the peer of every connected socket; one that it does not know is not served.
    if let Ok(peer) = peer::of(&client)
        && tasks.len() < CONNECTIONS
    {
        tasks.spawn(connection::serve(client, number, peer, place.name(), shared.clone()));
    }
}

fn subscribe(
    tasks: &mut JoinSet<()>,
    client: UnixStream,
    place: Arc<()>,
    shared: &Shared,
    options: &Options,
) {
    if tasks.len() < CONNECTIONS {
        let (private, mut drain) = (options.private_pub.clone(), shared.drain.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = publish(client, &private) => {}
                () = crate::stream::draining(&mut drain) => {}
            }
            drop(place);
        });
    }
}

/// Lets connections end by themselves for a while, then the judge, which writes what it has counted.
async fn drained(tasks: &mut JoinSet<()>, holders: &mut JoinSet<()>) {
    // What has not ended by then is cut off.
    drop(timeout(DRAIN, async { while tasks.join_next().await.is_some() {} }).await);
    tasks.shutdown().await;
    drop(timeout(2 * DRAIN, async { while holders.join_next().await.is_some() {} }).await);
    holders.shutdown().await;
}
