//! The format of `log_destination = csvlog`.

use std::borrow::Cow;

use super::record::{Record, Severity, address, name};

/// Places of the fields that are needed.
const AT: usize = 0;
const ROLE: usize = 1;
const DATABASE: usize = 2;
const PID: usize = 3;
const FROM: usize = 4;
const SEVERITY: usize = 11;
const MESSAGE: usize = 13;
const APP: usize = 22;

/// Reads one entry, without the line break at its end.
pub(super) fn read(entry: &str) -> Option<Record<'_>> {
    let mut fields: [Option<Cow<'_, str>>; APP + 1] = [const { None }; APP + 1];
    let mut rest = Some(entry);
    for field in &mut fields {
        let (value, after) = next(rest?)?;
        *field = Some(value);
        rest = after;
    }
    let mut take = |at: usize| fields[at].take().unwrap_or_default();
    let severity = Severity::of(&take(SEVERITY))?;
    let pid = take(PID);
    let from = take(FROM);
    let host = match from.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => &from,
    };
    let address = address(host).map(|host| Cow::Owned(host.to_owned()));
    // A process that serves no client has neither role nor address.
    let role = Some(take(ROLE)).filter(|role| !role.is_empty());
    let serves = role.is_some();
    Some(Record {
        at: take(AT),
        pid: Some(pid.parse().ok()?),
        role,
        database: Some(take(DATABASE)).filter(|database| !database.is_empty()),
        app: serves.then(|| Cow::Owned(name(&take(APP)).to_owned())),
        address,
        severity,
        message: take(MESSAGE),
        ambiguous: false,
    })
}

/// The first field of `text`, and what follows its comma.
fn next(text: &str) -> Option<(Cow<'_, str>, Option<&str>)> {
    let Some(quoted) = text.strip_prefix('"') else {
        return Some(match text.split_once(',') {
            Some((value, rest)) => (Cow::Borrowed(value), Some(rest)),
            None => (Cow::Borrowed(text), None),
        });
    };
    let mut from = 0;
    let mut doubled = false;
    let end = loop {
        let at = from + quoted[from..].find('"')?;
        if quoted[at + 1..].starts_with('"') {
            doubled = true;
            from = at + 2;
        } else {
            break at;
        }
    };
    let value = &quoted[..end];
    let value = if doubled { Cow::Owned(value.replace("\"\"", "\"")) } else { Cow::Borrowed(value) };
    match &quoted[end + 1..] {
        "" => Some((value, None)),
        rest => Some((value, Some(rest.strip_prefix(',')?))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "2026-05-04 14:36:02.123 UTC,\"app\",\"jobs\",4711,\"::1:5000\",6a0b.1267,2,\"UPDATE\",\
        2026-05-04 14:36:01 UTC,3/7,0,LOG,00000,\"said \"\"so\"\",\nand more\",,,,,,,,,\"atom, saas\",\"client backend\",,0";

    #[test]
    fn quotes_commas_and_line_breaks_stay_within_their_field() {
        let record = read(LINE).unwrap();
        assert_eq!(record.message, "said \"so\",\nand more");
        assert_eq!((record.app.as_deref(), record.address.as_deref()), (Some("atom, saas"), Some("::1")));
        assert_eq!((record.pid, record.role.as_deref()), (Some(4711), Some("app")));
    }

    #[test]
    fn what_is_cut_or_is_no_entry_is_not_read() {
        let app = LINE.find("\"atom").unwrap();
        for end in (0..app).filter(|end| LINE.is_char_boundary(*end)) {
            assert_eq!(read(&LINE[..end]), None, "{end}");
        }
        assert_eq!(read("\"a\"b,"), None);
    }
}
