//! The keeper: the parent of one program, in a process of its own.
//!
//! It ends the program's process group in four cases: the worker says so; the worker is gone (its end of the pipe is
//! closed); the fence has passed, which it knows by itself, so that a frozen worker has no handler that runs on; the
//! program has ended and left others behind. It writes the program's output into the log of the attempt, up to a
//! limit; a log that cannot be written stops no program.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use palisade_host::clock;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, kill_process_group, wait};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::ending::Exit;

/// What a keeper is started with.
#[derive(Debug, Clone)]
pub struct Charge {
    /// Where the output goes.
    pub log: PathBuf,
    /// The moment of the boot clock at which the program has to end, unless another one is said in time.
    pub until_ms: u64,
    /// How long the program may take to end then.
    pub grace_ms: u64,
    /// The program and its arguments.
    pub command: Vec<OsString>,
}

/// The log of an attempt has at most so many bytes: 64 MiB. What follows is read and dropped.
pub const LOG_MOST: u64 = 64 * 1024 * 1024;
/// The fence is looked at so often, for timers do not count a suspended machine.
const LOOK: Duration = Duration::from_millis(250);

/// What the worker says, a line each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// The program may run until that moment of the boot clock.
    Until(u64),
    /// End it: it is asked to, and ended after so many milliseconds.
    End(u64),
    /// End it now.
    Kill,
}

impl std::fmt::Display for Word {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Until(moment) => writeln!(f, "until {moment}"),
            Self::End(grace) => writeln!(f, "end {grace}"),
            Self::Kill => writeln!(f, "kill 0"),
        }
    }
}

/// What cannot be read is taken for the worst: the two ends are of one version.
fn word(line: &str) -> Word {
    match line.split_once(' ').and_then(|(word, number)| Some((word, number.parse().ok()?))) {
        Some(("until", moment)) => Word::Until(moment),
        Some(("end", grace)) => Word::End(grace),
        _ => Word::Kill,
    }
}

/// Runs the program and waits for its end. Two lines go to the worker on `out`: which process group it is, and how it
/// ended. Standard input has to be the pipe from the worker.
///
/// # Errors
/// If this process cannot be set up. Nothing was started then.
pub fn keep(charge: Charge, out: &mut (impl Write + Send)) -> std::io::Result<()> {
    // What the program leaves behind becomes a child of this process, and is ended with it.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let exit = runtime.block_on(run(charge, out))?;
    writeln!(out, "{exit}")?;
    out.flush()
}

async fn run(charge: Charge, out: &mut (impl Write + Send)) -> std::io::Result<Exit> {
    let orders = pipe::Receiver::from_owned_fd(std::io::stdin().as_fd().try_clone_to_owned()?)?;
    // A terminal and systemd signal this process too; the worker decides what follows.
    let mut ignored = JoinSet::new();
    for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()] {
        let mut caught = signal(kind)?;
        ignored.spawn(async move { while caught.recv().await.is_some() {} });
    }
    let Some((program, arguments)) = charge.command.split_first() else {
        return Ok(Exit::Unstarted("no program was named".to_owned()));
    };
    let mut command = Command::new(program);
    command.args(arguments).process_group(0).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return Ok(Exit::Unstarted(format!("{}: {error}", program.display()))),
    };
    let Some(group) = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw) else {
        return Ok(Exit::Unstarted("it has no process id".to_owned()));
    };
    // Nobody reads it any more if the worker is gone, which the other pipe says as well.
    writeln!(out, "group {}", group.as_raw_nonzero()).and_then(|()| out.flush()).unwrap_or_default();
    let log = Arc::new(Mutex::new(Log::open(&charge.log)));
    let mut copies = JoinSet::new();
    if let Some(output) = child.stdout.take() {
        copies.spawn(copy(output, Arc::clone(&log)));
    }
    if let Some(errors) = child.stderr.take() {
        copies.spawn(copy(errors, Arc::clone(&log)));
    }
    let status = watch(&mut child, group, &charge, orders).await?;
    end_all_that_is_left(group).await;
    // What holds the pipes open by now is not ours.
    timeout(Duration::from_secs(1), copies.join_all()).await.map(drop).unwrap_or_default();
    Ok(exit_of(status))
}

/// Until the program has ended.
async fn watch(
    child: &mut Child,
    group: Pid,
    charge: &Charge,
    orders: pipe::Receiver,
) -> std::io::Result<ExitStatus> {
    let mut words = BufReader::new(orders).lines();
    let (mut until_ms, mut kill_at_ms) = (charge.until_ms, None::<u64>);
    let mut heard = true;
    loop {
        let now = clock::boot_ms();
        if kill_at_ms.is_none() && now >= until_ms {
            send(group, Signal::TERM);
            kill_at_ms = Some(now + charge.grace_ms);
        }
        if kill_at_ms.is_some_and(|at| now >= at) {
            send(group, Signal::KILL);
            kill_at_ms = Some(now + 1_000);
        }
        let due = kill_at_ms.unwrap_or(until_ms);
        let nap = LOOK.min(Duration::from_millis(due.saturating_sub(now).max(1)));
        tokio::select! {
            status = child.wait() => return status,
            () = sleep(nap) => {}
            line = words.next_line(), if heard => {
                let now = clock::boot_ms();
                match line.ok().flatten().map(|line| word(&line)) {
                    Some(Word::Until(later)) => until_ms = later,
                    Some(Word::End(grace)) => {
                        send(group, Signal::TERM);
                        let at = now + grace;
                        kill_at_ms = Some(kill_at_ms.map_or(at, |before| before.min(at)));
                    }
                    Some(Word::Kill) => kill_at_ms = Some(now),
                    None => {
                        // The worker is gone: nobody can take what the program would hand over.
                        heard = false;
                        kill_at_ms = Some(now);
                    }
                }
            }
        }
    }
}

fn send(group: Pid, signal: Signal) {
    // One that is gone already is no error.
    kill_process_group(group, signal).unwrap_or_default();
}

/// Ends what the program left in its group, and what left its group and became a child of this process.
async fn end_all_that_is_left(group: Pid) {
    send(group, Signal::KILL);
    for _ in 0..100 {
        let left = children();
        if left.is_empty() {
            return;
        }
        for pid in left {
            kill_process(pid, Signal::KILL).unwrap_or_default();
        }
        while matches!(wait(WaitOptions::NOHANG), Ok(Some(_))) {}
        sleep(Duration::from_millis(10)).await;
    }
}

fn children() -> Vec<Pid> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    let pids: Vec<String> = lists.collect();
    pids.iter()
        .flat_map(|list| list.split_ascii_whitespace())
        .filter_map(|pid| pid.parse().ok().and_then(Pid::from_raw))
        .collect()
}

fn exit_of(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(u8::try_from(code).unwrap_or(u8::MAX)),
        (None, signal) => Exit::Signal(signal.and_then(|signal| u8::try_from(signal).ok()).unwrap_or(0)),
    }
}

/// The log of an attempt.
#[derive(Debug)]
struct Log {
    file: Option<File>,
    left: u64,
}

impl Log {
    fn open(path: &std::path::Path) -> Self {
        let file = File::options().create(true).append(true).mode(0o600).open(path);
        Self { file: file.ok(), left: LOG_MOST }
    }

    /// A disk that is full loses output, never the job.
    fn write(&mut self, bytes: &[u8]) {
        let Some(file) = &mut self.file else { return };
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        let written = bytes.get(..most).is_some_and(|bytes| file.write_all(bytes).is_ok());
        self.left -= most as u64;
        if self.left == 0 {
            file.write_all(b"\n[palisade: the log of this attempt is full; what follows is not kept]\n")
                .unwrap_or_default();
            self.file = None;
        } else if !written {
            self.left = self.left.max(1);
        }
    }
}

async fn copy(mut from: impl AsyncRead + Unpin, log: Arc<Mutex<Log>>) {
    let mut bytes = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        log.lock().unwrap_or_else(PoisonError::into_inner).write(&bytes[..length]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_as_it_is_written_and_noise_ends_the_program() {
        for said in [Word::Until(17), Word::End(1_500), Word::Kill] {
            assert_eq!(word(said.to_string().trim_end()), said);
        }
        for noise in ["", "until", "until x", "go on"] {
            assert_eq!(word(noise), Word::Kill, "{noise:?}");
        }
    }
}
