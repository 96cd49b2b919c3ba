//! What a client asks for: its JSON, checked, made canonical and typed, and the JSON that the daemon gets instead.
//!
//! The daemon never sees a client's bytes. [`Asked::read`] keeps the arguments in their canonical form and derives
//! everything that is judged from that form; [`Asked::body`] writes that form. So what was judged is what is sent.

use std::fmt;

use crate::methods::{Method, ShapeError};
use palisade_core::ablation::{self, Check};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::deed::{self, Act};

/// A checked request. Debug shows the method only, for arguments may hold secrets.
#[derive(Clone, PartialEq)]
pub struct Asked {
    method: Option<Method>,
    args: Vec<Value>,
    kind: Kind,
}

/// What a request comes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It changes nothing.
    Read,
    /// It touches processes.
    Act(Act),
    /// It ends, marks or profiles the daemon itself.
    Lifecycle,
}

/// A request that the daemon must never be given, in whatever mode. Names no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCall {
    /// The frame is not a body and an id.
    #[error("a request is JSON and an id")]
    Frame,
    /// The body is no JSON, or nested too deeply.
    #[error("the request is not JSON")]
    Json,
    /// The body is neither a call nor a question for methods.
    #[error("the request is neither a call with a method and arguments nor a question for methods")]
    Body,
    /// An object has a key that JavaScript takes for something else.
    #[error("an object of the request has the key __proto__")]
    Prototype,
    /// No such method is known here.
    #[error("the method is not known")]
    Unknown,
    /// The daemon does not offer it.
    #[error("this daemon has no {}", .0.name())]
    NotOffered(Method),
    /// The arguments have another shape.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// A number of a process is not canonical, or contradicts another one.
    #[error("{} names a process by something else than one whole number", .0.name())]
    Id(Method),
    /// A name is missing or no text.
    #[error("{} names no process, or two", .0.name())]
    Name(Method),
    /// A watch is changed on behalf of a method that has none.
    #[error("{} is on behalf of a method that changes no watch", .0.name())]
    Watch(Method),
}

impl Asked {
    /// Reads a request's JSON. `offered` is what the daemon says that it has.
    ///
    /// # Errors
    /// What the daemon must not be given.
    pub fn read(json: &str, offered: &[Method]) -> Result<Self, BadCall> {
        let body: Value = serde_json::from_str(json).map_err(|_| BadCall::Json)?;
        let Value::Object(mut body) = body else { return Err(BadCall::Body) };
        if body.get("type").and_then(Value::as_str) == Some("methods") {
            return Ok(Self { method: None, args: Vec::new(), kind: Kind::Read });
        }
        let method = call(&body)?;
        if !offered.contains(&method) {
            return Err(BadCall::NotOffered(method));
        }
        let Some(Value::Array(mut args)) = body.remove("args") else { return Err(BadCall::Body) };
        if args.iter().any(has_prototype) {
            return Err(BadCall::Prototype);
        }
        if !ablation::is_off(Check::CallShape) {
            method.check(&args)?;
        }
        let kind = deed::read(method, &mut args)?;
        Ok(Self { method: Some(method), args, kind })
    }

    /// The method's name on the wire; `methods` for the question for them.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.method.map_or("methods", Method::name)
    }

    /// Whether a daemon that offers these methods knows it.
    #[must_use]
    pub fn is_offered(&self, offered: &[Method]) -> bool {
        self.method.is_none_or(|method| offered.contains(&method))
    }

    /// What it comes to.
    #[must_use]
    pub const fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The JSON that the daemon is given.
    #[must_use]
    pub fn body(&self) -> String {
        match self.method {
            None => json!({ "type": "methods" }).to_string(),
            Some(method) => json!({ "type": "call", "method": method.name(), "args": self.args }).to_string(),
        }
    }
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Asked({})", self.name())
    }
}

fn call(body: &Map<String, Value>) -> Result<Method, BadCall> {
    if body.get("type").and_then(Value::as_str) != Some("call") {
        return Err(BadCall::Body);
    }
    let name = body.get("method").and_then(Value::as_str).ok_or(BadCall::Body)?;
    Method::named(name).ok_or(BadCall::Unknown)
}

/// The daemon copies objects key by key, and a key `__proto__` would then give the copy fields that the original
/// does not show. Depth is bounded by the parser.
fn has_prototype(value: &Value) -> bool {
    match value {
        Value::Object(fields) => {
            fields.iter().any(|(name, value)| name == "__proto__" || has_prototype(value))
        }
        Value::Array(values) => values.iter().any(has_prototype),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
