//! How long an answer to a claim is waited for, and how much is asked for at once.
//!
//! A claim whose answer nobody waits for is one in vain, and the next would be one too if it asked for as much and waited as
//! long: where payloads are large and the line is slow, or a server is slow just now, no job would ever begin.

use std::time::Duration;

/// So long at first, and once no more jobs are wanted: a store that stands still must not keep a worker from draining.
pub(crate) const ANSWER: Duration = Duration::from_secs(5);
/// So long at most: a connection that is dead without saying so is given up then.
const MOST: Duration = Duration::from_secs(60);

/// What the answers before say of the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answers {
    patience: Duration,
    most: u16,
}

impl Default for Answers {
    fn default() -> Self {
        Self { patience: ANSWER, most: u16::MAX }
    }
}

impl Answers {
    /// The next answer is waited for so long.
    pub(crate) const fn patience(&self) -> Duration {
        self.patience
    }

    /// So many jobs may be asked for at once.
    pub(crate) const fn most(&self) -> u16 {
        self.most
    }

    /// To a claim of so many jobs, no answer came in time.
    pub(crate) fn late(&mut self, asked: u16) {
        self.patience = (self.patience * 2).min(MOST);
        self.most = (asked / 2).max(1);
    }

    /// An answer came after so long.
    pub(crate) fn came(&mut self, after: Duration) {
        self.most = self.most.saturating_add(self.most / 4 + 1);
        if after * 2 <= ANSWER {
            self.patience = ANSWER;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many claims that took so long for each job were answered, and so many were in vain.
    fn claims(answers: &mut Answers, places: u16, for_each: Duration) -> (u32, u32) {
        let (mut answered, mut in_vain) = (0, 0);
        for _ in 0..40 {
            let asked = places.min(answers.most());
            let takes = for_each * u32::from(asked);
            if takes <= answers.patience() {
                answers.came(takes);
                answered += 1;
            } else {
                answers.late(asked);
                in_vain += 1;
            }
        }
        (answered, in_vain)
    }

    #[test]
    fn whatever_an_answer_takes_some_come_in_time() {
        for (places, for_each_ms, answered) in [
            (1_000, 1, 40),
            // 1 MiB each over 5 MB/s.
            (60, 200, 38),
            (1_000, 200, 28),
            // One alone takes longer than was waited for at first, and nearly as long as is waited for at most.
            (1, 6_000, 39),
            (16, 50_000, 18),
        ] {
            let mut answers = Answers::default();
            let (came, in_vain) = claims(&mut answers, places, Duration::from_millis(for_each_ms));
            assert!(
                came >= answered,
                "{places} places, {for_each_ms} ms each: {came} came, {in_vain} in vain"
            );
        }
    }

    #[test]
    fn answers_that_come_soon_again_are_waited_for_as_at_first_and_asked_for_as_much() {
        let mut answers = Answers::default();
        for _ in 0..10 {
            answers.late(answers.most());
        }
        assert_eq!((answers.patience(), answers.most()), (MOST, 63));
        for _ in 0..40 {
            answers.came(Duration::from_millis(1));
        }
        assert_eq!(answers, Answers::default());
    }
}
