//! What an ended program means for its job, as a rule.

use std::str::FromStr;

use crate::ending::Failure;
use crate::hold::Stop;

/// A program that ends with this says that trying again cannot help (`EX_DATAERR` of sysexits).
pub const FATAL: u8 = 65;
/// A program that ends with this wants a person to look (`EX_CONFIG` of sysexits).
pub const HOLD: u8 = 78;

/// How a program ended, as its keeper says it in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Exit {
    /// With this code.
    Code(u8),
    /// By this signal.
    Signal(u8),
    /// It could not be started.
    Unstarted(String),
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Unstarted(problem) => write!(f, "unstarted {problem}"),
        }
    }
}

impl FromStr for Exit {
    type Err = ();

    fn from_str(line: &str) -> Result<Self, ()> {
        let (word, rest) = line.split_once(' ').ok_or(())?;
        match word {
            "code" => rest.parse().map(Self::Code).map_err(drop),
            "signal" => rest.parse().map(Self::Signal).map_err(drop),
            "unstarted" => Ok(Self::Unstarted(rest.to_owned())),
            _ => Err(()),
        }
    }
}

/// What follows. `done` says that the program called itself done over its socket.
///
/// A program that was told to stop and then ends with 0 is not taken at its word: handlers of SIGTERM commonly end
/// so, with their work half done.
pub(crate) fn verdict(exit: &Exit, told: Option<Stop>, done: bool) -> Result<(), Failure> {
    match exit {
        Exit::Code(0) if told.is_none() || done => Ok(()),
        Exit::Code(FATAL) => Err(Failure::Fatal(format!("the program ended with {FATAL}: fatal"))),
        Exit::Code(HOLD) => {
            Err(Failure::Hold(format!("the program ended with {HOLD}: a person has to look")))
        }
        Exit::Code(_) | Exit::Signal(_) if told.is_some() => Err(Failure::Stopped),
        Exit::Code(code) => Err(Failure::Again(format!("the program ended with {code}"))),
        Exit::Signal(9) => Err(Failure::Again(
            "the program was ended by signal 9, as the kernel does when memory runs out".to_owned(),
        )),
        Exit::Signal(signal) => Err(Failure::Again(format!("the program was ended by signal {signal}"))),
        Exit::Unstarted(problem) => {
            let code = palisade_core::Code::HandlerUnstarted;
            Err(Failure::Hold(format!("{code} the program cannot be started: {problem}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_read_as_it_is_written() {
        for exit in [Exit::Code(0), Exit::Code(255), Exit::Signal(15), Exit::Unstarted("no such file".into())]
        {
            assert_eq!(exit.to_string().parse(), Ok(exit));
        }
        for line in ["", "code", "code 256", "code x", "ended 1"] {
            assert_eq!(line.parse::<Exit>(), Err(()), "{line:?}");
        }
    }

    #[test]
    fn only_a_program_that_was_not_told_to_stop_is_done_by_ending_with_0() {
        assert_eq!(verdict(&Exit::Code(0), None, false), Ok(()));
        for told in [Stop::Drain, Stop::Cancel, Stop::Fenced] {
            assert_eq!(verdict(&Exit::Code(0), Some(told), false), Err(Failure::Stopped));
            assert_eq!(verdict(&Exit::Code(0), Some(told), true), Ok(()), "it said so itself");
            assert_eq!(verdict(&Exit::Signal(15), Some(told), false), Err(Failure::Stopped));
        }
    }

    #[test]
    fn two_codes_have_a_meaning_and_all_others_are_failures() {
        for code in 1..=255 {
            let verdict = verdict(&Exit::Code(code), None, true).unwrap_err();
            let fits = match code {
                FATAL => matches!(verdict, Failure::Fatal(_)),
                HOLD => matches!(verdict, Failure::Hold(_)),
                _ => matches!(verdict, Failure::Again(_)),
            };
            assert!(fits, "{code}: {verdict:?}");
        }
    }
}
