//! Journals in folders of their own, and their bytes as values.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use palisade_core::actor::{Actor, Claimed, Observed, ProcessRef, Tree};
use palisade_core::record::{DeploymentEnded, Event, FORMAT, Record, Repeated};
use palisade_core::request::OperationId;
use palisade_core::{AppName, EnvironmentName, Scope, Term, Timestamp};
use palisade_journal::{
    Anchor, Damage, Error, Journal, Kind, Limits, Verified, VerifierKey, public_path, verify,
};
use tempfile::TempDir;

pub(crate) const ORIGIN: &str = "palisade/test/here";

/// Files of a journal's folder by name.
pub(crate) type Image = BTreeMap<String, Vec<u8>>;

/// A folder with a journal and its key.
pub(crate) struct Folder {
    root: TempDir,
    limits: Limits,
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self::with_segments_of(Limits::default().segment_bytes)
    }

    pub(crate) fn with_segments_of(segment_bytes: u64) -> Self {
        // In memory where that is possible: thousands of flushes are not what is tested.
        let memory = Path::new("/dev/shm");
        let root = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        Self { root: root.unwrap(), limits: Limits { segment_bytes, reserve_bytes: 4096 } }
    }

    /// A folder with `count` records.
    pub(crate) fn holding(count: u64) -> Self {
        let folder = Self::new();
        folder.append(0..count);
        folder
    }

    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.root().join("journal")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.root().join("journal.key")
    }

    pub(crate) fn open(&self) -> Result<Journal, Error> {
        Journal::open_with(&self.dir(), &self.key(), ORIGIN, self.limits)
    }

    /// Appends one record for each number, through a handle of its own.
    pub(crate) fn append(&self, numbers: std::ops::Range<u64>) -> Journal {
        let mut journal = self.open().unwrap();
        for number in numbers {
            journal.append(&record(number)).unwrap();
        }
        journal
    }

    pub(crate) fn verifier(&self) -> VerifierKey {
        VerifierKey::read(&public_path(&self.key())).unwrap()
    }

    pub(crate) fn verify(&self) -> Result<Verified, Error> {
        self.verify_with(&[])
    }

    pub(crate) fn verify_with(&self, anchors: &[Anchor]) -> Result<Verified, Error> {
        verify(&self.dir(), &self.verifier(), anchors)
    }

    /// The damage that verification must find.
    pub(crate) fn damage(&self) -> Damage {
        damage_of(self.verify())
    }

    /// The bytes of the journal's files, the lock and the reserve left out.
    pub(crate) fn image(&self) -> Image {
        let entries = fs::read_dir(self.dir()).unwrap().map(|entry| entry.unwrap().path());
        let named = entries.map(|path| (name_of(&path), fs::read(&path).unwrap()));
        named.filter(|(name, _)| name != "lock" && name != "reserve").collect()
    }

    /// Makes the journal's files be those of `image`.
    pub(crate) fn restore(&self, image: &Image) {
        for name in self.image().keys().filter(|name| !image.contains_key(*name)) {
            fs::remove_file(self.dir().join(name)).unwrap();
        }
        for (name, content) in image {
            fs::write(self.dir().join(name), content).unwrap();
        }
    }

    /// Lets `edit` change the bytes of one file.
    pub(crate) fn edit(&self, name: &str, edit: impl FnOnce(&mut Vec<u8>)) {
        let path = self.dir().join(name);
        let mut content = fs::read(&path).unwrap();
        edit(&mut content);
        fs::write(path, content).unwrap();
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

pub(crate) const FIRST_SEGMENT: &str = "00000000000000000000.plj";

/// Frames of a segment as byte ranges, read from the documented format.
pub(crate) fn frames(segment: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut frames = Vec::new();
    let mut start = 8 + 4 + 8 + 16 + 2 + ORIGIN.len() + 4;
    while start < segment.len() {
        let length = u32::from_le_bytes(segment[start + 4..start + 8].try_into().unwrap()) as usize;
        frames.push(start..start + 20 + length + 4);
        start += 20 + length + 4;
    }
    frames
}

pub(crate) fn damage_of<T: std::fmt::Debug>(result: Result<T, Error>) -> Damage {
    match result {
        Err(Error::Damaged(damage)) => damage,
        other => panic!("no damage was found: {other:?}"),
    }
}

pub(crate) fn kind_of<T: std::fmt::Debug>(result: Result<T, Error>) -> Kind {
    damage_of(result).kind
}

/// A small record that is told from others by its number.
pub(crate) fn record(number: u64) -> Record {
    let first = OperationId::new(Timestamp::from_unix_ms(7), [0; 10]);
    let event = Event::Repeated(Repeated { count: number, first, last_at: Timestamp::from_unix_ms(number) });
    record_of(event, number)
}

/// A record that belongs to an act, for which the reserve may be spent.
pub(crate) fn outcome(number: u64) -> Record {
    let scope = Scope::new(AppName::new("shop").unwrap(), EnvironmentName::new("test").unwrap());
    record_of(
        Event::DeploymentEnded(DeploymentEnded {
            term: Term { scope, number },
            exit: Some(0),
            not_started: false,
        }),
        number,
    )
}

pub(crate) fn record_of(event: Event, number: u64) -> Record {
    let process = ProcessRef { pid: 10, start_ticks: 20 };
    let observed = Observed {
        uid: 1,
        gid: 1,
        user: None,
        process,
        session: 10,
        cwd: None,
        cgroup: None,
        host: "h".into(),
        machine_id: None,
        ancestors: vec![],
    };
    let tree = Tree::session(process);
    Record {
        v: FORMAT,
        at: Timestamp::from_unix_ms(1_771_323_180_000 + number),
        boot_ms: number,
        boot_id: "b".into(),
        op: OperationId::new(Timestamp::from_unix_ms(number), [1; 10]),
        actor: Actor { observed, claimed: Claimed::default(), missing: vec![], tree },
        policy: None,
        event,
    }
}
