//! The words of `palisade job`, and where jobs live.

use std::time::Duration;

use clap::{Args, Subcommand};
use palisade_core::{EnvironmentName, QueueName};
use palisade_jobs::{JobId, State};

// Where jobs live.
#[derive(Debug, Clone, Args)]
pub(crate) struct StoreArgs {
    /// sqlite:PATH or postgres://ROLE:PASSWORD@HOST/DATABASE, or @FILE or env:NAME to read it from there
    /// [default: $DATABASE_URL, else jobs.db in the state folder].
    #[arg(long, value_name = "URL|@FILE|env:NAME")]
    pub(crate) store: Option<String>,
    /// Whom you act for: a database that bears a stamp has to bear this one [default: $PALISADE_ENVIRONMENT].
    #[arg(long, value_name = "ENVIRONMENT")]
    pub(crate) environment: Option<EnvironmentName>,
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum JobCommand {
    /// Put a job, or one for each line of standard input, into a queue.
    Enqueue(EnqueueArgs),
    /// List jobs, oldest first.
    #[command(after_help = "\
Examples:
  palisade job list --queue backfill --state ready --state running
  palisade job list --after 50 --json")]
    List(ListArgs),
    /// Show one job.
    #[command(after_help = "\
Example:
  palisade job show 17")]
    Show(OneArgs),
    /// End jobs: at once where none runs them, else their handlers are told with the next beat.
    #[command(after_help = "\
Name jobs by their numbers, or a queue and states. Many jobs need the queue's name typed.

Examples:
  palisade job cancel 17 18
  palisade job cancel --queue mail --state ready --dry-run
  palisade job cancel --queue mail --state ready --confirm mail")]
    Cancel(WithReason),
    /// Keep waiting jobs from running until they are released.
    #[command(after_help = "\
Name jobs by their numbers, or a queue and states. Many jobs need the queue's name typed.

Examples:
  palisade job hold 17 18
  palisade job hold --queue mail --state ready --dry-run
  palisade job hold --queue mail --state ready --confirm mail")]
    Hold(WithReason),
    /// Give held jobs back to their queue.
    #[command(after_help = "\
Name jobs by their numbers, or a queue and states. Many jobs need the queue's name typed.

Examples:
  palisade job release 17 18
  palisade job release --queue mail --state held --dry-run
  palisade job release --queue mail --state held --confirm mail")]
    Release(BulkArgs),
    /// Let cancelled jobs go on from their last checkpoint.
    #[command(after_help = "\
Name jobs by their numbers, or a queue and states. Many jobs need the queue's name typed.

Examples:
  palisade job resume 17 18
  palisade job resume --queue mail --state cancelled --dry-run
  palisade job resume --queue mail --state cancelled --confirm mail")]
    Resume(BulkArgs),
    /// Let dead jobs run again, with their attempts counted anew.
    #[command(after_help = "\
Name jobs by their numbers, or a queue and states. Many jobs need the queue's name typed.

Examples:
  palisade job retry 17 18
  palisade job retry --queue mail --state dead --dry-run
  palisade job retry --queue mail --state dead --confirm mail")]
    Retry(BulkArgs),
    /// Wait until a job has ended; exit 0 only if it succeeded.
    #[command(after_help = "\
Example:
  palisade job wait 17 --timeout 10m")]
    Wait(WaitArgs),
    /// Print what happened to a job, a line each, and go on until it has ended.
    #[command(after_help = "\
Examples:
  palisade job logs 17
  palisade job logs 17 --no-follow")]
    Logs(LogsArgs),
    #[command(flatten)]
    Handler(super::worker::HandlerCommand),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  palisade job enqueue --queue mail --payload '{\"to\":\"a@example.org\"}'
  palisade job enqueue --queue mail --payload-file - --unique-key user-7 --delay 10m
  palisade job enqueue --queue backfill --payloads days.jsonl")]
pub(crate) struct EnqueueArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// Into which queue.
    #[arg(long, value_name = "QUEUE")]
    pub(crate) queue: QueueName,
    /// What the handler gets, as JSON [default: null].
    #[arg(long, value_name = "JSON", conflicts_with_all = ["payload_file", "payloads", "lines"])]
    pub(crate) payload: Option<String>,
    /// As --payload, from a file; - is standard input.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["payloads", "lines"])]
    pub(crate) payload_file: Option<std::path::PathBuf>,
    /// One job for each line of this file, each line a payload; - is standard input. A line that is no JSON leaves
    /// all of them unmade.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["lines", "unique_key", "idempotency_key"])]
    pub(crate) payloads: Option<std::path::PathBuf>,
    /// As --payloads -: one job for each line of standard input.
    #[arg(long, conflicts_with_all = ["unique_key", "idempotency_key"])]
    pub(crate) lines: bool,
    /// Smaller runs first.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, allow_negative_numbers = true)]
    pub(crate) priority: i16,
    /// Not before so long from now.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, conflicts_with = "at")]
    pub(crate) delay: Option<Duration>,
    /// Not before this moment, such as 2026-02-17T10:00:00Z.
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    pub(crate) at: Option<std::time::SystemTime>,
    /// While a job with this key lives in the queue, a second one is not made.
    #[arg(long, value_name = "KEY")]
    pub(crate) unique_key: Option<String>,
    /// A second request with this key never makes a job.
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
    /// How often it may be tried.
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) max_attempts: u16,
    /// A longer silence than the queue's may pass before it is taken from its worker [default: $PALISADE_REAP_AFTER].
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) reap_after: Option<Duration>,
}

fn moment(text: &str) -> Result<std::time::SystemTime, &'static str> {
    humantime::parse_rfc3339_weak(text)
        .map_err(|_| "write date and time of UTC, such as 2026-02-17T10:00:00Z")
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// Of this queue.
    #[arg(long, value_name = "QUEUE")]
    pub(crate) queue: Option<QueueName>,
    /// In this state; may be repeated.
    #[arg(long = "state", value_name = "STATE")]
    pub(crate) states: Vec<State>,
    /// After this job: for the next page.
    #[arg(long, value_name = "JOB")]
    pub(crate) after: Option<JobId>,
    /// At most so many.
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) most: u32,
}

// Which job.
#[derive(Debug, Args)]
pub(crate) struct OneArgs {
    /// The job.
    #[arg(value_name = "JOB")]
    pub(crate) job: JobId,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

// Which jobs, under which conditions.
#[derive(Debug, Clone, Args)]
pub(crate) struct BulkArgs {
    /// Jobs by their numbers.
    #[arg(value_name = "JOB", conflicts_with_all = ["queue", "states"])]
    pub(crate) jobs: Vec<JobId>,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// Jobs of this queue.
    #[arg(long, value_name = "QUEUE")]
    pub(crate) queue: Option<QueueName>,
    /// In this state; may be repeated.
    #[arg(long = "state", value_name = "STATE", requires = "queue")]
    pub(crate) states: Vec<State>,
    /// At most so many jobs.
    #[arg(long, value_name = "COUNT", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) most: u32,
    /// Type how many jobs this makes within the policy's window, where the budget of cancel, hold and retry is spent.
    #[arg(long, value_name = "COUNT")]
    pub(crate) total: Option<u64>,
    /// Show what would be done, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Type the queue's name to confirm.
    #[arg(long, value_name = "QUEUE")]
    pub(crate) confirm: Option<String>,
}

// As [`BulkArgs`], and why.
#[derive(Debug, Clone, Args)]
pub(crate) struct WithReason {
    #[command(flatten)]
    pub(crate) bulk: BulkArgs,
    /// Why, for whoever looks at the job later.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    #[command(flatten)]
    pub(crate) one: OneArgs,
    /// Give up after so long, with exit 7.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    #[command(flatten)]
    pub(crate) one: OneArgs,
    /// Print what there is, and end.
    #[arg(long)]
    pub(crate) no_follow: bool,
}
