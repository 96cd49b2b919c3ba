//! What an entry of the log is about.

use crate::log::{Record, Severity};

/// What an entry is about, as far as an audit cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// A client is about to log in from this host.
    Received {
        /// The host, `local` for a socket of the file system.
        host: &'a str,
    },
    /// A client has logged in.
    Authorized {
        /// As this role.
        role: &'a str,
        /// To this database.
        database: &'a str,
        /// Under this name; empty if it gave none.
        app: &'a str,
        /// Whether the message can be read in more than one way.
        ambiguous: bool,
    },
    /// A client has gone.
    Ended,
    /// A login failed, for this role.
    Rejected {
        /// The role, if the message names it.
        role: Option<&'a str>,
    },
    /// A statement that changes the schema.
    Ddl {
        /// Its first two words, in capitals.
        verb: String,
    },
    /// A guard of Palisade refused something, or would have.
    Refused(Refusal<'a>),
    /// Anything else.
    Other,
}

/// What a guard of Palisade left in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// The number behind `PAL-`.
    pub code: u16,
    /// Whether it was refused; in observe it would have been.
    pub refused: bool,
    /// What happened, in the guard's words.
    pub what: &'a str,
    /// The role.
    pub role: &'a str,
    /// The name that the client gave itself.
    pub app: String,
    /// From where.
    pub address: &'a str,
}

impl<'a> Event<'a> {
    /// Reads the message of an entry.
    #[must_use]
    pub fn of(record: &'a Record<'_>) -> Self {
        let message = record.message.as_ref();
        match record.severity {
            Severity::Log => {}
            Severity::Fatal => return rejected(message),
            Severity::Error | Severity::More | Severity::Other => return Self::Other,
        }
        // The first byte rules most entries out.
        match message.as_bytes().first() {
            Some(b'c' | b'r') => connection(message, record),
            Some(b'd') if message.starts_with("disconnection: ") => Self::Ended,
            Some(b'd' | b's' | b'e') => statement(message),
            Some(b'p') => refusal(message).map_or(Self::Other, Self::Refused),
            _ => Self::Other,
        }
    }
}

fn connection<'a>(message: &'a str, record: &Record<'_>) -> Event<'a> {
    if let Some(rest) = message.strip_prefix("connection received: host=") {
        let host = rest.split_once(" port=").map_or(rest, |(host, _)| host);
        return Event::Received { host: if host == "[local]" { "local" } else { host } };
    }
    let message = message.strip_prefix("replication ").unwrap_or(message);
    let Some(rest) = message.strip_prefix("connection authorized: user=") else { return Event::Other };
    authorized(rest, record.role.as_deref(), record.database.as_deref()).unwrap_or(Event::Other)
}

/// `ROLE database=DATABASE application_name=APP SSL enabled (...)`, where only the role is always there.
fn authorized<'a>(rest: &'a str, role: Option<&str>, database: Option<&str>) -> Option<Event<'a>> {
    const DATABASE: &str = " database=";
    const APP: &str = " application_name=";
    // Where the entry itself says role and database, the message is taken apart by their lengths.
    let by = |known: Option<&str>, text: &'a str, end: &str| -> usize {
        let known = known.filter(|known| {
            text.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        });
        known.map_or_else(|| text.find(end).unwrap_or(text.len()), str::len)
    };
    let (rest, encrypted) = without_encryption(rest);
    let (role_text, after) = rest.split_at_checked(by(role, rest, DATABASE))?;
    let Some(after) = after.strip_prefix(DATABASE) else {
        // A replication connection has no database.
        let (role_text, app) = role_text.split_once(APP).unwrap_or((role_text, ""));
        return Some(Event::Authorized {
            role: role_text,
            database: "",
            app: unnamed(app),
            ambiguous: false,
        });
    };
    let (database_text, after) = after.split_at_checked(by(database, after, APP))?;
    let app = unnamed(after.strip_prefix(APP).unwrap_or_default());
    let sure = role.is_some() && database.is_some();
    let imitates =
        app.contains(DATABASE) || app.contains(APP) || (!encrypted && app.contains(" SSL enabled ("));
    Some(Event::Authorized { role: role_text, database: database_text, app, ambiguous: imitates && !sure })
}

/// The message without what it says about TLS or GSS, and whether it said any.
fn without_encryption(text: &str) -> (&str, bool) {
    for (mark, parts) in
        [(" SSL enabled (protocol=", &[", cipher=", ", bits="][..]), (" GSS (", &["encrypted="])]
    {
        if let Some((before, after)) = text.rsplit_once(mark)
            && after.ends_with(')')
            && parts.iter().all(|part| after.contains(part))
        {
            return (before, true);
        }
    }
    (text, false)
}

/// A name that the log writes for none is none.
fn unnamed(app: &str) -> &str {
    if app == "[unknown]" { "" } else { app }
}

fn rejected(message: &str) -> Event<'_> {
    const LOGINS: [&str; 6] = [
        "password authentication failed for user \"",
        "no pg_hba.conf entry for host ",
        "pg_hba.conf rejects connection for host ",
        "too many connections for role \"",
        "permission denied for database \"",
        "role \"",
    ];
    if !LOGINS.iter().any(|begin| message.starts_with(begin)) && !message.contains("authentication failed") {
        return Event::Other;
    }
    let quoted = |after: &str| {
        let (_, rest) = message.split_once(after)?;
        rest.split_once('"').map(|(name, _)| name)
    };
    let role = ["for user \"", ", user \"", "for role \""].into_iter().find_map(quoted);
    let role = role.or_else(|| if message.starts_with("role \"") { quoted("role \"") } else { None });
    Event::Rejected { role }
}

/// Kinds of objects that are named in a finding.
const OBJECTS: [&str; 10] =
    ["TABLE", "INDEX", "TYPE", "SCHEMA", "VIEW", "FUNCTION", "TRIGGER", "SEQUENCE", "ROLE", "DATABASE"];

fn statement(message: &str) -> Event<'_> {
    let Some(sql) = sql_of(message) else { return Event::Other };
    let sql = without_comments(sql);
    let mut words = sql.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
    let first = words.next().unwrap_or_default().to_ascii_uppercase();
    if !matches!(
        first.as_str(),
        "CREATE" | "ALTER" | "DROP" | "TRUNCATE" | "COMMENT" | "GRANT" | "REVOKE" | "REINDEX"
    ) {
        return Event::Other;
    }
    let between = |word: &String| {
        !matches!(
            word.as_str(),
            "OR" | "REPLACE" | "TEMP" | "TEMPORARY" | "UNIQUE" | "UNLOGGED" | "LOCAL" | "GLOBAL"
        )
    };
    let second = words.take(5).map(str::to_ascii_uppercase).find(between).unwrap_or_default();
    // Tables of one session are nobody's schema, and rights are not one.
    let begin = sql.get(..24).unwrap_or(sql).to_ascii_uppercase();
    if matches!(first.as_str(), "GRANT" | "REVOKE") || begin.starts_with("CREATE") && begin.contains(" TEMP")
    {
        return Event::Other;
    }
    // A second word that is no kind of object may be a name, and stays unsaid.
    let verb = if OBJECTS.contains(&second.as_str()) { format!("{first} {second}") } else { first };
    Event::Ddl { verb }
}

/// The statement of `statement: SQL`, `execute NAME: SQL` and `duration: N ms  statement: SQL`.
fn sql_of(message: &str) -> Option<&str> {
    let message = match message.strip_prefix("duration: ") {
        Some(rest) => rest.split_once(" ms  ")?.1,
        None => message,
    };
    if let Some(sql) = message.strip_prefix("statement: ") {
        return Some(sql);
    }
    message.strip_prefix("execute ")?.split_once(": ").map(|(_, sql)| sql)
}

fn without_comments(mut sql: &str) -> &str {
    loop {
        sql = sql.trim_start();
        let rest = if let Some(comment) = sql.strip_prefix("/*") {
            comment.split_once("*/")
        } else if let Some(comment) = sql.strip_prefix("--") {
            comment.split_once('\n')
        } else {
            return sql;
        };
        match rest {
            Some((_, rest)) => sql = rest,
            None => return "",
        }
    }
}

/// `palisade: PAL-301 refused: WHAT; role R, application_name 'A', from HOST, server process N`, read from its end:
/// what a client chose stands in quotes, and its own quotes are doubled.
fn refusal(message: &str) -> Option<Refusal<'_>> {
    let rest = message.strip_prefix("palisade: PAL-")?;
    let (code, rest) = rest.split_once(' ')?;
    let (refused, rest) = match rest.strip_prefix("refused: ") {
        Some(rest) => (true, rest),
        None => (false, rest.strip_prefix("would be refused: ")?),
    };
    let (rest, process) = rest.rsplit_once(", server process ")?;
    process.parse::<u32>().ok()?;
    let (rest, address) = rest.rsplit_once("', from ")?;
    let begin = opening_quote(rest)?;
    let app = rest[begin + 1..].replace("''", "'");
    let before = rest[..begin].trim_end_matches(['E', ' ']).strip_suffix(", application_name")?;
    let (what, role) = before.rsplit_once("; role ")?;
    let address = if address == "a local socket" { "local" } else { address };
    Some(Refusal { code: code.parse().ok()?, refused, what, role, app, address })
}

/// Where the quote stands that opened the literal which `text` ends in: the last one that is not doubled.
fn opening_quote(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = bytes.len();
    while let Some(last) = bytes[..at].iter().rposition(|byte| *byte == b'\'') {
        let run = bytes[..=last].iter().rev().take_while(|byte| **byte == b'\'').count();
        let first = last + 1 - run;
        if run % 2 == 1 {
            return Some(first);
        }
        at = first;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(severity: Severity, message: &str) -> Record<'_> {
        Record {
            at: "".into(),
            pid: None,
            role: None,
            database: None,
            app: None,
            address: None,
            severity,
            message: message.into(),
            ambiguous: false,
        }
    }

    fn app_of(message: &str, role: Option<&str>) -> (String, bool) {
        let mut record = record(Severity::Log, message);
        record.role = role.map(|role| role.to_owned().into());
        record.database = role.map(|_| "jobs".into());
        match Event::of(&record) {
            Event::Authorized { app, ambiguous, .. } => (app.to_owned(), ambiguous),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_login_names_role_database_and_app_whatever_they_contain() {
        let of = |rest: &str, role| app_of(&format!("connection authorized: user={rest}"), role);
        assert_eq!(of("app database=jobs application_name=a b=c", None), ("a b=c".to_owned(), false));
        assert_eq!(of("app database=jobs", None), (String::new(), false));
        let tls = "app database=jobs application_name=a SSL enabled (protocol=TLSv1.3, cipher=X, bits=256)";
        assert_eq!(of(tls, None), ("a".to_owned(), false));
        assert_eq!(of(tls, Some("app")), ("a".to_owned(), false));
        let forged = "app database=jobs application_name=x database=d application_name=y";
        assert!(of(forged, None).1, "said by the message alone");
        assert_eq!(of(forged, Some("app")), ("x database=d application_name=y".to_owned(), false));
        let odd = "a database=x database=jobs application_name=y";
        assert_eq!(of(odd, Some("a database=x")), ("y".to_owned(), false));
    }

    #[test]
    fn changes_of_the_schema_are_told_by_their_first_words_and_hold_no_name() {
        for (message, verb) in [
            ("statement: ALTER TABLE secret ADD x int", Some("ALTER TABLE")),
            ("execute <unnamed>: /* a */ -- b\n create or replace function f()", Some("CREATE FUNCTION")),
            ("duration: 1.2 ms  statement: drop secret", Some("DROP")),
            ("statement: CREATE TEMP TABLE t (x int)", None),
            ("statement: SELECT 'ALTER TABLE'", None),
            ("statement: /* ALTER TABLE", None),
            ("statement: GRANT SELECT ON t TO r", None),
            ("duration: 1.2 ms", None),
        ] {
            let record = record(Severity::Log, message);
            let expected = verb.map_or(Event::Other, |verb| Event::Ddl { verb: verb.to_owned() });
            assert_eq!(Event::of(&record), expected, "{message}");
        }
    }

    #[test]
    fn a_refusal_is_attributed_whatever_the_client_calls_itself() {
        for (quoted, app) in [
            ("'atom-saas-test'", "atom-saas-test"),
            ("''", ""),
            ("'it''s'", "it's"),
            ("'''x'''", "'x'"),
            (
                "'a'', from 1.2.3.4, server process 5; role admin, application_name ''b'",
                "a', from 1.2.3.4, server process 5; role admin, application_name 'b",
            ),
        ] {
            let message = format!(
                "palisade: PAL-301 refused: Palisade: no; role x, in t (job '; role y); role app, application_name {quoted}, \
                 from 10.0.3.7, server process 4711"
            );
            let record = record(Severity::Log, &message);
            let Event::Refused(refusal) = Event::of(&record) else { panic!("{message}") };
            assert_eq!((refusal.code, refusal.refused, refusal.role), (301, true, "app"), "{message}");
            assert_eq!((refusal.app.as_str(), refusal.address), (app, "10.0.3.7"), "{message}");
        }
    }

    #[test]
    fn failed_logins_name_their_role() {
        for (message, role) in [
            ("password authentication failed for user \"app\"", Some("app")),
            ("role \"app\" is not permitted to log in", Some("app")),
            ("too many connections for role \"app\"", Some("app")),
            (
                "no pg_hba.conf entry for host \"10.0.0.7\", user \"app\", database \"jobs\", no encryption",
                Some("app"),
            ),
        ] {
            let record = record(Severity::Fatal, message);
            assert_eq!(Event::of(&record), Event::Rejected { role }, "{message}");
        }
        let other = record(Severity::Fatal, "terminating connection due to administrator command");
        assert_eq!(Event::of(&other), Event::Other);
    }
}
