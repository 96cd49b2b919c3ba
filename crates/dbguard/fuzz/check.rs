// What holds for names of every form: shared by the fuzz target and by the plain test that replays its corpus.

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::Duration;

use palisade_dbguard::columns::Elsewhere;
use palisade_dbguard::script::{self, Columns, Named};
use palisade_dbguard::table::Column;
use palisade_dbguard::{Budget, Mode, Rules, Table, quote};

/// What a guard is told by name. Each is told from the others and from every word of the SQL.
const PLAIN: [&str; 17] = [
    "q_schema",
    "q_table",
    "q_status",
    "q_beat",
    "q_key",
    "q_other_key",
    "q_reason",
    "q_mark",
    "q_own",
    "q_owner",
    "q_partition",
    "q_there",
    "q_there_beat",
    "q_running",
    "q_done",
    "q_pattern",
    "q_mark_pattern",
];

/// A token of SQL, as PostgreSQL reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    /// A keyword, a name without quotes or a number.
    Word(String),
    /// A name in quotes.
    Name(String),
    /// A literal.
    Text(String),
    /// What a pair of `$palisade$` encloses.
    Body(Vec<Token>),
    /// Anything else.
    Mark(char),
}

/// The names that bytes stand for: texts between NUL, which no name can hold.
pub(crate) fn names(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    text.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// A guard by a superuser or by the table's owner, of a beat in the table itself or in another one.
pub(crate) const WAYS: usize = 4;

/// Quotes every name and reads it back, and compares the SQL of a guard of those names, in each way, with that of plain ones.
///
/// # Panics
/// Where they say different things.
pub(crate) fn check(bytes: &[u8]) {
    (0..WAYS).for_each(|way| check_one(bytes, way));
}

/// The same in one way.
pub(crate) fn check_one(bytes: &[u8], way: usize) {
    let names = names(bytes);
    for name in &names {
        reads_back(name);
        drop(quote::split_last(name));
    }
    for pair in names.windows(2) {
        let typed = format!("{}.{}", quote::name(&pair[0]), quote::name(&pair[1]));
        let table = typed.split_at(quote::name(&pair[0]).len()).0;
        assert_eq!(quote::split_last(&typed), Some((table, pair[1].clone())), "{typed}");
    }
    let mut all: Vec<&str> = PLAIN.to_vec();
    names.iter().zip(&mut all).for_each(|(name, place)| *place = name);
    let distinct: BTreeSet<_> = all.iter().collect();
    // Two columns, or a running state and an end, of one name are a mistake that is told elsewhere.
    if distinct.len() < all.len() {
        return;
    }
    let Some(scripts) = scripts(&all, way) else {
        assert!(all.iter().any(|name| name.contains("$palisade$")), "these names are refused: {all:?}");
        return;
    };
    for (sql, plain) in scripts.iter().zip(&plain()[way]) {
        let expected: Vec<Token> = plain.iter().map(|token| named(token.clone(), &all)).collect();
        assert_eq!(read(sql), expected, "{sql}");
    }
}

/// The SQL of plain names, read once, in each way.
fn plain() -> &'static [Vec<Vec<Token>>] {
    static READ: OnceLock<Vec<Vec<Vec<Token>>>> = OnceLock::new();
    READ.get_or_init(|| {
        let of = |way| scripts(&PLAIN, way).expect("plain names can be guarded");
        (0..WAYS).map(|way| of(way).iter().map(|sql| read(sql)).collect()).collect()
    })
}

/// One name is one token, which says that name, whatever `standard_conforming_strings` is.
fn reads_back(name: &str) {
    assert_eq!(read(&quote::name(name)), [Token::Name(name.to_owned())], "{name:?}");
    assert_eq!(read(&quote::text(name)), [Token::Text(name.to_owned())], "{name:?}");
}

/// The SQL that installs and removes a guard in that way. `None` where a name is refused.
fn scripts(names: &[&str], way: usize) -> Option<[String; 2]> {
    let timestamp = "timestamp with time zone";
    let text = |number, name: usize, key| Column::new(number, names[name], "text", key);
    let columns = vec![
        text(1, 2, false),
        Column::new(2, names[3], timestamp, false),
        text(3, 4, true),
        text(4, 5, true),
    ];
    let more = [6, 7, 8].into_iter().zip(5..).map(|(name, number)| text(number, name, false));
    let mut table = Table::new(names[0], names[1], names[9], columns.into_iter().chain(more).collect());
    table.schema_there = true;
    table.partitions = vec![format!("{}.{}", quote::name(names[0]), quote::name(names[10]))];
    let there = vec![text(1, 4, true), Column::new(2, names[12], timestamp, false)];
    let there = Table::new(names[0], names[11], names[9], there);
    let named = Named {
        status: names[2].to_owned(),
        beat: names[3].to_owned(),
        elsewhere: if way < 2 { None } else { Some(Elsewhere::of(&there, names[12]).ok()?) },
        reason: Some(names[6].to_owned()),
        mark: Some(names[7].to_owned()),
        own: vec![names[8].to_owned()],
        ..Named::default()
    };
    table.superuser = way % 2 == 1;
    let rules = rules(names);
    rules.check().ok()?;
    let columns = Columns::of(&table, &named, &rules).ok()?;
    let wait = Duration::from_millis(200);
    Some([script::install(&table, &columns, &rules, wait), script::remove(&table, false, true, wait)])
}

fn rules(names: &[&str]) -> Rules {
    Rules {
        mode: Mode::Enforce,
        running: vec![names[13].to_owned()],
        done: vec![names[14].to_owned()],
        own: Vec::new(),
        min_age: Duration::from_secs(3600),
        quiet_after: Duration::from_secs(120),
        clock_skew: Duration::from_secs(60),
        reason: Some(names[15].to_owned()),
        mark: Some(names[16].to_owned()),
        budget: Budget { jobs: 3, window: Duration::from_secs(600) },
    }
}

/// The same token with other names. A literal may hold quoted names: that of a table is one.
fn named(token: Token, names: &[&str]) -> Token {
    let pairs = || PLAIN.iter().zip(names);
    let same = |text: &str| pairs().find(|(plain, _)| **plain == text).map(|(_, name)| (*name).to_owned());
    match token {
        Token::Name(name) => Token::Name(same(&name).unwrap_or(name)),
        Token::Text(text) => Token::Text(same(&text).unwrap_or_else(|| {
            let parts = text.split('"').enumerate();
            let parts = parts.map(|(at, part)| match (at % 2, same(part)) {
                (1, Some(name)) => quote::name(&name),
                (1, None) => quote::name(part),
                _ => part.to_owned(),
            });
            parts.collect()
        })),
        Token::Body(tokens) => Token::Body(tokens.into_iter().map(|token| named(token, names)).collect()),
        other => other,
    }
}

/// Reads SQL to its end.
///
/// # Panics
/// Where a quote or a comment is not closed, or a literal means something else under another setting.
pub(crate) fn read(sql: &str) -> Vec<Token> {
    let (mut tokens, mut rest) = (Vec::new(), sql);
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
        let (token, next) = if first.is_whitespace() {
            rest = &rest[first.len_utf8()..];
            continue;
        } else if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.find('\n').map_or("", |end| &comment[end..]);
            continue;
        } else if rest.starts_with("/*") {
            panic!("no SQL of ours has such a comment: {rest}");
        } else if let Some(body) = rest.strip_prefix("$palisade$") {
            let end = body.find("$palisade$").expect("a body is closed");
            (Token::Body(read(&body[..end])), &body[end + "$palisade$".len()..])
        } else if first == '"' {
            let (name, next) = quoted(&rest[1..], '"', false);
            (Token::Name(name), next)
        } else if first == '\'' || rest.starts_with("E'") {
            let escapes = first == 'E';
            let (text, next) = quoted(&rest[if escapes { 2 } else { 1 }..], '\'', escapes);
            (Token::Text(text), next)
        } else if word > 0 {
            (Token::Word(rest[..word].to_owned()), &rest[word..])
        } else {
            (Token::Mark(first), &rest[first.len_utf8()..])
        };
        tokens.push(token);
        rest = next;
    }
    tokens
}

fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_' || !character.is_ascii()
}

/// What stands up to the closing quote, and what comes after it.
fn quoted(text: &str, quote: char, escapes: bool) -> (String, &str) {
    let (mut said, mut characters) = (String::new(), text.char_indices().peekable());
    while let Some((at, character)) = characters.next() {
        if character == quote {
            if characters.peek().is_some_and(|(_, next)| *next == quote) {
                characters.next();
            } else {
                return (said, &text[at + quote.len_utf8()..]);
            }
        } else if character == '\\' && escapes {
            match characters.next().expect("something is escaped").1 {
                '\\' => {}
                'n' => {
                    said.push('\n');
                    continue;
                }
                other => panic!("nothing of ours escapes {other:?}"),
            }
        } else {
            assert!(character != '\\' || quote == '"', "what this says depends on a setting: {text}");
        }
        said.push(character);
    }
    panic!("a quote is not closed: {text}");
}
