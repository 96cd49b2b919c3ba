//! The daemon behind the firewall, as the holder sees it: whether it is there, and what it offers.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use palisade_pm2::client::{Client, ConnectError, dial};
use palisade_pm2::locate::Location;
use palisade_pm2::methods::Method;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::serve::Error;

/// What the daemon offers; `None` while it is away, or is none that this version knows.
pub(crate) type Offered = Option<Arc<[Method]>>;

/// How long it may take to introduce itself.
const DEADLINE: Duration = Duration::from_secs(2);
/// How long to wait before one that is away is looked for again.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(500),
];

/// Makes sure that one daemon serves the home, and that it is the one on the private socket.
pub(crate) async fn check(location: &Location) -> Result<Offered, Error> {
    let client = Client::connect(&location.socket, DEADLINE).await.map_err(away)?;
    location.check_only_daemon(client.daemon(), location.daemons()?)?;
    Ok(Some(client.methods().into()))
}

fn away(error: ConnectError) -> Error {
    Error::Daemon(error.to_string())
}

/// Keeps `offered` true, for as long as the firewall runs.
pub(crate) async fn watch(private: &Path, offered: watch::Sender<Offered>) {
    let mut failures = 0;
    loop {
        if let Ok(client) = Client::connect(private, DEADLINE).await {
            offered.send_replace(Some(client.methods().into()));
            failures = 0;
            drop(client);
            ended(private).await;
        }
        offered.send_replace(None);
        sleep(PAUSES[failures.min(PAUSES.len() - 1)]).await;
        failures += 1;
    }
}

/// Waits until the daemon closes a connection on which nobody says anything.
async fn ended(private: &Path) {
    let Ok(stream) = dial(private).await else { return };
    let mut buffer = [0; 64];
    while stream.readable().await.is_ok() {
        match stream.try_read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}
