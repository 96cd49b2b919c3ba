//! Names and texts of every form, read back by PostgreSQL itself: what is quoted stays what it was, and a guard of a table
//! with such names guards.

use std::collections::BTreeSet;

use palisade_dbguard::quote;
use palisade_dbguard::script::Named;
use palisade_postgres::Session;

use crate::fixture::{Jobs, rules, wait};

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

/// Different names, the same ones each time.
fn names(seed: u64, count: usize) -> Vec<String> {
    let (mut state, mut found) = (seed, BTreeSet::new());
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    while found.len() < count {
        let name: String = (0..1 + next(9)).map(|_| PIECES[next(PIECES.len())]).collect();
        // PostgreSQL cuts a name after 63 bytes.
        if name.len() <= 63 {
            found.insert(name);
        }
    }
    found.into_iter().collect()
}

async fn column(session: &Session, sql: &str) -> Vec<String> {
    let rows = session.rows("read back", sql).await.unwrap();
    rows.into_iter().map(|row| row[0].clone().unwrap()).collect()
}

#[test]
fn what_is_quoted_is_read_back_as_it_was() {
    let jobs = Jobs::unguarded("18");
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
            let texts =
                format!("SELECT t FROM unnest({}) WITH ORDINALITY u (t, n) ORDER BY n", quote::texts(&names));
            assert_eq!(column(&session, &texts).await, names, "seed {seed}");
            session.run("drop it", "DROP TABLE odd").await.unwrap();
        }
    });
}

#[test]
fn a_guard_of_a_table_with_such_names_guards() {
    let jobs = Jobs::unguarded("15");
    for names in names(5, 30).chunks(6) {
        let [table, id, status, beat, running, done] = names else { continue };
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
    }
}
