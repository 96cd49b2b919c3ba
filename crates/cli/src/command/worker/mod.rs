//! `palisade worker`: runs a program for each job of a queue.

mod alerts;
mod metrics;
mod told;

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;
use std::time::{Duration, UNIX_EPOCH};

use palisade_core::actor::ProcessRef;
use palisade_core::text::escaped;
use palisade_core::{Code, EnvironmentName, Exit};
use palisade_host::{clock, files, process};
use palisade_store::Store;
use palisade_worker::checkpoint::{Access, Place};
use palisade_worker::program::{self, keeper};
use palisade_worker::{Error, Program, Report, Reports, Settings};
use tokio::sync::oneshot;

use self::alerts::Alerts;
use self::metrics::Metrics;
use crate::args::worker::{KeeperArgs, WorkerArgs};
use crate::command::reaper::clerk::ForPeople;
use crate::command::reaper::{engine, until_told};
use crate::command::{queue, store};
use crate::failure::Failure;
use crate::output::Output;
use crate::session::Session;

/// A store is waited for so long before the worker starts without a look at its queue.
const LOOK_MOST: Duration = Duration::from_secs(5);

/// In the state folder: what handlers print.
pub(crate) const LOGS: &str = "job-logs";

pub(crate) async fn run(session: &Session, output: Output, args: &WorkerArgs) -> Result<Exit, Failure> {
    let environment = &session.environment;
    check_program(args.command.first().map_or(OsStr::new(""), |word| word), environment.get("PATH"))?;
    let state = session.state.root();
    files::private_folder(state)?;
    let (_, by) = store::note(session, &args.store)?;
    let (url, stamp) = (store::url(session, output, &args.store)?, by.environment.clone());
    let place = place(session, args, by.environment.as_ref())?;
    let kept = program::keep(environment.iter(), &args.pass);
    let folder = runtime_folder(session)?;
    let logs = state.join(LOGS);
    files::private_folder(&logs)?;
    talk_of_start(output, args, &place, &kept.left_out);

    let settings = settings(args, by);
    let reaper = if args.no_reaper {
        None
    } else {
        Some((engine::settings(session, &args.judge, None, settings.by.clone(), false)?, url.clone()))
    };
    look_at_queue(output, args, &url, stamp.as_ref()).await?;
    let program = Program {
        keeper: vec!["/proc/self/exe".into(), "worker-keeper".into()],
        command: args.command.clone(),
        queue: args.queue.clone(),
        variables: kept.variables,
        folder: folder.clone(),
        logs: logs.clone(),
    };
    let drain = until_told()?;
    let alerts = Alerts::new(Session::open()?, shown_place(&url));
    let open = move || {
        let (url, stamp) = (url.clone(), stamp.clone());
        async move { Store::open_as(&url, stamp.as_ref().map(EnvironmentName::as_str)).await }
    };
    let (reports, receiver) = Reports::new();
    let telling = tell(output, args, &settings, receiver, alerts, logs);
    let (over, is_over) = oneshot::channel::<()>();
    let working = async {
        let ran = palisade_worker::run(settings, place, reports, open, drain, program.handler()).await;
        drop(over);
        ran
    };
    let reaping = async {
        if let Some((settings, url)) = reaper {
            let clerk = ForPeople::new(output, session, shown_place(&url), true);
            engine::beside(settings, url, &clerk, async { drop(is_over.await) }).await;
        }
    };
    let (ran, ()) = tokio::join!(working, reaping);
    telling.join().unwrap_or_default();
    std::fs::remove_dir_all(&folder).unwrap_or_default();
    ran.map_err(failure)?;
    Ok(Exit::Done)
}

/// Tells what the worker reports, on a thread of its own, until the worker is over.
fn tell(
    output: Output,
    args: &WorkerArgs,
    settings: &Settings,
    reports: Receiver<Report>,
    alerts: Alerts,
    logs: PathBuf,
) -> JoinHandle<()> {
    let metrics = args
        .metrics_file
        .clone()
        .map(|path| Metrics::new(path, settings.queue.as_str().to_owned(), settings.name.clone()));
    let keep = args.keep_logs;
    let forget_logs = move || forget_logs(output, &logs, keep);
    std::thread::spawn(move || told::tell_all(output, &reports, metrics, alerts, forget_logs))
}

/// A mistyped queue would be served in silence. A store that is away now is waited for later; the threshold that was asked
/// for then counts as far as it is longer.
async fn look_at_queue(
    output: Output,
    args: &WorkerArgs,
    url: &str,
    stamp: Option<&EnvironmentName>,
) -> Result<(), Failure> {
    let opening = Store::open_as(url, stamp.map(EnvironmentName::as_str));
    let Ok(Ok(store)) = tokio::time::timeout(LOOK_MOST, opening).await else { return Ok(()) };
    queue::check_request(&store, output, &args.queue, args.reap_after).await?;
    queue::say_unknown(&store, output, &args.queue).await
}

fn settings(args: &WorkerArgs, by: palisade_jobs::Note) -> Settings {
    let name = args.name.clone().unwrap_or_else(|| by.host.clone());
    Settings {
        concurrency: args.concurrency,
        reap_after: args.reap_after,
        cancel_grace: args.cancel_grace,
        finish_within: args.finish_within,
        until_empty: args.until_empty,
        ..Settings::new(args.queue.clone(), name, by)
    }
}

/// Removes what programs printed long ago.
fn forget_logs(output: Output, logs: &Path, keep: Duration) {
    let now = UNIX_EPOCH + Duration::from_millis(clock::now().unix_ms());
    let gone = program::logs::forget(logs, keep, now);
    if gone > 0 {
        let keep = humantime::format_duration(keep);
        output.talk(format!("{gone} logs of attempts were older than {keep} and are gone"));
    }
}

/// Runs between a worker and a program. Its output is for the worker.
pub(crate) fn keeper(args: &KeeperArgs) -> Result<Exit, Failure> {
    let charge = keeper::Charge {
        log: args.log.clone(),
        until_ms: args.until_ms,
        grace_ms: args.grace_ms,
        command: args.command.clone(),
    };
    keeper::keep(charge, &mut std::io::stdout())?;
    Ok(Exit::Done)
}

/// A store without its password.
fn shown_place(url: &str) -> String {
    palisade_postgres::Target::parse(url)
        .map_or_else(|_| escaped(url).into_owned(), |target| target.to_string())
}

fn failure(error: Error) -> Failure {
    let exit = match &error {
        Error::Register(palisade_jobs::Error::Unreachable { .. }) => Exit::Unreachable,
        Error::Unserved(why) => why.exit(),
        _ => Exit::Failure,
    };
    let failure = Failure::new(exit, error.to_string()).caused_by(&error);
    match error {
        Error::Register(_) | Error::Refused(_) => failure.code(Code::WorkerRefused).hint(
            "start the worker again; if that does not help, look at the store and at `palisade queue list`",
        ),
        Error::Unserved(why) => failure
            .code(why.code())
            .hint("jobs that wait stay as they are: start the worker again once the store gives them out"),
        _ => failure,
    }
}

fn place(
    session: &Session,
    args: &WorkerArgs,
    environment: Option<&EnvironmentName>,
) -> Result<Place, Failure> {
    let text = |name: &str| session.environment.text(name);
    let access = Access {
        key_id: text("AWS_ACCESS_KEY_ID"),
        secret: text("AWS_SECRET_ACCESS_KEY"),
        session: text("AWS_SESSION_TOKEN"),
        region: text("AWS_REGION").or_else(|| text("AWS_DEFAULT_REGION")),
        endpoint: text("AWS_ENDPOINT_URL"),
    };
    let default = || session.state.root().join("checkpoints").display().to_string();
    let given = args.checkpoints.clone().unwrap_or_else(default);
    Place::open(&given, &access, environment)
        .map_err(|error| Failure::usage(error.to_string()).caused_by(&error))
}

/// A private folder with a short path, for a Unix socket's path has at most 107 bytes. Those of workers that are gone
/// are removed.
fn runtime_folder(session: &Session) -> Result<PathBuf, Failure> {
    let base = session.environment.absolute_path("XDG_RUNTIME_DIR").map_or_else(
        || std::env::temp_dir().join(format!("palisade-{}", session.uid())),
        |folder| folder.join("palisade"),
    );
    files::private_folder(&base)?;
    for entry in std::fs::read_dir(&base).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix("w-")?.split_once('-'));
        let owner = owner.and_then(|(pid, start)| {
            Some(ProcessRef { pid: pid.parse().ok()?, start_ticks: start.parse().ok()? })
        });
        if owner.is_some_and(|owner| !process::is_alive(owner)) {
            std::fs::remove_dir_all(entry.path()).unwrap_or_default();
        }
    }
    let this = process::this().map_err(|error| Failure::new(Exit::Failure, error.to_string()))?;
    let folder = base.join(format!("w-{}-{}", this.pid, this.start_ticks));
    files::private_folder(&folder)?;
    Ok(folder)
}

/// A name that is not there would hold one job after the other.
fn check_program(program: &OsStr, path: Option<&OsStr>) -> Result<(), Failure> {
    let runs = |path: &Path| {
        path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    let found = if program.as_encoded_bytes().contains(&b'/') {
        runs(Path::new(program))
    } else {
        path.is_some_and(|path| std::env::split_paths(path).any(|folder| runs(&folder.join(program))))
    };
    if found {
        return Ok(());
    }
    Err(Failure::usage(format!("{:?} is no program that can be run", program.display().to_string()))
        .code(Code::HandlerUnstarted)
        .hint("name a program on the PATH, or give the path of an executable file"))
}

fn talk_of_start(output: Output, args: &WorkerArgs, place: &Place, left_out: &[String]) {
    output.talk(format!(
        "worker of queue {}, {} at once, checkpoints in {}",
        args.queue,
        args.concurrency,
        palisade_core::text::escaped(place.shown())
    ));
    if !left_out.is_empty() {
        output.talk(format!(
            "not handed to programs: {} (hand one on with --pass NAME)",
            palisade_core::text::escaped(&left_out.join(", "))
        ));
    }
}
