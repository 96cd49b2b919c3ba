//! `log_line_prefix`: what stands before each line of the plain format.

use std::borrow::Cow;

use super::record::{Record, Severity, address, name};

/// The longest name of a role, a database or a client, in bytes.
const NAME: usize = 63;
/// The longest name of a host.
const HOST: usize = 255;
/// Attempts for one line before it counts as unreadable: a name may be made to fit in very many ways.
const ATTEMPTS: u32 = 4096;

/// A `log_line_prefix` that was taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix {
    pieces: Vec<Piece>,
}

/// The setting has an escape that this version does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("log_line_prefix has %{0}, which is not known here")]
pub struct UnknownPrefix(String);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Field(Field),
    /// `%q`: processes that serve no client have nothing of what follows.
    Session,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    App,
    Role,
    Database,
    /// `%r` has the port in parentheses, `%h` has none.
    Address,
    Pid,
    Time,
    /// A word of which nothing is needed, made of these characters.
    Word(Word),
    /// Text of which nothing is needed.
    Text,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Digits,
    Hex,
    Slashed,
    State,
}

/// What the places of a prefix held in one line.
#[derive(Debug, Clone, Copy, Default)]
struct Found<'a> {
    at: &'a str,
    pid: Option<u32>,
    role: Option<&'a str>,
    database: Option<&'a str>,
    app: Option<&'a str>,
    address: Option<&'a str>,
}

/// A way to read one line.
#[derive(Debug, Clone, Copy)]
struct Reading<'a> {
    found: Found<'a>,
    severity: Severity,
    message: &'a str,
}

/// The search for every way to read a line.
struct Search<'a> {
    first: Option<Reading<'a>>,
    ways: u32,
    attempts: u32,
}

impl Prefix {
    /// Prefixes that are in use: of PostgreSQL, Debian, Amazon RDS, Google, Azure, pgBadger.
    pub const KNOWN: [&'static str; 9] = [
        "%m [%p] ",
        "%m [%p] %q%u@%d ",
        "%m [%p] %q[user=%u,db=%d,app=%a] ",
        "%m [%p] %q%u@%d/%a ",
        "%t:%r:%u@%d:[%p]:",
        "%m [%p]: [%l-1] db=%d,user=%u ",
        "%t [%p]: [%l-1] user=%u,db=%d,app=%a,client=%h ",
        "%t [%p]: user=%u,db=%d,app=%a,client=%h ",
        "%t-%c-",
    ];

    /// Takes a setting apart, as `SHOW log_line_prefix` prints it.
    ///
    /// # Errors
    /// [`UnknownPrefix`].
    pub fn parse(setting: &str) -> Result<Self, UnknownPrefix> {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut literal = String::new();
        let mut rest = setting.chars();
        while let Some(c) = rest.next() {
            if c != '%' {
                literal.push(c);
                continue;
            }
            let mut escape = rest.next();
            // A width, which only adds blanks.
            while escape.is_some_and(|c| c == '-' || c.is_ascii_digit()) {
                escape = rest.next();
            }
            // As the server does, a lone % at the end is left out.
            let Some(escape) = escape else { break };
            if escape == '%' {
                literal.push('%');
                continue;
            }
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            pieces.push(piece(escape).ok_or_else(|| UnknownPrefix(escape.to_string()))?);
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Self { pieces })
    }

    /// Reads the first line of an entry; `None` if it is none of this prefix.
    #[must_use]
    pub fn read<'a>(&self, line: &'a str) -> Option<Record<'a>> {
        let mut search = Search { first: None, ways: 0, attempts: ATTEMPTS };
        search.go(&self.pieces, line, Found::default());
        let Reading { found, severity, message } = search.first?;
        Some(Record {
            at: Cow::Borrowed(found.at),
            pid: found.pid,
            role: found.role.map(Cow::Borrowed),
            database: found.database.map(Cow::Borrowed),
            app: found.app.map(Cow::Borrowed),
            address: found.address.map(Cow::Borrowed),
            severity,
            message: Cow::Borrowed(message),
            ambiguous: search.ways > 1 || search.attempts == 0,
        })
    }
}

fn piece(escape: char) -> Option<Piece> {
    Some(Piece::Field(match escape {
        'a' => Field::App,
        'u' => Field::Role,
        'd' => Field::Database,
        'r' | 'h' => Field::Address,
        'p' => Field::Pid,
        't' | 'm' => Field::Time,
        'l' | 'x' | 'Q' | 'P' => Field::Word(Word::Digits),
        'c' | 'n' => Field::Word(Word::Hex),
        'v' => Field::Word(Word::Slashed),
        'e' => Field::Word(Word::State),
        'b' | 'i' | 'L' | 's' => Field::Text,
        'q' => return Some(Piece::Session),
        _ => return None,
    }))
}

impl<'a> Search<'a> {
    /// Goes on with `pieces` at the beginning of `text`.
    fn go(&mut self, pieces: &[Piece], text: &'a str, found: Found<'a>) {
        if self.ways > 1 || self.attempts == 0 {
            return;
        }
        self.attempts -= 1;
        let Some((piece, after)) = pieces.split_first() else { return self.end(text, found) };
        match piece {
            Piece::Literal(literal) => {
                if let Some(rest) = text.strip_prefix(literal.as_str()) {
                    self.go(after, rest, found);
                }
            }
            Piece::Session => {
                let ways = self.ways;
                self.go(after, text, found);
                if self.ways == ways {
                    self.end(text, found);
                }
            }
            Piece::Field(field) => self.field(*field, after, text, found),
        }
    }

    fn field(&mut self, field: Field, after: &[Piece], text: &'a str, found: Found<'a>) {
        match field {
            Field::Time => {
                if let Some(end) = time(text) {
                    self.go(after, &text[end..], Found { at: &text[..end], ..found });
                }
            }
            Field::Pid => {
                let padded = text.trim_start_matches(' ');
                let end = padded.bytes().take_while(u8::is_ascii_digit).count();
                if let Ok(pid) = padded[..end].parse() {
                    self.go(after, blanks(&padded[end..], after), Found { pid: Some(pid), ..found });
                }
            }
            Field::Word(word) => {
                let padded = text.trim_start_matches(' ');
                // Only the identifier of a query may be below zero.
                let sign = usize::from(word == Word::Digits && padded.starts_with('-'));
                let end = sign + padded.bytes().skip(sign).take_while(|byte| word.takes(*byte)).count();
                self.go(after, blanks(&padded[end..], after), found);
            }
            Field::App | Field::Role | Field::Database | Field::Address | Field::Text => {
                self.text(field, after, text, found);
            }
        }
    }

    /// A field of free text may end wherever the next piece can begin.
    fn text(&mut self, field: Field, after: &[Piece], text: &'a str, found: Found<'a>) {
        let longest = if field == Field::Address { HOST } else { NAME };
        let literal = match after.first() {
            Some(Piece::Literal(literal)) => Some(literal.as_str()),
            _ => None,
        };
        let mut from = 0;
        while from <= longest.min(text.len()) {
            let end = match literal {
                Some(literal) => match text.get(from..).and_then(|rest| rest.find(literal)) {
                    Some(at) => from + at,
                    None => return,
                },
                None => from,
            };
            if end > longest {
                return;
            }
            from = end + 1;
            let Some((value, rest)) = text.split_at_checked(end) else { continue };
            let value = value.trim_matches(' ');
            let found = match field {
                Field::App => Found { app: Some(name(value)), ..found },
                Field::Role => Found { role: Some(name(value)), ..found },
                Field::Database => Found { database: Some(name(value)), ..found },
                Field::Address => match host(value) {
                    Some(host) => Found { address: address(host), ..found },
                    None => continue,
                },
                _ => found,
            };
            self.go(after, rest, found);
        }
    }

    fn end(&mut self, text: &'a str, found: Found<'a>) {
        let Some((word, message)) = text.split_once(":  ") else { return };
        let Some(severity) = Severity::of(word) else { return };
        self.ways += 1;
        if self.first.is_none() {
            self.first = Some(Reading { found, severity, message: without_state(message) });
        }
    }
}

impl Word {
    fn takes(self, byte: u8) -> bool {
        match self {
            Self::Digits => byte.is_ascii_digit(),
            Self::Hex => byte.is_ascii_hexdigit() || byte == b'.',
            Self::Slashed => byte.is_ascii_digit() || byte == b'/',
            Self::State => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
        }
    }
}

/// Blanks of a width, unless the next piece begins with one itself.
fn blanks<'a>(text: &'a str, after: &[Piece]) -> &'a str {
    match after.first() {
        Some(Piece::Literal(literal)) if !literal.starts_with(' ') => text.trim_start_matches(' '),
        _ => text,
    }
}

/// An address without the port that `%r` adds in parentheses; `None` for what is no address at all.
fn host(text: &str) -> Option<&str> {
    let host = match text.strip_suffix(')').and_then(|text| text.rsplit_once('(')) {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => text,
    };
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | ':' | '-' | '_' | '%' | '/' | '[' | ']');
    host.chars().all(plain).then_some(host)
}

/// The length of a time such as `2026-05-04 14:36:02.123 UTC`.
fn time(text: &str) -> Option<usize> {
    const SHAPE: &[u8] = b"0000-00-00 00:00:00";
    let bytes = text.as_bytes();
    let fits = |(byte, shape): (&u8, &u8)| if *shape == b'0' { byte.is_ascii_digit() } else { byte == shape };
    if bytes.len() < SHAPE.len() || !bytes.iter().zip(SHAPE).all(fits) {
        return None;
    }
    let mut end = SHAPE.len();
    if bytes.get(end) == Some(&b'.') {
        end += 1 + bytes[end + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    }
    let zone = bytes.get(end + 1..).unwrap_or_default();
    let sign = usize::from(matches!(zone.first(), Some(b'+' | b'-')));
    let part = |byte: &&u8| if sign == 1 { byte.is_ascii_digit() } else { byte.is_ascii_alphabetic() };
    let zone = zone.iter().skip(sign).take_while(part).count() + sign;
    // %t and %m always name a zone.
    (bytes.get(end) == Some(&b' ') && zone > sign).then_some(end + 1 + zone)
}

/// The message without the SQLSTATE that `log_error_verbosity = verbose` puts before it.
fn without_state(message: &str) -> &str {
    match message.split_at_checked(5).and_then(|(state, rest)| Some((state, rest.strip_prefix(": ")?))) {
        Some((state, rest)) if state.bytes().all(|byte| Word::State.takes(byte)) => rest,
        _ => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<'a>(prefix: &str, line: &'a str) -> Option<Record<'a>> {
        Prefix::parse(prefix).unwrap().read(line)
    }

    #[test]
    fn each_known_prefix_reads_a_line_of_its_own_and_says_what_it_holds() {
        let said = "LOG:  connection received: host=10.0.0.7 port=4711";
        for prefix in Prefix::KNOWN {
            let line = [
                ("%m", "2026-05-04 14:36:02.123 UTC"),
                ("%t", "2026-05-04 14:36:02 UTC"),
                ("%p", "4711"),
                ("%q", ""),
                ("%u", "app"),
                ("%d", "jobs"),
                ("%a", "atom-saas-test"),
                ("%r", "10.0.0.7(4711)"),
                ("%h", "10.0.0.7"),
                ("%l", "3"),
                ("%c", "6a0b.12"),
            ]
            .iter()
            .fold(prefix.to_owned(), |line, (place, value)| line.replace(place, value));
            let line = format!("{line}{said}");
            let record = read(prefix, &line).unwrap_or_else(|| panic!("{prefix}: {line}"));
            assert_eq!(format!("LOG:  {}", record.message), said, "{prefix}");
            assert!(record.at.starts_with("2026-05-04 14:36:02") && !record.ambiguous, "{prefix}");
            for (place, value) in [("%u", &record.role), ("%d", &record.database), ("%a", &record.app)] {
                assert_eq!(value.is_some(), prefix.contains(place), "{prefix}");
            }
            assert_eq!(record.address.is_some(), prefix.contains("%r") || prefix.contains("%h"), "{prefix}");
        }
    }

    #[test]
    fn a_process_that_serves_no_client_ends_at_q() {
        let record =
            read("%m [%p] %q%u@%d ", "2026-05-04 14:36:02.123 UTC [1] LOG:  checkpoint starting: time");
        assert_eq!(record.unwrap().role, None);
    }

    #[test]
    fn a_name_that_imitates_the_log_makes_the_line_ambiguous() {
        let forged = "2026-05-04 14:36:02 UTC [7]: user=app,db=jobs,app=x,client=10.9.9.9 LOG:  all is well,client=10.0.0.7 \
             LOG:  statement: SELECT 1";
        let record = read("%t [%p]: user=%u,db=%d,app=%a,client=%h ", forged).unwrap();
        assert!(record.ambiguous);
    }

    #[test]
    fn foreign_lines_and_other_languages_are_not_read() {
        for line in
            ["", "ld.so: something", "2026-05-04 14:36:02.123 UTC [1] PROTOKOLL:  Verbindung", "2026-05-04"]
        {
            assert_eq!(read("%m [%p] ", line), None, "{line}");
        }
        assert!(Prefix::parse("%y").is_err() && Prefix::parse("%m [%p] %").is_ok());
    }

    #[test]
    fn a_name_made_of_separators_costs_no_more_than_the_attempts() {
        let line = format!("{}LOG:  x", " ".repeat(4000));
        let record = read("%a %u %d %h ", &line);
        assert!(record.is_none_or(|record| record.ambiguous));
    }

    #[test]
    fn widths_and_verbose_states_are_taken_off() {
        let record = read(
            "%m [%-8p] %-12u|%10d|",
            "2026-05-04 14:36:02.1 +0200 [42      ] app         |      jobs|ERROR:  PL301: Palisade: no",
        );
        let record = record.unwrap();
        assert_eq!((record.pid, record.message.as_ref()), (Some(42), "Palisade: no"));
        assert_eq!((record.role.as_deref(), record.database.as_deref()), (Some("app"), Some("jobs")));
    }
}
