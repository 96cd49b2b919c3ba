//! Names and texts of every form, read back by PostgreSQL itself: what is quoted stays what it was, and a guard of a table
//! with such names guards.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use palisade_dbguard::script::{self, Columns, Named};
use palisade_dbguard::{Error, Table, quote, upgrade};
use palisade_postgres::Session;

use crate::fixture::{Jobs, named, rules, wait};

#[path = "../../fuzz/check.rs"]
mod check;

/// What ends quotes, comments, templates and formats, and what is written with more than one byte.
const PIECES: [&str; 28] = [
    "\"",
    "\"\"",
    "'",
    "''",
    "\\",
    "\\'",
    "$",
    "$$",
    "$a$",
    "{",
    "}",
    "{id}",
    "{running}",
    "{act}",
    "--",
    "/*",
    "*/",
    ";",
    "\n",
    "\t",
    " ",
    "é",
    "数",
    "E'",
    "U&\"",
    "%I",
    "a",
    "Z",
];

/// Numbers that look random and are the same each time.
fn numbers(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    }
}

/// Different names, the same ones each time.
fn names(seed: u64, count: usize) -> Vec<String> {
    let (mut next, mut found) = (numbers(seed), BTreeSet::new());
    while found.len() < count {
        let name: String = (0..1 + next(9)).map(|_| PIECES[next(PIECES.len())]).collect();
        // PostgreSQL cuts a name after 63 bytes.
        if name.len() <= 63 {
            found.insert(name);
        }
    }
    found.into_iter().collect()
}

/// The fuzz target's corpus: what each file is called, and what it holds.
fn corpus() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/names");
    let file = |path: std::path::PathBuf| (path.display().to_string(), std::fs::read(&path).unwrap());
    let mut files: Vec<_> = folder.read_dir().unwrap().map(|entry| file(entry.unwrap().path())).collect();
    files.sort();
    assert!(files.len() >= 17, "{}", files.len());
    files
}

async fn column(session: &Session, sql: &str) -> Vec<String> {
    let rows = session.rows("read back", sql).await.unwrap();
    rows.into_iter().map(|row| row[0].clone().unwrap()).collect()
}

#[test]
fn the_sql_of_a_guard_says_the_same_under_every_name_of_the_corpus() {
    let corpus = corpus();
    for (name, bytes) in &corpus {
        assert!(std::panic::catch_unwind(|| check::check(bytes)).is_ok(), "{name}");
    }
    // A byte changed here and there reaches other branches than bytes at random.
    let mut next = numbers(6);
    for _ in 0..200 {
        let (name, mut bytes) = corpus[next(corpus.len())].clone();
        for _ in 0..1 + next(5) {
            let at = next(bytes.len());
            bytes[at] = u8::try_from(next(256)).unwrap();
        }
        assert!(std::panic::catch_unwind(|| check::check(&bytes)).is_ok(), "{name} as {bytes:?}");
    }
}

/// How texts are read is the session's to say, and the guard's functions run in the app's.
#[test]
fn nothing_that_a_guard_is_made_from_depends_on_how_a_session_reads_texts() {
    let jobs = Jobs::guarded("15");
    let odd = |sql: &str| jobs.app(&format!("SET standard_conforming_strings = off; {sql}"));
    jobs.running(3, "5 seconds");
    odd("UPDATE backfill_jobs SET status = 'failed' WHERE name = 'a' AND entities < 77").succeeds();
    let statement = "SELECT statement FROM palisade.history WHERE event = 'exit'";
    assert!(jobs.admin(statement).ends_with("WHERE name = ? AND entities < ?"), "{}", jobs.admin(statement));
    odd("UPDATE backfill_jobs SET status = 'completed' WHERE name = 'b'").succeeds();
    odd("UPDATE backfill_jobs SET heartbeat_at = now() - interval '2 hours'").fails("PL304");
    let sql = wait(async {
        let session = jobs.connect("postgres").await;
        let table = Table::find(&session, "backfill_jobs").await.unwrap();
        let columns = Columns::of(&table, &named(), &rules()).unwrap();
        script::install(&table, &columns, &rules(), Duration::from_secs(1))
    });
    assert!(check::read(&sql).len() > 100);
}

#[test]
fn what_is_quoted_is_read_back_as_it_was() {
    let jobs = Jobs::unguarded("18");
    let corpus: Vec<String> = corpus().iter().flat_map(|(_, bytes)| check::names(bytes)).collect();
    wait(async {
        let session = jobs.connect("postgres").await;
        for (seed, conforming) in [(1, "on"), (2, "off"), (3, "on"), (4, "off")] {
            let setting = format!("SET standard_conforming_strings = {conforming}; SET backslash_quote = on");
            session.run("change how texts are read", &setting).await.unwrap();
            let names = names(seed, 500);
            let columns: Vec<_> = names.iter().map(|name| format!("{} int", quote::name(name))).collect();
            session.run("make it", &format!("CREATE TABLE odd ({})", columns.join(", "))).await.unwrap();
            let read = "SELECT attname FROM pg_attribute WHERE attrelid = 'odd'::regclass AND attnum > 0 ORDER BY attnum";
            assert_eq!(column(&session, read).await, names, "seed {seed}");
            for texts in [&names, &corpus] {
                let read = format!(
                    "SELECT t FROM unnest({}) WITH ORDINALITY u (t, n) ORDER BY n",
                    quote::texts(texts)
                );
                assert_eq!(&column(&session, &read).await, texts, "seed {seed}");
            }
            for pair in corpus.windows(2) {
                let typed = format!("{}.{}", quote::name(&pair[0]), quote::name(&pair[1]));
                let read = format!("SELECT unnest(parse_ident({}))", quote::text(&typed));
                assert_eq!(column(&session, &read).await, pair, "seed {seed}: {typed}");
            }
            session.run("drop it", "DROP TABLE odd").await.unwrap();
        }
    });
}

#[test]
fn a_guard_of_a_table_with_such_names_guards() {
    let jobs = Jobs::unguarded("15");
    let fits = |name: &String| name.len() <= 63 && !name.contains("$palisade$");
    let files =
        corpus().into_iter().map(|(_, bytes)| check::names(&bytes).into_iter().filter(fits).collect());
    let chunks = names(5, 18).chunks(6).map(<[String]>::to_vec).collect::<Vec<_>>();
    for names in files.chain(chunks) {
        let names: Vec<String> = names;
        let [table, id, status, beat, running, done, ..] = names.as_slice() else { continue };
        let quoted = [table, id, status, beat].map(|name| quote::name(name));
        let [table, id, status, beat] = &quoted;
        jobs.app(&format!(
            "CREATE TABLE {table} ({id} int PRIMARY KEY, {status} text, {beat} timestamptz); \
             INSERT INTO {table} VALUES (1, {}, now() - interval '12 minutes')",
            quote::text(running)
        ))
        .succeeds();
        let named = Named { status: names[2].clone(), beat: names[3].clone(), ..Named::default() };
        let mut rules = rules();
        (rules.running, rules.done, rules.own) = (vec![running.clone()], vec![done.clone()], Vec::new());
        (rules.reason, rules.mark) = (None, None);
        jobs.install(table, &named, &rules).unwrap();
        assert_eq!(crate::verified::damages(&jobs), [""; 0], "{names:?}");
        let to = |state: &str| format!("UPDATE {table} SET {status} = {}", quote::text(state));
        jobs.app(&to("another")).fails("PL301");
        jobs.app(&to(done)).succeeds();
        jobs.remove("postgres", table, true).unwrap();
        jobs.app(&format!("DROP TABLE {table}")).succeeds();
    }
}

/// The body of a function ends where such a name says so, and what follows would run as whoever installs the guard.
#[test]
fn a_name_that_ends_the_quotes_of_a_function_is_refused_and_left_alone() {
    let jobs = Jobs::unguarded("15");
    let odd = "jobs$palisade$; ALTER ROLE app SUPERUSER; --";
    let quoted = quote::name(odd);
    for (what, back) in [
        ("ALTER TABLE backfill_jobs RENAME TO", format!("ALTER TABLE {quoted} RENAME TO backfill_jobs")),
        (
            "ALTER TABLE backfill_jobs RENAME heartbeat_at TO",
            format!("ALTER TABLE backfill_jobs RENAME {quoted} TO heartbeat_at"),
        ),
    ] {
        jobs.app(&format!("{what} {quoted}")).succeeds();
        let (table, beat) =
            if what.contains("heartbeat_at") { ("backfill_jobs", odd) } else { (&*quoted, "heartbeat_at") };
        let named = Named { beat: beat.to_owned(), ..named() };
        let refused = jobs.install(table, &named, &rules());
        assert!(matches!(refused, Err(Error::Unfit { .. })), "{what}: {refused:?}");
        jobs.app(&back).succeeds();
    }
    // A guard that was there before the name is upgraded without it.
    jobs.admin(include_str!("../earlier/format-1.sql"));
    jobs.app(&format!("ALTER TABLE backfill_jobs RENAME heartbeat_at TO {quoted}")).succeeds();
    let plan = wait(async {
        upgrade::plan(&jobs.connect("postgres").await, Duration::from_millis(200)).await.unwrap()
    });
    assert_eq!((plan.tables, plan.left), (vec![], vec!["backfill_jobs".to_owned()]));
    assert!(!plan.sql.contains("SUPERUSER"));
}
