//! Parents of a process, and searches over all processes.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use palisade_core::actor::{Ancestor, ProcessRef};
use rustix::fs::{Mode, OFlags, openat};

use crate::files;

use super::{Error, Stat, command_line, credentials, cwd, executable, stat};

/// Most parents that are listed.
pub const MAX_ANCESTORS: usize = 64;
/// Most arguments that are tried as the path of a script, and the longest one that is.
const MAX_SCRIPT_WORDS: usize = 16;
const MAX_SCRIPT_BYTES: usize = 1024;

/// Most bytes of a short name that the kernel keeps.
const MAX_COMMAND_BYTES: usize = 15;
/// Most bytes of a list of children that are looked at: tens of thousands.
const MAX_CHILDREN_BYTES: u64 = 512 * 1024;
/// Most bytes of a title that are looked at.
const MAX_TITLE_BYTES: u64 = 4096;

/// A process that a search found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Number and start time.
    pub process: ProcessRef,
    /// Number of its parent.
    pub parent: u32,
    /// Effective user id.
    pub uid: u32,
    /// Its title: the words of its command line, joined by spaces. A process may call itself anything.
    pub title: String,
}

/// The parents of `pid`, nearest first, up to process 1 or the edge of the pid namespace, at most [`MAX_ANCESTORS`].
///
/// Processes come and go meanwhile. The list ends early at a parent that went away or that started after its child,
/// for then its number belongs to another process already.
#[must_use]
pub fn ancestors(pid: u32) -> Vec<Ancestor> {
    let mut chain = Vec::new();
    let mut child = stat(pid).ok();
    while let Some(parent) = child.as_ref().and_then(parent_of) {
        if chain.len() == MAX_ANCESTORS {
            break;
        }
        let Some(ancestor) = describe(&parent) else { break };
        chain.push(ancestor);
        child = Some(parent);
    }
    chain
}

/// The parent, if it is older than its child.
fn parent_of(child: &Stat) -> Option<Stat> {
    let parent = stat(child.parent).ok()?;
    (parent.process.start_ticks <= child.process.start_ticks).then_some(parent)
}

fn describe(parent: &Stat) -> Option<Ancestor> {
    let pid = parent.process.pid;
    let ancestor = Ancestor {
        process: parent.process,
        uid: credentials(pid).ok()?.uid,
        command: parent.command.clone(),
        executable: executable(pid).map(text),
        script: script(pid).map(text),
    };
    // The pieces were read one after another: they are one process's only if it is still the same.
    (stat(pid).ok()?.process == parent.process).then_some(ancestor)
}

/// The first argument that is an existing regular file, as seen by the process itself. No other argument is kept,
/// for arguments may hold secrets.
fn script(pid: u32) -> Option<PathBuf> {
    let words = command_line(pid).ok()?;
    words.iter().skip(1).take(MAX_SCRIPT_WORDS).find_map(|word| file_of(pid, word))
}

fn file_of(pid: u32, word: &OsString) -> Option<PathBuf> {
    let bytes = word.as_bytes();
    if bytes.is_empty() || bytes.starts_with(b"-") || bytes.len() > MAX_SCRIPT_BYTES {
        return None;
    }
    let word = Path::new(word);
    match word.strip_prefix("/") {
        // Through the process's own root, for it may live in a container; where that is closed to us, through ours.
        Ok(below) => {
            let own = Path::new("/proc").join(format!("{pid}/root"));
            let view = if own.metadata().is_ok() { own.join(below) } else { word.to_owned() };
            view.is_file().then(|| word.to_owned())
        }
        Err(_relative) => {
            let view = Path::new("/proc").join(format!("{pid}/cwd")).join(word);
            view.is_file().then(|| cwd(pid).map(|folder| folder.join(word)))?
        }
    }
}

/// Every process whose short name begins with `prefix` (at most 15 bytes of it count, as the kernel keeps no more)
/// and whose title `matches`, in order of number. Processes that come or go meanwhile may be left out.
///
/// The short name comes first because the title lies in the other process's memory, and reading it waits for a process
/// that is busy with its own.
///
/// # Errors
/// If `/proc` cannot be listed.
pub fn find_all(prefix: &str, matches: impl FnMut(&str) -> bool) -> Result<Vec<Found>, Error> {
    find_all_but(&[], prefix, matches)
}

/// As [`find_all`], without a look at the processes `but`: what is known already need not be looked up. Nor are the kernel's
/// own threads, which are half of all processes of a small machine.
///
/// # Errors
/// As [`find_all`].
pub fn find_all_but(
    but: &[u32],
    prefix: &str,
    mut matches: impl FnMut(&str) -> bool,
) -> Result<Vec<Found>, Error> {
    let numbers = numbers_but(but)?;
    let prefix = &prefix.as_bytes()[..prefix.len().min(MAX_COMMAND_BYTES)];
    let proc = File::open("/proc").map_err(Error::Unlisted)?;
    let named = |pid: &u32| is_named(&proc, *pid, prefix);
    Ok(numbers.into_iter().filter(named).filter_map(|pid| find(pid, &mut matches)).collect())
}

/// The numbers that have to be looked up, in order.
fn numbers_but(but: &[u32]) -> Result<Vec<u32>, Error> {
    let but: HashSet<u32> = but.iter().copied().chain(kernel_threads()).collect();
    let mut numbers: Vec<u32> = std::fs::read_dir("/proc")
        .map_err(Error::Unlisted)?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| !but.contains(pid))
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Threads of the kernel, by the one that starts all others. In a namespace of its own its number is anybody's.
fn kernel_threads() -> Vec<u32> {
    const STARTER: u32 = 2;
    if stat(STARTER).is_ok_and(|stat| stat.kernel) { children(STARTER) } else { Vec::new() }
}

/// The children of `pid` that its first thread started, as far as the kernel tells. Where it does not, or children come
/// and go meanwhile, some or all are left out.
#[must_use]
pub fn children(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let listed = files::read_start(Path::new(&path), MAX_CHILDREN_BYTES).unwrap_or_default();
    listed
        .split(u8::is_ascii_whitespace)
        .filter_map(|word| std::str::from_utf8(word).ok()?.parse().ok())
        .collect()
}

fn find(pid: u32, matches: &mut impl FnMut(&str) -> bool) -> Option<Found> {
    let before = stat(pid).ok()?;
    let title = title(pid).filter(|title| matches(title))?;
    let uid = credentials(pid).ok()?.uid;
    (stat(pid).ok()?.process == before.process).then_some(Found {
        process: before.process,
        parent: before.parent,
        uid,
        title,
    })
}

/// Whether the short name of `pid` begins with `prefix`. This is asked of every process, so it takes three calls of
/// the kernel and no more: the name comes in one piece.
fn is_named(proc: &File, pid: u32, prefix: &[u8]) -> bool {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let Ok(file) = openat(proc, format!("{pid}/comm"), flags, Mode::empty()) else { return false };
    let mut name = [0; MAX_COMMAND_BYTES + 1];
    File::from(file).read(&mut name).is_ok_and(|length| name[..length].starts_with(prefix))
}

fn title(pid: u32) -> Option<String> {
    let bytes = files::read_start(Path::new(&format!("/proc/{pid}/cmdline")), MAX_TITLE_BYTES).ok()?;
    // A process that sets its title leaves zero bytes where its arguments were.
    let end = bytes.iter().rposition(|byte| *byte != 0)? + 1;
    Some(String::from_utf8_lossy(&bytes[..end]).replace('\0', " "))
}

fn text(path: PathBuf) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_what_is_known_nor_a_thread_of_the_kernel_is_looked_up() {
        let (known, kernels) = (std::process::id(), kernel_threads());
        // In a namespace of its own nobody sees the kernel's threads, nor has them to leave out.
        assert_eq!(kernels.is_empty(), !stat(2).is_ok_and(|stat| stat.kernel));
        let numbers = numbers_but(&[known]).unwrap();
        assert!(numbers.contains(&1) && !numbers.contains(&known));
        let looked_up: Vec<_> = kernels.iter().filter(|pid| numbers.contains(pid)).collect();
        assert!(looked_up.is_empty(), "{looked_up:?}");
    }
}
