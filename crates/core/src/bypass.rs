//! The recorded, expiring opening of a guard: `palisade off`.
//!
//! A bypass is for the night on which a guard is wrong and nobody has time to find out why. It opens by name, for a
//! reason, until a moment that lies at most [`LONGEST`] ahead, and it ends without anybody's help: its moments are
//! those of the boot clock of one boot.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// The format of a bypass; a reader takes no other one for a bypass.
pub const FORMAT: u32 = 1;

/// The longest time that a bypass may last.
pub const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Most bytes of a reason.
pub const LONGEST_REASON: usize = 512;

/// The id of one bypass: what verdicts and records name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BypassId(String);

impl BypassId {
    /// An id from random text, such as an operation's.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(format!("off-{text}"))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BypassId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Which guards a bypass opens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "resource", rename_all = "kebab-case")]
pub enum Opened {
    /// Every guard of this host.
    Every,
    /// Those of every PM2 daemon.
    Pm2,
    /// That of the PM2 daemon of one home.
    Pm2Home {
        /// The daemon's `PM2_HOME`.
        home: String,
    },
}

impl Opened {
    /// The guard of the PM2 daemon of `home`.
    #[must_use]
    pub fn pm2_home(home: &str) -> Self {
        let trimmed = home.trim_end_matches('/');
        Self::Pm2Home { home: if trimmed.is_empty() { home } else { trimmed }.to_owned() }
    }

    /// Whether all that `other` names is open when this is.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Every, _) | (Self::Pm2, Self::Pm2 | Self::Pm2Home { .. }) => true,
            (Self::Pm2Home { .. }, Self::Pm2Home { .. }) => self == other,
            (Self::Pm2, Self::Every) | (Self::Pm2Home { .. }, Self::Every | Self::Pm2) => false,
        }
    }
}

impl fmt::Display for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every => f.write_str("every guard"),
            Self::Pm2 => f.write_str("every guard of PM2"),
            Self::Pm2Home { home } => write!(f, "the guard of PM2 at {}", crate::text::Shown(home)),
        }
    }
}

/// One bypass, as its file and the journal hold it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bypass {
    /// [`FORMAT`].
    pub format: u32,
    /// Its id.
    pub id: BypassId,
    /// What it opens.
    pub opened: Opened,
    /// Why, in the words of who opened it.
    pub reason: String,
    /// Who, in a few words.
    pub actor: String,
    /// That user.
    pub uid: u32,
    /// Wall clock of the beginning.
    pub since: Timestamp,
    /// The boot that its moments belong to.
    pub boot_id: String,
    /// Beginning, in milliseconds since boot.
    pub from_boot_ms: u64,
    /// End, in milliseconds since boot.
    pub until_boot_ms: u64,
}

/// What is asked of a bypass cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadBypass {
    /// No reason was given.
    #[error("a bypass needs a reason; say why, for whoever reads the journal later")]
    NoReason,
    /// The reason is too long.
    #[error("the reason is longer than {LONGEST_REASON} bytes")]
    LongReason,
    /// It would last no time or too long.
    #[error("a bypass lasts 1 s to 24 h, not {} s", .0.as_secs())]
    Span(Duration),
}

/// The moment at which a bypass begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// Wall clock.
    pub at: Timestamp,
    /// Id of the boot.
    pub boot_id: String,
    /// Milliseconds since boot.
    pub boot_ms: u64,
}

impl Bypass {
    /// A bypass of `opened` from `moment` for `span`.
    ///
    /// # Errors
    /// No reason, or a span that no bypass may have.
    pub fn begin(
        id: BypassId,
        opened: Opened,
        reason: &str,
        (uid, actor): (u32, String),
        moment: Moment,
        span: Duration,
    ) -> Result<Self, BadBypass> {
        let reason = reason.trim();
        if reason.is_empty() {
            return Err(BadBypass::NoReason);
        }
        if reason.len() > LONGEST_REASON {
            return Err(BadBypass::LongReason);
        }
        if span < Duration::from_secs(1) || span > LONGEST {
            return Err(BadBypass::Span(span));
        }
        let from_boot_ms = moment.boot_ms;
        Ok(Self {
            format: FORMAT,
            id,
            opened,
            reason: reason.to_owned(),
            actor,
            uid,
            since: moment.at,
            boot_id: moment.boot_id,
            from_boot_ms,
            until_boot_ms: from_boot_ms.saturating_add(whole_ms(span)),
        })
    }

    /// Whether it is in force. One that was written by hand to last longer than [`LONGEST`], or to begin later,
    /// never is.
    #[must_use]
    pub fn is_in_force(&self, boot_id: &str, boot_ms: u64) -> bool {
        self.format == FORMAT
            && self.boot_id == boot_id
            && self.from_boot_ms <= boot_ms
            && boot_ms < self.until_boot_ms
            && self.until_boot_ms - self.from_boot_ms <= whole_ms(LONGEST)
    }

    /// How long it still lasts.
    #[must_use]
    pub const fn left(&self, boot_ms: u64) -> Duration {
        Duration::from_millis(self.until_boot_ms.saturating_sub(boot_ms))
    }
}

fn whole_ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(span: Duration, reason: &str) -> Result<Bypass, BadBypass> {
        let moment =
            Moment { at: Timestamp::from_unix_ms(0), boot_id: "boot".to_owned(), boot_ms: 1_000_000 };
        let who = (0, "root".to_owned());
        Bypass::begin(BypassId::new("1"), Opened::Pm2, reason, who, moment, span)
    }

    #[test]
    fn a_bypass_ends_by_itself_and_with_its_boot() {
        let bypass = begun(Duration::from_secs(60), "a broken rule").unwrap();
        assert!(bypass.is_in_force("boot", 1_000_000) && bypass.is_in_force("boot", 1_059_999));
        assert!(!bypass.is_in_force("boot", 1_060_000), "its time is over");
        assert!(!bypass.is_in_force("another", 1_000_001), "the machine was started again");
        assert_eq!(bypass.left(1_059_000), Duration::from_secs(1));
    }

    #[test]
    fn no_reason_no_end_and_more_than_a_day_are_refused() {
        let minute = Duration::from_secs(60);
        assert_eq!(begun(minute, " \n"), Err(BadBypass::NoReason));
        assert_eq!(begun(minute, &"x".repeat(513)), Err(BadBypass::LongReason));
        for span in [Duration::ZERO, LONGEST + minute] {
            assert_eq!(begun(span, "why"), Err(BadBypass::Span(span)));
        }
        assert!(begun(LONGEST, "why").is_ok());
    }

    #[test]
    fn one_that_was_written_by_hand_cannot_last_longer_or_lie_ahead() {
        let good = begun(Duration::from_secs(60), "why").unwrap();
        let long = Bypass { until_boot_ms: u64::MAX, ..good.clone() };
        let ahead = Bypass { from_boot_ms: 1_000_010, ..good.clone() };
        let other = Bypass { format: 2, ..good.clone() };
        assert!(good.is_in_force("boot", 1_000_001));
        for bad in [long, ahead, other] {
            assert!(!bad.is_in_force("boot", 1_000_001), "{bad:?}");
        }
    }

    #[test]
    fn what_is_open_covers_what_is_narrower() {
        let (home, other) = (Opened::pm2_home("/srv/pm2/"), Opened::pm2_home("/srv/other"));
        assert!(Opened::Every.covers(&Opened::Pm2) && Opened::Pm2.covers(&home));
        assert!(home.covers(&Opened::pm2_home("/srv/pm2")) && !home.covers(&other));
        assert!(!home.covers(&Opened::Pm2) && !Opened::Pm2.covers(&Opened::Every));
    }
}
