//! PM2's bus: what the daemon publishes goes to the client, and nothing goes back.

use std::path::Path;

use tokio::net::UnixStream;

/// Passes the daemon's bus on until either side ends. A client's bytes are read and dropped: subscribers have
/// nothing to say.
pub(crate) async fn publish(client: UnixStream, private: &Path) {
    let Ok(daemon) = UnixStream::connect(private).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_daemon, _to_daemon) = daemon.into_split();
    let mut sink = tokio::io::sink();
    tokio::select! {
        // How either side ended makes no difference: both are closed then.
        _ = tokio::io::copy(&mut from_daemon, &mut to_client) => {}
        _ = tokio::io::copy(&mut from_client, &mut sink) => {}
    }
}
