//! A reply that is one list, read entry by entry while it arrives.
//!
//! A list of 200 processes is a megabyte, and PM2 hands it over in pieces. What is read between two pieces costs
//! nobody any time. Only the exact form that PM2 writes is read so; any other reply is left to the ordinary way.

use serde::de::DeserializeOwned;

use crate::skim::{self, Stop, Wanted};

/// How the reply to a call begins whose one result is a list.
const OPENING: &[u8] = br#"{"args":[["#;
/// How it ends.
const CLOSING: &[u8] = b"]]}";

/// An entry of a list.
pub trait Entry: DeserializeOwned + Send {
    /// Its members that are read at all: all that its reader knows, or some are never there.
    const WANTED: Wanted;
}

/// What is expected next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Opening,
    /// An entry, or the end of an empty list.
    First,
    Entry,
    /// A comma, or the end.
    Separator,
    Closing,
    /// Nothing: it is not of this form.
    Nothing,
}

/// The entries so far. They have to be objects, for an object shows its own end.
#[derive(Debug)]
pub(super) struct Growing<T> {
    entries: Vec<T>,
    /// An entry, with what is wanted of it.
    wanted: Vec<u8>,
    /// Bytes that have to be there before another look at an incomplete entry pays.
    worthwhile: usize,
    next: Next,
}

impl<T: Entry> Growing<T> {
    pub(super) const fn new() -> Self {
        Self { entries: Vec::new(), wanted: Vec::new(), worthwhile: 0, next: Next::Opening }
    }

    /// Reads on, in what has arrived since what was read. Says how many bytes of it were read now: none before a first
    /// entry shows that this is a list.
    pub(super) fn look(&mut self, arrived: &[u8]) -> usize {
        let read = self.steps(arrived);
        if self.entries.is_empty() {
            self.next = if self.next == Next::Nothing { Next::Nothing } else { Next::Opening };
            return 0;
        }
        read
    }

    /// Reads to the end of the reply, of which `rest` is all that was not read. Says whether it was a list to its last
    /// byte.
    pub(super) fn finish(&mut self, rest: &[u8]) -> bool {
        self.worthwhile = 0;
        let read = self.steps(rest);
        self.next == Next::Closing && &rest[read..] == CLOSING
    }

    fn steps(&mut self, arrived: &[u8]) -> usize {
        let mut read = 0;
        while let Some(length) = self.step(&arrived[read..]) {
            read += length;
        }
        read
    }

    pub(super) fn into_entries(self) -> Vec<T> {
        self.entries
    }

    /// One step, and the bytes that it took; `None` if it takes more bytes than there are, or cannot be done.
    fn step(&mut self, rest: &[u8]) -> Option<usize> {
        match (self.next, *rest.first()?) {
            (Next::Closing | Next::Nothing, _) => None,
            (Next::Opening, _) if rest.len() < OPENING.len() => None,
            (Next::Opening, _) => self.take(rest.starts_with(OPENING), OPENING.len(), Next::First),
            (Next::First | Next::Separator, b']') => self.take(true, 0, Next::Closing),
            (Next::Separator, byte) => self.take(byte == b',', 1, Next::Entry),
            (Next::First | Next::Entry, b'{') => self.entry(rest),
            (Next::First | Next::Entry, _) => self.take(false, 0, Next::Nothing),
        }
    }

    fn take(&mut self, fits: bool, length: usize, next: Next) -> Option<usize> {
        self.next = if fits { next } else { Next::Nothing };
        fits.then_some(length)
    }

    fn entry(&mut self, rest: &[u8]) -> Option<usize> {
        if rest.len() < self.worthwhile {
            return None;
        }
        self.wanted.clear();
        match skim::object(rest, &T::WANTED, &mut self.wanted) {
            Ok(length) => {
                let entry = serde_json::from_slice(&self.wanted).ok();
                let fits = entry.is_some();
                self.entries.extend(entry);
                self.worthwhile = 0;
                self.take(fits, length, Next::Separator)
            }
            Err(Stop::Incomplete) => {
                // Each further look has half as much again to look at, so that a huge entry in small pieces is
                // not read over and over.
                self.worthwhile = rest.len() + rest.len() / 2;
                None
            }
            Err(Stop::Unknown) => self.take(false, 0, Next::Nothing),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    impl Entry for Value {
        const WANTED: Wanted = Wanted::All;
    }

    fn read_in_pieces(text: &[u8], pieces: &[usize]) -> Option<Vec<Value>> {
        let mut growing = Growing::<Value>::new();
        let (mut read, mut end) = (0, 0);
        for piece in pieces.iter().cycle().take(200) {
            end = (end + piece).min(text.len());
            read += growing.look(&text[read..end]);
        }
        growing.finish(&text[read..]).then(|| growing.into_entries())
    }

    #[test]
    fn a_list_is_read_whole_in_whatever_pieces_it_arrives() {
        let entries = [r#"{"a":"]]}","b":[1,{"c":"\\\""}]}"#, "{}", r#"{"x":"},{"}"#];
        for count in 0..=entries.len() {
            let list = entries[..count].join(",");
            let text = format!(r#"{{"args":[[{list}]]}}"#);
            let expected: Vec<Value> = serde_json::from_str(&format!("[{list}]")).unwrap();
            for piece in 1..=text.len() {
                assert_eq!(read_in_pieces(text.as_bytes(), &[piece]), Some(expected.clone()), "{piece}");
            }
        }
    }

    #[test]
    fn any_other_reply_is_left_to_the_ordinary_way() {
        for other in [
            "",
            "{}",
            r#"{"args":[null]}"#,
            r#"{"args":[[1,2]]}"#,
            r#"{"args":[[{}],1]}"#,
            r#"{"args":[[{}]],"error":"no"}"#,
            r#"{"args":[[{}]]} "#,
            r#"{"args":[[{},]]}"#,
            r#"{"args":[[{}{}]]}"#,
            r#"{"args":[[{}"#,
            r#"{"args": [[{}]]}"#,
            r#"{"error":"no","args":[[{}]]}"#,
        ] {
            assert_eq!(read_in_pieces(other.as_bytes(), &[3]), None, "{other}");
        }
    }

    #[test]
    fn nothing_is_forgotten_before_a_first_entry_shows_that_it_is_a_list() {
        for other in [r#"{"args":[[1,2]]}"#, r#"{"args":[[]]}"#, r#"{"args":[["{}"]]}"#, r#"{"args":[null]}"#]
        {
            let mut growing = Growing::<Value>::new();
            for end in 0..=other.len() {
                assert_eq!(growing.look(&other.as_bytes()[..end]), 0, "{end} bytes of {other}");
            }
        }
    }

    #[test]
    fn a_huge_entry_in_small_pieces_is_not_read_over_and_over() {
        let text = format!(r#"{{"args":[[{{"x":"{}"}}]]}}"#, "y".repeat(100_000));
        let (mut growing, mut looks) = (Growing::<Value>::new(), 0);
        for end in 1..text.len() {
            let before = growing.worthwhile;
            growing.look(&text.as_bytes()[..end]);
            looks += usize::from(growing.worthwhile != before);
        }
        assert!(growing.finish(text.as_bytes()) && looks < 40, "{looks} looks");
    }

    proptest! {
        #[test]
        fn what_is_read_early_is_what_the_ordinary_way_reads(
            text in r#"[{]"args":[\[][\[][]{}",:a\\0-9 ]{0,40}"#,
            pieces in prop::collection::vec(1_usize..9, 1..6),
        ) {
            if let Some(entries) = read_in_pieces(text.as_bytes(), &pieces) {
                let body: Value = serde_json::from_str(&text).unwrap();
                prop_assert_eq!(&body, &serde_json::json!({ "args": [entries] }));
            }
        }
    }
}
