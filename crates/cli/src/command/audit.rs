//! `palisade db audit`: who is connected, against who is expected.

mod follow;
mod shown;

use std::collections::BTreeSet;

use palisade_audit::log::{Format, Prefix, Reader};
use palisade_audit::{Collector, Expectations, Findings};
use palisade_core::Exit;
use palisade_dbguard::audit::{self, Logging};
use palisade_dbguard::{Error, login};
use palisade_host::clock;
use palisade_host::environment::Environment;
use palisade_postgres::{Identity, Session, Standing};

use crate::args::audit::{AuditArgs, FormatName, SourceName};
use crate::command::db::{DEFAULT, reach};
use crate::failure::Failure;
use crate::output::Output;

/// Where an audit looks and what it has seen there.
pub(super) struct Audit {
    output: Output,
    /// The database, unless only a file is read.
    database: Option<(Session, Identity)>,
    expectations: Expectations,
    /// Whether anybody ever said what is expected.
    declared: bool,
    collector: Collector,
    /// Such as `the server's log`.
    source: &'static str,
    /// What this source can miss.
    misses: Vec<String>,
    read: Option<palisade_audit::log::Count>,
    /// Findings that were told already.
    told: BTreeSet<String>,
}

pub(crate) async fn audit(output: Output, args: &AuditArgs) -> Result<Exit, Failure> {
    let named = args.database.database.is_some() || Environment::of_this_process().text(DEFAULT).is_some();
    let database = match (&args.log, named) {
        (Some(_), false) => None,
        _ => Some(reach(output, None, &args.database).await?),
    };
    let mut audit = Audit::new(output, database).await?;
    if let Some(log) = &args.log {
        audit.file(args, log).await?;
    } else {
        audit.server(args).await?;
    }
    audit.end(args).await
}

impl Audit {
    async fn new(output: Output, database: Option<(Session, Identity)>) -> Result<Self, Failure> {
        let kept = match &database {
            Some((session, _)) => audit::expectations(session).await?,
            None => None,
        };
        let declared = kept.is_some();
        let mut expectations = match (kept, &database) {
            (Some(kept), _) => kept,
            // The guard's minimum epochs count also where nobody said whom to expect.
            (None, Some((session, _))) => {
                Expectations { minimums: audit::minimums(session).await?, ..Expectations::default() }
            }
            (None, None) => Expectations::default(),
        };
        // The database's own stamp says more than what somebody expects; that of a copy says nothing.
        let stamp = database.as_ref().and_then(|(_, identity)| identity.stamp.as_ref());
        if let Some(stamp) = stamp.filter(|stamp| stamp.standing == Standing::Own) {
            expectations.environment = Some(stamp.environment.clone());
        }
        if !declared {
            output.talk(
                "nothing is expected here yet, so little can be found: palisade db expect environment NAME",
            );
        }
        Ok(Self {
            output,
            database,
            expectations,
            declared,
            collector: Collector::default(),
            source: "",
            misses: Vec::new(),
            read: None,
            told: BTreeSet::new(),
        })
    }

    fn session(&self) -> Option<&Session> {
        self.database.as_ref().map(|(session, _)| session)
    }

    /// A file or standard input.
    async fn file(&mut self, args: &AuditArgs, path: &str) -> Result<(), Failure> {
        self.source = if path == "-" { "a log on standard input" } else { "a log file" };
        let mut format = match (args.format, &args.prefix) {
            (Some(FormatName::Csv), _) => Some(Format::Csv),
            (Some(FormatName::Json), _) => Some(Format::Json),
            (_, Some(prefix)) => Some(plain(prefix)?),
            (Some(FormatName::Stderr) | None, None) => None,
        };
        if let Some(session) = self.session() {
            let (logging, _) = audit::logging(session, 0).await?;
            if format.is_none() && args.format == Some(FormatName::Stderr) {
                format = Some(plain(&logging.prefix)?);
            }
            self.miss_by(&logging);
        } else {
            self.misses.push(
                "whether log_connections was on is not known: without it logins are not in the log"
                    .to_owned(),
            );
        }
        let mut reader = follow::read_file(self, args, path, format).await?;
        self.finish(&mut reader)
    }

    /// The strongest source that the server allows.
    async fn server(&mut self, args: &AuditArgs) -> Result<(), Failure> {
        let Some((session, identity)) = &self.database else { return Ok(()) };
        let wanted = |name: SourceName| args.source == name || args.source == SourceName::Auto;
        let since = args.since.as_secs();
        if wanted(SourceName::Log) {
            let (logging, files) = audit::logging(session, since).await?;
            let serves = logging.readable
                && logging.english
                && (logging.connections || args.source == SourceName::Log);
            if serves {
                self.source = "the server's log";
                self.miss_by(&logging);
                let mut reader = follow::read_server(self, args, &files).await?;
                return self.finish(&mut reader);
            }
            if args.source == SourceName::Log {
                return Err(Error::Log { problem: why_not(&logging) }.into());
            }
        }
        if wanted(SourceName::Trigger) {
            if audit::logins(session, since, &mut self.collector).await? {
                self.source = "the login trigger";
                self.misses.push("equal logins within a minute are one; a name that is changed after the login; what a pooler's \
                     clients call themselves; other databases of this server".to_owned());
                login::prune(session).await?;
                return if args.follow { follow::poll(self, args).await } else { Ok(()) };
            }
            if args.source == SourceName::Trigger {
                return Err(Failure::new(Exit::Failure, "this database has no login trigger")
                    .hint("make one as a superuser, from PostgreSQL 17 on: palisade guard install login"));
            }
        }
        self.source = "samples of pg_stat_activity";
        self.misses.push(format!(
            "connections that last less than {}: of those of 19 ms a look each second sees 2 in 100",
            humantime::format_duration(args.every)
        ));
        if !identity.role.sees_sessions {
            self.misses.push("sessions of other roles: GRANT pg_read_all_stats".to_owned());
        }
        follow::poll(self, args).await
    }

    fn miss_by(&mut self, logging: &Logging) {
        if !logging.connections {
            self.misses
                .push("logins: log_connections is off; only whoever logs something else is seen".to_owned());
        }
        if !logging.ddl {
            self.misses.push("changes of the schema: log_statement is none (ddl logs them)".to_owned());
        }
        if !logging.english {
            self.misses.push("most of it: lc_messages is not English".to_owned());
        }
    }

    /// The last entry of a log, and whether anything of it could be read.
    fn finish(&mut self, reader: &mut Reader) -> Result<(), Failure> {
        let collector = &mut self.collector;
        reader.finish(&mut |record| collector.take(record, &mut |_| {}));
        let count = reader.count();
        self.read = Some(count);
        if count.entries == 0 && count.unread > 0 {
            let problem = format!("of {} lines none is one of this format or prefix", count.unread);
            return Err(Error::Log { problem }.into());
        }
        if count.unread > 0 {
            self.misses.push(format!("{} lines that could not be read", count.unread));
        }
        if count.ambiguous > 0 {
            self.misses.push(format!(
                "{} lines that can be read in more than one way, because a name imitates the log: csvlog and jsonlog have none",
                count.ambiguous
            ));
        }
        Ok(())
    }

    /// Everything that contradicts the expectations so far.
    fn findings(&self) -> Findings {
        Findings::of(&self.collector, &self.expectations)
    }

    /// Tells what was not told yet, while the audit goes on.
    fn tell_new(&mut self) -> Result<(), Failure> {
        for finding in self.findings().into_list() {
            if self.told.insert(format!("{}{}", finding.code, finding.what)) {
                shown::finding(self.output, &finding, true)?;
            }
        }
        Ok(())
    }

    /// What only the database knows, and the answer.
    async fn end(mut self, args: &AuditArgs) -> Result<Exit, Failure> {
        let mut findings = self.findings();
        if let Some((session, _)) = &self.database {
            let writes = audit::writers(session, args.since.as_secs()).await?;
            for mut finding in self.expectations.writers(&writes) {
                finding.tally.last = clock::now().to_string();
                findings.add(finding);
            }
            if self.declared {
                if let Some(finding) = audit::schema_changed(session).await? {
                    findings.add(finding);
                }
                let seen = shown::clients(&self.collector);
                if !audit::remember(session, seen.iter().map(|(client, _)| client.app.as_str())).await? {
                    self.misses.push("which names are new: this role may not keep what was seen".to_owned());
                }
            }
        }
        let found = findings.into_list();
        shown::answer(&self, args, &found)?;
        Ok(if found.is_empty() { Exit::Done } else { Exit::VerificationFailed })
    }
}

fn plain(prefix: &str) -> Result<Format, Failure> {
    let prefix = Prefix::parse(prefix).map_err(|error| Failure::usage(error.to_string()))?;
    Ok(Format::Plain(prefix))
}

fn why_not(logging: &Logging) -> String {
    if logging.readable {
        "its messages are not English (lc_messages)".to_owned()
    } else {
        "logging_collector is off, or this role may not read server files".to_owned()
    }
}
