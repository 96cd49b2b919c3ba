//! PM2's bus: what the daemon publishes goes to the client, and nothing goes back.

use std::path::Path;

use palisade_host::peer;
use palisade_pm2::client::dial;
use palisade_pm2::wire::{Arg, Decoder, FRAME_CAP, encode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::connection::is_another_users;
use palisade_pm2::redaction::redacted;

/// Passes the daemon's bus on until either side ends. A client's bytes are read and dropped: subscribers have
/// nothing to say.
pub(crate) async fn publish(client: UnixStream, private: &Path) {
    let Ok(daemon) = dial(private).await else { return };
    let (Ok(caller), Ok(owner)) = (peer::uid_of(&client), peer::uid_of(&daemon)) else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_daemon, _to_daemon) = daemon.into_split();
    let mut sink = tokio::io::sink();
    let passed = async {
        if is_another_users(caller, owner) {
            pass_without_values(&mut from_daemon, &mut to_client).await;
        } else {
            // How either side ended makes no difference: both are closed then.
            drop(tokio::io::copy(&mut from_daemon, &mut to_client).await);
        }
    };
    tokio::select! {
        () = passed => {}
        _ = tokio::io::copy(&mut from_client, &mut sink) => {}
    }
}

/// Passes each message on with the values of environments left out, until either side ends. What is no message of
/// the bus ends it: nothing of it may be shown.
async fn pass_without_values(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf) {
    let mut decoder = Decoder::capped(FRAME_CAP);
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match decoder.next_frame() {
            Ok(Some(frame)) => {
                let Some(frame) = frame.args().ok().and_then(|args| without_values(&args)) else { return };
                if to.write_all(&frame).await.is_err() {
                    return;
                }
            }
            Ok(None) => match from.read(&mut buffer).await {
                Ok(count) if count > 0 => decoder.push(&buffer[..count]),
                Ok(_) | Err(_) => return,
            },
            Err(_) => return,
        }
    }
}

fn without_values(args: &[Arg<'_>]) -> Option<Vec<u8>> {
    let texts: Vec<Option<String>> = args
        .iter()
        .map(|arg| match arg {
            Arg::Json(json) => redacted(json).map(Some),
            Arg::Text(_) => Some(None),
            Arg::Blob(_) => None,
        })
        .collect::<Option<_>>()?;
    let shown: Vec<Arg<'_>> =
        args.iter().zip(&texts).map(|(arg, text)| text.as_deref().map_or(*arg, Arg::Json)).collect();
    encode(&shown).ok()
}
