//! PM2 as a resource of the pipeline.
//!
//! Everything is looked at again right before the act, on the very connection that carries the act: the daemon's
//! process by the socket's peer credentials, and each target by number, name, UUID, process id and start time.
//! What is no longer what the plan names is left alone and said so; the rest goes on.

mod execute;
mod fault;
mod restored;

use std::collections::BTreeMap;
use std::time::Duration;

use palisade_core::actor::ProcessRef;
use palisade_core::outcome::TargetOutcome;
use palisade_core::process::{DaemonIdentity, Pin};
use palisade_core::redact::Salt;
use palisade_core::snapshot::{Snapshot, SnapshotId};
use palisade_core::verification::After;
use palisade_core::{Armed, Plan, Timestamp};
use palisade_host::{clock, process, random};
use palisade_pipeline::{Fault, Resource, Values};

use crate::acquainted::Acquainted;
use crate::bundle::{Bundle, Bundles};
use crate::client::{Answer, Client, ConnectError, Meanwhile, Reply};
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
    acquainted: Option<Acquainted>,
    carried: CarriedEnv,
    source: Option<Bundle>,
    /// The values behind the last snapshot, until they are kept or forgotten.
    captured: Option<(SnapshotId, Bundle)>,
    /// What the last restore brought back: its new pin and the old one.
    restored: Vec<(Pin, Pin)>,
    /// The connection that identified the daemon: as long as it lives, so does that daemon.
    open: Option<(Client, DaemonIdentity)>,
    /// The search for other daemons of this home, since the daemon was identified.
    searching: Option<(DaemonIdentity, Search)>,
    /// What came of [`Pm2::reach_ahead`].
    ahead: Option<Result<DaemonIdentity, Fault>>,
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
            acquainted: None,
            carried: BTreeMap::new(),
            source: None,
            captured: None,
            restored: Vec::new(),
            open: None,
            searching: None,
            ahead: None,
        }
    }

    /// Gives the daemons that earlier commands have met, which are asked faster.
    #[must_use]
    pub fn acquainted(mut self, acquainted: Acquainted) -> Self {
        self.acquainted = Some(acquainted);
        self
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
        let daemon = self.identity(&client)?;
        Ok((client, daemon))
    }

    fn identity(&self, client: &Client) -> Result<DaemonIdentity, Fault> {
        Ok(DaemonIdentity {
            process: client.daemon(),
            uid: client.uid(),
            boot_id: clock::boot_id().map_err(fault::host)?,
            version: client.version().to_owned(),
            home: self.location.home.to_string_lossy().into_owned(),
            socket: self.location.socket.to_string_lossy().into_owned(),
        })
    }

    /// Asks for the list over the connection that is open, or over a new one where that was lost. Only under a salt
    /// does it get fingerprints: a look that compares no variables need not wait for them.
    async fn look(&mut self, salt: Option<&Salt>) -> Result<Seen, Fault> {
        if let Some((mut client, daemon)) = self.open.take()
            && let Answer::Done(reply) = client.call(&Call::list(), QUESTION_DEADLINE).await
        {
            let listing = listing(&reply, salt)?;
            return Ok(Seen { client, daemon, listing });
        }
        self.look_anew(salt).await
    }

    /// Connects anew, as anybody would now, and asks for the list.
    async fn look_anew(&self, salt: Option<&Salt>) -> Result<Seen, Fault> {
        let (client, answer) = match &self.open {
            Some((known, _)) => known.connect_again(&Call::list(), QUESTION_DEADLINE).await,
            None => self.connect_and_list().await,
        }
        .map_err(fault::connect)?;
        let daemon = self.identity(&client)?;
        let listing = match answer {
            Answer::Done(reply) => listing(&reply, salt)?,
            Answer::Refused(message) => return Err(fault::refused(&self.location, &message)),
            Answer::NoReply(lost) | Answer::NotSent(lost) => return Err(fault::lost(&self.location, lost)),
        };
        Ok(Seen { client, daemon, listing })
    }

    async fn connect_and_list(&self) -> Result<(Client, Answer), ConnectError> {
        let mut client = Client::connect(&self.location.socket, QUESTION_DEADLINE).await?;
        let answer = client.call(&Call::list(), QUESTION_DEADLINE).await;
        Ok((client, answer))
    }

    /// Looks for the daemons of this home in the process table, while this thread talks to the one that answers.
    fn search(&self) -> Search {
        let location = self.location.clone();
        tokio::task::spawn_blocking(move || location.daemons())
    }

    /// Makes sure that the daemon that answers is the only one.
    async fn only(&self, reached: &DaemonIdentity, search: Search) -> Result<(), Fault> {
        self.is_only(reached.process, search.await.map_err(fault::search)?)
    }

    fn is_only(
        &self,
        reached: ProcessRef,
        found: Result<Vec<ProcessRef>, TwoDaemonsError>,
    ) -> Result<(), Fault> {
        found.and_then(|found| self.location.check_only_daemon(reached, found)).map_err(fault::two_daemons)
    }

    /// The daemon's list for people and scripts.
    ///
    /// # Errors
    /// The daemon cannot be reached, or its answer is no list.
    pub async fn list(&self) -> Result<Vec<Overview>, Fault> {
        self.list_and_meanwhile(&mut |_daemon| ()).await
    }

    /// As [`Pm2::list`], with something else to do for this thread while the daemon thinks.
    ///
    /// # Errors
    /// As [`Pm2::list`].
    pub async fn list_and_meanwhile(&self, meanwhile: Meanwhile<'_>) -> Result<Vec<Overview>, Fault> {
        let (socket, acquainted) = (&self.location.socket, self.acquainted.as_ref());
        let mut found = None;
        let mut meanwhile = |daemon| {
            found = Some(self.location.daemons_beside(daemon));
            meanwhile(daemon);
        };
        let (daemon, answer) =
            Client::connect_and_list(socket, &Call::list(), QUESTION_DEADLINE, acquainted, &mut meanwhile)
                .await
                .map_err(fault::connect)?;
        self.is_only(daemon, found.unwrap_or_else(|| self.location.daemons_beside(daemon)))?;
        match answer {
            Ok(Some(entries)) => Ok(overview::rows(entries)),
            Ok(None) | Err(Answer::Done(_)) => Err(fault::no_list(&self.location)),
            Err(Answer::Refused(message)) => Err(fault::refused(&self.location, &message)),
            Err(Answer::NoReply(lost) | Answer::NotSent(lost)) => Err(fault::lost(&self.location, lost)),
        }
    }

    /// Identifies the daemon before the pipeline asks, so that whoever has other things to look at meanwhile can.
    /// What came of it, [`Resource::identify`] says.
    pub async fn reach_ahead(&mut self) {
        let reached = self.reach().await;
        self.ahead = Some(reached);
    }

    async fn reach(&mut self) -> Result<DaemonIdentity, Fault> {
        let search = self.search();
        let (client, daemon) = self.connect().await?;
        self.searching = Some((daemon.clone(), search));
        self.open = Some((client, daemon.clone()));
        Ok(daemon)
    }

    /// The daemon's list with all its values, for what writes PM2's own files.
    ///
    /// # Errors
    /// The daemon cannot be reached, is not the only one, or its answer is no list.
    pub async fn listing(&self) -> Result<Listing, Fault> {
        let search = self.search();
        let Seen { daemon, listing, .. } = self.look_anew(None).await?;
        self.only(&daemon, search).await?;
        Ok(listing)
    }

    fn salt() -> Result<Salt, Fault> {
        random::salt().map_err(fault::random)
    }
}

fn listing(reply: &Reply, salt: Option<&Salt>) -> Result<Listing, Fault> {
    let parsed = match salt {
        Some(salt) => Listing::parse(reply.json(), salt),
        None => Listing::parse_without_fingerprints(reply.json()),
    };
    parsed.map(with_processes).map_err(fault::list)
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
    /// Whether that daemon is the only one of its home, [`Resource::snapshot`] says, before anything is touched: the
    /// search for others goes through the whole process table, and there are other things to do meanwhile.
    async fn identify(&mut self) -> Result<DaemonIdentity, Fault> {
        match self.ahead.take() {
            Some(reached) => reached,
            None => self.reach().await,
        }
    }

    async fn snapshot(&mut self, id: SnapshotId, at: Timestamp) -> Result<Snapshot, Fault> {
        let salt = Self::salt()?;
        let seen = self.look(Some(&salt)).await;
        if let Some((identified, search)) = self.searching.take() {
            self.only(&identified, search).await?;
        }
        let Seen { client, daemon, listing } = seen?;
        self.open = Some((client, daemon.clone()));
        let bundle = Bundle::new(&salt, daemon.clone(), &listing.entries);
        self.captured = Some((id.clone(), bundle));
        Ok(snapshot(id, at, daemon, listing))
    }

    fn values(&mut self, snapshot: &Snapshot) -> Option<Values> {
        let (_, bundle) = self.captured.take_if(|(id, _)| *id == snapshot.id)?;
        let (bundles, sealed, now) = (self.bundles.clone(), bundle.seal(), snapshot.taken_at);
        let bundle = sealed.hash().to_owned();
        let write = move || {
            bundles.write(&sealed).map_err(fault::bundle)?;
            bundles.prune(KEPT_BUNDLES, KEPT_FOR, now).map_err(fault::bundle).map(drop)
        };
        Some(Values { bundle, write: Box::new(write) })
    }

    async fn execute(&mut self, armed: &Armed) -> Vec<TargetOutcome> {
        execute::execute(self, armed.plan()).await
    }

    async fn after(&mut self, plan: &Plan, at: Timestamp) -> Result<After, Fault> {
        let Seen { daemon, listing, .. } = self.look_anew(None).await?;
        let id = SnapshotId::new(at, plan.id.as_str());
        let ended = plan.targets.iter().filter(|_| plan.operation.takes_down());
        let survivors = processes(ended).filter(|process| process::is_alive(*process)).collect();
        let vanished = processes(plan.spared.iter()).filter(|process| !process::is_alive(*process)).collect();
        let restored = self.restored_drift(&listing);
        let snapshot = snapshot(id, at, daemon, listing);
        Ok(After { snapshot, survivors, vanished, restored })
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
