//! Rows to values and back.

use palisade_postgres::{ToSql, Type, TypedRow, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;

use palisade_core::Timestamp;
use palisade_jobs::Error;
use palisade_jobs::claim::{Checkpoint, Terms};

/// Milliseconds of the store's clock as a moment.
pub(super) fn moment(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(unsigned(ms))
}

/// A moment or a span as the store keeps it.
pub(super) fn ms(ms: impl TryInto<i64>) -> i64 {
    ms.try_into().unwrap_or(i64::MAX)
}

/// A count that the store keeps as a signed number.
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// A count of attempts, which the store keeps as a signed number.
pub(super) fn attempts(number: i16) -> u16 {
    u16::try_from(number).unwrap_or(0)
}

/// A count of attempts as the store keeps it.
pub(super) fn small(number: u16) -> i16 {
    i16::try_from(number).unwrap_or(i16::MAX)
}

/// A value of ours as JSON. None of them can fail: they have no maps with other keys than text.
pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// What [`json`] wrote.
pub(super) fn parsed<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|error| damaged(&error.to_string()))
}

/// A word or a name.
pub(super) fn word<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, Error> {
    text.parse().map_err(|error: T::Err| damaged(&error.to_string()))
}

/// A field of a row that a statement of ours selected.
pub(super) fn field<'a, T: palisade_postgres::FromSql<'a>>(
    row: &'a TypedRow,
    name: &str,
) -> Result<T, Error> {
    row.try_get(name).map_err(|error| damaged(&error.to_string()))
}

/// As [`field`], by its place in the statement, for rows that come by the thousand: a name is looked for in each of them.
pub(super) fn at<'a, T: palisade_postgres::FromSql<'a>>(row: &'a TypedRow, place: usize) -> Result<T, Error> {
    row.try_get(place).map_err(|error| damaged(&error.to_string()))
}

fn damaged(problem: &str) -> Error {
    Error::Refused(format!("a row of palisade_jobs is not as this palisade wrote it: {problem}"))
}

pub(super) fn text<'a>(value: &'a (impl ToSql + Sync)) -> Value<'a> {
    (value, Type::TEXT)
}

pub(super) fn texts<'a>(values: &'a (impl ToSql + Sync)) -> Value<'a> {
    (values, Type::TEXT_ARRAY)
}

pub(super) fn number<'a>(value: &'a (impl ToSql + Sync)) -> Value<'a> {
    (value, Type::INT8)
}

pub(super) fn numbers<'a>(values: &'a (impl ToSql + Sync)) -> Value<'a> {
    (values, Type::INT8_ARRAY)
}

pub(super) fn smalls<'a>(values: &'a (impl ToSql + Sync)) -> Value<'a> {
    (values, Type::INT2_ARRAY)
}

/// The terms of a running row.
pub(super) fn terms(row: &TypedRow) -> Result<Terms, Error> {
    Ok(Terms {
        beat_every_ms: unsigned(field(row, "beat_every_ms")?),
        reap_after_ms: unsigned(field(row, "reap_after_ms")?),
        self_fence_ms: unsigned(field(row, "self_fence_ms")?),
    })
}

/// A row of the table of checkpoints.
pub(super) fn checkpoint(row: &TypedRow) -> Result<Checkpoint, Error> {
    Ok(Checkpoint {
        sequence: unsigned(field(row, "sequence")?),
        key: field(row, "key")?,
        sha256: field(row, "sha256")?,
        bytes: unsigned(field(row, "bytes")?),
    })
}
