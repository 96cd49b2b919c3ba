//! The outbox and the process that delivers, with real folders and programs.

mod delivering;
mod outbox;

use palisade_core::Code;
use palisade_core::notice::{Kind, Notice};

/// A refusal by that caller.
fn refusal(code: Code, caller: &str) -> Notice {
    Notice::new(Kind::Refused, code, "pm2:/srv/pm2", "delete was refused").by(caller)
}
