//! A job, from outside.

use std::fmt::Write as _;
use std::time::Duration;

use palisade_core::{AppName, EnvironmentName, QueueName, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::claim::Checkpoint;
use crate::id::{JobId, Token};
use crate::queue::LONGEST_MS;
use crate::state::State;
use crate::store::Error;

/// What somebody wants done.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// Into which queue.
    pub queue: QueueName,
    /// Handed to the handler as it is; at most 1 MiB as text.
    pub payload: Value,
    /// Smaller runs first; 0 unless somebody says otherwise.
    pub priority: i16,
    /// When it may run.
    pub start: Start,
    /// While a job with this key lives in the queue, a second one is not made; the answer names the first.
    pub unique: Option<String>,
    /// For ever: a second request with this key makes no job, whatever became of the first.
    pub idempotency: Option<String>,
    /// How often it may be tried, from 1.
    pub max_attempts: u16,
    /// A longer silence than the queue's threshold may pass before it is taken from its worker; a shorter one is
    /// ignored.
    pub reap_after: Option<Duration>,
    /// Who enqueues.
    pub by: Note,
}

/// The longest payload as JSON text, in bytes.
pub const PAYLOAD_MOST: usize = 1024 * 1024;

/// The longest key, in bytes.
pub const KEY_MOST: usize = 255;

impl NewJob {
    /// A job for `queue` with nothing special about it: at once, priority 0, 20 attempts.
    #[must_use]
    pub const fn new(queue: QueueName, payload: Value, by: Note) -> Self {
        Self {
            queue,
            payload,
            priority: 0,
            start: Start::Now,
            unique: None,
            idempotency: None,
            max_attempts: 20,
            reap_after: None,
            by,
        }
    }

    /// Whether a store can take it; gives its payload as text.
    ///
    /// # Errors
    /// [`Error::Invalid`], which names what is wrong and the rule.
    pub fn check(&self) -> Result<String, Error> {
        self.check_terms()?;
        let mut payload = String::new();
        self.write_payload(&mut payload)?;
        Ok(payload)
    }

    /// As [`Self::check`], for who writes the payload later: one that cannot be too long is not written for that.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn check_unwritten(&self) -> Result<(), Error> {
        self.check_terms()?;
        if longest(&self.payload) <= PAYLOAD_MOST { Ok(()) } else { self.write_payload(&mut String::new()) }
    }

    fn check_terms(&self) -> Result<(), Error> {
        if self.max_attempts == 0 {
            return Err(invalid("max-attempts 0".to_owned(), "a job is tried at least once"));
        }
        if let Start::In(delay) = self.start
            && delay > Duration::from_millis(LONGEST_MS)
        {
            return Err(invalid(format!("a delay of {} s", delay.as_secs()), "at most 36500 days"));
        }
        for (name, key) in [("unique key", &self.unique), ("idempotency key", &self.idempotency)] {
            let Some(key) = key else { continue };
            if key.is_empty() || key.len() > KEY_MOST || key.chars().any(char::is_control) {
                let rule = "a key has 1 to 255 bytes and no control characters";
                return Err(invalid(format!("{name} {:?}", key.chars().take(40).collect::<String>()), rule));
            }
        }
        Ok(())
    }

    /// Puts the payload as JSON in the place of `text`, whose memory is used again.
    ///
    /// # Errors
    /// [`Error::Invalid`]: it is longer than [`PAYLOAD_MOST`].
    pub fn write_payload(&self, text: &mut String) -> Result<(), Error> {
        text.clear();
        write!(text, "{}", self.payload).expect("a string takes all");
        if text.len() > PAYLOAD_MOST {
            let rule = "at most 1 MiB as JSON; put the bytes into a file or an object store and their place into the payload";
            return Err(invalid(format!("a payload of {} bytes", text.len()), rule));
        }
        Ok(())
    }
}

/// No JSON of this value has more bytes.
fn longest(value: &Value) -> usize {
    // An escaped character has six, and two quotes, or a comma or a colon, stand beside each part.
    let text = |text: &str| text.len() * 6 + 3;
    match value {
        Value::Null | Value::Bool(_) => 6,
        Value::Number(_) => 32,
        Value::String(said) => text(said),
        Value::Array(values) => values.iter().map(longest).sum::<usize>() + 3,
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| text(name) + 1 + longest(value)).sum::<usize>() + 3
        }
    }
}

fn invalid(input: String, rule: &str) -> Error {
    Error::Invalid { input, rule: rule.to_owned() }
}

/// When a job may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At once.
    Now,
    /// So long from now, by the store's clock.
    In(Duration),
    /// From this moment on, by the store's clock.
    At(Timestamp),
}

/// Who does something, as far as the doer says: a claim, written down beside what the store itself observes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppName>,
    /// Its environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<EnvironmentName>,
    /// Its version, as it calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Host name.
    pub host: String,
    /// Process id on that host.
    pub pid: u32,
    /// Id of the machine, hashed for this use; the host name where there is none.
    pub machine_id: String,
}

/// What became of a request to enqueue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Enqueued {
    /// The job.
    pub id: JobId,
    /// Whether it is new; else it is the one that already bears the key.
    pub new: bool,
}

/// A job as the store has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Job {
    /// Its number.
    pub id: JobId,
    /// Its queue.
    pub queue: QueueName,
    /// Where it stands.
    pub state: State,
    /// What the handler gets.
    pub payload: Value,
    /// Smaller runs first.
    pub priority: i16,
    /// When it was enqueued, by the store's clock.
    pub enqueued_at: Timestamp,
    /// Not before this moment, by the store's clock.
    pub run_at: Timestamp,
    /// Attempts that began and count.
    pub attempts: u16,
    /// How often it may be tried.
    pub max_attempts: u16,
    /// The claim in force, while it runs.
    pub token: Option<Token>,
    /// The worker that runs it.
    pub worker: Option<String>,
    /// Somebody asked for its end, and its handler was or will be told.
    pub cancel_requested: bool,
    /// How far it says it is, in units of its own.
    pub progress: Option<i64>,
    /// Its last checkpoint.
    pub checkpoint: Option<Checkpoint>,
    /// What is wrong with the attempt that runs, as its worker last said; gone once the attempt ends.
    pub trouble: Option<String>,
    /// Why it is where it is: the last error, the reason of a cancel or a hold.
    pub reason: Option<String>,
    /// Who enqueued it.
    pub by: Note,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_value_is_longer_as_json_than_it_is_taken_for() {
        for value in [
            json!(null),
            json!(false),
            json!(-1.797_693_134_862_315_7e308),
            json!(i64::MIN),
            json!(""),
            json!("\u{0}\u{1f}\"\\\u{7f}é\u{1f600}".repeat(50)),
            json!([]),
            json!([[], [1], [null, true, "\n"]]),
            json!({}),
            json!({ "\u{1}": {}, "": [], "a": { "b": ["c", -1, { "d": false }] } }),
        ] {
            let written = value.to_string();
            assert!(written.len() <= longest(&value), "{written}");
        }
    }
}
