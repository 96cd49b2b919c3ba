//! One attempt by a program.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use palisade_core::QueueName;
use palisade_host::files;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixListener;
use tokio::process::{ChildStdin, Command};
use tokio::time::{interval, timeout};

use super::ending::{Exit, verdict};
use super::keeper::Word;
use super::socket;
use crate::context::{Attempt, Context};
use crate::ending::Failure;
use crate::fence;
use crate::hold::Stop;

/// A program as the handler of a queue.
#[derive(Debug, Clone)]
pub struct Program {
    /// What becomes a keeper, and its first arguments: this program itself, with its own word for it.
    pub keeper: Vec<OsString>,
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// From which queue its jobs are.
    pub queue: QueueName,
    /// Its variables, without those of the attempt.
    pub variables: Vec<(OsString, OsString)>,
    /// A private folder with a short path, for sockets and payloads.
    pub folder: PathBuf,
    /// A private folder for logs.
    pub logs: PathBuf,
}

/// The path of a Unix socket has at most so many bytes.
const PATH_MOST: usize = 107;
/// A program that ends by SIGTERM before its worker heard of it: systemd signals both at once.
const SAME_SIGNAL: Duration = Duration::from_secs(1);

type Handling = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

impl Program {
    /// The handler for [`crate::run`].
    pub fn handler(self) -> impl Fn(Context<Value>) -> Handling + Send + Sync {
        let program = Arc::new(self);
        move |context| {
            let program = Arc::clone(&program);
            Box::pin(async move { program.attempt(context).await })
        }
    }

    /// Where the output of an attempt lies.
    #[must_use]
    pub fn log(logs: &Path, attempt: &Attempt) -> PathBuf {
        let name = format!("{}-{}.log", attempt.number(), attempt.token());
        logs.join(attempt.job().to_string()).join(name)
    }

    async fn attempt(&self, context: Context<Value>) -> Result<(), Failure> {
        let folder = self.folder.join(context.attempt().token().to_string());
        let ended = self.in_folder(&folder, context).await;
        std::fs::remove_dir_all(&folder).unwrap_or_default();
        ended
    }

    async fn in_folder(&self, folder: &Path, context: Context<Value>) -> Result<(), Failure> {
        let unable = |problem: String| Failure::Again(format!("the attempt cannot be set up: {problem}"));
        files::private_folder(folder).map_err(|error| unable(error.to_string()))?;
        let payload = folder.join("payload.json");
        let text = context.payload.to_string();
        files::replace(&payload, text.as_bytes(), 0o600).map_err(|error| unable(error.to_string()))?;
        let resume = folder.join("resume");
        if let Some(bytes) = &context.resume {
            files::replace(&resume, bytes, 0o600).map_err(|error| unable(error.to_string()))?;
        }
        let path = folder.join("socket");
        if path.as_os_str().len() > PATH_MOST {
            return Err(unable(format!("{} is longer than {PATH_MOST} bytes", path.display())));
        }
        let listener = UnixListener::bind(&path).map_err(|error| unable(error.to_string()))?;
        let log = Self::log(&self.logs, context.attempt());
        let logs = log.parent().unwrap_or(&self.logs);
        files::private_folder(logs).map_err(|error| unable(error.to_string()))?;

        let mut command = self.keeper_of(&log, context.attempt());
        command.env("PALISADE_PAYLOAD_FILE", &payload).env("PALISADE_SOCKET", &path);
        if context.resume.is_some() {
            command.env("PALISADE_RESUME_FILE", &resume);
        }
        let Context { attempt, .. } = context;
        let done = Arc::new(AtomicBool::new(false));
        let (exit, told) = tokio::select! {
            ended = supervise(command, &attempt) => ended.map_err(|error| unable(error.to_string()))?,
            () = socket::serve(listener, attempt.clone(), Arc::clone(&done)) => {
                return Err(unable("its socket ended".to_owned()));
            }
        };
        let told = match exit {
            Exit::Signal(2 | 15) | Exit::Code(130 | 143) if told.is_none() => {
                timeout(SAME_SIGNAL, attempt.stopped()).await.ok()
            }
            _ => told,
        };
        verdict(&exit, told, done.load(Ordering::Acquire))
    }

    fn keeper_of(&self, log: &Path, attempt: &Attempt) -> Command {
        let (program, first) =
            self.keeper.split_first().map_or((Path::new("").as_os_str(), &[][..]), |(p, f)| (p, f));
        let mut command = Command::new(program);
        command.args(first).arg("--log").arg(log);
        command.args(["--until-ms".to_owned(), attempt.fence_at_ms().to_string()]);
        let grace = u64::try_from(attempt.grace(Stop::Fenced).as_millis()).unwrap_or(fence::HAND_OVER_MS);
        command.args(["--grace-ms".to_owned(), grace.to_string()]);
        command.arg("--").args(&self.command);
        command.env_clear().envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.env("PALISADE_JOB_ID", attempt.job().to_string());
        command.env("PALISADE_ATTEMPT", attempt.number().to_string());
        command.env("PALISADE_TOKEN", attempt.token().to_string());
        command.env("PALISADE_QUEUE", self.queue.as_str());
        command
    }
}

/// Starts the keeper, tells it what it has to know, and waits for its one line. Dropping this ends the program at
/// once: the keeper sees the end of the pipe.
async fn supervise(mut command: Command, attempt: &Attempt) -> std::io::Result<(Exit, Option<Stop>)> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let mut keeper = command.spawn()?;
    let (Some(mut orders), Some(said)) = (keeper.stdin.take(), keeper.stdout.take()) else {
        return Err(std::io::Error::other("the keeper has no pipes"));
    };
    let mut said = BufReader::new(said).lines();
    let mut look = interval(Duration::from_millis((attempt.hold.terms.beat_every_ms / 2).clamp(50, 5_000)));
    let (mut watch, mut told, mut until) = (attempt.hold.watch(), None, attempt.fence_at_ms());
    let mut group = None;
    let line = loop {
        let now = *watch.borrow_and_update();
        if let Some(why) = now.filter(|_| now != told) {
            told = now;
            let grace = u64::try_from(attempt.grace(why).as_millis()).unwrap_or(u64::MAX);
            tell(&mut orders, if why == Stop::Spent { Word::Kill } else { Word::End(grace) }).await;
        }
        tokio::select! {
            line = said.next_line() => match line?.as_deref().map(|line| (line.strip_prefix("group "), line)) {
                Some((Some(number), _)) => group = number.parse().ok().and_then(Pid::from_raw),
                Some((None, line)) => break Some(line.to_owned()),
                None => break None,
            },
            _ = look.tick() => {
                let later = attempt.fence_at_ms();
                if later > until {
                    until = later;
                    tell(&mut orders, Word::Until(until)).await;
                }
            }
            changed = watch.changed() => if changed.is_err() {
                tell(&mut orders, Word::Kill).await;
            },
        }
    };
    drop(keeper.wait().await);
    let Some(exit) = line.and_then(|line| line.parse().ok()) else {
        // The keeper was ended by somebody else: what it kept must not run on.
        if let Some(group) = group {
            kill_process_group(group, Signal::KILL).unwrap_or_default();
        }
        return Ok((Exit::Signal(9), told));
    };
    Ok((exit, told))
}

async fn tell(orders: &mut ChildStdin, word: Word) {
    // A keeper that is gone has said its line.
    orders.write_all(word.to_string().as_bytes()).await.unwrap_or_default();
}
