//! A program as receiver.

use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use palisade_host::clock::Stopwatch;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::letter::Letter;

/// How long a program may take.
pub const WITHIN: Duration = Duration::from_secs(10);
/// How often its end is looked for.
const LOOK: Duration = Duration::from_millis(20);

/// The program did not take a letter. What it printed is not kept: it may hold secrets.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The policy names none.
    #[error("the policy names no command")]
    None,
    /// It cannot be started, or does not read.
    #[error("{program} cannot be run: {source}")]
    Run {
        /// Its path.
        program: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// It ended with another code than 0, or by a signal.
    #[error("{program} ended with {status}")]
    Ended {
        /// Its path.
        program: String,
        /// How.
        status: ExitStatus,
    },
    /// It took too long, and was ended with what it had started.
    #[error("{program} took longer than {} s and was ended", WITHIN.as_secs())]
    Slow {
        /// Its path.
        program: String,
    },
}

/// Runs `words` with `body` on standard input and waits for its end. Exit code 0 means that it was taken.
///
/// `PALISADE_CODE`, `PALISADE_KIND`, `PALISADE_RESOURCE` and `PALISADE_LINE` are set besides this process's variables.
///
/// # Errors
/// See [`Error`].
pub fn run(words: &[String], letter: &Letter, body: &[u8]) -> Result<(), Error> {
    let [program, args @ ..] = words else { return Err(Error::None) };
    let failed = |source: io::Error| Error::Run { program: program.clone(), source };
    let notice = &letter.notice;
    let mut command = Command::new(program);
    command.args(args).current_dir("/").process_group(0);
    command.env("PALISADE_CODE", notice.code.to_string()).env("PALISADE_KIND", notice.kind.as_str());
    command.env("PALISADE_RESOURCE", &notice.resource).env("PALISADE_LINE", &notice.line);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        // A letter fits into a pipe, so this never waits. Who does not read it may still have done what it should.
        input.write_all(body).unwrap_or_default();
    }
    match ended(&mut child).map_err(failed)? {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(Error::Ended { program: program.clone(), status }),
        None => Err(Error::Slow { program: program.clone() }),
    }
}

/// How it ended; `None` if it had to be ended.
fn ended(child: &mut Child) -> io::Result<Option<ExitStatus>> {
    let since = Stopwatch::start();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if since.elapsed() >= WITHIN {
            // With what it started: the group is its own.
            if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                kill_process_group(group, Signal::KILL).unwrap_or_default();
            }
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(LOOK);
    }
}
