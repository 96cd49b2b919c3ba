//! YAML as a tree of nodes that know where they stand.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};

/// Deepest nesting, and most nodes of one file: aliases count each time that they are used.
const MAX_DEPTH: usize = 64;
const MAX_NODES: usize = 100_000;

/// A place in a text, from line 1 and column 0, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 0.
    pub column: usize,
    /// Characters before it in the whole text.
    pub index: usize,
}

/// A value and where it begins and ends.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it is.
    pub value: Value,
    /// Where it begins. For a block text: where its first line does.
    pub start: Place,
    /// Where it ends; blanks and remarks after it may be counted in.
    pub end: Place,
}

/// What a node is.
#[derive(Debug, Clone)]
pub enum Value {
    /// A text and how it is written.
    Text(String, Written),
    /// A list.
    List(Vec<Node>),
    /// Keys and values, in the order of the file. A key may come twice.
    Map(Vec<(Node, Node)>),
}

/// How a text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// Without quotes.
    Plain,
    /// In quotes of either kind.
    Quoted,
    /// As a block that keeps its lines (`|`).
    Literal,
    /// As a block whose lines are joined (`>`).
    Folded,
}

/// The text is no YAML that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {rule}")]
pub struct Unreadable {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub rule: String,
}

impl Node {
    /// The text, if it is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text, _) => Some(text),
            Value::List(_) | Value::Map(_) => None,
        }
    }

    /// Keys and values; none if it is no map.
    #[must_use]
    pub fn entries(&self) -> &[(Self, Self)] {
        match &self.value {
            Value::Map(entries) => entries,
            Value::Text(..) | Value::List(_) => &[],
        }
    }

    /// Items of a list; none if it is no list.
    #[must_use]
    pub fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            Value::Text(..) | Value::Map(_) => &[],
        }
    }

    /// The value of the first entry with that key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entries().iter().find(|(name, _)| name.text() == Some(key)).map(|(_, value)| value)
    }

    /// Whether nothing is written for it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(&self.value, Value::Text(text, Written::Plain) if matches!(text.as_str(), "" | "~" | "null"))
    }

    /// Whether both hold the same, wherever they stand.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.value, &other.value) {
            (Value::Text(one, _), Value::Text(two, _)) => one == two,
            (Value::List(one), Value::List(two)) => {
                one.len() == two.len() && one.iter().zip(two).all(|(one, two)| one.is_same(two))
            }
            (Value::Map(one), Value::Map(two)) => {
                let same = |((a, b), (c, d)): (&(Self, Self), &(Self, Self))| a.is_same(c) && b.is_same(d);
                one.len() == two.len() && one.iter().zip(two).all(same)
            }
            (Value::Text(..) | Value::List(_) | Value::Map(_), _) => false,
        }
    }
}

/// A list or map that is not whole yet.
enum Open {
    List(Vec<Node>),
    Map(Vec<(Node, Node)>, Option<Node>),
}

struct Frame {
    open: Open,
    start: Place,
    anchor: usize,
}

/// Reads the first document of a text; `None` if it holds nothing.
///
/// # Errors
/// It is no YAML, or larger or deeper than any workflow.
pub fn parse(text: &str) -> Result<Option<Node>, Unreadable> {
    let mut tree = Tree::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| Unreadable {
            line: error.marker().line(),
            rule: format!("it is no YAML: {}", error.info()),
        })?;
        if matches!(event, Event::DocumentEnd) {
            break;
        }
        tree.take(event, span)?;
    }
    Ok(tree.root)
}

#[derive(Default)]
struct Tree {
    root: Option<Node>,
    stack: Vec<Frame>,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
}

impl Tree {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Unreadable> {
        let (start, end) = (place(span.start), place(span.end));
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let written = match style {
                    ScalarStyle::Plain => Written::Plain,
                    ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => Written::Quoted,
                    ScalarStyle::Literal => Written::Literal,
                    ScalarStyle::Folded => Written::Folded,
                };
                let value = Value::Text(text.into_owned(), written);
                self.put(Node { value, start, end }, anchor, 1)
            }
            Event::SequenceStart(anchor, _) => self.open(Open::List(Vec::new()), start, anchor),
            Event::MappingStart(anchor, _) => self.open(Open::Map(Vec::new(), None), start, anchor),
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(frame) = self.stack.pop() else { return Ok(()) };
                let value = match frame.open {
                    Open::List(items) => Value::List(items),
                    Open::Map(entries, _) => Value::Map(entries),
                };
                self.put(Node { value, start: frame.start, end }, frame.anchor, 1)
            }
            Event::Alias(anchor) => {
                let unknown = || Unreadable { line: start.line, rule: "an alias has no anchor".to_owned() };
                let node = self.anchors.get(&anchor).cloned().ok_or_else(unknown)?;
                let nodes = count(&node);
                // It stands here, not where it was written first.
                self.put(Node { start, end, ..node }, 0, nodes)
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn open(&mut self, open: Open, start: Place, anchor: usize) -> Result<(), Unreadable> {
        if self.stack.len() >= MAX_DEPTH {
            return Err(Unreadable { line: start.line, rule: format!("it nests deeper than {MAX_DEPTH}") });
        }
        self.stack.push(Frame { open, start, anchor });
        Ok(())
    }

    fn put(&mut self, node: Node, anchor: usize, nodes: usize) -> Result<(), Unreadable> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            return Err(Unreadable {
                line: node.start.line,
                rule: format!("it has more than {MAX_NODES} nodes"),
            });
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.stack.last_mut().map(|frame| &mut frame.open) {
            None => self.root = Some(node),
            Some(Open::List(items)) => items.push(node),
            Some(Open::Map(entries, key)) => match key.take() {
                None => *key = Some(node),
                Some(key) => entries.push((key, node)),
            },
        }
        Ok(())
    }
}

fn count(node: &Node) -> usize {
    match &node.value {
        Value::Text(..) => 1,
        Value::List(items) => 1 + items.iter().map(count).sum::<usize>(),
        Value::Map(entries) => {
            1 + entries.iter().map(|(key, value)| count(key) + count(value)).sum::<usize>()
        }
    }
}

fn place(marker: Marker) -> Place {
    Place { line: marker.line(), column: marker.col(), index: marker.index() }
}
