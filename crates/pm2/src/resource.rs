//! PM2 as a resource of the pipeline.
//!
//! Everything is looked at again right before the act, on the very connection that carries the act: the daemon's
//! process by the socket's peer credentials, and each target by number, name, UUID, process id and start time.
//! What is no longer what the plan names is left alone and said so; the rest goes on.

mod execute;
mod fault;
mod restored;

pub use restored::Restored;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use palisade_core::actor::ProcessRef;
use palisade_core::outcome::TargetOutcome;
use palisade_core::process::{DaemonIdentity, EntryId, Pin};
use palisade_core::redact::Salt;
use palisade_core::snapshot::{Snapshot, SnapshotId};
use palisade_core::verification::After;
use palisade_core::{Armed, Plan, Timestamp};
use palisade_host::{clock, process, random};
use palisade_pipeline::{Fault, Resource};

use crate::bundle::{Bundle, Bundles};
use crate::client::{Answer, Client};
use crate::list::Listing;
use crate::locate::{Location, TwoDaemonsError};
use crate::methods::{Call, CarriedEnv};
use crate::overview::{self, Overview};

/// How long a daemon may take to answer a question.
const QUESTION_DEADLINE: Duration = Duration::from_secs(5);

/// Restore bundles that are kept whatever their age.
const KEPT_BUNDLES: usize = 20;

/// How long further ones are kept.
const KEPT_FOR: Duration = Duration::from_secs(30 * 24 * 3600);

/// One PM2 daemon, as a resource.
#[derive(Debug)]
pub struct Pm2 {
    location: Location,
    bundles: Bundles,
    carried: CarriedEnv,
    source: Option<Bundle>,
    /// The values behind the last snapshot, until they are kept or forgotten.
    captured: Option<(SnapshotId, Bundle)>,
    /// What the last restore brought back: its new pin and the old one.
    restored: Vec<(Pin, Pin)>,
    /// The connection that identified the daemon: as long as it lives, so does that daemon.
    open: Option<(Client, DaemonIdentity)>,
}

/// The daemons of a home, as they are found.
type Search = tokio::task::JoinHandle<Result<Vec<ProcessRef>, TwoDaemonsError>>;

/// A fresh connection with the fresh list that came over it.
struct Seen {
    client: Client,
    daemon: DaemonIdentity,
    listing: Listing,
}

impl Pm2 {
    /// The daemon at `location`; restore bundles go to `bundles`.
    #[must_use]
    pub const fn new(location: Location, bundles: Bundles) -> Self {
        Self {
            location,
            bundles,
            carried: BTreeMap::new(),
            source: None,
            captured: None,
            restored: Vec::new(),
            open: None,
        }
    }

    /// Gives the caller's variables that a restart or reload may carry into its targets. Used only where the plan
    /// says so; a variable that is called like one of PM2's own settings is never carried.
    #[must_use]
    pub fn carry(mut self, variables: BTreeMap<String, String>) -> Self {
        self.carried = variables;
        self
    }

    /// Gives the bundle that a restore takes its values from.
    #[must_use]
    pub fn restore_from(mut self, bundle: Bundle) -> Self {
        self.source = Some(bundle);
        self
    }

    /// Where the daemon is looked for.
    #[must_use]
    pub const fn location(&self) -> &Location {
        &self.location
    }

    /// The restore bundles.
    #[must_use]
    pub const fn bundles(&self) -> &Bundles {
        &self.bundles
    }

    async fn connect(&self) -> Result<(Client, DaemonIdentity), Fault> {
        let client =
            Client::connect(&self.location.socket, QUESTION_DEADLINE).await.map_err(fault::connect)?;
        let daemon = DaemonIdentity {
            process: client.daemon(),
            uid: client.uid(),
            boot_id: clock::boot_id().map_err(fault::host)?,
            version: client.version().to_owned(),
            home: self.location.home.to_string_lossy().into_owned(),
            socket: self.location.socket.to_string_lossy().into_owned(),
        };
        Ok((client, daemon))
    }

    /// Asks for the list over the connection that is open, or over a new one where that was lost. The salt is
    /// for the fingerprints in it.
    async fn look(&mut self, salt: &Salt) -> Result<Seen, Fault> {
        if let Some((mut client, daemon)) = self.open.take()
            && let Answer::Done(reply) = client.call(&Call::list(), QUESTION_DEADLINE).await
        {
            let listing = Listing::parse(reply.json(), salt).map_err(fault::list)?;
            return Ok(Seen { client, daemon, listing: with_processes(listing) });
        }
        self.look_anew(salt).await
    }

    /// Connects anew, as anybody would now, and asks for the list.
    async fn look_anew(&self, salt: &Salt) -> Result<Seen, Fault> {
        let (mut client, daemon) = self.connect().await?;
        let listing = match client.call(&Call::list(), QUESTION_DEADLINE).await {
            Answer::Done(reply) => Listing::parse(reply.json(), salt).map_err(fault::list)?,
            Answer::Refused(message) => return Err(fault::refused(&self.location, &message)),
            Answer::NoReply(lost) | Answer::NotSent(lost) => return Err(fault::lost(&self.location, lost)),
        };
        Ok(Seen { client, daemon, listing: with_processes(listing) })
    }

    /// Looks for the daemons of this home in the process table, while this thread talks to the one that answers.
    fn search(&self) -> Search {
        let location = self.location.clone();
        tokio::task::spawn_blocking(move || location.daemons())
    }

    /// Makes sure that the daemon that answers is the only one.
    async fn only(&self, reached: &DaemonIdentity, search: Search) -> Result<(), Fault> {
        let found = search.await.map_err(fault::search)?;
        found
            .and_then(|found| self.location.check_only_daemon(reached.process, found))
            .map_err(fault::two_daemons)
    }

    /// The daemon's list for people and scripts.
    ///
    /// # Errors
    /// The daemon cannot be reached, or its answer is no list.
    pub async fn list(&self) -> Result<Vec<Overview>, Fault> {
        let search = self.search();
        let (mut client, daemon) = self.connect().await?;
        let answer = client.call(&Call::list(), QUESTION_DEADLINE).await;
        self.only(&daemon, search).await?;
        match answer {
            Answer::Done(reply) => overview::parse(reply.json()).map_err(fault::overview),
            Answer::Refused(message) => Err(fault::refused(&self.location, &message)),
            Answer::NoReply(lost) | Answer::NotSent(lost) => Err(fault::lost(&self.location, lost)),
        }
    }

    fn salt() -> Result<Salt, Fault> {
        random::salt().map_err(fault::random)
    }
}

/// Adds start times to the pins, so that a number that was given away again is not taken for the same process.
fn with_processes(mut listing: Listing) -> Listing {
    for entry in &mut listing.entries {
        let running = entry.pid.and_then(|pid| process::stat(pid).ok()).map(|stat| stat.process);
        entry.process.pin.process = running.filter(|process| process::is_alive(*process));
    }
    listing
}

impl Resource for Pm2 {
    async fn identify(&mut self) -> Result<DaemonIdentity, Fault> {
        let search = self.search();
        let (client, daemon) = self.connect().await?;
        self.only(&daemon, search).await?;
        self.open = Some((client, daemon.clone()));
        Ok(daemon)
    }

    async fn snapshot(&mut self, id: SnapshotId, at: Timestamp) -> Result<Snapshot, Fault> {
        let salt = Self::salt()?;
        let Seen { client, daemon, listing } = self.look(&salt).await?;
        self.open = Some((client, daemon.clone()));
        let bundle = Bundle::new(&salt, daemon.clone(), &listing.entries);
        self.captured = Some((id.clone(), bundle));
        Ok(snapshot(id, at, daemon, listing))
    }

    fn keep_values(&mut self, snapshot: &Snapshot) -> Result<Option<String>, Fault> {
        let captured = self.captured.take_if(|(id, _)| *id == snapshot.id);
        let Some((_, bundle)) = captured else { return Ok(None) };
        let hash = self.bundles.write(&bundle).map_err(fault::bundle)?;
        self.bundles.prune(KEPT_BUNDLES, KEPT_FOR, snapshot.taken_at).map_err(fault::bundle)?;
        Ok(Some(hash))
    }

    async fn execute(&mut self, armed: &Armed) -> Vec<TargetOutcome> {
        execute::execute(self, armed.plan()).await
    }

    async fn after(
        &mut self,
        plan: &Plan,
        at: Timestamp,
        touched_by_others: BTreeSet<EntryId>,
    ) -> Result<After, Fault> {
        let Seen { daemon, listing, .. } = self.look_anew(&Self::salt()?).await?;
        let id = SnapshotId::new(at, plan.id.as_str());
        let ended = plan.targets.iter().filter(|_| plan.operation.takes_down());
        let survivors = processes(ended).filter(|process| process::is_alive(*process)).collect();
        let vanished = processes(plan.spared.iter()).filter(|process| !process::is_alive(*process)).collect();
        let restored = self.restored_drift(&listing);
        let snapshot = snapshot(id, at, daemon, listing);
        Ok(After { snapshot, survivors, vanished, touched_by_others, restored })
    }
}

fn processes<'a>(
    targets: impl Iterator<Item = &'a palisade_core::plan::Target>,
) -> impl Iterator<Item = ProcessRef> {
    targets.filter_map(|target| target.pin.process)
}

fn snapshot(id: SnapshotId, taken_at: Timestamp, daemon: DaemonIdentity, listing: Listing) -> Snapshot {
    let processes = listing.entries.into_iter().map(|entry| entry.process).collect();
    Snapshot { id, taken_at, daemon, processes, bundle: None }
}
