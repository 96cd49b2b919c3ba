//! `palisade journal`: read, verify, export, anchor.

use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use palisade_core::{Exit, Record, canonical};
use palisade_journal as journal;
use serde_json::json;

use crate::args::journal::{ExportFormat, JournalCommand};
use crate::failure::Failure;
use crate::output::{GOOD, Output, styled};
use crate::render;
use crate::session::Session;

/// How often a followed journal is looked at.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(250);

pub(crate) async fn run(
    session: &Session,
    output: Output,
    command: &JournalCommand,
) -> Result<Exit, Failure> {
    let folder = session.state.journal();
    // A key without a journal, or an anchor, says that there was one: then its absence is damage. A folder that this
    // user may not look into says nothing.
    let anchored = matches!(command, JournalCommand::Verify { anchor, .. } if !anchor.is_empty());
    let absent = |path: &Path| matches!(path.try_exists(), Ok(false));
    if absent(&folder) && absent(&session.state.key()) && !anchored {
        return Err(
            Failure::new(Exit::Failure, "there is no journal yet").hint("the first operation begins it")
        );
    }
    match command {
        JournalCommand::Tail { lines, follow } => tail(&folder, output, *lines, *follow).await,
        JournalCommand::Show { record } => show(&folder, output, record),
        JournalCommand::Verify { anchor, public_key } => {
            verify(session, output, anchor, public_key.as_deref())
        }
        JournalCommand::Stat => stat(&folder, output),
        JournalCommand::Export { format: ExportFormat::Jsonl } => export(&folder),
        JournalCommand::Anchor { out, git } => anchor(&folder, output, out.as_deref(), git.as_deref()),
    }
}

async fn tail(folder: &Path, output: Output, lines: usize, follow: bool) -> Result<Exit, Failure> {
    let mut newest = Vec::new();
    for entry in journal::recent(folder)?.take(lines) {
        let entry = entry?;
        newest.push((entry.sequence(), entry.record()?));
    }
    newest.reverse();
    for (sequence, record) in &newest {
        print(output, *sequence, record)?;
    }
    let mut next = newest.last().map_or(0, |(sequence, _)| sequence + 1);
    if !follow {
        return Ok(Exit::Done);
    }
    loop {
        tokio::time::sleep(FOLLOW_INTERVAL).await;
        let mut fresh = Vec::new();
        for entry in journal::recent(folder)? {
            let entry = entry?;
            if entry.sequence() < next {
                break;
            }
            fresh.push((entry.sequence(), entry.record()?));
        }
        for (sequence, record) in fresh.iter().rev() {
            print(output, *sequence, record)?;
            next = sequence + 1;
        }
    }
}

fn print(output: Output, sequence: u64, record: &Record) -> Result<(), Failure> {
    output.document(&numbered(sequence, record))?;
    output.data(render::record::line(sequence, record))
}

fn numbered(sequence: u64, record: &Record) -> serde_json::Value {
    json!({ "sequence": sequence, "record": record })
}

fn show(folder: &Path, output: Output, wanted: &str) -> Result<Exit, Failure> {
    let number = wanted.parse::<u64>().ok();
    let mut found = Vec::new();
    for entry in journal::recent(folder)? {
        let entry = entry?;
        let (sequence, record) = (entry.sequence(), entry.record()?);
        if Some(sequence) == number || record.op.as_str() == wanted {
            found.push((sequence, record));
        }
    }
    if found.is_empty() {
        return Err(Failure::usage(format!("the journal has no record {wanted:?}")).hint(
            "give a record's number or the id of an operation, as `palisade journal tail --json` shows them",
        ));
    }
    for (sequence, record) in found.iter().rev() {
        if output.json {
            output.document(&numbered(*sequence, record))?;
        } else {
            let text =
                serde_json::to_string_pretty(&numbered(*sequence, record)).map_err(std::io::Error::from)?;
            output.data(palisade_core::text::escaped_lines(&text))?;
        }
    }
    Ok(Exit::Done)
}

fn verify(
    session: &Session,
    output: Output,
    anchors: &[PathBuf],
    public_key: Option<&Path>,
) -> Result<Exit, Failure> {
    let folder = session.state.journal();
    let key_path = public_key.map_or_else(|| journal::public_path(&session.state.key()), Path::to_path_buf);
    let key = journal::VerifierKey::read(&key_path)?;
    let anchors = anchors.iter().map(|path| anchors_of(path)).collect::<Result<Vec<_>, _>>()?.concat();
    let verified = journal::verify(&folder, &key, &anchors)?;
    let root = canonical::hex(verified.head.root());
    output.document(&json!({
        "result": "intact",
        "records": verified.records,
        "root": root,
        "unsigned": verified.unsigned_tail,
        "anchored": verified.anchored_up_to,
    }))?;
    output.data(format_args!("{} {} records, root {root}", styled(GOOD, "intact:"), verified.records))?;
    if verified.unsigned_tail > 0 {
        output.data(format_args!(
            "  {} newest records are not yet under a signed head",
            verified.unsigned_tail
        ))?;
    }
    match verified.anchored_up_to {
        Some(size) => output.data(format_args!("  covered by an anchor up to record {size}"))?,
        None => output.data("  no anchor was given: a tail cut together with its head would not be found")?,
    }
    Ok(Exit::Done)
}

/// The anchors of a file. That it is not there says nothing about the journal.
fn anchors_of(path: &Path) -> Result<Vec<journal::Anchor>, Failure> {
    journal::read_anchors(path).map_err(|error| match error {
        journal::Error::Unreadable { source, .. } => Failure::unreadable(path, &source),
        error => error.into(),
    })
}

fn stat(folder: &Path, output: Output) -> Result<Exit, Failure> {
    let stat = journal::stat(folder)?;
    output.document(&json!({
        "records": stat.records,
        "bytes": stat.bytes,
        "segments": stat.segments,
        "oldest": stat.oldest,
        "newest": stat.newest,
        "unsigned": stat.unsigned_tail,
        "reserve_bytes": stat.reserve_bytes,
    }))?;
    output.data(format_args!(
        "records:  {} in {} {}, {} bytes",
        stat.records,
        stat.segments,
        if stat.segments == 1 { "segment" } else { "segments" },
        stat.bytes
    ))?;
    if let (Some(oldest), Some(newest)) = (stat.oldest, stat.newest) {
        output.data(format_args!("from:     {oldest}\nto:       {newest}"))?;
    }
    output.data(format_args!("unsigned: {} newest records", stat.unsigned_tail))?;
    output.data(format_args!("reserve:  {} bytes for a full disk", stat.reserve_bytes))?;
    Ok(Exit::Done)
}

fn export(folder: &Path) -> Result<Exit, Failure> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    for entry in journal::Reader::open(folder)? {
        let entry = entry?;
        out.write_all(entry.payload())?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(Exit::Done)
}

fn anchor(folder: &Path, output: Output, out: Option<&Path>, git: Option<&Path>) -> Result<Exit, Failure> {
    let head = journal::signed_head(folder)?.ok_or_else(|| {
        Failure::new(Exit::Failure, "there is no journal yet").hint("the first operation begins it")
    })?;
    if let Some(path) = out {
        journal::write_anchor(path, &head).map_err(|error| match error {
            journal::Error::Unwritable { source, .. } => {
                Failure::new(Exit::Failure, format!("cannot write the anchor {}: {source}", path.display()))
                    .hint("name a file in a folder that is there, and that you may write")
            }
            error => error.into(),
        })?;
        output.talk(format_args!("wrote {}", path.display()));
    }
    if let Some(repository) = git {
        note(repository, &head.to_string())?;
        output.talk(format_args!("noted on HEAD of {}, under refs/notes/palisade", repository.display()));
    }
    output.document(
        &json!({ "result": "anchored", "size": head.size(), "root": canonical::hex(head.root()) }),
    )?;
    output.data(format_args!("anchored {} records, root {}", head.size(), canonical::hex(head.root())))?;
    Ok(Exit::Done)
}

fn note(repository: &Path, text: &str) -> Result<(), Failure> {
    let done = std::process::Command::new("git")
        .arg("-C")
        .arg(repository)
        .args(["notes", "--ref", "palisade", "append", "-m", text, "HEAD"])
        .output()
        .map_err(|error| Failure::new(Exit::Failure, format!("cannot run git: {error}")))?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
    Err(Failure::new(Exit::Failure, format!("git notes in {} failed: {said}", repository.display()))
        .hint("give the path of a git repository with at least one commit"))
}
