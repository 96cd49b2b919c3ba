//! Reading a log that may still grow, and looking again and again.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;

use palisade_audit::log::{Format, Reader, detect};
use palisade_core::Exit;
use palisade_dbguard::Error;
use palisade_dbguard::audit::{self, LogFile};
use palisade_host::clock;
use tokio::signal::ctrl_c;
use tokio::time::sleep;

use super::Audit;
use crate::args::audit::AuditArgs;
use crate::command::db::reach;
use crate::failure::Failure;

/// How much of a file is read at once, and how much of it its format is told from.
const PIECE: usize = 256 * 1024;

/// Where the bytes of a log come from.
enum Input {
    Standard,
    File(File, String),
}

/// Reads a log; with `--follow` until somebody interrupts, or until standard input ends.
pub(super) async fn read_file(
    audit: &mut Audit,
    args: &AuditArgs,
    path: &str,
    format: Option<Format>,
) -> Result<Reader, Failure> {
    let unreadable =
        |error: std::io::Error| Failure::new(Exit::Failure, format!("cannot read {path}: {error}"));
    let mut input = match path {
        "-" => Input::Standard,
        path => Input::File(File::open(path).map_err(unreadable)?, path.to_owned()),
    };
    let mut piece = vec![0; PIECE];
    let mut reader: Option<Reader> = format.map(Reader::new);
    let mut beginning = Vec::new();
    loop {
        let length = input.read(&mut piece).map_err(unreadable)?;
        if let Some(reader) = &mut reader {
            take(audit, reader, &piece[..length]);
        } else {
            beginning.extend_from_slice(&piece[..length]);
            if beginning.len() >= PIECE || length == 0 {
                let found = detect(&beginning);
                if found.is_none() && !beginning.is_empty() {
                    let problem = "its first lines are of no format or prefix that is known".to_owned();
                    return Err(Error::Log { problem }.into());
                }
                if let Some(format) = found {
                    let mut new = Reader::new(format);
                    take(audit, &mut new, &std::mem::take(&mut beginning));
                    reader = Some(new);
                }
            }
        }
        if length > 0 {
            continue;
        }
        if let Some(reader) = &mut reader {
            let collector = &mut audit.collector;
            reader.flush(&mut |record| collector.take(record, &mut |_| {}));
        }
        if args.follow {
            audit.tell_new()?;
        }
        if !args.follow || matches!(input, Input::Standard) || pause(args).await {
            break;
        }
        input.again().map_err(unreadable)?;
    }
    // An empty log has no format; any reads nothing of it.
    Ok(reader.unwrap_or_else(|| Reader::new(Format::Json)))
}

fn take(audit: &mut Audit, reader: &mut Reader, bytes: &[u8]) {
    let collector = &mut audit.collector;
    reader.push(bytes, &mut |record| collector.take(record, &mut |_| {}));
}

/// Waits for the next look. Says whether somebody interrupted.
async fn pause(args: &AuditArgs) -> bool {
    tokio::select! {
        _ = ctrl_c() => true,
        () = sleep(args.every) => false,
    }
}

impl Input {
    fn read(&mut self, piece: &mut [u8]) -> std::io::Result<usize> {
        loop {
            let read = match self {
                Self::Standard => std::io::stdin().read(piece),
                Self::File(file, _) => file.read(piece),
            };
            match read {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    /// The same name may have become another file, or the file may have been emptied: then it is read from its start.
    fn again(&mut self) -> std::io::Result<()> {
        let Self::File(file, path) = self else { return Ok(()) };
        let now = match std::fs::metadata(&*path) {
            Ok(now) => now,
            // In the middle of a rotation there is none.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        if now.ino() != file.metadata()?.ino() {
            *file = File::open(path)?;
        } else if now.len() < file.stream_position()? {
            file.seek(SeekFrom::Start(0))?;
        }
        Ok(())
    }
}

/// Reads the server's log through SQL, file by file.
pub(super) async fn read_server(
    audit: &mut Audit,
    args: &AuditArgs,
    files: &[LogFile],
) -> Result<Reader, Failure> {
    let mut reader = Reader::new(files.last().map_or(Format::Json, |file| file.format.clone()));
    let mut files = files.to_vec();
    let mut done: BTreeSet<String> = BTreeSet::new();
    let mut from = 0;
    loop {
        let current = files.iter().find(|file| !done.contains(&file.path)).cloned();
        if let (Some(file), Some((session, _))) = (&current, &audit.database) {
            let bytes = audit::read_log(session, &file.path, from).await?;
            from += bytes.len() as u64;
            if !bytes.is_empty() {
                take(audit, &mut reader, &bytes);
                continue;
            }
            let collector = &mut audit.collector;
            reader.flush(&mut |record| collector.take(record, &mut |_| {}));
            if files.last().is_some_and(|last| last.path != file.path) {
                // A later file is there, so this one has ended.
                done.insert(file.path.clone());
                from = 0;
                continue;
            }
        }
        if !args.follow {
            return Ok(reader);
        }
        audit.tell_new()?;
        if pause(args).await {
            return Ok(reader);
        }
        if let Some((session, _)) = &audit.database {
            let (_, now) = audit::logging(session, args.since.as_secs()).await?;
            // Only files that came after; one that has ended does not come back.
            files.extend(
                now.into_iter()
                    .filter(|new| !files.iter().any(|old| old.path == new.path))
                    .collect::<Vec<_>>(),
            );
        }
    }
}

/// Looks again and again: at the sessions, or at what the login trigger keeps. One that follows outlives its connection.
pub(super) async fn poll(audit: &mut Audit, args: &AuditArgs) -> Result<(), Failure> {
    let begun = clock::now();
    let mut known = BTreeSet::new();
    loop {
        if let Err(error) = look(audit, args, &mut known).await {
            if !args.follow {
                return Err(error.into());
            }
            if come_back(audit, args, &error).await? {
                return Ok(());
            }
            // What fails again is no matter of the connection.
            look(audit, args, &mut known).await?;
        }
        if args.follow {
            audit.tell_new()?;
        }
        let over = !args.follow && clock::now().since(begun) >= args.span;
        if over || pause(args).await {
            return Ok(());
        }
    }
}

async fn look(
    audit: &mut Audit,
    args: &AuditArgs,
    known: &mut BTreeSet<(String, String, String)>,
) -> Result<(), Error> {
    let Some((session, _)) = &audit.database else { return Ok(()) };
    if audit.source == "the login trigger" {
        let mut fresh = palisade_audit::Collector::default();
        audit::logins(session, args.since.as_secs(), &mut fresh).await?;
        audit.collector = fresh;
        return Ok(());
    }
    audit::sample(session, known, &mut audit.collector).await
}

/// Waits until the same database answers over another connection: a provider suspends it, somebody ends our session, the
/// server is restarted. Says whether somebody interrupted.
async fn come_back(audit: &mut Audit, args: &AuditArgs, lost: &Error) -> Result<bool, Failure> {
    const MISSED: &str = "whoever came while the connection of the audit was gone";
    let Some(id) = audit.database.as_ref().map(|(_, identity)| identity.id.clone()) else { return Ok(false) };
    audit.output.talk(format!("look: the connection is gone ({lost}); who comes meanwhile is not seen"));
    if !audit.misses.iter().any(|missed| missed == MISSED) {
        audit.misses.push(MISSED.to_owned());
    }
    loop {
        match reach(audit.output.silent(), None, &args.database).await {
            Ok((session, identity)) => {
                identity.expect(Some(&id))?;
                audit.database = Some((session, identity));
                audit.output.talk("look: connected again");
                return Ok(false);
            }
            Err(failure) if failure.exit == Exit::Unreachable => {}
            Err(failure) => return Err(failure),
        }
        if pause(args).await {
            return Ok(true);
        }
    }
}
