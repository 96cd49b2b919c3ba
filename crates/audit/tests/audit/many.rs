//! Very many short connections, of which none may be missed.

use std::fmt::Write as _;

use palisade_testkit::psql;

use crate::{apps, collected, formats, log_with, server};

/// Connections to one server.
const CONNECTIONS: usize = 400;

fn none_is_missed(version: &'static str) {
    let server = server(version, &[]);
    let url = server.url("app", "jobs");
    let mut script = String::new();
    for n in 0..CONNECTIONS {
        writeln!(script, "\\connect '{url}?application_name=short-{n}'").unwrap();
    }
    script.push_str("CREATE TABLE the_end (x int)");
    psql(&url, &script).succeeds();
    for (file, format) in formats() {
        let (collector, reader) = collected(&log_with(&server, file, "the_end"), &format, 65_536);
        let short =
            apps(&collector).into_iter().filter(|(name, times)| name.starts_with("short-") && *times == 1);
        assert_eq!(short.count(), CONNECTIONS, "{file} of {version}");
        assert_eq!((reader.count().unread, reader.count().ambiguous), (0, 0), "{file} of {version}");
    }
}

#[test]
fn of_very_many_short_connections_to_15_none_is_missed() {
    none_is_missed("15");
}

#[test]
fn of_very_many_short_connections_to_18_none_is_missed() {
    none_is_missed("18");
}
