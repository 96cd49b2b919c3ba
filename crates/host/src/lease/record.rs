//! The record of a lease: its paths, its content, and what counts as damaged.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

use palisade_core::actor::ProcessRef;
use palisade_core::text::Shown;
use palisade_core::{AppName, EnvironmentName, Scope, Timestamp};
use serde::{Deserialize, Serialize};

use super::Error;
use crate::files;

/// Version of the record's form.
const FORMAT: u32 = 1;
/// Largest record that is read.
const MAX_BYTES: u64 = 16 * 1024;

/// Who holds a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// What is held.
    pub scope: Scope,
    /// The lease's number, from 1.
    pub term: u64,
    /// The process that holds it.
    pub process: ProcessRef,
    /// The boot on which that process was started.
    pub boot: String,
    /// Effective user id of that process.
    pub uid: u32,
    /// Since when.
    pub since: Timestamp,
    /// The command, as it named itself.
    pub program: String,
    /// The CI run, as it named itself.
    pub run: Option<String>,
}

impl fmt::Display for Holder {
    /// Who, since when, from which run: on one line, escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scope, term, process, uid, since, program, .. } = self;
        write!(f, "{scope} is held by {} (pid {}, uid {uid}) since {since}", Shown(program), process.pid)?;
        if let Some(run) = &self.run {
            write!(f, ", {}", Shown(run))?;
        }
        write!(f, ", term {term}")
    }
}

/// The content of the file. `holder` is absent once the lease was given back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    format: u32,
    pub(super) scope: Scope,
    pub(super) term: u64,
    holder: Option<ProcessRef>,
    boot: String,
    uid: u32,
    since: Timestamp,
    program: String,
    run: Option<String>,
}

impl Record {
    pub(super) fn of(holder: Holder) -> Self {
        let Holder { scope, term, process, boot, uid, since, program, run } = holder;
        Self { format: FORMAT, scope, term, holder: Some(process), boot, uid, since, program, run }
    }

    pub(super) fn holder(&self) -> Option<Holder> {
        self.holder.map(|process| Holder {
            scope: self.scope.clone(),
            term: self.term,
            process,
            boot: self.boot.clone(),
            uid: self.uid,
            since: self.since,
            program: self.program.clone(),
            run: self.run.clone(),
        })
    }

    /// The record once the lease was given back: its term stays.
    pub(super) fn given_back(self) -> Self {
        Self { holder: None, ..self }
    }
}

/// The two files of one lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Paths {
    pub(super) lock: PathBuf,
    pub(super) record: PathBuf,
}

impl Paths {
    /// Names hold no `@`, so that no two scopes share a file; `a--b` of `c` and `a` of `b--c` would with dashes.
    pub(super) fn of(folder: &Path, scope: &Scope) -> Self {
        let file = |kind: &str| folder.join(format!("{}@{}.{kind}", scope.app, scope.environment));
        Self { lock: file("lock"), record: file("lease") }
    }
}

/// The scope whose record is called `name`; `None` for any other file.
pub(super) fn scope_of(name: &OsStr) -> Option<Scope> {
    let (app, environment) = name.to_str()?.strip_suffix(".lease")?.split_once('@')?;
    Some(Scope::new(AppName::new(app).ok()?, EnvironmentName::new(environment).ok()?))
}

/// The record, if there is one.
pub(super) fn read(paths: &Paths, scope: &Scope) -> Result<Option<Record>, Error> {
    let path = &paths.record;
    let unusable = |source| Error::File { scope: scope.clone(), source };
    let file = match files::open_private(path) {
        Ok(file) => file,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(unusable(error)),
    };
    let bytes = files::read_from(file, path, MAX_BYTES).map_err(unusable)?;
    check(&bytes, scope).map(Some).map_err(|rule| Error::Damaged { path: path.clone(), rule })
}

fn check(bytes: &[u8], scope: &Scope) -> Result<Record, &'static str> {
    let record: Record = serde_json::from_slice(bytes).map_err(|_| "it is not the JSON of a lease")?;
    if record.format != FORMAT {
        return Err("its format is of another version of Palisade");
    }
    if record.scope != *scope {
        return Err("it is the record of another scope");
    }
    if record.term == 0 {
        return Err("terms begin at 1");
    }
    Ok(record)
}

/// Replaces the record; on return it is durable.
pub(super) fn write(paths: &Paths, record: &Record) -> Result<(), Error> {
    let unusable = |source| Error::File { scope: record.scope.clone(), source };
    files::write_atomic(&paths.record, &bytes(record), 0o600).map_err(unusable)
}

/// Writes the record of a lease that was given back. After a power cut it may name its last holder again, which
/// then belongs to another boot and counts as nobody.
pub(super) fn give_back(paths: &Paths, record: &Record) -> Result<(), Error> {
    let unusable = |source| Error::File { scope: record.scope.clone(), source };
    files::replace(&paths.record, &bytes(&record.clone().given_back()), 0o600).map_err(unusable)
}

fn bytes(record: &Record) -> Vec<u8> {
    let mut bytes = palisade_core::canonical::json(record).into_bytes();
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAME: &str = "[A-Za-z0-9][A-Za-z0-9._-]{0,63}";

    fn scope(app: &str, environment: &str) -> Scope {
        Scope::new(AppName::new(app).unwrap(), EnvironmentName::new(environment).unwrap())
    }

    fn holder() -> Holder {
        Holder {
            scope: scope("site", "production"),
            term: 7,
            process: ProcessRef { pid: 42, start_ticks: 9 },
            boot: "b".to_owned(),
            uid: 1000,
            since: Timestamp::from_unix_ms(1_771_323_180_123),
            program: "palisade deploy".to_owned(),
            run: None,
        }
    }

    #[test]
    fn the_record_has_this_form() {
        let text = palisade_core::canonical::json(&Record::of(holder()));
        let expected = concat!(
            r#"{"boot":"b","format":1,"holder":{"pid":42,"start_ticks":9},"program":"palisade deploy","run":null,"#,
            r#""scope":{"app":"site","environment":"production"},"since":"2026-02-17T10:13:00.123Z","term":7,"uid":1000}"#,
        );
        assert_eq!(text, expected);
        assert_eq!(check(text.as_bytes(), &holder().scope).unwrap().holder(), Some(holder()));
    }

    #[test]
    fn a_lease_that_was_given_back_keeps_its_term_and_names_nobody() {
        let record = Record::of(holder()).given_back();
        assert_eq!((record.holder(), record.term), (None, 7));
    }

    proptest! {
        #[test]
        fn a_file_name_leads_back_to_its_scope_and_stays_in_its_folder(app in NAME, environment in NAME) {
            let scope = scope(&app, &environment);
            let paths = Paths::of(Path::new("/leases"), &scope);
            prop_assert_eq!(scope_of(paths.record.file_name().unwrap()), Some(scope));
            prop_assert_eq!(scope_of(paths.lock.file_name().unwrap()), None);
            prop_assert_eq!(paths.record.parent(), Some(Path::new("/leases")));
        }

        #[test]
        fn one_changed_byte_never_becomes_another_scope_or_a_panic(at in 0_usize..200, byte in any::<u8>()) {
            let mut bytes = palisade_core::canonical::json(&Record::of(holder())).into_bytes();
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Ok(record) = check(&bytes, &holder().scope) {
                prop_assert_eq!((record.format, record.scope), (FORMAT, holder().scope));
                prop_assert!(record.term > 0);
            }
        }
    }
}
