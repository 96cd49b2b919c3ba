//! The format of `log_destination = jsonlog`, which there is from PostgreSQL 15 on.

use std::borrow::Cow;

use serde::Deserialize;

use super::record::{Record, Severity, address, name};

/// The keys that are needed; a version may add others.
#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(borrow)]
    user: Option<Cow<'a, str>>,
    #[serde(borrow)]
    dbname: Option<Cow<'a, str>>,
    pid: u32,
    #[serde(borrow)]
    remote_host: Option<Cow<'a, str>>,
    #[serde(borrow)]
    error_severity: Cow<'a, str>,
    #[serde(borrow)]
    message: Option<Cow<'a, str>>,
    #[serde(borrow)]
    application_name: Option<Cow<'a, str>>,
}

/// Reads one line.
pub(super) fn read(line: &str) -> Option<Record<'_>> {
    let entry: Entry<'_> = serde_json::from_str(line).ok()?;
    let serves = entry.user.is_some();
    let app = || Cow::Owned(name(&entry.application_name.unwrap_or_default()).to_owned());
    Some(Record {
        severity: Severity::of(&entry.error_severity)?,
        at: entry.timestamp,
        pid: Some(entry.pid),
        role: entry.user,
        database: entry.dbname,
        app: serves.then(app),
        address: entry.remote_host.and_then(|host| address(&host).map(|host| Cow::Owned(host.to_owned()))),
        message: entry.message.unwrap_or_default(),
        ambiguous: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_are_left_out_and_escapes_are_read() {
        let line = "{\"timestamp\":\"2026-05-04 14:36:02.123 UTC\",\"user\":\"app\",\"pid\":7,\"new\":[1],\
             \"remote_host\":\"[local]\",\"error_severity\":\"LOG\",\"message\":\"a\\nb\"}";
        let record = read(line).unwrap();
        assert_eq!((record.message.as_ref(), record.app.as_deref()), ("a\nb", Some("")));
        assert_eq!(record.address.as_deref(), Some("local"));
        for wrong in ["", "{}", "[1]", "{\"pid\":-1}", &line[..40]] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
