//! From pieces of a log to its entries.

use serde::Serialize;

use super::prefix::Prefix;
use super::record::Record;
use super::{csv, json};

/// The longest entry that is read whole. A longer one counts as unread, and the next line begins a new one.
const LONGEST: usize = 1024 * 1024;

/// How a log is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// `log_destination = stderr`, with the `log_line_prefix` of the server.
    Plain(Prefix),
    /// `log_destination = csvlog`.
    Csv,
    /// `log_destination = jsonlog`.
    Json,
}

/// How much was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Bytes.
    pub bytes: u64,
    /// Entries that were read.
    pub entries: u64,
    /// Lines or entries that could not be.
    pub unread: u64,
    /// Entries that can be read in more than one way.
    pub ambiguous: u64,
}

/// Reads a log piece by piece. An entry is given once it is known to be whole.
#[derive(Debug)]
pub struct Reader {
    format: Format,
    /// What is not known to be whole yet.
    held: Vec<u8>,
    /// Where the search for the end of the held entry goes on, and whether that is within quotes.
    searched: usize,
    quoted: bool,
    count: Count,
}

impl Reader {
    /// From the beginning of a log, or of a line of it.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self { format, held: Vec::new(), searched: 0, quoted: false, count: Count::default() }
    }

    /// How much was read so far.
    #[must_use]
    pub fn count(&self) -> Count {
        self.count
    }

    /// Takes the next bytes of the log and gives the entries that they complete.
    pub fn push(&mut self, bytes: &[u8], take: &mut impl FnMut(&Record<'_>)) {
        self.count.bytes += bytes.len() as u64;
        self.held.extend_from_slice(bytes);
        let held = std::mem::take(&mut self.held);
        let mut begin = 0;
        while let Some(end) = self.entry_end(&held[begin..]) {
            self.one(&held[begin..begin + end], take);
            begin += end;
            (self.searched, self.quoted) = (0, false);
        }
        self.held = held;
        self.held.drain(..begin);
        if self.held.len() > LONGEST {
            self.count.unread += 1;
            self.held.clear();
            (self.searched, self.quoted) = (0, false);
        }
    }

    /// Gives what is held back: at the end of a log, or once it has been silent for a while.
    pub fn flush(&mut self, take: &mut impl FnMut(&Record<'_>)) {
        // A line without its end may still grow; only the plain format holds whole lines back.
        if matches!(self.format, Format::Plain(_)) && self.held.ends_with(b"\n") {
            let held = std::mem::take(&mut self.held);
            self.one(&held, take);
            (self.searched, self.quoted) = (0, false);
        }
    }

    /// Gives everything that is held back, whole or not: nothing more will come.
    pub fn finish(&mut self, take: &mut impl FnMut(&Record<'_>)) {
        let held = std::mem::take(&mut self.held);
        if !held.is_empty() {
            self.one(&held, take);
        }
        (self.searched, self.quoted) = (0, false);
    }

    /// Where the first entry of `held` ends, its line break included.
    fn entry_end(&mut self, held: &[u8]) -> Option<usize> {
        match &self.format {
            Format::Json => {
                let end = line_end(held, self.searched);
                self.searched = held.len();
                end
            }
            Format::Plain(_) => loop {
                let end = line_end(held, self.searched)?;
                // Further lines of a message begin with a tab; whether one does is known from its first byte.
                match held.get(end) {
                    None => return None,
                    Some(b'\t') => self.searched = end,
                    Some(_) => return Some(end),
                }
            },
            Format::Csv => {
                for (at, byte) in held.iter().enumerate().skip(self.searched) {
                    match byte {
                        b'"' => self.quoted = !self.quoted,
                        b'\n' if !self.quoted => return Some(at + 1),
                        _ => {}
                    }
                }
                self.searched = held.len();
                None
            }
        }
    }

    fn one(&mut self, entry: &[u8], take: &mut impl FnMut(&Record<'_>)) {
        let text = String::from_utf8_lossy(entry);
        let text = text.trim_end_matches(['\n', '\r']);
        if text.is_empty() {
            return;
        }
        let record = match &self.format {
            Format::Json => json::read(text),
            Format::Csv => csv::read(text),
            Format::Plain(prefix) => match text.split_once('\n') {
                None => prefix.read(text),
                Some((first, more)) => prefix.read(first).map(|mut record| {
                    let whole = format!(
                        "{}\n{}",
                        record.message,
                        more.replace("\n\t", "\n").trim_start_matches('\t')
                    );
                    record.message = whole.into();
                    record
                }),
            },
        };
        match record {
            Some(record) => {
                self.count.entries += 1;
                self.count.ambiguous += u64::from(record.ambiguous);
                take(&record);
            }
            None => self.count.unread += 1,
        }
    }
}

/// The end of the first line of `bytes` that does not end before `from`.
fn line_end(bytes: &[u8], from: usize) -> Option<usize> {
    bytes.get(from..)?.iter().position(|byte| *byte == b'\n').map(|at| from + at + 1)
}

/// Guesses the format from the beginning of a log; `None` if it is none that is known.
#[must_use]
pub fn detect(beginning: &[u8]) -> Option<Format> {
    let text = String::from_utf8_lossy(beginning);
    // The last line may be cut off.
    let lines: Vec<&str> = text.lines().take(200).collect();
    let lines = if lines.len() > 1 && !text.ends_with('\n') { &lines[..lines.len() - 1] } else { &lines };
    let how_many = |reads: &dyn Fn(&str) -> bool| lines.iter().filter(|line| reads(line)).count();
    if how_many(&|line| json::read(line).is_some()) > 0 {
        return Some(Format::Json);
    }
    if how_many(&|line| csv::read(line).is_some()) > 0 {
        return Some(Format::Csv);
    }
    // Of prefixes that read as many lines the first: those with %q also read the lines of simpler ones.
    let prefixes = Prefix::KNOWN.iter().rev().filter_map(|known| Prefix::parse(known).ok());
    let best = prefixes.map(|prefix| (how_many(&|line| prefix.read(line).is_some()), prefix));
    let (count, prefix) = best.max_by_key(|(count, _)| *count)?;
    (count > 0).then_some(Format::Plain(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "2026-05-04 14:36:02.123 UTC [7] LOG:  statement: SELECT\n\t1,\n\t2\n\
        2026-05-04 14:36:03.123 UTC [7] LOG:  disconnection: session time: 0:00:00.005\n\
        not of the server\n2026-05-04 14:36:04.123 UTC [8] LOG:  last";

    fn messages(cut: usize) -> (Vec<String>, Count) {
        let mut reader = Reader::new(Format::Plain(Prefix::parse("%m [%p] ").unwrap()));
        let mut seen = Vec::new();
        for piece in LOG.as_bytes().chunks(cut) {
            reader.push(piece, &mut |record| seen.push(record.message.to_string()));
        }
        reader.finish(&mut |record| seen.push(record.message.to_string()));
        (seen, reader.count())
    }

    #[test]
    fn pieces_of_any_size_give_the_same_entries() {
        let whole = messages(LOG.len());
        assert_eq!(whole.0[0], "statement: SELECT\n1,\n2");
        assert_eq!((whole.1.entries, whole.1.unread), (3, 1));
        for cut in 1..40 {
            assert_eq!(messages(cut), whole, "{cut}");
        }
    }

    #[test]
    fn an_entry_without_end_is_given_up_and_the_next_is_read() {
        let mut reader = Reader::new(Format::Csv);
        reader.push(b"2026,\"", &mut |_| panic!("no entry"));
        reader.push(&vec![b'x'; LONGEST + 1], &mut |_| panic!("no entry"));
        assert_eq!(reader.count().unread, 1);
        assert!(reader.held.is_empty());
    }

    #[test]
    fn formats_are_told_apart_by_their_first_lines() {
        assert!(matches!(detect(LOG.as_bytes()), Some(Format::Plain(_))));
        assert_eq!(detect(b"hello\nworld\n"), None);
        assert_eq!(detect(b""), None);
        let debian = "2026-05-04 14:36:02.123 UTC [7] app@jobs LOG:  statement: SELECT 1\n";
        assert_eq!(
            detect(debian.as_bytes()),
            Some(Format::Plain(Prefix::parse("%m [%p] %q%u@%d ").unwrap()))
        );
    }
}
