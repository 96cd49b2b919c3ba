//! What a program and its worker say to each other: one JSON document on a line, an answer on a line.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::hold::Stop;

/// A line has at most so many bytes: 1 MiB.
pub const LINE_MOST: u64 = 1024 * 1024;

/// What a program asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// It has got so far, in units of its own.
    Progress {
        /// How far.
        value: i64,
    },
    /// A resume point, as a file that is read at once.
    Checkpoint {
        /// Its absolute path.
        file: PathBuf,
    },
    /// A resume point, as text.
    CheckpointText {
        /// The text.
        text: String,
    },
    /// Whether it has to stop.
    State,
    /// The work is done: what follows is only ending. Needed by programs that end with 0 after SIGTERM.
    Done,
    /// Answered once, when the program has to stop.
    Watch,
}

/// What the worker answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// It was taken.
    pub ok: bool,
    /// The attempt has to stop, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<Stop>,
    /// Sequence of the checkpoint that is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// The checkpoint is kept and tried again, and not stored yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub later: bool,
    /// Why it was not taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Why nothing was said.
#[derive(Debug, thiserror::Error)]
pub enum Silent {
    /// Nobody listens: the attempt is over, or its worker.
    #[error("nobody listens on {}: the attempt is over", path.display())]
    Gone {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The answer is none.
    #[error("{} gave no answer: the attempt is over", path.display())]
    NoAnswer {
        /// The socket.
        path: PathBuf,
    },
}

/// Asks the worker that listens on a socket, as `palisade job progress` does. Waits for the answer.
///
/// # Errors
/// As [`Silent`]. A refusal is an answer.
pub fn ask(socket: &Path, request: &Request) -> Result<Answer, Silent> {
    let gone = |source| Silent::Gone { path: socket.to_owned(), source };
    let mut stream = UnixStream::connect(socket).map_err(gone)?;
    let mut line = serde_json::to_vec(request).map_err(|error| gone(error.into()))?;
    line.push(b'\n');
    stream.write_all(&line).map_err(gone)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).map_err(gone)?;
    serde_json::from_str(&answer).map_err(|_| Silent::NoAnswer { path: socket.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_the_documentation_are_the_lines_that_are_read() {
        for (line, request) in [
            (r#"{"do":"progress","value":42}"#, Request::Progress { value: 42 }),
            (r#"{"do":"checkpoint","file":"/tmp/x"}"#, Request::Checkpoint { file: "/tmp/x".into() }),
            (r#"{"do":"checkpoint_text","text":"x"}"#, Request::CheckpointText { text: "x".into() }),
            (r#"{"do":"state"}"#, Request::State),
            (r#"{"do":"done"}"#, Request::Done),
            (r#"{"do":"watch"}"#, Request::Watch),
        ] {
            assert_eq!(serde_json::from_str::<Request>(line).unwrap(), request);
            assert_eq!(serde_json::to_string(&request).unwrap(), line);
        }
        let answer = Answer { ok: true, stop: Some(Stop::Cancel), sequence: Some(3), ..Answer::default() };
        assert_eq!(serde_json::to_string(&answer).unwrap(), r#"{"ok":true,"stop":"cancel","sequence":3}"#);
        assert_eq!(serde_json::to_string(&Answer::default()).unwrap(), r#"{"ok":false}"#);
    }
}
