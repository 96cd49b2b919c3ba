//! What is sent to bring a process back, and whether it came back as it was.
//!
//! PM2's `prepare` starts a process from an entry of its list. Three of its keys decide how (measured on 5.4.3,
//! 6.0.14 and 7.0.4): an occupied `pm_id` evicts the process that has it, `instances` starts that many at once,
//! and with neither, `status` decides whether it starts at all. So one is sent for each instance, without both,
//! as `online` or `stopped`.

mod difference;
mod source;

pub use difference::{Field, FieldDifference, differences};
pub use source::{Source, newest_with_a_loss};

use serde_json::{Map, Value, json};

use crate::bundle::Kept;

/// Keys that are not sent: PM2 gives them anew, or they would change what `prepare` does.
const LEFT_OUT: [&str; 9] = [
    "pm_id",
    "instances",
    "prev_restart_delay",
    "_tree_pids",
    "vizion_running",
    "axm_actions",
    "axm_monitor",
    "axm_options",
    "axm_dynamic",
];

/// A kept entry is no JSON object.
#[derive(Debug, thiserror::Error)]
#[error("the kept configuration of {name:?} is no JSON object")]
pub struct NotAnObject {
    /// The process's name, escaped.
    pub name: String,
}

/// The configuration that brings `kept` back as one instance with a number of its own.
///
/// A process that ran comes back running; one that did not comes back stopped and is not started on the way. PM2
/// gives a started process a new UUID.
///
/// # Errors
/// If what was kept is no JSON object.
pub fn configuration(kept: &Kept) -> Result<Map<String, Value>, NotAnObject> {
    let name = || NotAnObject { name: palisade_core::text::escaped(&kept.pin.name).into_owned() };
    let mut map: Map<String, Value> =
        serde_json::from_str(kept.secret_configuration().get()).map_err(|_| name())?;
    map.retain(|key, _| !LEFT_OUT.contains(&key.as_str()));
    let status = if kept.status.is_up() { "online" } else { "stopped" };
    let anew = [
        ("status", json!(status)),
        ("restart_time", json!(0)),
        ("unstable_restarts", json!(0)),
        // PM2 sets these when it starts a process; an entry that stays stopped would lack them.
        ("axm_actions", json!([])),
        ("axm_monitor", json!({})),
        ("axm_options", json!({})),
        ("axm_dynamic", json!({})),
    ];
    map.extend(anew.map(|(key, value)| (key.to_owned(), value)));
    Ok(map)
}
