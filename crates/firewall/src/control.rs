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

/// Serves one client: a line, its answer, and the end.
pub(crate) async fn serve(
    mut client: UnixStream,
    connection: u64,
    peer: Peer,
    holder: mpsc::Sender<ToHolder>,
    mut meter: Meter,
) {
    let Ok(Some(line)) = timeout(PATIENCE, line_of(&mut client, &mut meter)).await else { return };
    if serde_json::from_str::<Order>(&line).is_ok() {
        return serve_order(client, connection, peer, holder, line).await;
    }
    if line.len() > MAX_LINE_BYTES {
        return;
    }
    let (answer, answered) = oneshot::channel();
    let question = Question::Control { line };
    if holder.send(ToHolder::Ask { connection, client: peer, question, answer }).await.is_err() {
        return;
    }
    let reply = match timeout(PATIENCE, answered).await {
        Ok(Ok(Answer::Told(reply))) => return say(&mut client, reply).await,
        Ok(Ok(Answer::Pass)) => Reply::Done,
        Ok(Ok(Answer::Refuse(text))) => Reply::Refused(text),
        Ok(Err(_)) | Err(_) => Reply::Refused("the firewall does not answer".to_owned()),
    };
    say(&mut client, serde_json::to_string(&reply).unwrap_or_default()).await;
}

/// Hands an order on, and shows its steps as they happen.
async fn serve_order(
    mut client: UnixStream,
    connection: u64,
    peer: Peer,
    holder: mpsc::Sender<ToHolder>,
    line: String,
) {
    let (answer, answered) = oneshot::channel();
    let (steps, mut stepped) = mpsc::channel(STEPS);
    if holder.send(ToHolder::Order { connection, client: peer, line, steps, answer }).await.is_err() {
        return;
    }
    let mut answered = std::pin::pin!(timeout(LONGEST, answered));
    let reply = loop {
        tokio::select! {
            biased;
            Some(step) = stepped.recv() => say(&mut client, step).await,
            answered = &mut answered => break answered,
        }
    };
    let refused = |text: &str| serde_json::to_string(&Reply::Refused(text.to_owned())).unwrap_or_default();
    let reply = match reply {
        Ok(Ok(Answer::Told(reply))) => reply,
        Ok(Ok(Answer::Refuse(text))) => refused(&text),
        Ok(Ok(Answer::Pass) | Err(_)) | Err(_) => refused("the firewall does not answer"),
    };
    say(&mut client, reply).await;
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
