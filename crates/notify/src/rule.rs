//! What is due now, and what after a try. Pure.

use std::time::Duration;

use palisade_core::Timestamp;

use crate::letter::Letter;

/// Pauses between tries. After the last of them a letter is given up.
const PAUSES: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(120),
    Duration::from_secs(600),
];

/// What is to be done with a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Deliver it now.
    Deliver,
    /// Look again after that span.
    Wait(Duration),
    /// It was delivered and its window is over: nobody needs it any more.
    Forget,
}

/// What is to be done with `letter` at `now`, where equal notices within `window` are counted.
///
/// The first notice of a key goes out at once. Those that follow within the window are one letter at its end.
#[must_use]
pub fn step(letter: &Letter, now: Timestamp, window: Duration) -> Step {
    if let Some(not_before) = letter.not_before.filter(|not_before| *not_before > now) {
        // A wall clock that was set back must not keep a letter for ever.
        return Step::Wait(not_before.since(now).min(PAUSES[PAUSES.len() - 1]));
    }
    let left = letter
        .settled_at
        .filter(|at| *at <= now)
        .map_or(Duration::ZERO, |at| window.saturating_sub(now.since(at)));
    match (letter.count, left.is_zero()) {
        (0, true) => Step::Forget,
        (0, false) => Step::Wait(left),
        (_, false) if letter.tries == 0 => Step::Wait(left),
        (_, _) => Step::Deliver,
    }
}

/// What becomes of a letter that did not reach every receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It is tried again.
    Later,
    /// It was tried often enough.
    GivenUp,
}

/// Notes a try that failed.
pub fn failed(letter: &mut Letter, now: Timestamp) -> Retry {
    let pause = usize::try_from(letter.tries).ok().and_then(|tries| PAUSES.get(tries));
    letter.tries += 1;
    match pause {
        Some(pause) => {
            let after = now.unix_ms().saturating_add(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
            letter.not_before = Some(Timestamp::from_unix_ms(after));
            Retry::Later
        }
        None => {
            settled(letter, now);
            Retry::GivenUp
        }
    }
}

/// Notes that every receiver has it, or that it was given up.
pub fn settled(letter: &mut Letter, now: Timestamp) {
    letter.count = 0;
    letter.tries = 0;
    letter.not_before = None;
    letter.settled_at = Some(now);
    letter.delivered_to.clear();
}

#[cfg(test)]
mod tests {
    use palisade_core::Code;
    use palisade_core::notice::{Kind, Notice};
    use proptest::prelude::*;

    use super::*;

    const WINDOW: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix_ms(seconds * 1000)
    }

    fn notice() -> Notice {
        Notice::new(Kind::Refused, Code::ForeignTarget, "pm2:/a", "x")
    }

    #[test]
    fn the_first_goes_out_at_once_and_the_rest_of_the_window_is_one_letter() {
        let mut letter = Letter::new("a".to_owned(), notice(), at(100));
        assert_eq!(step(&letter, at(100), WINDOW), Step::Deliver);
        settled(&mut letter, at(100));
        for second in 101..=150 {
            letter.add(notice(), at(second), "b".to_owned());
        }
        assert_eq!(step(&letter, at(150), WINDOW), Step::Wait(Duration::from_secs(10)));
        assert_eq!(step(&letter, at(160), WINDOW), Step::Deliver);
        assert_eq!((letter.count, letter.id.as_str(), letter.first_at), (50, "b", at(101)));
        settled(&mut letter, at(160));
        assert_eq!(step(&letter, at(219), WINDOW), Step::Wait(Duration::from_secs(1)));
        assert_eq!(step(&letter, at(220), WINDOW), Step::Forget);
    }

    #[test]
    fn a_receiver_that_is_down_is_tried_six_times_in_thirteen_minutes_and_then_no_more() {
        let mut letter = Letter::new("a".to_owned(), notice(), at(0));
        let mut now = 0;
        let mut tries = Vec::new();
        loop {
            match step(&letter, at(now), WINDOW) {
                Step::Deliver => {
                    tries.push(now);
                    if failed(&mut letter, at(now)) == Retry::GivenUp {
                        break;
                    }
                }
                Step::Wait(span) => now += span.as_secs(),
                Step::Forget => panic!("it waits to be delivered"),
            }
        }
        assert_eq!(tries, [0, 1, 6, 36, 156, 756]);
        assert_eq!(step(&letter, at(756 + 60), WINDOW), Step::Forget);
    }

    #[test]
    fn a_clock_that_was_set_back_keeps_no_letter_for_ever() {
        let mut letter = Letter::new("a".to_owned(), notice(), at(1_000_000));
        settled(&mut letter, at(1_000_000));
        letter.add(notice(), at(5), "b".to_owned());
        assert_eq!(step(&letter, at(5), WINDOW), Step::Deliver);
    }

    proptest! {
        /// Whatever comes when, no notice is lost from the count, and no two letters of one key go out within a window.
        #[test]
        fn every_notice_is_counted_once(gaps in proptest::collection::vec(0_u64..200, 1..60)) {
            let (mut now, mut sent, mut last) = (0_u64, 0_u64, None::<u64>);
            let mut letter: Option<Letter> = None;
            for gap in &gaps {
                let until = now + gap;
                while now < until {
                    drive(&mut letter, now, &mut sent, &mut last);
                    now += 1;
                }
                match &mut letter {
                    Some(letter) => letter.add(notice(), at(now), now.to_string()),
                    None => letter = Some(Letter::new(now.to_string(), notice(), at(now))),
                }
            }
            for _ in 0..130 {
                drive(&mut letter, now, &mut sent, &mut last);
                now += 1;
            }
            prop_assert!(letter.is_none());
            prop_assert_eq!(sent, gaps.len() as u64);
        }
    }

    fn drive(letter: &mut Option<Letter>, now: u64, sent: &mut u64, last: &mut Option<u64>) {
        let Some(waiting) = letter else { return };
        match step(waiting, at(now), WINDOW) {
            Step::Deliver => {
                assert!(last.is_none_or(|last| now - last >= WINDOW.as_secs()));
                (*sent, *last) = (*sent + waiting.count, Some(now));
                settled(waiting, at(now));
            }
            Step::Wait(span) => assert!(!span.is_zero()),
            Step::Forget => *letter = None,
        }
    }
}
