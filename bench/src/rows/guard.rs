//! The guard in PostgreSQL on against off: what a beat and a guarded transition cost, in time and in WAL, and for how long
//! installing and removing it hold up a busy table.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use palisade_testkit::{Postgres, Psql, Scratch};

use crate::report::{Section, Target};
use crate::rounds::{Plan, timed};
use crate::stats::{Ratio, Series};
use crate::{Outcome, say};

/// Updates in one measured statement: what is looked for is server time, not that of the way to it.
const BEATS: u32 = 500;
/// Rows of the large update, unless another size is asked for.
const LARGE: u32 = 10_000;

const TABLE: &str = "CREATE TYPE job_status AS ENUM ('queued', 'running', 'completed', 'failed', 'cancelled'); \
    CREATE TABLE NAME (id int PRIMARY KEY, status job_status NOT NULL DEFAULT 'queued', heartbeat_at timestamptz, \
    error text) WITH (fillfactor = 50, autovacuum_enabled = off)";

/// What is the least that a guard with an attributed history can do for a transition: a trigger that inserts the row, with
/// what it says by default and its indexes, and looks at nothing.
const BARE: &str = "CREATE TABLE bare_history (LIKE palisade.history INCLUDING DEFAULTS INCLUDING INDEXES); \
    CREATE FUNCTION bare() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO bare_history (guard, event, key, was, \
    became, beat, ground) VALUES (1, ''exit'', NEW.id::text, OLD.status::text, NEW.status::text, NEW.heartbeat_at, \
    ''done''); RETURN NULL; END'; \
    CREATE TRIGGER bare AFTER UPDATE ON bare FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION bare()";

/// The least that any record of a transition can be: a trigger that inserts time, key and state into a partition of the day,
/// with one index to find it by.
const NARROW: &str = "CREATE TABLE narrow_history (day smallint NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp(), \
    guard integer NOT NULL, key text NOT NULL, became text) PARTITION BY LIST (day); \
    DO $$ BEGIN FOR n IN 0..31 LOOP EXECUTE format('CREATE TABLE narrow_history_%s PARTITION OF narrow_history FOR VALUES IN (%s)', \
    n, n); END LOOP; END $$; CREATE INDEX ON narrow_history (guard, key, at); \
    CREATE FUNCTION narrow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO narrow_history (day, guard, key, became) \
    VALUES (palisade.place_of(clock_timestamp()), 1, NEW.id::text, NEW.status::text); RETURN NULL; END'; \
    CREATE TRIGGER narrow AFTER UPDATE ON narrow FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION narrow()";

/// What a judgement of a failed job cannot do without: whether anybody is held against anything, the rules, what is known of the
/// claim, and the row. It decides nothing.
const LOOKS: &str = "CREATE FUNCTION looks() RETURNS trigger LANGUAGE plpgsql AS 'DECLARE rules palisade.guard; BEGIN \
    PERFORM w.watched FROM palisade.watch w; SELECT * INTO rules FROM palisade.guard g WHERE g.id = 1; \
    DELETE FROM palisade.job j WHERE j.guard = 2 AND j.key = NEW.id::text; \
    INSERT INTO bare_history (guard, event, key, was, became, beat, ground, content) VALUES (1, ''exit'', NEW.id::text, \
    OLD.status::text, NEW.status::text, NEW.heartbeat_at, ''own'', md5(to_jsonb(NEW)::text)); RETURN NULL; END'; \
    CREATE TRIGGER looks AFTER UPDATE ON looks FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION looks()";

/// The records that transactions wrote since then, in bytes. What the server writes beside them is not theirs: images of whole
/// pages, the marks of pruned ones, and what it tells its standbys.
const OWN_RECORDS: &str = "SELECT sum(record_length - fpi_length) FROM pg_get_wal_records_info('BEFORE', \
    pg_current_wal_flush_lsn()) WHERE xid <> '0' AND resource_manager <> 'XLOG' AND record_type NOT LIKE 'PRUNE%'";

/// The tables that take turns, and what each is called.
const TABLES: [(&str, &str); 5] = [
    ("off", "without a guard"),
    ("guarded", "with it"),
    ("bare", "only its row, by a bare trigger"),
    ("narrow", "only time, key and state, by a bare trigger"),
    ("looks", "its row and what it looks at, deciding nothing"),
];

/// How `guarded` gets its guard.
const INSTALL: [&str; 15] = [
    "install",
    "table",
    "guarded",
    "--status",
    "status",
    "--running",
    "running",
    "--heartbeat",
    "heartbeat_at",
    "--done",
    "completed",
    "--own",
    "failed,queued",
    "--mode",
    "enforce",
];

/// A server with the same table five times: as it is, guarded, and with triggers that only write the guard's row, less, or more.
struct Pair {
    server: Postgres,
    session: Psql,
}

impl Pair {
    fn start(version: &'static str, large: u32) -> Outcome<Self> {
        let server = Postgres::start_with(version, &["shared_buffers=256MB", "max_wal_size=2GB"]);
        for (name, _) in TABLES {
            let made = TABLE.replace("NAME", name);
            let made = if name == "off" {
                made
            } else {
                made.split_once(';').map(|(_, rest)| rest).unwrap_or("").to_owned()
            };
            server.sql("postgres", &made);
            server.sql(
                "postgres",
                &format!("INSERT INTO {name} SELECT n, 'queued' FROM generate_series(1, {large}) n"),
            );
        }
        guard(&server, &INSTALL)?;
        server.sql("postgres", "CREATE EXTENSION pg_walinspect");
        server.sql("postgres", BARE);
        server.sql("postgres", NARROW);
        server.sql("postgres", LOOKS);
        let session = Psql::open(&server.admin("postgres"));
        Ok(Self { server, session })
    }

    /// Microseconds of server time for each row.
    fn time(&mut self, sql: &str, rows: u32) -> Outcome<f64> {
        let session = &mut self.session;
        let (ms, said) = timed(|| Ok(session.ask(sql)))?;
        if said.1 != "00000" {
            return Err(format!("{sql}: {}", said.1).into());
        }
        Ok(ms * 1e3 / f64::from(rows))
    }

    /// The same, and bytes of WAL for each row.
    fn costs(&mut self, sql: &str, rows: u32) -> Outcome<(f64, f64)> {
        let before = self.session.ask("SELECT pg_current_wal_flush_lsn()").0;
        let us = self.time(sql, rows)?;
        let wal: f64 = self.session.ask(&OWN_RECORDS.replace("BEFORE", &before)).0.parse()?;
        Ok((us, wal / f64::from(rows)))
    }
}

/// `palisade guard WORDS` as the superuser.
fn guard(server: &Postgres, words: &[&str]) -> Outcome<()> {
    palisade(server, None, &[&["guard"], words].concat()).map(drop)
}

/// What `palisade WORDS` says as the superuser, in that home if there is one.
fn palisade(server: &Postgres, home: Option<&Scratch>, words: &[&str]) -> Outcome<String> {
    let mut command = Command::new(std::env::current_exe()?.with_file_name("palisade"));
    command.args(words).env("PALISADE_DATABASE_URL", server.admin("postgres"));
    if let Some(home) = home {
        command.env("HOME", home.path()).env_remove("XDG_STATE_HOME").env_remove("XDG_CONFIG_HOME");
    }
    let ran = command.output()?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if ran.status.success() { Ok(said(&ran.stdout)) } else { Err(said(&ran.stderr).into()) }
}

/// Statements one by one inside the server, as a worker sends them.
fn each(table: &str, rows: u32, set: &str) -> String {
    format!("DO $$ BEGIN FOR n IN 1..{rows} LOOP UPDATE {table} SET {set} WHERE id = n; END LOOP; END $$")
}

/// The sections of one version.
pub(crate) fn all(plan: &Plan, version: &'static str) -> Outcome<Vec<Section>> {
    let large = plan.size(LARGE).max(BEATS);
    let mut pair = Pair::start(version, large)?;
    let mut sections = Vec::new();
    let claim = "status = 'running', heartbeat_at = clock_timestamp()";
    // The same moments for each table: the log keeps only those bytes of a row that changed.
    let moment = |session: &mut Psql, age: u32| {
        session.ask(&format!("SELECT date_trunc('second', now()) - interval '{age} seconds'")).0
    };
    let [claimed, beaten] =
        [60, 50].map(|age| format!("heartbeat_at = '{}'", moment(&mut pair.session, age)));
    let beat = each("NAME", BEATS, &beaten);
    let rows = [
        (
            "A beat",
            "a beat adds at most 25 us of server time",
            vec![each("NAME", BEATS, &format!("status = 'running', {claimed}"))],
            beat,
            BEATS,
            25.0,
        ),
        (
            "A guarded transition",
            "a completion adds at most 50 us of server time to that of the row that it writes",
            vec![each("NAME", BEATS, claim)],
            each("NAME", BEATS, "status = 'completed'"),
            BEATS,
            50.0,
        ),
        (
            "A large update: every row fails in one statement",
            "a row of a large update adds at most 125 us of server time to that of the row that it writes",
            vec![format!("UPDATE NAME SET {claim}")],
            "UPDATE NAME SET status = 'failed'".to_owned(),
            large,
            125.0,
        ),
    ];
    for (title, text, before, measured, count, limit) in rows {
        say(&format!("the guard on PostgreSQL {version}: {title}"));
        sections.push(row(plan, &mut pair, (title, text), &before, &measured, (count, limit))?);
    }
    sections.push(locks(plan, &pair.server)?);
    sections.push(identity(plan, &mut pair)?);
    Ok(sections)
}

/// What it costs a transaction to say who it is, in calls that one statement makes: the way to the server is not in it.
fn identity(plan: &Plan, pair: &mut Pair) -> Outcome<Section> {
    say(&format!("the guard on PostgreSQL {}: palisade.begin", pair.server.version()));
    let home = Scratch::new();
    let key = home.join("app.key").display().to_string();
    let app = ["--app", "atom", "--environment", "production"];
    let ours = |words: &[&str]| palisade(&pair.server, Some(&home), &[words, &app[2..]].concat());
    ours(&["db", "stamp"])?;
    ours(&["db", "key", "create", "--app", "atom", "--key", &key])?;
    pair.session.ask("SELECT palisade.acquire('reaper', 'bench', '1 hour')");
    let mut said = ["who it is", "who it is, and the term of its lease"].map(|name| Series::new(name, "us"));
    for round in 0..=plan.rounds(7) {
        for (series, term) in said.iter_mut().zip(["NULL, NULL", "'reaper', 1"]) {
            let proof =
                palisade(&pair.server, Some(&home), &[&["db", "proof", "--key", &key], &app[..]].concat())?;
            let call = format!("palisade.begin('atom', 'production', '{proof}', {term})");
            let calls = format!("DO $$ BEGIN FOR n IN 1..{BEATS} LOOP PERFORM {call}; END LOOP; END $$");
            let us = pair.time(&calls, BEATS)?;
            if round > 0 {
                series.values.push(us);
            }
        }
    }
    Ok(Section {
        title: "palisade.begin: a transaction says who it is",
        note: format!("PostgreSQL {}, one session, {BEATS} calls in one statement.", pair.server.version()),
        targets: vec![Target::at_most(
            "begin() at most 250 us of server time",
            said[1].median(),
            250.0,
            " us",
        )],
        series: said.into(),
        ratios: Vec::new(),
    })
}

/// One statement on the table without a guard and on the one with it, taking turns.
fn row(
    plan: &Plan,
    pair: &mut Pair,
    (title, text): (&'static str, &'static str),
    before: &[String],
    measured: &str,
    (count, limit): (u32, f64),
) -> Outcome<Section> {
    let [mut time, mut wal] = ["us", "bytes of WAL"]
        .map(|unit| TABLES.map(|(_, name)| Series::new(format!("{name}, {unit}"), unit)));
    for round in 0..=plan.rounds(7) {
        if plan.is_over(round) {
            break;
        }
        for (place, (table, _)) in TABLES.iter().enumerate() {
            // What runs before writes every page once, so that no image of a whole page hides what a row costs.
            pair.session.ask("CHECKPOINT");
            for sql in before {
                pair.session.ask(&sql.replace("NAME", table));
            }
            let (us, bytes) = pair.costs(&measured.replace("NAME", table), count)?;
            pair.session.ask(&format!("UPDATE {table} SET status = 'completed' WHERE status = 'running'"));
            pair.session.ask(&format!("VACUUM {table}, palisade.job"));
            if round > 0 {
                time[place].values.push(us);
                wal[place].values.push(bytes);
            }
        }
    }
    // A beat writes no row: what it adds is all there is.
    let least = if title == "A beat" { &time[0] } else { &time[2] };
    let added = time[1].median() - least.median();
    let mut targets = vec![Target::at_most(text, added, limit, " us")];
    if title == "A beat" {
        let mut more = Series::new("more WAL", "bytes of WAL");
        more.values =
            wal[1].values.iter().zip(&wal[0].values).map(|(with, without)| with - without).collect();
        targets.push(Target::at_most("a beat adds no WAL", more.median(), 0.0, " bytes"));
    }
    let ratios = vec![Ratio::of(&time[1], &time[0]), Ratio::of(&wal[1], &wal[0])];
    let mut note = format!(
        "PostgreSQL {}, one session, {count} rows; a figure is that of one row, fsync off. WAL is that of the records of the \
         transaction itself (`pg_walinspect`).",
        pair.server.version()
    );
    if title != "A beat" {
        let [whole, row, narrow, looks] =
            [1, 2, 3, 4].map(|place: usize| time[place].median() - time[0].median());
        note.push_str(&format!(
            " The guard adds {whole:.1} us. Of that its row alone, by a trigger that looks at nothing, is {row:.1} us; one with only \
             time, key and state would be {narrow:.1} us, and one that also looks at what a judgement needs {looks:.1} us."
        ));
    }
    Ok(Section { title, note, series: time.into_iter().chain(wal).collect(), ratios, targets })
}

/// The longest statement of a client that beats all the time, while a guard comes and goes and comes.
fn locks(plan: &Plan, server: &Postgres) -> Outcome<Section> {
    say("lock time of install and remove on a busy table");
    let mut longest = ["nothing happens", "a guard comes and goes"].map(|name| Series::new(name, "ms"));
    for _ in 0..plan.rounds(5) {
        for (place, series) in longest.iter_mut().enumerate() {
            series.values.push(busy(server, place == 1)?);
        }
    }
    Ok(Section {
        title: "Lock time of install and remove on a busy table",
        note: "The longest of the updates that one client sends one after another for as long as the other acts.".to_owned(),
        targets: vec![Target::at_most(
            "install and remove hold up a busy table for at most 250 ms",
            longest[1].max(),
            250.0,
            " ms",
        )],
        series: longest.into(),
        ratios: Vec::new(),
    })
}

fn busy(server: &Postgres, changing: bool) -> Outcome<f64> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut session = Psql::open(&server.admin("postgres"));
            let mut longest: f64 = 0.0;
            while !over.load(Ordering::Relaxed) {
                let asked = timed(|| Ok(session.ask("UPDATE guarded SET error = 'x' WHERE id = 1")));
                longest = longest.max(asked.map_or(f64::NAN, |(ms, _)| ms));
            }
            longest
        });
        let acted = match changing {
            true => guard(server, &["remove", "table", "guarded"]).and_then(|()| guard(server, &INSTALL)),
            false => {
                std::thread::sleep(std::time::Duration::from_millis(500));
                Ok(())
            }
        };
        over.store(true, Ordering::Relaxed);
        let longest = client.join().map_err(|_| "the busy client failed")?;
        acted.map(|()| longest)
    })
}
