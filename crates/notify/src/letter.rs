//! What lies in the folder, and what a receiver is handed.

use std::collections::BTreeSet;

use palisade_core::Timestamp;
use palisade_core::notice::Notice;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The format of a letter and of what receivers get; a reader refuses higher ones.
pub const FORMAT: u32 = 1;

/// One of the two that a policy can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Receiver {
    /// The program.
    Command,
    /// The address.
    Webhook,
}

impl Receiver {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Command, Self::Webhook];
}

/// All notices of one key that were not delivered yet, and what became of those before them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// [`FORMAT`].
    pub format: u32,
    /// A name that stays the same over tries, so that a receiver can tell a repeat; another one once it was delivered.
    pub id: String,
    /// The newest of them.
    pub notice: Notice,
    /// How many wait to be delivered; 0 once they were.
    pub count: u64,
    /// When the first of those that wait came.
    pub first_at: Timestamp,
    /// When the last of them came.
    pub last_at: Timestamp,
    /// When notices of this key were last delivered, or given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_at: Option<Timestamp>,
    /// Receivers that have it already.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub delivered_to: BTreeSet<Receiver>,
    /// Tries so far that failed.
    #[serde(default)]
    pub tries: u32,
    /// Not before then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
}

impl Letter {
    /// A letter with one notice.
    #[must_use]
    pub const fn new(id: String, notice: Notice, now: Timestamp) -> Self {
        Self {
            format: FORMAT,
            id,
            notice,
            count: 1,
            first_at: now,
            last_at: now,
            settled_at: None,
            delivered_to: BTreeSet::new(),
            tries: 0,
            not_before: None,
        }
    }

    /// Takes one more notice of the same key in; `id` is the name if it is the first after a delivery.
    pub fn add(&mut self, notice: Notice, now: Timestamp, id: String) {
        if self.count == 0 {
            (self.id, self.first_at, self.tries, self.not_before) = (id, now, 0, None);
            self.delivered_to.clear();
        }
        self.notice = notice;
        self.count += 1;
        self.last_at = now;
    }

    /// What a receiver is handed. `host` is this machine.
    #[must_use]
    pub fn body(&self, host: &str) -> Value {
        let Notice { kind, code, resource, app, environment, caller, line, fields } = &self.notice;
        let scope = match (app, environment) {
            (Some(app), Some(environment)) => format!(" ({app}/{environment})"),
            (Some(app), None) => format!(" ({app})"),
            (None, _) => String::new(),
        };
        let more = if self.count > 1 { format!(" ({} times)", self.count) } else { String::new() };
        json!({
            "format": FORMAT,
            "id": self.id,
            "kind": kind,
            "code": code,
            "title": code.title(),
            "resource": resource,
            "app": app,
            "environment": environment,
            "caller": caller,
            "line": line,
            "fields": fields,
            "host": host,
            "count": self.count,
            "first_at": self.first_at,
            "last_at": self.last_at,
            // What chat services show.
            "text": format!("Palisade on {host}: {code} {resource}{scope}: {line}{more}"),
        })
    }
}
