//! The daemon behind the firewall, as the holder sees it: whether it is there, and what it offers.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use palisade_core::record::{Act, Administered, Phase};
use palisade_pipeline::system_log;
use palisade_pm2::client::{Client, ConnectError, Unreachable, dial};
use palisade_pm2::locate::Location;
use palisade_pm2::methods::Method;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use crate::holder::ToHolder;
use crate::serve::Error;
use palisade_pm2::upbringing::{Nursery, raise};

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

/// What the task that watches the daemon needs.
pub(crate) struct Watch {
    pub(crate) location: Location,
    pub(crate) offered: watch::Sender<Offered>,
    /// Where nobody else starts the daemon.
    pub(crate) nursery: Option<Nursery>,
    pub(crate) holder: mpsc::Sender<ToHolder>,
}

/// Keeps `offered` true, for as long as the firewall runs, and starts the daemon where that is this process's to do.
pub(crate) async fn watch(watch: Watch) {
    let (mut failures, mut told) = (0, String::new());
    loop {
        match Client::connect(&watch.location.socket, DEADLINE).await {
            Ok(client) => {
                let others = watch.location.daemons();
                let checked =
                    others.and_then(|others| watch.location.check_only_daemon(client.daemon(), others));
                if let Err(error) = checked {
                    tell(&mut told, &error.to_string());
                }
                watch.offered.send_replace(Some(client.methods().into()));
                failures = 0;
                drop(client);
                ended(&watch.location.socket).await;
            }
            Err(error) => {
                if let (Some(nursery), true) = (&watch.nursery, is_gone(&error)) {
                    raise_daemon(nursery, &watch.holder, &mut told).await;
                }
            }
        }
        watch.offered.send_replace(None);
        sleep(PAUSES[failures.min(PAUSES.len() - 1)]).await;
        failures += 1;
    }
}

/// Whether nobody listens. One that is slow or frozen, or turns us away, is there.
const fn is_gone(error: &ConnectError) -> bool {
    matches!(
        error,
        ConnectError::Unreachable(Unreachable::NoSocket { .. } | Unreachable::NobodyListens { .. })
    )
}

async fn raise_daemon(nursery: &Nursery, holder: &mpsc::Sender<ToHolder>, told: &mut String) {
    match raise(nursery).await {
        Ok(raised) => {
            let phase = if raised.is_whole { Phase::Done } else { Phase::Failed };
            let home = nursery.location.home.display().to_string();
            let done = Administered { act: Act::DaemonStart, phase, home, details: raised.details };
            tell(told, &done.details.join("; "));
            // A holder that is gone has nobody to record it; the system log has it.
            holder.send(ToHolder::Record(done)).await.unwrap_or_default();
        }
        Err(error) => tell(told, &error.to_string()),
    }
}

/// Tells the system log, once for the same text in a row.
fn tell(told: &mut String, text: &str) {
    if told != text {
        system_log::write(text).unwrap_or_default();
        text.clone_into(told);
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
