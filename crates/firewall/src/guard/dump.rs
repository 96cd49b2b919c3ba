//! The guard's eye on PM2's dump, which whoever runs as the daemon's user may write.

use palisade_core::Code;
use palisade_core::notice::{Kind, Notice};
use palisade_core::record::{Act, Administered, Phase};
use palisade_core::text::escaped;
use palisade_host::{Environment, clock, context};

use super::Guard;

impl Guard {
    /// Records an edit of the dump past the guard. Others are told where it lost what runs: the next start would not bring that
    /// back. A dump that may not be read is another user's, and edits of it are prevented by that.
    pub(crate) async fn look_at_dump(&mut self) {
        let Some(mut vigil) = self.vigil.take() else { return };
        let looked = tokio::task::spawn_blocking(move || (vigil.look(clock::now()), vigil)).await;
        let Ok((looked, vigil)) = looked else { return };
        self.vigil = Some(vigil);
        let (Ok(Some(edit)), Ok(actor)) = (looked, context::observe(&Environment::default())) else { return };
        let home = self.view.home().to_string();
        let running = self.view.look(&self.policy).await.map(|(seen, _)| seen.names()).unwrap_or_default();
        let (details, lost) = (edit.told(), edit.lost.into_iter().filter(|name| running.contains(name)));
        let done = Administered { act: Act::DumpEdit, phase: Phase::Done, home: home.clone(), details };
        let lost: Vec<String> = lost.collect();
        self.note_start(actor, done).await;
        if !lost.is_empty() {
            let line = format!("dump.pm2 was changed and lacks {}, which runs", escaped(&lost.join(", ")));
            let notice = || Notice::new(Kind::Fault, Code::DumpLost, format!("pm2:{home}"), &line);
            self.teller.tell(&self.policy.notify, Kind::Fault, notice);
        }
    }
}
