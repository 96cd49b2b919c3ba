//! One sweep: look, judge, have silences kept, take.

use std::fmt::Display;
use std::time::Duration;

use palisade_jobs::reaper::{Held, Judge, Ruling, Sweep};
use palisade_lease::LeaseStore;
use tokio::time::timeout;

use crate::clerk::{Clerk, News};
use crate::docket::{Docket, Look};
use crate::sitting::{Chair, PATIENCE, Term};

impl<L, K> Chair<'_, L, K>
where
    L: LeaseStore,
    L::Error: Display,
    K: Clerk,
{
    pub(crate) async fn sweep<D: Docket>(&self, docket: &mut D, term: &mut Term<D>) {
        // What is charged is at most two sweeps, so that a look which takes longer counts for nothing.
        let patience = PATIENCE.max(self.settings.limits.sweep_every * 2);
        let look = match timeout(patience, docket.look()).await {
            Ok(Ok(look)) => look,
            Ok(Err(error)) => return self.blind(term, &error),
            Err(_) => return self.blind(term, &Late(patience)),
        };
        if look.anew {
            term.judge = Judge::new(self.settings.limits.clone(), Vec::new());
            term.judge.could_not_see();
            self.clerk.tell(&News::OtherTimeline);
        }
        let ruling = term.judge.judge(&self.seen(term, look));
        self.tell_brake(term, &ruling);
        self.remember(docket, &ruling).await;
        if self.settings.dry || docket.is_observed() {
            self.tell_dry(docket, term, &ruling.condemned).await;
        } else {
            self.passes(docket, term, &ruling.condemned).await;
            if term.over {
                return self.clerk.tell(&News::TermOver);
            }
        }
        self.stuck(docket, term, ruling.charged).await;
        if term.over {
            self.clerk.tell(&News::TermOver);
        }
    }

    fn blind<D: Docket>(&self, term: &mut Term<D>, problem: &dyn Display) {
        term.judge.could_not_see();
        self.fault(problem);
    }

    fn seen<D: Docket>(&self, term: &Term<D>, look: Look<D::Key, D::Counter>) -> Sweep<D::Key, D::Counter> {
        Sweep {
            store_run: look.run,
            store_us: look.store_us,
            judge_us: look.judge_us,
            took: look.took,
            canary: term.renewed.elapsed() <= self.settings.limits.sweep_every * 2,
            subjects: look.subjects,
        }
    }

    fn tell_brake<D: Docket>(&self, term: &mut Term<D>, ruling: &Ruling<D::Key, D::Counter>) {
        // How many they are changes with each sweep; that they are too many is said once.
        match (ruling.held, term.braked) {
            (Some(Held::Brake { suspects, most, population }), None) => {
                self.clerk.tell(&News::Held { suspects, most, population });
            }
            (None, Some(_)) => self.clerk.tell(&News::Released),
            (Some(_), Some(_)) | (None, None) => {}
        }
        term.braked = ruling.held;
    }

    async fn remember<D: Docket>(&self, docket: &mut D, ruling: &Ruling<D::Key, D::Counter>) {
        if ruling.remember.is_empty() && ruling.forget.is_empty() {
            return;
        }
        match timeout(PATIENCE, docket.remember(&ruling.remember, &ruling.forget)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.fault(&format_args!("the next term begins from nothing: {error}")),
            Err(_) => self.fault(&"silences could not be kept in time"),
        }
    }
}

/// A look that took too long.
struct Late(Duration);

impl Display for Late {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "no look at who runs within {} s: a longer --sweep-every gives it more",
            self.0.as_secs_f32()
        )
    }
}
