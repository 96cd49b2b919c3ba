//! Data on standard output, talk on standard error.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::OnceLock;

use anstyle::{AnsiColor, Style};
use palisade_core::Bypass;
use palisade_core::text::escaped_lines;
use serde::Serialize;
use serde_json::Value;

use crate::args::{Color, Global};
use crate::failure::Failure;

/// Where a command's words go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    pub(crate) json: bool,
    quiet: bool,
    terminal: bool,
}

/// Guards that are open while this command runs: every document of it says so.
static OPEN: OnceLock<Vec<Bypass>> = OnceLock::new();

/// Bad news.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// Good news.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();
/// What matters in a line.
pub(crate) const STRONG: Style = Style::new().bold();
/// What matters less.
pub(crate) const FAINT: Style = Style::new().dimmed();

/// `text` in `style`; stripped again where the stream takes no colour.
pub(crate) fn styled(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

impl Output {
    pub(crate) fn new(global: &Global) -> Self {
        match global.color {
            Color::Auto => {}
            Color::Always => anstream::ColorChoice::Always.write_global(),
            Color::Never => anstream::ColorChoice::Never.write_global(),
        }
        Self { json: global.json, quiet: global.quiet, terminal: io::stderr().is_terminal() }
    }

    /// The same without talk and data: for a command within a command.
    pub(crate) const fn silent(self) -> Self {
        Self { json: false, quiet: true, terminal: false }
    }

    /// Shows the guards that are open, now and in every document that follows.
    pub(crate) fn note_bypasses(&self, bypasses: Vec<Bypass>) {
        for bypass in OPEN.get_or_init(|| bypasses) {
            writeln!(anstream::stderr(), "{}", crate::command::bypass::notice(bypass)).unwrap_or_default();
        }
    }

    /// A line of data. Nothing in JSON mode, where the one document is the data.
    pub(crate) fn data(&self, line: impl std::fmt::Display) -> Result<(), Failure> {
        if !self.json {
            writeln!(anstream::stdout(), "{line}")?;
        }
        Ok(())
    }

    /// The one JSON document. Nothing in text mode.
    pub(crate) fn document(&self, document: &impl Serialize) -> Result<(), Failure> {
        if self.json {
            return match OPEN.get().is_some_and(|open| !open.is_empty()) {
                true => {
                    let document = serde_json::to_value(document).map_err(io::Error::from)?;
                    Self::json_line(&with_bypasses(document))
                }
                false => Self::json_line(document),
            };
        }
        Ok(())
    }

    /// One JSON document on a line, in either mode.
    pub(crate) fn json_line(document: &impl Serialize) -> Result<(), Failure> {
        let mut text = serde_json::to_vec(document).map_err(io::Error::from)?;
        text.push(b'\n');
        io::stdout().lock().write_all(&text)?;
        Ok(())
    }

    /// A line of talk.
    pub(crate) fn talk(&self, line: impl std::fmt::Display) {
        if !self.quiet {
            // In one piece, for standard error keeps nothing back. Nobody can be told that it is closed.
            anstream::stderr().write_all(format!("{line}\n").as_bytes()).unwrap_or_default();
        }
    }

    /// A line about work under way: on a terminal only.
    pub(crate) fn progress(&self, line: impl std::fmt::Display) {
        if self.terminal && !self.json {
            self.talk(styled(FAINT, line));
        }
    }

    /// A failure, on standard error, and as the document in JSON mode.
    pub(crate) fn failure(&self, failure: &Failure) {
        let mut err = anstream::stderr();
        let code = failure.code.map(|code| format!(" [{code}]")).unwrap_or_default();
        let mut text = format!("{}{code} {}\n", styled(BAD, "error:"), escaped_lines(&failure.message));
        for cause in &failure.causes {
            text.push_str(&format!("  because: {}\n", escaped_lines(cause)));
        }
        if let Some(detail) = &failure.detail {
            text.push_str(&format!("\n{}\n", detail.text));
        }
        for hint in &failure.hints {
            text.push_str(&format!("  fix: {}\n", escaped_lines(hint)));
        }
        if let Some(code) = failure.code {
            text.push_str(&format!("  more: palisade explain {code}\n"));
        }
        // As in `talk`: there is no one left to tell.
        err.write_all(text.as_bytes()).unwrap_or_default();
        if self.json {
            Self::json_line(&with_bypasses(failure.to_json())).unwrap_or_default();
        }
    }
}

/// Adds the open guards to a document that is an object.
fn with_bypasses(mut document: Value) -> Value {
    if let (Value::Object(fields), Some(open)) = (&mut document, OPEN.get().filter(|open| !open.is_empty())) {
        fields.insert("bypasses".to_owned(), serde_json::to_value(open).unwrap_or_default());
    }
    document
}
