//! Who runs jobs.

use serde::{Deserialize, Serialize};

use crate::id::Incarnation;
use crate::job::Note;

/// A worker, as it registers at its start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    /// A name for people. Two workers may bear the same one.
    pub name: String,
    /// This run of it.
    pub incarnation: Incarnation,
    /// Who it is.
    pub by: Note,
    /// Start time of its process in clock ticks since boot: with the process id it names one process.
    pub start_ticks: u64,
    /// Id of the boot of its machine; another one proves that the process is gone.
    pub boot_id: String,
    /// Which numbers of processes it sees, as the kernel names it; two containers of one machine differ here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid_space: Option<String>,
}
