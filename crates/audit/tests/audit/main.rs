//! Real logs of real servers.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has nobody to return an error to")]

mod many;
mod pieces;
mod real_logs;

use palisade_audit::log::{Format, Prefix, Reader};
use palisade_audit::{Collector, Sighting};
use palisade_testkit::Postgres;

/// A prefix that says everything.
pub(crate) const PREFIX: &str = "%m [%p] %quser=%u,db=%d,app=%a,client=%h ";

/// The three formats, with the file that a server writes each into.
pub(crate) fn formats() -> [(&'static str, Format); 3] {
    [
        ("log/server.log", Format::Plain(Prefix::parse(PREFIX).unwrap())),
        ("log/server.csv", Format::Csv),
        ("log/server.json", Format::Json),
    ]
}

/// A server that logs in all three formats at once.
pub(crate) fn server(version: &'static str, more: &[&str]) -> Postgres {
    let prefix = format!("log_line_prefix={PREFIX}");
    let settings = [
        "logging_collector=on",
        "log_destination=stderr,csvlog,jsonlog",
        "log_directory=log",
        "log_filename=server.log",
        "log_connections=on",
        "log_disconnections=on",
        "log_statement=ddl",
        &prefix,
    ];
    let server = Postgres::start_with(version, &[&settings[..], more].concat());
    server.role("app", "");
    server.sql("postgres", "CREATE DATABASE jobs");
    server.sql("jobs", "GRANT CREATE ON SCHEMA public TO app");
    server
}

/// What a log says, read in pieces of that size.
pub(crate) fn collected(log: &[u8], format: &Format, piece: usize) -> (Collector, Reader) {
    let mut collector = Collector::default();
    let mut reader = Reader::new(format.clone());
    for bytes in log.chunks(piece) {
        reader.push(bytes, &mut |record| collector.take(record, &mut |_| {}));
    }
    reader.finish(&mut |record| collector.take(record, &mut |_| {}));
    (collector, reader)
}

/// Names of clients of the role `app` that a log shows, with how often each logged in or was renamed to.
pub(crate) fn apps(collector: &Collector) -> Vec<(String, u64)> {
    let seen = collector.seen().iter();
    let clients = seen.filter_map(|(sighting, tally)| match sighting {
        Sighting::Client(client) if client.role == "app" => Some((client.app.clone(), tally.times)),
        _ => None,
    });
    clients.collect()
}

/// The log of that name, once it holds the text.
pub(crate) fn log_with(server: &Postgres, file: &str, text: &str) -> Vec<u8> {
    palisade_testkit::eventually("the server writes its log", || {
        let log = server.file(file);
        log.windows(text.len()).any(|window| window == text.as_bytes()).then_some(log)
    })
}
