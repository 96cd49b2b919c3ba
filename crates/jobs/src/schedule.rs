//! Jobs that come again and again: cron's five fields in a time zone.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, ToSpan as _, Zoned};
use palisade_core::{QueueName, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::job::{NewJob, Note};
use crate::store::Error;

/// One job for each tick, however many machines look at the clock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Its name.
    pub name: QueueName,
    /// Where the jobs go.
    pub queue: QueueName,
    /// When.
    pub cron: Cron,
    /// In which time zone: a name of the tz database, such as `Europe/Berlin`.
    pub zone: String,
    /// What each job gets.
    pub payload: Value,
    /// Smaller runs first.
    pub priority: i16,
    /// How often each job may be tried.
    pub max_attempts: u16,
    /// The next tick; set without one, the store takes the first after its own clock.
    pub next: Option<Timestamp>,
    /// The last one that made a job.
    pub last: Option<Timestamp>,
    /// Who set it.
    pub by: Note,
}

impl Schedule {
    /// The job of one tick.
    #[must_use]
    pub fn job(&self) -> NewJob {
        NewJob {
            priority: self.priority,
            max_attempts: self.max_attempts,
            ..NewJob::new(self.queue.clone(), self.payload.clone(), self.by.clone())
        }
    }

    /// The tick that follows when it is set at `now`.
    ///
    /// # Errors
    /// [`Error::Invalid`] where there is none, and as [`Self::tick_after`].
    pub fn first_tick(&self, now: Timestamp) -> Result<Timestamp, Error> {
        self.tick_after(now)?.ok_or_else(|| Error::Invalid {
            input: format!("schedule \"{}\"", self.cron),
            rule: "has a day in one of its months; this one never ticks".to_owned(),
        })
    }

    /// The first tick after `now`; `None` where there is none within nine years: leap years may be eight apart.
    ///
    /// # Errors
    /// [`Error::Invalid`] where this machine does not know the time zone.
    pub fn tick_after(&self, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        let zone = TimeZone::get(&self.zone).map_err(|_| Error::Invalid {
            input: format!("time zone {:?}", self.zone),
            rule: "a name of the tz database that this machine has, such as UTC or Europe/Berlin".to_owned(),
        })?;
        Ok(self.cron.after(now, &zone))
    }
}

/// Minute, hour, day of the month, month and day of the week, as bits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    text: String,
}

/// A text that is no cron expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no schedule: {rule}")]
pub struct NoCron {
    text: String,
    rule: Rule,
}

/// What a schedule breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Rule {
    #[error("five fields: minute, hour, day, month, weekday")]
    Fields,
    #[error("{part:?} is not within {first} to {last}")]
    Range { part: String, first: u32, last: u32 },
    #[error("{0:?} has no step")]
    Step(String),
    #[error("{0:?} ends before it begins")]
    Backwards(String),
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl Cron {
    /// The first tick after `now`. In the hour that a change of the clock repeats, a schedule of certain hours ticks the
    /// first time only, one of every hour both times; in the hour that it leaves out, ticks come an hour later.
    fn after(&self, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let moment = i64::try_from(now.unix_ms()).ok()?;
        let now = jiff::Timestamp::from_millisecond(moment).ok()?.to_zoned(zone.clone());
        let found = self.soon(&now).or_else(|| self.late(&now, zone))?;
        u64::try_from(found.as_millisecond()).ok().map(Timestamp::from_unix_ms)
    }

    /// For every hour: minute by minute, as time really passes.
    fn soon(&self, now: &Zoned) -> Option<jiff::Timestamp> {
        if self.hours != mask(0, 23) {
            return None;
        }
        let whole = now.timestamp().as_second().div_euclid(60) * 60;
        let begin = jiff::Timestamp::from_second(whole).ok()?;
        (1..=60 * 24).find_map(|minutes| {
            let at = begin.checked_add(SignedDuration::from_mins(minutes)).ok()?;
            let civil = at.to_zoned(now.time_zone().clone()).datetime();
            let fits = has(self.minutes, civil.minute()) && self.fits(civil.date());
            fits.then_some(at)
        })
    }

    /// Day by day.
    fn late(&self, now: &Zoned, zone: &TimeZone) -> Option<jiff::Timestamp> {
        let mut date = now.date();
        for _ in 0..366 * 9 {
            if self.fits(date) {
                let at = |(hour, minute)| {
                    let civil: DateTime = date.at(hour, minute, 0, 0);
                    zone.to_ambiguous_timestamp(civil).compatible().ok()
                };
                // Where the clock is put forward by half an hour, a later time of the day may come before an earlier one.
                let next = self.times().filter_map(at).filter(|at| *at > now.timestamp()).min();
                if next.is_some() {
                    return next;
                }
            }
            date = date.checked_add(1.day()).ok()?;
        }
        None
    }

    fn times(&self) -> impl Iterator<Item = (i8, i8)> {
        let hours = (0..24).filter(|hour| has(self.hours, *hour));
        hours.flat_map(|hour| {
            (0..60).filter(|minute| has(self.minutes, *minute)).map(move |minute| (hour, minute))
        })
    }

    /// As cron does: where both kinds of days are narrowed, either of them is enough.
    fn fits(&self, date: Date) -> bool {
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        let (every_day, every_weekday) = (self.days == mask(1, 31), self.weekdays == mask(0, 6));
        let is_day = if every_day || every_weekday { day && weekday } else { day || weekday };
        has(self.months, date.month()) && is_day
    }
}

const fn mask(first: u32, last: u32) -> u64 {
    (u64::MAX >> (63 - (last - first))) << first
}

fn has(bits: u64, number: i8) -> bool {
    u32::try_from(number).is_ok_and(|number| bits & (1 << number) != 0)
}

impl FromStr for Cron {
    type Err = NoCron;

    fn from_str(text: &str) -> Result<Self, NoCron> {
        let wrong = |rule| NoCron { text: text.to_owned(), rule };
        let whole = match text.trim() {
            "@hourly" => "0 * * * *",
            "@daily" => "0 0 * * *",
            "@weekly" => "0 0 * * 0",
            "@monthly" => "0 0 1 * *",
            "@yearly" => "0 0 1 1 *",
            other => other,
        };
        let words: Vec<&str> = whole.split_ascii_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = words[..] else {
            return Err(wrong(Rule::Fields));
        };
        let read = |word: &str, first, last, names: &[&str]| field(word, first, last, names).map_err(wrong);
        let weekdays = read(weekdays, 0, 7, &WEEKDAYS)?;
        // Sunday is 0 and 7.
        let weekdays = (weekdays | u64::from(weekdays & (1 << 7) != 0)) & mask(0, 6);
        Ok(Self {
            minutes: read(minutes, 0, 59, &[])?,
            hours: read(hours, 0, 23, &[])?,
            days: read(days, 1, 31, &[])?,
            months: read(months, 1, 12, &MONTHS)?,
            weekdays,
            text: text.trim().to_owned(),
        })
    }
}

/// `*`, `7`, `1-5`, `*/15`, `10-50/20`, names, and several of them between commas.
fn field(word: &str, first: u32, last: u32, names: &[&str]) -> Result<u64, Rule> {
    let mut bits = 0;
    for part in word.split(',') {
        let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
        let number = |text: &str| {
            let named = names.iter().position(|name| text.eq_ignore_ascii_case(name));
            let named = named.and_then(|at| u32::try_from(at).ok()).map(|at| at + first);
            let found = named.or_else(|| text.parse().ok()).filter(|found| (first..=last).contains(found));
            found.ok_or_else(|| Rule::Range { part: part.to_owned(), first, last })
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (first, last),
            Some((from, to)) => (number(from)?, number(to)?),
            None if step.is_some() => (number(range)?, last),
            None => (number(range)?, number(range)?),
        };
        let step = match step {
            None => 1,
            Some(text) => {
                let step = text.parse().ok().filter(|step| *step > 0);
                step.ok_or_else(|| Rule::Step(part.to_owned()))?
            }
        };
        if from > to {
            return Err(Rule::Backwards(part.to_owned()));
        }
        bits |= (from..=to).step_by(step).fold(0, |bits, number| bits | 1 << number);
    }
    Ok(bits)
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl TryFrom<String> for Cron {
    type Error = NoCron;

    fn try_from(text: String) -> Result<Self, NoCron> {
        text.parse()
    }
}

impl From<Cron> for String {
    fn from(cron: Cron) -> Self {
        cron.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The next ticks after a moment, as text in that zone.
    fn ticks(cron: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let cron: Cron = cron.parse().unwrap();
        let zone = TimeZone::get(zone).unwrap();
        let from: jiff::Timestamp = after.parse().unwrap();
        let mut now = Timestamp::from_unix_ms(u64::try_from(from.as_millisecond()).unwrap());
        let mut found = Vec::new();
        for _ in 0..count {
            now = cron.after(now, &zone).unwrap();
            let at = jiff::Timestamp::from_millisecond(i64::try_from(now.unix_ms()).unwrap()).unwrap();
            found.push(at.to_zoned(zone.clone()).strftime("%m-%d %H:%M%:z").to_string());
        }
        found
    }

    #[test]
    fn a_schedule_ticks_when_cron_would() {
        let of = |cron, count| ticks(cron, "UTC", "2026-02-17T10:13:30Z", count);
        assert_eq!(of("*/15 * * * *", 3), ["02-17 10:15+00:00", "02-17 10:30+00:00", "02-17 10:45+00:00"]);
        assert_eq!(of("30 4 * * mon-fri", 2), ["02-18 04:30+00:00", "02-19 04:30+00:00"]);
        assert_eq!(of("0 0 1 * *", 2), ["03-01 00:00+00:00", "04-01 00:00+00:00"]);
        assert_eq!(of("0 12 20 * 7", 2), ["02-20 12:00+00:00", "02-22 12:00+00:00"]);
        assert_eq!(of("@yearly", 1), ["01-01 00:00+00:00"]);
        assert_eq!(of("0 0 29 2 *", 1), ["02-29 00:00+00:00"]);
        assert_eq!(
            "0 0 30 2 *".parse::<Cron>().unwrap().after(Timestamp::from_unix_ms(0), &TimeZone::UTC),
            None
        );
    }

    #[test]
    fn a_clock_that_is_put_forward_or_back_makes_one_tick_a_day() {
        let night = |after, count| ticks("30 2 * * *", "Europe/Berlin", after, count);
        assert_eq!(night("2026-03-28T12:00:00Z", 2), ["03-29 03:30+02:00", "03-30 02:30+02:00"]);
        assert_eq!(night("2026-10-24T12:00:00Z", 2), ["10-25 02:30+02:00", "10-26 02:30+01:00"]);
        let often = ticks("*/30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", 4);
        assert_eq!(
            often,
            ["10-25 02:30+02:00", "10-25 02:00+01:00", "10-25 02:30+01:00", "10-25 03:00+01:00"]
        );
    }

    #[test]
    fn a_clock_that_is_put_forward_by_half_an_hour_loses_no_tick() {
        // From 02:00 to 02:30: what would be at 02:15 comes at 02:45, after that of 02:40.
        let night = ticks("15,40 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00Z", 3);
        assert_eq!(night, ["10-04 02:40+11:00", "10-04 02:45+11:00", "10-05 02:15+11:00"]);
    }

    /// However a clock is put forward and back: minute by minute, whenever the fields fit for the first time, there is a
    /// tick; and there is one from every moment before it.
    #[test]
    fn no_minute_that_fits_is_left_out_whatever_the_clock_does() {
        let crons = ["30 2 * * *", "15,40 2 * * *", "*/30 * * * *", "0 0,3 * * sun", "59 23 * * *"];
        let zones = ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/Havana", "America/Santiago"];
        let begins =
            ["2026-03-07T12:00:00Z", "2026-03-28T12:00:00Z", "2026-04-04T12:00:00Z", "2026-10-03T12:00:00Z"];
        let moment =
            |at: jiff::Timestamp| Timestamp::from_unix_ms(u64::try_from(at.as_millisecond()).unwrap());
        for (cron, zone) in crons.iter().flat_map(|cron| zones.map(|zone| (cron, zone))) {
            let (cron, zone): (Cron, _) = (cron.parse().unwrap(), TimeZone::get(zone).unwrap());
            for begin in begins {
                let begin: jiff::Timestamp = begin.parse().unwrap();
                let mut next = cron.after(moment(begin), &zone).unwrap();
                for minute in 1..36 * 60 {
                    let at = begin.checked_add(SignedDuration::from_mins(minute)).unwrap();
                    let civil = at.to_zoned(zone.clone()).datetime();
                    let fits = has(cron.minutes, civil.minute())
                        && has(cron.hours, civil.hour())
                        && cron.fits(civil.date());
                    let first = zone.to_ambiguous_timestamp(civil).compatible().unwrap() == at;
                    if fits && first {
                        assert_eq!(next, moment(at), "{cron} at {civil} in {}", zone.iana_name().unwrap());
                    }
                    if next == moment(at) {
                        next = cron.after(moment(at), &zone).unwrap();
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_no_schedule_says_why() {
        for (text, word) in [
            ("* * * *", "five fields"),
            ("60 * * * *", "0 to 59"),
            ("5-1 * * * *", "ends before"),
            ("*/0 * * * *", "no step"),
            ("* * * foo *", "1 to 12"),
            ("", "five fields"),
        ] {
            let error = text.parse::<Cron>().unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
