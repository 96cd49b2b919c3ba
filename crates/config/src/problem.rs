//! What is wrong with a file, all at once, and how it is shown.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

#[cfg(feature = "carets")]
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use palisade_core::Code;
use palisade_core::text::escaped;

use crate::place::Place;

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// [`Code::PolicyInvalid`], or [`Code::PolicyWidened`] for a project file that reaches further.
    pub code: Code,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// Bytes of the file that it is about.
    pub span: Range<usize>,
    /// What stands next to the caret.
    pub label: String,
    /// Another place of the same file that explains it.
    pub context: Option<Context>,
    /// How to put it right.
    pub fix: String,
}

/// A second place that belongs to a problem, such as the first of two duplicates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// Bytes of the file.
    pub span: Range<usize>,
    /// What stands next to them.
    pub label: String,
}

impl Problem {
    /// A problem of an invalid file.
    pub(crate) fn invalid(
        span: Range<usize>,
        message: impl Into<String>,
        label: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        let (message, label, fix) = (message.into(), label.into(), fix.into());
        Self { code: Code::PolicyInvalid, message, span, label, context: None, fix }
    }

    /// The same, with another place that explains it.
    pub(crate) fn because_of(mut self, span: Range<usize>, label: impl Into<String>) -> Self {
        self.context = Some(Context { span, label: label.into() });
        self
    }
}

#[cfg(feature = "carets")]
/// Whether a rendering carries terminal colours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Colour {
    /// Plain text, for logs, pipes and tests.
    #[default]
    Never,
    /// ANSI colours.
    Always,
}

/// Everything that is wrong with one file, in the order of the file. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    path: PathBuf,
    text: String,
    list: Vec<Problem>,
}

impl std::error::Error for Problems {}

impl Problems {
    /// The problems of `text`, or nothing if the list is empty.
    pub(crate) fn check(path: &Path, text: &str, mut list: Vec<Problem>) -> Result<(), Self> {
        if list.is_empty() {
            return Ok(());
        }
        list.sort_by_key(|problem| (problem.span.start, problem.span.end));
        Err(Self { path: path.to_owned(), text: text.to_owned(), list })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The problems, in the order of the file.
    #[must_use]
    pub fn list(&self) -> &[Problem] {
        &self.list
    }

    /// The code of the whole: widening outweighs a mistake.
    #[must_use]
    pub fn code(&self) -> Code {
        let widened = self.list.iter().any(|problem| problem.code == Code::PolicyWidened);
        if widened { Code::PolicyWidened } else { Code::PolicyInvalid }
    }

    /// Where a problem is.
    #[must_use]
    pub fn place(&self, problem: &Problem) -> Place {
        Place::of(&self.text, problem.span.start)
    }

    /// Every problem with its place, one line for each.
    #[cfg(not(feature = "carets"))]
    fn shown(&self) -> String {
        let path = escaped(&self.path.to_string_lossy()).into_owned();
        let line = |problem: &Problem| {
            let (place, Problem { code, message, label, fix, .. }) = (self.place(problem), problem);
            let said =
                format!("{path}:{}:{}: {code} {message}: {label}. Fix: {fix}", place.line, place.column);
            escaped(&said).into_owned()
        };
        self.list.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[cfg(feature = "carets")]
    /// Every problem with its line and a caret, and a blank line between two.
    #[must_use]
    pub fn render(&self, colour: Colour) -> String {
        let renderer = match colour {
            Colour::Never => Renderer::plain(),
            Colour::Always => Renderer::styled(),
        };
        let path = escaped(&self.path.to_string_lossy()).into_owned();
        let rendered: Vec<String> =
            self.list.iter().map(|problem| renderer.render(&[self.report(problem, &path)])).collect();
        rendered.join("\n\n")
    }

    #[cfg(feature = "carets")]
    fn report<'a>(&'a self, problem: &'a Problem, path: &'a str) -> Group<'a> {
        let primary = AnnotationKind::Primary.span(problem.span.clone()).label(problem.label.as_str());
        let context = problem.context.as_ref();
        let context =
            context.map(|other| AnnotationKind::Context.span(other.span.clone()).label(other.label.as_str()));
        let snippet = Snippet::source(self.text.as_str()).path(path).annotation(primary).annotations(context);
        Level::ERROR
            .primary_title(problem.message.as_str())
            .id(problem.code.to_string())
            .element(snippet)
            .element(Level::HELP.message(problem.fix.as_str()))
    }

    #[cfg(feature = "carets")]
    fn shown(&self) -> String {
        self.render(Colour::Never)
    }

    /// The same for programs: `{"path", "code", "problems": [{"code", "message", "line", "column", ..}]}`.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let problems: Vec<_> = self.list.iter().map(|problem| self.problem_json(problem)).collect();
        serde_json::json!({
            "path": self.path.to_string_lossy(),
            "code": self.code().to_string(),
            "problems": problems,
        })
    }

    fn problem_json(&self, problem: &Problem) -> serde_json::Value {
        let place = self.place(problem);
        serde_json::json!({
            "code": problem.code.to_string(),
            "message": problem.message,
            "label": problem.label,
            "fix": problem.fix,
            "line": place.line,
            "column": place.column,
            "span": [problem.span.start, problem.span.end],
        })
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}
