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

impl Reason {
    /// The longest of its forms that has at most `most` characters, for a column that holds no more. Each says `reaped`
    /// and ends in the id of the machine, as long as there is room for both.
    ///
    /// ```text
    /// reaped: silent 1h 0m 4s (rule 1h 0m 0s); by atom-saas (production) on web-1, pid 4242, term 7, policy 3. Reaper: 9f2c01
    /// reaped: on web-1, pid 4242, term 7, policy 3. Reaper: 9f2c01
    /// reaped. Reaper: 9f2c01
    /// reaped 9f2c01
    /// reaped
    /// ```
    #[must_use]
    pub fn within(&self, most: Option<usize>) -> String {
        let Some(most) = most else { return self.to_string() };
        let Reaper { by, term, policy } = &self.reaper;
        let machine = Shown(&by.machine_id);
        let judge = format!(
            "on {}, pid {}, term {term}, policy {policy}. Reaper: {machine}",
            Shown(&by.host),
            by.pid
        );
        let ground = match &self.ground {
            Ground::Proof { .. } => "its worker is dead for certain".to_owned(),
            Ground::Silence(silence) => {
                let [silent, rule] =
                    [silence.silent_ms, silence.threshold_ms].map(|ms| Span(Duration::from_millis(ms)));
                format!("silent {silent} (rule {rule})")
            }
            Ground::Stuck(idle) => {
                let [idle, rule] = [idle.idle_ms, idle.deadline_ms].map(|ms| Span(Duration::from_millis(ms)));
                format!("stuck {idle} (rule {rule})")
            }
        };
        let app = by.app.as_ref().map_or("an unnamed app", |app| app.as_str());
        let environment = by.environment.as_ref().map_or("no environment", |name| name.as_str());
        let forms = [
            self.to_string(),
            format!("reaped: {ground}; by {app} ({environment}) {judge}"),
            format!("reaped: {ground}; {judge}"),
            format!("reaped: {judge}"),
            format!("reaped. Reaper: {machine}"),
            format!("reaped {machine}"),
        ];
        let fits = forms.into_iter().find(|form| form.chars().count() <= most);
        fits.unwrap_or_else(|| "reaped".chars().take(most).collect())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Reaper { by, term, policy } = &self.reaper;
        match &self.ground {
            Ground::Proof { proof } => {
                write!(f, "reaped: its worker is dead for certain ({})", said(*proof))?
            }
            Ground::Silence(silence) => evidence(f, silence, *term)?,
            Ground::Stuck(idle) => write!(f, "reaped: stuck, {idle}")?,
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
pub(super) struct Span(pub(super) Duration);

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

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(proof: Option<Proof>) -> Reason {
        let silence = Silence {
            silent_ms: 3_604_000,
            threshold_ms: 3_600_000,
            longer: 1,
            seen_ms: 3_604_000,
            sweeps: 720,
            population: 12,
            suspects: 1,
        };
        let by = Note {
            app: Some("shop".parse().unwrap()),
            environment: Some("production".parse().unwrap()),
            version: Some("1".to_owned()),
            host: "web-1".to_owned(),
            pid: 4242,
            machine_id: "9f2c01aa9f2c01aa".to_owned(),
        };
        let ground = proof.map_or(Ground::Silence(silence), |proof| Ground::Proof { proof });
        Reason { ground, reaper: Reaper { by, term: 7, policy: 3 } }
    }

    #[test]
    fn in_any_room_a_reason_says_reaped_and_ends_in_the_machine() {
        for reason in [reason(None), reason(Some(Proof::OtherBoot))] {
            assert_eq!(reason.within(None), reason.to_string());
            let mut longest = 0;
            for most in 0..400 {
                let said = reason.within(Some(most));
                let length = said.chars().count();
                assert!(length <= most && length >= longest, "{most}: {said}");
                longest = length;
                assert_eq!(said.starts_with("reaped"), most >= 6, "{most}: {said}");
                assert_eq!(said.ends_with("9f2c01aa9f2c01aa"), most >= 23, "{most}: {said}");
                assert_eq!(said.ends_with("Reaper: 9f2c01aa9f2c01aa"), most >= 32, "{most}: {said}");
            }
            assert_eq!(reason.within(Some(399)), reason.to_string());
        }
    }

    #[test]
    fn a_little_room_holds_who_and_under_what() {
        let said = reason(None).within(Some(200));
        let whole = "reaped: silent 1h 0m 4s (rule 1h 0m 0s); by shop (production) on web-1, pid 4242, term 7, policy 3. \
                     Reaper: 9f2c01aa9f2c01aa";
        assert_eq!(said, whole);
    }
}
