//! Shapes of arguments, and whether values fit them.

use serde_json::Value;

/// One parameter of a method, its callback left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Param {
    /// The empty object that a method without parameters takes.
    Nothing,
    /// Number of a process: an integer, or its canonical decimal text.
    Id,
    /// A number of a process, or an object with it under `id`.
    IdOrOptions,
    /// The name of the method on whose behalf a watch is changed.
    MethodName,
    /// What that method was called with.
    MethodValue,
    /// An object that has at least these fields.
    Object(&'static [(&'static str, Kind)]),
}

/// What a field of an object holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Number of a process.
    Id,
    /// Text.
    Text,
    /// Text or a number: the name or number of a signal.
    Signal,
    /// An object.
    Object,
    /// A number that is no process's.
    Number,
    /// Anything.
    Any,
}

/// Arguments that a daemon must not be given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// Too few or too many.
    #[error("{method} takes {expected} arguments, not {found}")]
    Arity {
        /// The method's name.
        method: &'static str,
        /// How many it takes.
        expected: usize,
        /// How many there were.
        found: usize,
    },
    /// One is of another kind.
    #[error("argument {index} of {method} is not {expected:?}")]
    Type {
        /// The method's name.
        method: &'static str,
        /// Which argument, from 0.
        index: usize,
        /// What it has to be.
        expected: Param,
    },
}

impl Param {
    /// Whether `value` has this shape.
    #[must_use]
    pub fn accepts(self, value: &Value) -> bool {
        match self {
            Self::Nothing => value.is_object(),
            Self::Id => is_id(value),
            Self::IdOrOptions => is_id(value) || value.get("id").is_some_and(is_id),
            Self::MethodName => value.is_string(),
            Self::MethodValue => is_id(value) || value.is_object(),
            Self::Object(fields) => {
                let fits =
                    |(name, kind): &(&str, Kind)| value.get(name).is_some_and(|found| kind.accepts(found));
                value.is_object() && fields.iter().all(fits)
            }
        }
    }
}

impl Kind {
    fn accepts(self, value: &Value) -> bool {
        match self {
            Self::Id => is_id(value),
            Self::Text => value.is_string(),
            Self::Signal => value.is_string() || value.is_u64(),
            Self::Object => value.is_object(),
            Self::Number => value.is_number(),
            Self::Any => true,
        }
    }
}

/// PM2 coerces `[3]`, `{"id":"3"}` and `1e0` to numbers; only the canonical forms are let through, so that two
/// readers never see two processes in one value.
fn is_id(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_u64().is_some_and(|id| u32::try_from(id).is_ok()),
        Value::String(text) => text.parse::<u32>().is_ok_and(|id| id.to_string() == *text),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => false,
    }
}
