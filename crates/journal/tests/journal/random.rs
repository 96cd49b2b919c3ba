//! Random histories and random tampering against a model: a list of what was acknowledged.

use palisade_core::record::{Event, Record};
use palisade_journal::{Journal, Reader, recent};
use proptest::prelude::*;

use crate::support::{Folder, Image, record, record_of};

/// What happens to a journal that two handles share.
#[derive(Debug, Clone)]
enum Act {
    /// One of the handles appends.
    Append(usize),
    /// One of the handles is closed and opened.
    Reopen(usize),
    /// An append is begun and the machine stops. This share of the frame's bytes, in 256ths, is on disk.
    Crash { kept: u8, filled: Option<u8> },
    /// The last head was not on disk when the machine stopped.
    LoseHead,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0_usize..2).prop_map(Act::Append),
        1 => (0_usize..2).prop_map(Act::Reopen),
        2 => (any::<u8>(), proptest::option::of(any::<u8>())).prop_map(|(kept, filled)| Act::Crash { kept, filled }),
        1 => Just(Act::LoseHead),
    ]
}

/// The journal, its handles, and what it must hold.
struct History {
    folder: Folder,
    handles: [Journal; 2],
    acknowledged: Vec<Record>,
    next: u64,
}

impl History {
    fn new() -> Self {
        let folder = Folder::with_segments_of(2500);
        let handles = [folder.open().unwrap(), folder.open().unwrap()];
        Self { folder, handles, acknowledged: Vec::new(), next: 0 }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn append(&mut self, handle: usize) {
        let number = self.number();
        let mut records = vec![record(number)];
        if let Some(recovered) = self.handles[handle].recovered() {
            records.insert(0, record_of(Event::Recovered(recovered), number));
        }
        for record in records {
            let receipt = self.handles[handle].append(&record).unwrap();
            assert_eq!(receipt.sequence(), Some(self.acknowledged.len() as u64));
            self.acknowledged.push(record);
        }
    }

    fn restart(&mut self) {
        self.handles = [self.folder.open().unwrap(), self.folder.open().unwrap()];
    }

    /// The newest segment, before and after one more append, and the image to go back to.
    fn crash(&mut self, kept: u8, filled: Option<u8>) {
        if self.handles[0].recovered().is_some() {
            self.append(0);
        }
        let before = self.folder.image();
        let number = self.number();
        self.handles[0].append(&record(number)).unwrap();
        let after = self.folder.image();
        let (name, content) = after.iter().rfind(|(name, _)| name.ends_with(".plj")).unwrap();
        // In a fresh segment the header is there as a whole, for the file appears with it.
        let start = before.get(name).map_or(frame_start(), Vec::len);
        let frame = content.len() - start;
        let cut = start + frame * usize::from(kept) / 256;
        let mut left = content[..cut].to_vec();
        if let Some(byte) = filled {
            left.resize(content.len(), byte);
        }
        let whole = left == *content;
        let mut crashed = before.clone();
        crashed.insert(name.clone(), left);
        self.folder.restore(&crashed);
        if whole {
            self.acknowledged.push(record(number));
        }
        self.restart();
    }

    fn lose_head(&mut self) {
        self.folder.edit("head", Vec::clear);
        self.restart();
    }

    fn check(&self) {
        let verified = self.folder.verify().unwrap();
        assert_eq!(verified.records, self.acknowledged.len() as u64);
        let forward: Vec<Record> =
            Reader::open(&self.folder.dir()).unwrap().map(|entry| entry.unwrap().record().unwrap()).collect();
        assert_eq!(forward, self.acknowledged);
        let backward = recent(&self.folder.dir()).unwrap().map(|entry| entry.unwrap().record().unwrap());
        assert!(backward.eq(self.acknowledged.iter().rev().cloned()));
    }
}

fn frame_start() -> usize {
    8 + 4 + 8 + 16 + 2 + crate::support::ORIGIN.len() + 4
}

/// A change to one file, at a place given in 65536ths of its length.
#[derive(Debug, Clone)]
enum Tampering {
    Overwrite(u16, Vec<u8>),
    Insert(u16, Vec<u8>),
    Remove(u16, u16),
    Copy(u16, u16, u16),
}

fn tampering() -> impl Strategy<Value = (prop::sample::Index, Tampering)> {
    let bytes = || prop::collection::vec(any::<u8>(), 1..40);
    let change = prop_oneof![
        (any::<u16>(), bytes()).prop_map(|(at, bytes)| Tampering::Overwrite(at, bytes)),
        (any::<u16>(), bytes()).prop_map(|(at, bytes)| Tampering::Insert(at, bytes)),
        (any::<u16>(), any::<u16>()).prop_map(|(from, to)| Tampering::Remove(from, to)),
        (any::<u16>(), any::<u16>(), any::<u16>()).prop_map(|(from, to, at)| Tampering::Copy(from, to, at)),
    ];
    (any::<prop::sample::Index>(), change)
}

impl Tampering {
    fn apply(&self, content: &mut Vec<u8>) {
        let place = |share: u16| content.len() * usize::from(share) / 65536;
        let span = |from: u16, to: u16| place(from.min(to))..place(from.max(to));
        match self {
            Self::Overwrite(at, bytes) => {
                let at = place(*at);
                let end = content.len().min(at + bytes.len());
                content.splice(at..end, bytes[..end - at].iter().copied());
            }
            Self::Insert(at, bytes) => {
                let at = place(*at);
                content.splice(at..at, bytes.iter().copied());
            }
            Self::Remove(from, to) => drop(content.drain(span(*from, *to))),
            Self::Copy(from, to, at) => {
                let (piece, at) = (content[span(*from, *to)].to_vec(), place(*at));
                content.splice(at..at, piece);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_history_of_appends_and_crashes_loses_an_acknowledged_record(acts in prop::collection::vec(act(), 1..40)) {
        let mut history = History::new();
        for act in acts {
            match act {
                Act::Append(handle) => history.append(handle),
                Act::Reopen(handle) => history.handles[handle] = history.folder.open().unwrap(),
                Act::Crash { kept, filled } => history.crash(kept, filled),
                Act::LoseHead => history.lose_head(),
            }
            history.check();
        }
    }

    #[test]
    fn no_change_to_signed_bytes_passes(changes in prop::collection::vec(tampering(), 1..4)) {
        let folder = Folder::with_segments_of(1500);
        folder.append(0..8);
        let original: Image = folder.image();
        let names: Vec<&String> = original.keys().collect();
        for (file, change) in &changes {
            folder.edit(names[file.index(names.len())], |content| change.apply(content));
        }
        let altered = folder.image();
        // Bytes behind the last record look like a torn one, and a blank head like a power cut; no record is hidden.
        match folder.verify() {
            Ok(verified) if altered != original => {
                let last = names.iter().rfind(|name| name.ends_with(".plj")).unwrap();
                let blank = altered["head"].iter().all(|byte| *byte == 0);
                prop_assert!(verified.torn_bytes > 0 || blank, "{changes:?}");
                prop_assert!(altered[*last].starts_with(&original[*last]));
            }
            Ok(verified) => prop_assert_eq!(verified.records, 8),
            Err(_) => prop_assert!(altered != original),
        }
    }
}
