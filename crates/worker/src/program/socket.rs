//! The worker's end of a program's socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use palisade_host::{files, peer};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::talk::{Answer, LINE_MOST, Request};
use crate::checkpoint::MOST_BYTES;
use crate::context::Attempt;
use crate::writer::Stowed;

/// So many connections of one program at once.
const CONNECTIONS: usize = 64;

/// Serves until it is dropped.
pub(crate) async fn serve(listener: UnixListener, attempt: Attempt, done: Arc<AtomicBool>) {
    let mut open = JoinSet::new();
    loop {
        while open.len() >= CONNECTIONS {
            open.join_next().await;
        }
        let Ok((stream, _)) = listener.accept().await else { return };
        // The folder is private already; this holds where somebody opens it up.
        if peer::of(&stream).is_ok_and(|peer| peer.uid == files::own_uid()) {
            open.spawn(converse(stream, attempt.clone(), Arc::clone(&done)));
        }
        while open.try_join_next().is_some() {}
    }
}

async fn converse(stream: UnixStream, attempt: Attempt, done: Arc<AtomicBool>) {
    let (from, mut to) = stream.into_split();
    let mut from = BufReader::new(from);
    loop {
        let mut line = Vec::new();
        match (&mut from).take(LINE_MOST).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let whole = line.ends_with(b"\n");
        let answer = match serde_json::from_slice(&line) {
            Ok(request) => answer(request, &attempt, &done).await,
            Err(_) if !whole && line.len() as u64 == LINE_MOST => {
                refused(&attempt, format!("a line has at most {LINE_MOST} bytes; hand over a file"))
            }
            Err(error) => refused(&attempt, format!("this is no request: {error}")),
        };
        let mut text = serde_json::to_vec(&answer).unwrap_or_default();
        text.push(b'\n');
        if to.write_all(&text).await.is_err() || !whole {
            return;
        }
    }
}

async fn answer(request: Request, attempt: &Attempt, done: &AtomicBool) -> Answer {
    match request {
        Request::Progress { value } => match attempt.progress(value) {
            Ok(()) => taken(attempt),
            Err(stopped) => refused(attempt, stopped.to_string()),
        },
        Request::Checkpoint { file } => {
            if !file.is_absolute() {
                return refused(attempt, format!("{} is no absolute path", file.display()));
            }
            let read = tokio::task::spawn_blocking(move || files::read_bounded(&file, MOST_BYTES)).await;
            match read {
                Ok(Ok(bytes)) => stow(attempt, bytes).await,
                Ok(Err(error)) => refused(attempt, error.to_string()),
                Err(error) => refused(attempt, error.to_string()),
            }
        }
        Request::CheckpointText { text } => stow(attempt, text.into_bytes()).await,
        Request::State => match attempt.check() {
            Err(stopped) if !stopped.0.may_write() => refused(attempt, stopped.to_string()),
            Ok(()) | Err(_) => taken(attempt),
        },
        Request::Done => {
            done.store(true, Ordering::Release);
            taken(attempt)
        }
        Request::Watch => {
            attempt.stopped().await;
            taken(attempt)
        }
    }
}

async fn stow(attempt: &Attempt, bytes: Vec<u8>) -> Answer {
    match attempt.checkpoint(bytes).await {
        Ok(Stowed::Stored { sequence }) => Answer { sequence: Some(sequence), ..taken(attempt) },
        Ok(Stowed::Later) => Answer { later: true, ..taken(attempt) },
        Err(error) => refused(attempt, error.to_string()),
    }
}

fn taken(attempt: &Attempt) -> Answer {
    Answer { ok: true, stop: attempt.check().err().map(|stopped| stopped.0), ..Answer::default() }
}

fn refused(attempt: &Attempt, error: String) -> Answer {
    Answer { ok: false, error: Some(error), ..taken(attempt) }
}
