//! The audit of a server's log: how fast it is read, and that no connection is missed.

use std::fmt::Write as _;

use palisade_audit::log::{Format, Prefix, Reader};
use palisade_audit::{Collector, Sighting};
use palisade_testkit::{Postgres, eventually, psql};

use crate::report::{Section, Target};
use crate::rounds::{Plan, timed};
use crate::{Outcome, say};

/// Real, short connections, unless another size is asked for.
const CONNECTIONS: u32 = 1_000;
/// Bytes that one round reads at least.
const BYTES: usize = 64 * 1024 * 1024;
/// The same of a quick run.
const QUICK_BYTES: usize = 16 * 1024 * 1024;
const PREFIX: &str = "%m [%p] %quser=%u,db=%d,app=%a,client=%h ";

/// The log of a real server in its three formats, read by one thread.
pub(super) fn logs(plan: &Plan) -> Outcome<Vec<Section>> {
    let asked = plan.size(CONNECTIONS);
    say(&format!("{asked} real connections"));
    let server = server(asked);
    let formats = [
        ("log/server.log", "stderr", Format::Plain(Prefix::parse(PREFIX)?)),
        ("log/server.csv", "csvlog", Format::Csv),
        ("log/server.json", "jsonlog", Format::Json),
    ];
    let bytes = if plan.quick { QUICK_BYTES } else { BYTES };
    let mut logs = Vec::new();
    let mut seen = usize::MAX;
    for (file, name, format) in formats {
        let log = eventually("the server writes its log", || {
            let log = server.file(file);
            String::from_utf8_lossy(&log).contains("the_end").then_some(log)
        });
        seen = seen.min(connections(&log, &format));
        let whole = log.repeat(bytes.div_ceil(log.len()));
        logs.push((name, format, whole));
    }
    let rate = |format: &Format, log: &[u8]| -> Outcome<f64> {
        let (ms, ()) = timed(|| {
            read(log, format);
            Ok(())
        })?;
        Ok(log.len() as f64 / ms / 1e3)
    };
    let [(a, plain, one), (b, csv, two), (c, json, three)] = &logs[..] else {
        return Err("three formats".into());
    };
    let series = plan.take_turns(
        plan.rounds(5),
        "MB/s",
        &mut [(a, &mut || rate(plain, one)), (b, &mut || rate(csv, two)), (c, &mut || rate(json, three))],
    )?;
    let slowest = series.iter().map(|series| series.median()).fold(f64::INFINITY, f64::min);
    let targets = vec![
        Target::at_least("audit: a server's log, slowest format, at least 50 MB/s", slowest, 50.0, " MB/s"),
        Target::at_least(
            "audit: of all real connections none is missed",
            seen as f64,
            f64::from(asked),
            " seen",
        ),
    ];
    Ok(vec![Section {
        title: "Audit: a server's log",
        note: format!(
            "The log of a real PostgreSQL 15 with {asked} short connections (`log_connections`, \
             `log_disconnections`), repeated to {} MiB, from memory, by one thread: read, taken apart, and every client \
             counted.",
            bytes / 1024 / 1024
        ),
        series,
        ratios: Vec::new(),
        targets,
    }])
}

fn server(asked: u32) -> Postgres {
    let prefix = format!("log_line_prefix={PREFIX}");
    let server = Postgres::start_with(
        "15",
        &[
            "logging_collector=on",
            "log_destination=stderr,csvlog,jsonlog",
            "log_directory=log",
            "log_filename=server.log",
            "log_connections=on",
            "log_disconnections=on",
            "log_statement=ddl",
            &prefix,
        ],
    );
    let url = server.admin("postgres");
    let mut script = String::new();
    for n in 0..asked {
        writeln!(script, "\\connect '{url}?application_name=short-{n}'").expect("a String takes every text");
    }
    script.push_str("CREATE TABLE the_end (x int)");
    psql(&url, &script).succeeds();
    server
}

fn read(log: &[u8], format: &Format) -> Collector {
    let (mut collector, mut reader) = (Collector::default(), Reader::new(format.clone()));
    for piece in log.chunks(256 * 1024) {
        reader.push(piece, &mut |record| collector.take(record, &mut |_| {}));
    }
    reader.finish(&mut |record| collector.take(record, &mut |_| {}));
    collector
}

/// How many of the connections a log shows.
fn connections(log: &[u8], format: &Format) -> usize {
    let collector = read(log, format);
    let short = |sighting: &&Sighting| matches!(sighting, Sighting::Client(client) if client.app.starts_with("short-"));
    collector.seen().keys().filter(short).count()
}
