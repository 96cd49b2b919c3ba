//! Workflows of GitHub, Gitea, Forgejo and GitLab: their epoch, and shapes in them that are dangerous.
//!
//! Everything here is pure: texts come as arguments, files through a function that the caller gives, and nothing is
//! executed. [`yaml`] reads a file with its places, [`workflow`] says what of it is a job, a step and a script,
//! [`epoch`] reads and writes the literal without touching anything else. [`lint`](mod@lint) follows scripts from the
//! steps on: `shell` tells their commands apart, `command` what a command calls behind `sudo` and the like, `follow`
//! where tasks of npm and make stand, `pm2` what is dangerous about a command line, `accept` what somebody accepted. [`admit`]
//! decides whether a job may begin.

mod accept;
pub mod admit;
mod command;
pub mod epoch;
mod follow;
pub mod lint;
mod pm2;
mod shell;
mod walk;
pub mod workflow;
pub mod yaml;

pub use walk::Spot;
