//! Workflows of GitHub, Gitea, Forgejo and GitLab: their epoch, and shapes in them that are dangerous.
//!
//! Everything here is pure: texts come as arguments, files through a function that the caller gives, and nothing is
//! executed. [`yaml`] reads a file with its places, [`workflow`] says what of it is a job, a step and a script,
//! [`epoch`] reads and writes the literal without touching anything else.

pub mod epoch;
pub mod workflow;
pub mod yaml;
