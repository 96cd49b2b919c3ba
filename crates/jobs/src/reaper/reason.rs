//! What is written beside a reap: who, under which rule, on what evidence.

use std::fmt;
use std::time::Duration;

use palisade_core::text::Shown;
use serde::Serialize;

use super::Proof;
use super::judge::{Ground, Silence};
use crate::job::Note;

/// Who reaps, and under what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reaper {
    /// Who.
    #[serde(flatten)]
    pub by: Note,
    /// Under which term.
    pub term: u64,
    /// Under which revision of the policy.
    pub policy: u64,
}

/// Why something was reaped. As text it is one line that ends in the id of the machine that did it.
///
/// ```text
/// reaped: silent for 1h 0m 4s of observed time, 59m 58s of it seen by term 7 in 720 sweeps (rule: 1h); 11 of 12
/// others were alive; by atom-saas 2.3.1 (production) on web-1, pid 4242, term 7, policy 3. Reaper: 9f2c01
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// The evidence.
    #[serde(flatten)]
    pub ground: Ground,
    /// Who judged.
    pub reaper: Reaper,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Reaper { by, term, policy } = &self.reaper;
        match &self.ground {
            Ground::Proof { proof } => {
                write!(f, "reaped: its worker is dead for certain ({})", said(*proof))?
            }
            Ground::Silence(silence) => evidence(f, silence, *term)?,
        }
        write!(f, "; by {}", by.app.as_ref().map_or("an unnamed app", |app| app.as_str()))?;
        if let Some(version) = &by.version {
            write!(f, " {}", Shown(version))?;
        }
        let environment =
            by.environment.as_ref().map_or("no environment", |environment| environment.as_str());
        write!(f, " ({environment}) on {}, pid {}, term {term}, policy {policy}", Shown(&by.host), by.pid)?;
        write!(f, ". Reaper: {}", Shown(&by.machine_id))
    }
}

const fn said(proof: Proof) -> &'static str {
    match proof {
        Proof::Goodbye => "it said goodbye",
        Proof::ProcessGone => "its process is gone",
        Proof::OtherBoot => "its machine has started anew",
    }
}

fn evidence(f: &mut fmt::Formatter<'_>, silence: &Silence, term: u64) -> fmt::Result {
    let span = |ms: u64| Span(Duration::from_millis(ms));
    write!(
        f,
        "reaped: silent for {} of observed time, {} of it seen by term {term} in {} sweeps (rule: {}",
        span(silence.silent_ms),
        span(silence.seen_ms),
        silence.sweeps,
        span(silence.threshold_ms),
    )?;
    if silence.longer > 1 {
        write!(f, ", {} times its own because sweeps were slow", silence.longer)?;
    }
    let others = silence.population.saturating_sub(1);
    let alive = silence.population.saturating_sub(silence.suspects);
    write!(f, "); {alive} of {others} others were alive")
}

/// A span in hours, minutes and seconds.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
        let rest = ms % 1_000;
        match (hours, minutes, seconds, rest) {
            (0, 0, 0, _) => write!(f, "{ms}ms"),
            (0, 0, _, 0) => write!(f, "{seconds}s"),
            (0, 0, ..) => write!(f, "{seconds}.{:01}s", rest / 100),
            (0, ..) => write!(f, "{minutes}m {seconds}s"),
            _ => write!(f, "{hours}h {minutes}m {seconds}s"),
        }
    }
}
