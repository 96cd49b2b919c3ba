//! What the holder does with a call that nobody judges. Pure.

use std::time::Duration;

use palisade_core::Code;
use palisade_core::ablation::{self, Check};
use palisade_core::policy::Mode;

use crate::message::Answer;

/// Longest pause before a judge is started again.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What the holder knows when it has to answer by itself. Reads never come here: they always pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unjudged {
    /// The mode of the strictest app, as the judge said last; `None` if none ever did.
    pub mode: Option<Mode>,
    /// Whether `palisade off` is in force.
    pub bypassed: bool,
}

impl Unjudged {
    /// Whether a change may pass.
    #[must_use]
    pub fn passes(self) -> bool {
        match (self.bypassed, self.mode) {
            (true, _) | (false, Some(Mode::Observe)) => true,
            // What was never heard might have been enforce.
            (false, Some(Mode::Enforce) | None) => ablation::is_off(Check::ReadsOnly),
        }
    }

    pub(crate) fn answer(self, method: &str, reason: &str) -> Answer {
        if self.passes() {
            return Answer::Pass;
        }
        Answer::Refuse(format!(
            "Palisade refused {method}: {} {reason}, and nothing is changed unjudged while an app is in enforce. \
             Reads work. Fix: try again in a moment; if it stays so, the system log says why, and \
             `palisade-firewall --judge` is started again by itself",
            Code::JudgeAbsent
        ))
    }
}

/// How long to wait before a judge is started again, after so many that did not last.
#[must_use]
pub fn pause(failures: u32) -> Duration {
    match failures {
        0 | 1 => Duration::ZERO,
        more => LONGEST_PAUSE.min(Duration::from_millis(125) * 2_u32.saturating_pow(more.min(16))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unjudged_changes_pass_only_in_observe_or_under_a_bypass() {
        let table = [
            (None, false, false),
            (Some(Mode::Enforce), false, false),
            (Some(Mode::Observe), false, true),
            (None, true, true),
            (Some(Mode::Enforce), true, true),
            (Some(Mode::Observe), true, true),
        ];
        for (mode, bypassed, expected) in table {
            assert_eq!(Unjudged { mode, bypassed }.passes(), expected, "{mode:?} {bypassed}");
        }
    }

    #[test]
    fn a_refusal_has_its_code_and_says_how_to_go_on() {
        let answer = Unjudged { mode: None, bypassed: false }.answer("deleteProcessId", "no judge");
        let Answer::Refuse(text) = answer else { panic!("{answer:?}") };
        assert!(text.contains("PAL-411") && text.contains("deleteProcessId") && text.contains("Fix:"));
    }

    #[test]
    fn the_first_judge_is_replaced_at_once_and_a_series_of_them_is_not() {
        assert_eq!(pause(1), Duration::ZERO);
        let pauses: Vec<_> = (1..20).map(pause).collect();
        assert!(pauses.is_sorted() && pauses[1] > Duration::ZERO && pauses[18] == LONGEST_PAUSE);
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }
}
