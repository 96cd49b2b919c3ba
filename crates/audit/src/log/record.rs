//! One entry of a log.

use std::borrow::Cow;

/// How grave an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// For whoever runs the server: also connections and statements.
    Log,
    /// A statement failed, or worse did not happen.
    Error,
    /// A session or a login ended.
    Fatal,
    /// What belongs to the entry before: details, hints, statements.
    More,
    /// Notices, warnings and whatever else.
    Other,
}

impl Severity {
    /// By the word in the log, which is English where `lc_messages` is.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Some(match word {
            "LOG" => Self::Log,
            "ERROR" => Self::Error,
            "FATAL" | "PANIC" => Self::Fatal,
            "DETAIL" | "HINT" | "QUERY" | "CONTEXT" | "STATEMENT" | "LOCATION" | "BACKTRACE" => Self::More,
            "WARNING" | "NOTICE" | "INFO" | "DEBUG" | "DEBUG1" | "DEBUG2" | "DEBUG3" | "DEBUG4"
            | "DEBUG5" => Self::Other,
            _ => return None,
        })
    }
}

/// One entry of a log, of whichever format. A field is `None` where this log does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'a> {
    /// When, in the server's words and time zone; empty where the prefix has no time.
    pub at: Cow<'a, str>,
    /// The server process.
    pub pid: Option<u32>,
    /// The role.
    pub role: Option<Cow<'a, str>>,
    /// The database.
    pub database: Option<Cow<'a, str>>,
    /// The name that the client gave itself; empty if it gave none.
    pub app: Option<Cow<'a, str>>,
    /// Where the client is, without its port; `local` for a socket of the file system.
    pub address: Option<Cow<'a, str>>,
    /// How grave.
    pub severity: Severity,
    /// What happened.
    pub message: Cow<'a, str>,
    /// Whether the line can be read in more than one way, because a client's name imitates the log's own form.
    pub ambiguous: bool,
}

/// A host as the log has it: nothing, `[local]`, an address or a name.
pub(super) fn address(host: &str) -> Option<&str> {
    match host {
        "" | "[unknown]" => None,
        "[local]" => Some("local"),
        host => Some(host),
    }
}

/// A name as the log has it: `[unknown]` stands for an empty one.
pub(super) fn name(text: &str) -> &str {
    if text == "[unknown]" { "" } else { text }
}
