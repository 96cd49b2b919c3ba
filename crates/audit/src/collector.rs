//! What is new in a log: each server process is followed through its entries.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::event::Event;
use crate::log::{Record, Severity};

/// The most different sightings that are kept: whoever invents names may not fill the memory.
const MOST: usize = 20_000;
/// The most server processes that are followed at once.
const PROCESSES: usize = 100_000;

/// A kind of client: connections that agree in all of this are counted together.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Client {
    /// The name that it gave itself: a claim, empty if it gave none.
    pub app: String,
    /// The role that it logged in as.
    pub role: String,
    /// The database.
    pub database: String,
    /// From where, `local` for a socket of the file system, empty where this is not known.
    pub address: String,
}

/// Something that was seen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Sighting {
    /// A client that is connected.
    Client(Client),
    /// A client that changed the schema.
    Ddl {
        /// Who.
        #[serde(flatten)]
        client: Client,
        /// What, such as `ALTER TABLE`.
        verb: String,
    },
    /// A client that a guard refused, or would have.
    Refused {
        /// Who.
        #[serde(flatten)]
        client: Client,
        /// The number behind `PAL-`.
        code: u16,
        /// Whether it was; in observe it would have been.
        refused: bool,
    },
    /// A login that failed.
    Rejected {
        /// The role.
        role: String,
        /// From where.
        address: String,
    },
}

/// How often something was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Connections, statements or refusals.
    pub times: u64,
    /// When first, in the source's words.
    pub first: String,
    /// When last.
    pub last: String,
}

/// What is known of a server process.
#[derive(Debug, Default)]
struct Process {
    host: String,
    client: Option<Client>,
}

/// Follows server processes and counts what they do.
#[derive(Debug, Default)]
pub struct Collector {
    processes: HashMap<u32, Process>,
    seen: BTreeMap<Sighting, Tally>,
    connections: u64,
    left_out: u64,
}

impl Collector {
    /// Takes an entry, and calls `new` with what was never seen before.
    pub fn take(&mut self, record: &Record<'_>, new: &mut impl FnMut(&Sighting)) {
        match Event::of(record) {
            Event::Received { host } => {
                if let Some(process) = self.process(record) {
                    *process = Process { host: host.to_owned(), client: None };
                }
            }
            Event::Authorized { role, database, app, ambiguous } => {
                let address = self.address(record);
                let client = Client {
                    app: app.to_owned(),
                    role: role.to_owned(),
                    database: database.to_owned(),
                    address,
                };
                if let Some(process) = self.process(record) {
                    process.client = Some(client.clone());
                }
                self.connections += 1;
                // What may have been forged is counted, and said by the reader; it still is somebody's connection.
                let client =
                    if ambiguous { Client { app: format!("{} (?)", client.app), ..client } } else { client };
                self.count(Sighting::Client(client), &record.at, new);
            }
            Event::Ended => {
                self.renamed(record, new);
                if let Some(pid) = record.pid {
                    self.processes.remove(&pid);
                }
            }
            Event::Rejected { role } => {
                let role = role.or(record.role.as_deref()).unwrap_or_default().to_owned();
                let address = self.address(record);
                self.count(Sighting::Rejected { role, address }, &record.at, new);
            }
            Event::Ddl { verb } => {
                self.renamed(record, new);
                let client = self.client(record);
                self.count(Sighting::Ddl { client, verb }, &record.at, new);
            }
            Event::Refused(refusal) => {
                self.renamed(record, new);
                // The fields of an entry come from the server alone, so they go first.
                let mut client = self.client(record);
                if record.app.is_none() {
                    client.app.clone_from(&refusal.app);
                }
                if client.role.is_empty() {
                    refusal.role.clone_into(&mut client.role);
                }
                if client.address.is_empty() {
                    refusal.address.clone_into(&mut client.address);
                }
                let sighting = Sighting::Refused { client, code: refusal.code, refused: refusal.refused };
                self.count(sighting, &record.at, new);
            }
            Event::Other => self.renamed(record, new),
        }
    }

    /// Counts what another source than a log saw.
    pub fn count(&mut self, sighting: Sighting, at: &str, new: &mut impl FnMut(&Sighting)) {
        self.add(sighting, &Tally { times: 1, first: at.to_owned(), last: at.to_owned() }, new);
    }

    /// Adds what another source counted.
    pub fn add(&mut self, sighting: Sighting, tally: &Tally, new: &mut impl FnMut(&Sighting)) {
        if let Some(known) = self.seen.get_mut(&sighting) {
            known.times += tally.times;
            known.last.clone_from(&tally.last);
            return;
        }
        if self.seen.len() >= MOST {
            self.left_out += 1;
            return;
        }
        new(&sighting);
        self.seen.insert(sighting, tally.clone());
    }

    /// Everything that was seen, with how often.
    #[must_use]
    pub fn seen(&self) -> &BTreeMap<Sighting, Tally> {
        &self.seen
    }

    /// How many logins.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.connections
    }

    /// What was not counted, because too many different things were seen.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// A client whose name is another one than at its login, or whose login was before this log.
    fn renamed(&mut self, record: &Record<'_>, new: &mut impl FnMut(&Sighting)) {
        // Between login and the first statement the server has not taken the name over yet; a failed start stops there.
        // Nor does a line say anything that a name may have forged.
        if record.ambiguous || !matches!(record.severity, Severity::Log | Severity::Error | Severity::Other) {
            return;
        }
        let (Some(app), Some(pid), Some(role)) = (&record.app, record.pid, &record.role) else { return };
        match self.processes.get_mut(&pid) {
            // Its login is not finished.
            Some(Process { client: None, .. }) => {}
            Some(Process { client: Some(client), .. }) if client.app == app.as_ref() => {}
            Some(Process { client: Some(client), .. }) => {
                client.app = app.to_string();
                let client = client.clone();
                self.count(Sighting::Client(client), &record.at, new);
            }
            None if role.is_empty() => {}
            None => {
                let client = self.client(record);
                if let Some(process) = self.process(record) {
                    process.client = Some(client.clone());
                }
                self.count(Sighting::Client(client), &record.at, new);
            }
        }
    }

    fn process(&mut self, record: &Record<'_>) -> Option<&mut Process> {
        let pid = record.pid?;
        if self.processes.len() >= PROCESSES && !self.processes.contains_key(&pid) {
            self.processes.clear();
        }
        Some(self.processes.entry(pid).or_default())
    }

    /// Who is behind an entry, as far as it and its process are known.
    fn client(&self, record: &Record<'_>) -> Client {
        let known =
            record.pid.and_then(|pid| self.processes.get(&pid)).and_then(|process| process.client.as_ref());
        let known = known.cloned().unwrap_or_default();
        let or = |field: &Option<std::borrow::Cow<'_, str>>, known: String| {
            field.as_ref().map_or(known, ToString::to_string)
        };
        Client {
            app: or(&record.app, known.app),
            role: or(&record.role, known.role),
            database: or(&record.database, known.database),
            address: if record.address.is_none() && !known.address.is_empty() {
                known.address
            } else {
                self.address(record)
            },
        }
    }

    fn address(&self, record: &Record<'_>) -> String {
        if let Some(address) = &record.address {
            return address.to_string();
        }
        let process = record.pid.and_then(|pid| self.processes.get(&pid));
        process.map(|process| process.host.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Format, Prefix, Reader};

    fn collected(prefix: &str, log: &str) -> Collector {
        let mut collector = Collector::default();
        let mut reader = Reader::new(Format::Plain(Prefix::parse(prefix).unwrap()));
        reader.push(log.as_bytes(), &mut |record| collector.take(record, &mut |_| {}));
        reader.finish(&mut |record| collector.take(record, &mut |_| {}));
        collector
    }

    fn client(app: &str, address: &str) -> Sighting {
        Sighting::Client(Client {
            app: app.to_owned(),
            role: "app".to_owned(),
            database: "jobs".to_owned(),
            address: address.to_owned(),
        })
    }

    #[test]
    fn the_address_of_a_plain_log_comes_from_the_entry_before() {
        let log = "2026-05-04 14:36:02.123 UTC [7] LOG:  connection received: host=10.0.0.7 port=5\n\
             2026-05-04 14:36:02.124 UTC [8] LOG:  connection received: host=[local]\n\
             2026-05-04 14:36:02.125 UTC [8] LOG:  connection authorized: user=app database=jobs application_name=b\n\
             2026-05-04 14:36:02.126 UTC [7] LOG:  connection authorized: user=app database=jobs application_name=a\n\
             2026-05-04 14:36:02.127 UTC [7] LOG:  disconnection: session time: 0:00:00.005 user=app database=jobs\n\
             2026-05-04 14:36:02.128 UTC [7] LOG:  connection received: host=10.0.0.8 port=5\n\
             2026-05-04 14:36:02.129 UTC [7] LOG:  connection authorized: user=app database=jobs application_name=a\n";
        let collector = collected("%m [%p] ", log);
        assert_eq!(collector.connections(), 3);
        let seen: Vec<_> = collector.seen().keys().cloned().collect();
        assert_eq!(seen, [client("a", "10.0.0.7"), client("a", "10.0.0.8"), client("b", "local")]);
    }

    #[test]
    fn a_name_that_is_changed_after_the_login_is_seen_in_the_next_entry() {
        let log = "2026-05-04 14:36:02 UTC [7]: user=[unknown],db=[unknown],app=[unknown],client=10.0.0.7 LOG:  connection \
             received: host=10.0.0.7 port=5\n\
             2026-05-04 14:36:02 UTC [7]: user=app,db=jobs,app=[unknown],client=10.0.0.7 LOG:  connection authorized: \
             user=app database=jobs application_name=psql\n\
             2026-05-04 14:36:03 UTC [7]: user=app,db=jobs,app=atom-test,client=10.0.0.7 LOG:  statement: SELECT 1\n\
             2026-05-04 14:36:03 UTC [9]: user=app,db=jobs,app=early,client=10.0.0.9 LOG:  statement: ALTER TABLE t ADD x int\n";
        let collector = collected("%t [%p]: user=%u,db=%d,app=%a,client=%h ", log);
        let clients: Vec<_> =
            collector.seen().keys().filter(|seen| matches!(seen, Sighting::Client(_))).cloned().collect();
        let expected =
            [client("atom-test", "10.0.0.7"), client("early", "10.0.0.9"), client("psql", "10.0.0.7")];
        assert_eq!(clients, expected);
        assert!(
            collector
                .seen()
                .keys()
                .any(|seen| matches!(seen, Sighting::Ddl { verb, .. } if verb == "ALTER TABLE"))
        );
    }

    #[test]
    fn whoever_invents_names_fills_no_memory() {
        let mut collector = Collector::default();
        for n in 0..MOST + 10 {
            collector.count(client(&n.to_string(), ""), "", &mut |_| {});
        }
        assert_eq!((collector.seen().len(), collector.left_out()), (MOST, 10));
    }
}
