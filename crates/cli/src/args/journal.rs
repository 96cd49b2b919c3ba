//! The words of `palisade journal`.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum JournalCommand {
    /// Print the newest records, and with -f those that follow.
    #[command(after_help = "\
Examples:
  palisade journal tail -n 50
  palisade journal tail -f")]
    Tail {
        /// How many.
        #[arg(long, short = 'n', default_value_t = 20)]
        lines: usize,
        /// Go on as records are written.
        #[arg(long, short)]
        follow: bool,
    },
    /// Print one record whole.
    #[command(after_help = "\
Example:
  palisade journal show 17")]
    Show {
        /// Its number, or the id of its operation.
        #[arg(value_name = "SEQUENCE|OPERATION")]
        record: String,
    },
    /// Check every byte against the signed tree.
    #[command(after_help = "\
Examples:
  palisade journal verify
  palisade journal verify --anchor /mnt/elsewhere/web1.anchor")]
    Verify {
        /// Also compare with an anchor that `journal anchor` wrote; may be repeated.
        #[arg(long, value_name = "FILE")]
        anchor: Vec<PathBuf>,
        /// The verifier key [default: the one in the state folder].
        #[arg(long, value_name = "FILE")]
        public_key: Option<PathBuf>,
    },
    /// Print how large it is and how old.
    #[command(after_help = "\
Example:
  palisade journal stat")]
    Stat,
    /// Print every record.
    #[command(after_help = "\
Example:
  palisade journal export > journal.jsonl")]
    Export {
        /// The format.
        #[arg(long, value_enum, default_value_t = ExportFormat::Jsonl)]
        format: ExportFormat,
    },
    /// Save the signed head elsewhere, so that a cut tail is found.
    #[command(after_help = "\
Examples:
  palisade journal anchor --out /mnt/elsewhere/web1.anchor
  palisade journal anchor --git /srv/infra")]
    Anchor {
        /// To this file: best on another machine or a folder that this user cannot rewrite.
        #[arg(long, value_name = "FILE", required_unless_present = "git")]
        out: Option<PathBuf>,
        /// As a git note on HEAD of this repository (refs/notes/palisade).
        #[arg(long, value_name = "REPOSITORY")]
        git: Option<PathBuf>,
    },
}

/// Formats of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// One JSON record a line.
    Jsonl,
}
