//! The words of `palisade queue`.

use std::time::Duration;

use clap::{Args, FromArgMatches as _, Subcommand, ValueEnum};
use palisade_core::QueueName;
use palisade_jobs::Cron;

use super::job::StoreArgs;
use crate::failure::Failure;

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum QueueCommand {
    /// List queues with their rules.
    #[command(after_help = "\
Example:
  palisade queue list")]
    List(StoreArgs),
    /// Give out nothing of a queue until it is resumed; what runs goes on.
    #[command(after_help = "\
Example:
  palisade queue pause mail")]
    Pause(NamedArgs),
    /// Give out jobs of a queue again.
    #[command(after_help = "\
Example:
  palisade queue resume mail")]
    Resume(NamedArgs),
    /// Make jobs by the clock.
    #[command(subcommand)]
    Schedule(ScheduleCommand),
    /// Set rules of a queue; claims that exist keep theirs.
    Set(SetArgs),
    /// Show the rules that a queue has had, from when on, and who set them.
    #[command(after_help = "\
Example:
  palisade queue history mail")]
    History(NamedArgs),
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum ScheduleCommand {
    /// List schedules with their next tick.
    #[command(after_help = "\
Example:
  palisade queue schedule list")]
    List(StoreArgs),
    /// Set a schedule, or replace the one of that name.
    Set(ScheduleArgs),
    /// Take a schedule away; jobs that it made stay.
    #[command(after_help = "\
Example:
  palisade queue schedule remove nightly")]
    Remove(NamedArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
A tick makes one job, however many machines look at the clock; missed ticks are made up for by one.

Example:
  palisade queue schedule set nightly --queue backfill --cron '30 4 * * *' --zone Europe/Berlin")]
pub(crate) struct ScheduleArgs {
    /// Its name.
    #[arg(value_name = "NAME")]
    pub(crate) name: QueueName,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// Where its jobs go.
    #[arg(long, value_name = "QUEUE")]
    pub(crate) queue: QueueName,
    /// Minute, hour, day, month and weekday, or @daily and its kin.
    #[arg(long, value_name = "FIELDS")]
    pub(crate) cron: Cron,
    /// A time zone of the tz database.
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub(crate) zone: String,
    /// What each job gets, as JSON.
    #[arg(long, value_name = "JSON", default_value = "null")]
    pub(crate) payload: String,
    /// Smaller runs first.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, allow_negative_numbers = true)]
    pub(crate) priority: i16,
    /// How often each job may be tried.
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) max_attempts: u16,
}

// Which queue.
#[derive(Debug, Args)]
pub(crate) struct NamedArgs {
    /// Its name.
    #[arg(value_name = "NAME")]
    pub(crate) queue: QueueName,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

/// What becomes of a job whose worker fell silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnSilence {
    /// Given out again, from its last good checkpoint.
    Requeue,
    /// Kept for a person.
    Hold,
    /// Ended.
    Cancel,
}

/// What becomes of a job whose worker beats and which makes no progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnStuck {
    /// It is told of and goes on.
    Alert,
    /// Taken from its worker and kept for a person.
    Hold,
    /// Taken from its worker and given out again, from its last good checkpoint.
    Requeue,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A change counts for claims made after it. Rules can be given as flags or as words.

Examples:
  palisade queue set backfill reap-after 60m
  palisade queue set backfill --reap-after 90m --concurrency 4
  palisade queue set mail --backoff 5s --backoff-most 10m --retention 7d
  palisade queue set backfill --on-silence hold --dry-run
  palisade queue set backfill --progress-deadline 2h --on-stuck hold")]
pub(crate) struct SetArgs {
    #[command(flatten)]
    pub(crate) named: NamedArgs,
    /// Rules as words, such as `reap-after 60m beat-every 20s`.
    #[arg(value_name = "RULE VALUE")]
    words: Vec<String>,
    #[command(flatten)]
    rules: RuleArgs,
    /// Show the rules that would follow, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

// Rules of a queue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub(crate) struct RuleArgs {
    /// Silence after which a job may be taken from its worker; at least three beats.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) reap_after: Option<Duration>,
    /// How often a worker beats.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) beat_every: Option<Duration>,
    /// A worker stops by itself after so long without an acknowledged beat [default: in proportion to --reap-after].
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) self_fence: Option<Duration>,
    /// Between a reap and the next claim of that job.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) handover_delay: Option<Duration>,
    /// At most so many jobs run at once; 0 is no limit.
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true)]
    pub(crate) concurrency: Option<u32>,
    /// How long a failed job waits at first; doubled with each attempt.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) backoff: Option<Duration>,
    /// How long it waits at most.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) backoff_most: Option<Duration>,
    /// How long jobs that ended are kept.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) retention: Option<Duration>,
    /// What becomes of a job whose worker fell silent.
    #[arg(long, value_enum)]
    pub(crate) on_silence: Option<OnSilence>,
    /// A job that makes no progress for so long is stuck, although its worker beats; 0s is none.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) progress_deadline: Option<Duration>,
    /// What becomes of a job that is stuck.
    #[arg(long, value_enum)]
    pub(crate) on_stuck: Option<OnStuck>,
}

impl SetArgs {
    /// The rules, as flags or as words.
    ///
    /// # Errors
    /// What is wrong with the words.
    pub(crate) fn rules(&self) -> Result<RuleArgs, Failure> {
        if self.words.is_empty() {
            return Ok(self.rules.clone());
        }
        if self.rules != RuleArgs::default() {
            return Err(Failure::usage("give rules as flags or as words, not both"));
        }
        let flags = self.words.chunks(2).flat_map(|pair| {
            let flag = format!("--{}", pair[0].trim_start_matches('-'));
            std::iter::once(flag).chain(pair.get(1).cloned())
        });
        let command = RuleArgs::augment_args(clap::Command::new("set").no_binary_name(true));
        let parsed = command.try_get_matches_from(flags);
        let parsed = parsed.and_then(|matches| RuleArgs::from_arg_matches(&matches));
        parsed.map_err(|error| {
            let text = error.render().to_string();
            let said = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
            let tips = text.lines().filter_map(|line| line.trim().strip_prefix("tip: "));
            let failure = Failure::usage(said).hint("rules and their names: palisade queue set --help");
            tips.fold(failure, |failure, tip| failure.hint(tip.to_owned()))
        })
    }
}
