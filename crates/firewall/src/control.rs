//! Requests to the firewall itself: one line of JSON over the control socket, and one line back.
//!
//! To register a process tree: a caller of another user cannot write into the state folder, so it asks here. The kernel
//! says who asks; it may register itself or a parent that runs as the same user, and nothing else. A registration only
//! picks one of the apps that this user may touch. Or to have a request carried out ([`crate::order`]).

use std::time::Duration;

use palisade_host::order::{self, Order};
use palisade_host::peer::Peer;
use palisade_host::registration::{MAX_LINE_BYTES, Reply};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::holder::ToHolder;
use crate::message::{Answer, Question};
use crate::meter::Meter;

/// How long a line may take, and its answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long an order may take, its wait for a lease included.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Steps of an order that wait for a client that reads slowly.
const STEPS: usize = 64;

/// Serves one client: a line, the steps of what it asks for as they happen, its answer, and the end.
pub(crate) async fn serve(
    mut client: UnixStream,
    connection: u64,
    peer: Peer,
    holder: mpsc::Sender<ToHolder>,
    mut meter: Meter,
) {
    let Ok(Some(line)) = timeout(PATIENCE, line_of(&mut client, &mut meter)).await else { return };
    let (question, within) = match serde_json::from_str::<Order>(&line) {
        Ok(_) => (Question::Order { line }, LONGEST),
        Err(_) if line.len() > MAX_LINE_BYTES => return,
        Err(_) => (Question::Control { line }, PATIENCE),
    };
    let (answer, answered) = oneshot::channel();
    let (steps, mut stepped) = mpsc::channel(STEPS);
    let ask = ToHolder::Ask { connection, client: peer, question, steps: Some(steps), answer };
    if holder.send(ask).await.is_err() {
        return;
    }
    let mut answered = std::pin::pin!(timeout(within, answered));
    let answer = loop {
        tokio::select! {
            biased;
            Some(step) = stepped.recv() => say(&mut client, step).await,
            answered = &mut answered => break answered,
        }
    };
    let reply = match answer {
        Ok(Ok(Answer::Told(line))) => return say(&mut client, line).await,
        Ok(Ok(Answer::Pass)) => Reply::Done,
        Ok(Ok(Answer::Refuse(text))) => Reply::Refused(text),
        Ok(Err(_)) | Err(_) => Reply::Refused("the firewall does not answer".to_owned()),
    };
    say(&mut client, serde_json::to_string(&reply).unwrap_or_default()).await;
}

async fn say(client: &mut UnixStream, line: String) {
    // Whoever hung up needs no answer.
    drop(timeout(PATIENCE, client.write_all(format!("{line}\n").as_bytes())).await);
}

/// The first line, as long as an order may be; `None` without one, and where all connections hold too much together.
async fn line_of(client: &mut UnixStream, meter: &mut Meter) -> Option<String> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = client.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&buffer[..count]);
        if let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            bytes.truncate(end);
            return String::from_utf8(bytes).ok();
        }
        if bytes.len() > order::MAX_LINE_BYTES || !meter.set(bytes.len()) {
            return None;
        }
    }
}
