//! `palisade worker`, and what a handler says with `palisade job`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use palisade_core::QueueName;

use super::job::StoreArgs;

#[derive(Debug, Args)]
#[command(after_help = "\
The program gets PALISADE_JOB_ID, PALISADE_ATTEMPT, PALISADE_TOKEN, PALISADE_QUEUE,
PALISADE_PAYLOAD_FILE, PALISADE_SOCKET and, where the job has a checkpoint, PALISADE_RESUME_FILE.
It ends with 0 when the job is done, with 65 when trying again cannot help, with 78 when a person
has to look, and with anything else when it failed.

Examples:
  palisade worker --queue mail -- node send.js
  palisade worker --queue backfill --concurrency 4 -- ./backfill.sh
  palisade worker --queue backfill --checkpoints s3://bucket/backfill -- ./backfill.sh")]
pub(crate) struct WorkerArgs {
    /// From which queue it takes jobs.
    #[arg(long, value_name = "QUEUE")]
    pub(crate) queue: QueueName,
    /// How many jobs it runs at once.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) concurrency: u16,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// A name for people [default: the host's].
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Where checkpoints lie: a folder, or s3://BUCKET/PREFIX with the AWS_* variables [default: in the state folder].
    #[arg(long, value_name = "PLACE")]
    pub(crate) checkpoints: Option<String>,
    /// Hand on a variable that the worker uses itself, such as DATABASE_URL; may be repeated.
    #[arg(long, value_name = "NAME")]
    pub(crate) pass: Vec<String>,
    /// Its jobs may be silent for longer than the queue says before they are taken from it; never for shorter.
    #[arg(long, env = "PALISADE_REAP_AFTER", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) reap_after: Option<Duration>,
    /// How long a program may take to end once its job was cancelled.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    pub(crate) cancel_grace: Duration,
    /// After SIGTERM or SIGINT, programs may go on for so long before they are told to hand over.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    pub(crate) finish_within: Duration,
    /// End once the queue has nothing ready and nothing runs here; with exit code 3 where the store gives out nothing.
    #[arg(long)]
    pub(crate) until_empty: bool,
    /// What programs print is kept for so long after the last line of an attempt.
    #[arg(long, value_name = "TIME", default_value = "30days", value_parser = humantime::parse_duration)]
    pub(crate) keep_logs: Duration,
    /// Counts of attempts, beats and checkpoints, and for how long no beat was acknowledged, as text for Prometheus:
    /// written anew each second.
    #[arg(long, value_name = "FILE")]
    pub(crate) metrics_file: Option<PathBuf>,
    /// Leave silent workers of the store to another reaper: `palisade reaper run`, or another worker.
    #[arg(long, help_heading = "Reaper")]
    pub(crate) no_reaper: bool,
    #[command(flatten)]
    pub(crate) judge: super::reaper::JudgeArgs,
    /// The program and its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

// What a worker starts between itself and a program.
#[derive(Debug, Args)]
pub(crate) struct KeeperArgs {
    #[arg(long)]
    pub(crate) log: PathBuf,
    #[arg(long)]
    pub(crate) until_ms: u64,
    #[arg(long)]
    pub(crate) grace_ms: u64,
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<OsString>,
}

// What a handler says to its worker, over PALISADE_SOCKET. Each fails once the claim is spent.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum HandlerCommand {
    /// In a handler: say how far the job is, in units of its own.
    #[command(after_help = "\
Example:
  palisade job progress 42")]
    Progress {
        /// A whole number.
        #[arg(allow_negative_numbers = true)]
        value: i64,
    },
    /// In a handler: hand over a resume point; the next attempt finds it in PALISADE_RESUME_FILE.
    #[command(after_help = "\
Example:
  palisade job checkpoint state.json")]
    Checkpoint {
        /// The file to hand over.
        file: PathBuf,
    },
    /// In a handler: print why the attempt has to stop, if it has to.
    #[command(after_help = "\
Example:
  palisade job stopping")]
    Stopping,
    /// In a handler that was told to stop: say that the work is done all the same.
    #[command(after_help = "\
Example:
  palisade job done")]
    Done,
    /// Show what the attempts of a job printed on this host.
    #[command(after_help = "\
Examples:
  palisade job output 17
  palisade job output 17 --attempt 2")]
    Output {
        /// The job.
        job: palisade_jobs::JobId,
        /// Only this attempt.
        #[arg(long, value_name = "N")]
        attempt: Option<u16>,
    },
}
