//! Telling: a file, and a process that delivers it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use palisade_core::notice::{Notice, Receivers};
use palisade_host::clock;

use crate::outbox::{Error, Outbox};

/// Who delivers what was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// `palisade notify deliver`, started here where none runs.
    Started,
    /// Somebody else, who watches the folder: a supervisor.
    Left,
}

/// What came of telling.
#[derive(Debug)]
pub enum Told {
    /// The policy names nobody for notices of this kind.
    Nobody,
    /// It is kept, and somebody delivers it.
    Kept,
    /// It is kept, and nobody delivers it yet: why. The next notice, or `palisade notify deliver`, takes it along.
    Undelivered(std::io::Error),
    /// It is lost.
    Lost(Error),
}

/// Keeps `notice` in the outbox of the state folder at `state`, and starts `palisade notify deliver` where none runs.
/// Waits for no receiver.
pub fn tell(state: &Path, receivers: &Receivers, notice: Notice, delivery: Delivery) -> Told {
    if !receivers.want(notice.kind) {
        return Told::Nobody;
    }
    let outbox = Outbox::of(state);
    if let Err(error) = outbox.put(notice, clock::now()) {
        return Told::Lost(error);
    }
    if delivery == Delivery::Left {
        return Told::Kept;
    }
    match outbox.delivering() {
        // Freed at once, for the process that is started takes it.
        Ok(Some(lock)) => drop(lock),
        // One runs, and looks into the folder again before it ends.
        Ok(None) => return Told::Kept,
        Err(error) => return Told::Lost(error),
    }
    match start() {
        Ok(()) => Told::Kept,
        Err(error) => Told::Undelivered(error),
    }
}

/// Starts the process that delivers, in a group of its own and with nothing of this one's but its variables.
///
/// # Errors
/// There is no `palisade` beside this program or in `PATH`, or it cannot be started.
pub fn start() -> std::io::Result<()> {
    let mut command = Command::new(program());
    command.args(["--quiet", "notify", "deliver"]).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = std::os::unix::process::CommandExt::process_group(&mut command, 0).spawn()?;
    // Somebody has to hear of its end, or it stays as a dead entry for as long as a guard lives.
    std::thread::spawn(move || child.wait());
    Ok(())
}

/// `palisade` beside this program, which is of the same version; else the one in `PATH`.
fn program() -> PathBuf {
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name("palisade"));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from("palisade"))
}
