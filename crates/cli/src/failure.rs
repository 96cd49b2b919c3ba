//! What went wrong, as a person needs it: what, why, how to go on, and the exit code.

use std::io;
use std::path::Path;

use palisade_core::{Code, Exit, Timestamp};
use palisade_host::{files, state};
use palisade_pipeline as pipeline;
use serde_json::json;

/// What the driver of PostgreSQL says of an error whose text is in the error beneath it.
const NOTHING: &str = "db error";

/// A command that did not do what it was asked for.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) code: Option<Code>,
    pub(crate) message: String,
    /// The faults beneath, nearest first.
    pub(crate) causes: Vec<String>,
    /// How to go on.
    pub(crate) hints: Vec<String>,
    /// What is wrong with a file.
    pub(crate) detail: Option<Box<Detail>>,
}

/// What is wrong with a file, for people and for programs.
#[derive(Debug)]
pub(crate) struct Detail {
    /// Layout that must be kept, such as a caret under a line.
    pub(crate) text: String,
    /// Each problem with its place.
    problems: Vec<serde_json::Value>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            code: None,
            message: message.into(),
            causes: Vec::new(),
            hints: Vec::new(),
            detail: None,
        }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// A file that was named cannot be read.
    pub(crate) fn unreadable(path: &Path, error: &io::Error) -> Self {
        let fix = match error.kind() {
            io::ErrorKind::NotFound => "name a file that is there",
            io::ErrorKind::PermissionDenied => "run this as a user who may read it",
            _ => "",
        };
        Self::new(Exit::Failure, format!("cannot read {}: {error}", path.display())).hint(fix)
    }

    pub(crate) fn code(mut self, code: Code) -> Self {
        self.code = Some(code);
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        let hint = hint.into();
        if !hint.is_empty() {
            self.hints.push(hint);
        }
        self
    }

    /// Adds the errors beneath `error`, from its source on, as far as each says something that was not said yet.
    pub(crate) fn caused_by(mut self, error: &dyn std::error::Error) -> Self {
        let mut source = error.source();
        while let Some(error) = source {
            let cause = error.to_string();
            let said = ["FATAL: ", "ERROR: "].iter().find_map(|level| cause.strip_prefix(level));
            let said = said.unwrap_or(&cause);
            let known = self.message.contains(said) || self.causes.iter().any(|known| known.contains(said));
            if !known && cause != NOTHING {
                self.causes.push(cause);
            }
            source = error.source();
        }
        self
    }

    pub(crate) fn to_json(&self) -> serde_json::Value {
        let mut document = json!({
            "result": "error",
            "exit": self.exit.number(),
            "code": self.code,
            "message": self.message,
            "causes": self.causes,
            "hints": self.hints,
        });
        if let Some(detail) = &self.detail {
            document["problems"] = json!(detail.problems);
        }
        document
    }
}

impl From<pipeline::Error> for Failure {
    fn from(error: pipeline::Error) -> Self {
        let mut failure = Self::new(error.exit(), error.to_string()).caused_by(&error).hint(error.fix());
        failure.code = error.code();
        failure
    }
}

impl From<pipeline::Fault> for Failure {
    fn from(fault: pipeline::Fault) -> Self {
        pipeline::Error::from(fault).into()
    }
}

impl From<palisade_journal::Error> for Failure {
    fn from(error: palisade_journal::Error) -> Self {
        Self::new(Exit::Journal, error.to_string())
            .caused_by(&error)
            .code(pipeline::error::journal_code(&error))
            .hint(pipeline::error::journal_fix(&error))
    }
}

impl From<palisade_config::Problems> for Failure {
    fn from(problems: palisade_config::Problems) -> Self {
        let count = problems.list().len();
        let what = if count == 1 { "a problem".to_owned() } else { format!("{count} problems") };
        let widened = problems.code() == Code::PolicyWidened;
        let exit = if widened { Exit::Refused } else { Exit::Failure };
        let mut failure =
            Self::new(exit, format!("{what} in {}", problems.path().display())).code(problems.code());
        let of = |problem: &palisade_config::Problem| {
            let place = problems.place(problem);
            json!({
                "file": problems.path(), "line": place.line, "column": place.column, "code": problem.code,
                "message": problem.message, "label": problem.label, "fix": problem.fix,
            })
        };
        failure.detail = Some(Box::new(Detail {
            text: problems.render(palisade_config::Colour::Never),
            problems: problems.list().iter().map(of).collect(),
        }));
        failure
    }
}

impl From<palisade_config::Error> for Failure {
    fn from(error: palisade_config::Error) -> Self {
        match error {
            palisade_config::Error::Invalid(problems) => problems.into(),
            error => {
                let unknown = matches!(error, palisade_config::Error::UnknownEnvironment { .. });
                let exit = if unknown { Exit::Refused } else { Exit::Failure };
                let failure = Self::new(exit, error.to_string()).caused_by(&error).code(error.code());
                failure.hint(error.fix().unwrap_or_default())
            }
        }
    }
}

impl From<palisade_postgres::Error> for Failure {
    fn from(error: palisade_postgres::Error) -> Self {
        let mut failure = Self::new(error.exit(), error.to_string()).caused_by(&error).hint(error.fix());
        failure.code = error.code();
        failure
    }
}

impl From<palisade_store::lease::Error> for Failure {
    fn from(error: palisade_store::lease::Error) -> Self {
        let mut failure = Self::new(error.exit(), error.to_string()).caused_by(&error).hint(error.fix());
        failure.code = error.code();
        failure
    }
}

impl From<palisade_dbguard::Error> for Failure {
    fn from(error: palisade_dbguard::Error) -> Self {
        let mut failure = Self::new(error.exit(), error.to_string()).caused_by(&error).hint(error.fix());
        failure.code = error.code();
        failure
    }
}

impl From<palisade_jobs::Error> for Failure {
    fn from(error: palisade_jobs::Error) -> Self {
        Self::new(error.exit(), error.to_string()).caused_by(&error).code(error.code()).hint(error.fix())
    }
}

impl From<palisade_jobs::bulk::Refusal> for Failure {
    fn from(refusal: palisade_jobs::bulk::Refusal) -> Self {
        Self::new(refusal.exit(), format!("{refusal}; nothing was changed"))
            .code(refusal.code())
            .hint(refusal.fix())
    }
}

impl From<files::Error> for Failure {
    fn from(error: files::Error) -> Self {
        Self::new(Exit::Failure, error.to_string()).caused_by(&error)
    }
}

impl From<state::NoHome> for Failure {
    fn from(error: state::NoHome) -> Self {
        Self::new(Exit::Failure, error.to_string()).hint("set HOME or XDG_STATE_HOME and XDG_CONFIG_HOME")
    }
}

impl From<palisade_host::random::Error> for Failure {
    fn from(error: palisade_host::random::Error) -> Self {
        Self::new(Exit::Failure, error.to_string()).caused_by(&error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        // A closed pipe is how `palisade … | head` ends; it is no failure of ours.
        let exit = if error.kind() == std::io::ErrorKind::BrokenPipe { Exit::Done } else { Exit::Failure };
        Self::new(exit, format!("cannot write the output: {error}"))
    }
}

/// A moment as people read it, and how long ago that was.
pub(crate) fn ago(moment: Timestamp, now: Timestamp) -> String {
    let seconds = now.since(moment).as_secs();
    format!("{moment} ({} ago)", humantime::format_duration(std::time::Duration::from_secs(seconds)))
}
