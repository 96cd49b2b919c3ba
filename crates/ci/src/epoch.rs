//! The epoch in a workflow's own variables: read with its place, written without touching anything else.

use palisade_core::epoch::{Epoch, NotAnEpoch, VARIABLE};

use crate::workflow::{self, Dialect, Workflow};
use crate::yaml::{Node, Value, Written};

/// The literal as it stands in a workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Literal {
    /// Its text.
    pub text: String,
    /// On which line.
    pub line: usize,
}

impl Literal {
    /// The epoch.
    ///
    /// # Errors
    /// The text is none; an expression such as `${{ vars.EPOCH }}` is none either.
    pub fn epoch(&self) -> Result<Epoch, NotAnEpoch> {
        self.text.parse()
    }
}

/// Why an epoch was not written. The text is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The file is no workflow.
    #[error(transparent)]
    Workflow(#[from] workflow::Error),
    /// A lower one than is there.
    #[error("it carries epoch {from} already, and {to} is lower: an epoch never falls")]
    WouldFall {
        /// What is there.
        from: Epoch,
        /// What was asked for.
        to: Epoch,
    },
    /// The largest is there already.
    #[error("it carries the largest epoch there is")]
    NoNext,
    /// The place is written in a way that cannot be edited safely.
    #[error("line {line}: {rule}")]
    Place {
        /// Line, from 1.
        line: usize,
        /// What is in the way.
        rule: &'static str,
    },
    /// What came out is not what was meant; nothing of it is used.
    #[error("the text that came out would not be the same workflow with another epoch")]
    NotVerified,
}

/// A text with another epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    /// The whole text.
    pub text: String,
    /// The epoch before, if one was there.
    pub from: Option<Epoch>,
    /// The epoch now.
    pub to: Epoch,
    /// The line on which it stands.
    pub line: usize,
}

/// The literal of a workflow; `None` if it carries none.
#[must_use]
pub fn read(workflow: &Workflow) -> Option<Literal> {
    let node = literal_node(workflow.root.get(workflow.dialect.variables_key())?)?;
    Some(Literal { text: node.text()?.to_owned(), line: node.start.line })
}

fn literal_node(variables: &Node) -> Option<&Node> {
    let node = variables.get(VARIABLE)?;
    // GitLab also takes a map with a value and a description.
    Some(node.get("value").unwrap_or(node))
}

/// Puts epoch `to`, or without one the epoch after the one that is there, into the workflow.
///
/// # Errors
/// See [`Error`]. The text that came out was read again and compared before it is given.
pub fn write(path: &str, text: &str, to: Option<Epoch>) -> Result<Edited, Error> {
    let before = workflow::read(path, text)?;
    let from = read(&before).and_then(|literal| literal.epoch().ok());
    let to = match (to, from) {
        (Some(to), Some(from)) if to < from => return Err(Error::WouldFall { from, to }),
        (Some(to), _) => to,
        (None, Some(from)) => from.next().ok_or(Error::NoNext)?,
        (None, None) => Epoch::FIRST,
    };
    let text = edit(&before, text, to)?;
    let after = workflow::read(path, &text).map_err(|_| Error::NotVerified)?;
    let literal = read(&after).filter(|literal| literal.epoch() == Ok(to)).ok_or(Error::NotVerified)?;
    if !without(&before).is_same(&without(&after)) {
        return Err(Error::NotVerified);
    }
    Ok(Edited { text, from, to, line: literal.line })
}

/// The workflow without its epoch, and without variables if that leaves none.
fn without(workflow: &Workflow) -> Node {
    let mut root = workflow.root.clone();
    let key = workflow.dialect.variables_key();
    if let Value::Map(entries) = &mut root.value {
        for (name, value) in entries.iter_mut() {
            if name.text() == Some(key)
                && let Value::Map(variables) = &mut value.value
            {
                variables.retain(|(name, _)| name.text() != Some(VARIABLE));
            }
        }
        let nothing =
            |value: &Node| value.is_empty() || matches!(&value.value, Value::Map(left) if left.is_empty());
        entries.retain(|(name, value)| name.text() != Some(key) || !nothing(value));
    }
    root
}

fn edit(workflow: &Workflow, text: &str, to: Epoch) -> Result<String, Error> {
    let key = workflow.dialect.variables_key();
    let entries = workflow.root.entries();
    let mut named = entries.iter().filter(|(name, _)| name.text() == Some(key));
    let lines = Lines::of(text);
    match (named.next(), named.next()) {
        (None, _) => insert_block(workflow, &lines, to),
        (Some((name, _)), Some(_)) => Err(Error::Place {
            line: name.start.line,
            rule: "the variables are there twice: join them first",
        }),
        (Some((name, variables)), None) => match literal_node(variables) {
            Some(node) => replace(&lines, node, to),
            None => insert_entry(&lines, name, variables, to),
        },
    }
}

/// The text by characters and lines.
struct Lines<'a> {
    text: &'a str,
    chars: Vec<usize>,
    ending: &'static str,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        let chars = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        Self { text, chars, ending: if text.contains("\r\n") { "\r\n" } else { "\n" } }
    }

    /// Bytes before the character of that index.
    fn byte(&self, index: usize) -> usize {
        self.chars.get(index).copied().unwrap_or(self.text.len())
    }

    /// Byte at which the line begins that holds this byte.
    fn line_start(&self, byte: usize) -> usize {
        self.text[..byte].rfind('\n').map_or(0, |at| at + 1)
    }

    fn spliced(&self, from: usize, to: usize, with: &str) -> String {
        format!("{}{with}{}", &self.text[..from], &self.text[to..])
    }
}

fn replace(lines: &Lines<'_>, node: &Node, to: Epoch) -> Result<String, Error> {
    let refuse = |rule| Error::Place { line: node.start.line, rule };
    let mut start = lines.byte(node.start.index);
    let mut lead = "";
    // The parser puts an empty value before its colon or right behind it.
    if matches!(&node.value, Value::Text(text, Written::Plain) if text.is_empty()) {
        start += usize::from(lines.text[start..].starts_with(':'));
        lead = if lines.text[..start].ends_with(':') { " " } else { "" };
    }
    let rest = &lines.text[start..];
    let length = match &node.value {
        Value::Text(text, Written::Plain) if text.is_empty() => 0,
        Value::Text(_, Written::Plain) => {
            let end = rest.find(['\n', '\r']).unwrap_or(rest.len());
            let line = &rest[..end];
            let line = line.find(" #").map_or(line, |at| &line[..at]);
            let flow = line.find([',', '}']).filter(|_| !line.starts_with("${"));
            flow.map_or(line, |at| &line[..at]).trim_end().len()
        }
        Value::Text(_, Written::Quoted) => {
            let quote = rest.chars().next().filter(|quote| matches!(quote, '"' | '\''));
            let quote = quote.ok_or_else(|| refuse("the epoch has an anchor or a tag: write it as \"7\""))?;
            let end = rest[1..].find(quote).ok_or_else(|| refuse("the epoch's quotes do not end"))?;
            end + 2
        }
        Value::Text(_, Written::Literal | Written::Folded) | Value::List(_) | Value::Map(_) => {
            return Err(refuse("the epoch must be a text on one line, such as \"7\""));
        }
    };
    Ok(lines.spliced(start, start + length, &format!("{lead}\"{to}\"")))
}

/// Into variables that are there.
fn insert_entry(lines: &Lines<'_>, name: &Node, variables: &Node, to: Epoch) -> Result<String, Error> {
    let entry = format!("{VARIABLE}: \"{to}\"");
    let key_end = lines.byte(name.end.index);
    if variables.is_empty() {
        // `env:` with nothing, perhaps with a remark behind it.
        let end = lines.text[key_end..].find('\n').map_or(lines.text.len(), |at| key_end + at + 1);
        let written = lines.text[key_end..end].trim_start_matches(':').split('#').next().unwrap_or_default();
        if !written.trim().is_empty() {
            return Err(Error::Place {
                line: name.start.line,
                rule: "leave the variables empty or write them as a map",
            });
        }
        let lead = if lines.text[..end].ends_with('\n') { "" } else { lines.ending };
        return Ok(lines.spliced(end, end, &format!("{lead}  {entry}{}", lines.ending)));
    }
    let Value::Map(entries) = &variables.value else {
        return Err(Error::Place {
            line: variables.start.line,
            rule: "the variables are no map here, so no literal can stand among them",
        });
    };
    let start = lines.byte(variables.start.index);
    if lines.text[start..].starts_with('{') {
        let comma = if entries.is_empty() { "" } else { ", " };
        return Ok(lines.spliced(start + 1, start + 1, &format!("{entry}{comma}")));
    }
    let (first, line_start) = (start, lines.line_start(start));
    let indent = &lines.text[line_start..first];
    if indent.is_empty() || !indent.chars().all(|c| c == ' ') {
        return Err(Error::Place {
            line: variables.start.line,
            rule: "the variables come from an anchor or stand on the line of their key: write them as a block",
        });
    }
    Ok(lines.spliced(line_start, line_start, &format!("{indent}{entry}{}", lines.ending)))
}

/// Variables of its own, before `jobs:` or, in GitLab's dialect, before everything.
fn insert_block(workflow: &Workflow, lines: &Lines<'_>, to: Epoch) -> Result<String, Error> {
    let entries = workflow.root.entries();
    let before = match workflow.dialect {
        Dialect::Actions => entries.iter().find(|(name, _)| name.text() == Some("jobs")),
        Dialect::GitLab => entries.first(),
    };
    let Some((anchor, _)) = before.filter(|(anchor, _)| anchor.start.column == 0) else {
        let rule = "the workflow is not written as a block: write `env:` into it by hand";
        return Err(Error::Place { line: workflow.root.start.line, rule });
    };
    let mut at = lines.line_start(lines.byte(anchor.start.index));
    // Remarks right above belong to what follows; those above the first entry of all are about the file.
    if workflow.dialect == Dialect::Actions {
        while at > 0 {
            let above = lines.line_start(at - 1);
            if !lines.text[above..at].starts_with('#') {
                break;
            }
            at = above;
        }
    }
    let ending = lines.ending;
    let key = workflow.dialect.variables_key();
    Ok(lines.spliced(at, at, &format!("{key}:{ending}  {VARIABLE}: \"{to}\"{ending}{ending}")))
}
