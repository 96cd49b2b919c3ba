//! Any bytes are entries or counted as unread, in whatever pieces they come.
//!
//! Run with `./run fuzz`; corpus files are replayed by the plain tests. The first byte picks the format.

#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_audit::Collector;
use palisade_audit::log::{Count, Format, Prefix, Reader, detect};

fn read(format: &Format, bytes: &[u8], piece: usize) -> (Collector, Count) {
    let (mut collector, mut reader) = (Collector::default(), Reader::new(format.clone()));
    for bytes in bytes.chunks(piece) {
        reader.push(bytes, &mut |record| collector.take(record, &mut |_| {}));
    }
    reader.finish(&mut |record| collector.take(record, &mut |_| {}));
    (collector, reader.count())
}

fuzz_target!(|bytes: &[u8]| {
    let Some((first, log)) = bytes.split_first() else { return };
    let format = match first {
        b'c' => Format::Csv,
        b'j' => Format::Json,
        other => {
            let known = Prefix::KNOWN[usize::from(*other) % Prefix::KNOWN.len()];
            Format::Plain(Prefix::parse(known).expect("it is known"))
        }
    };
    let (whole, by_whole) = read(&format, log, log.len().max(1));
    let (parts, by_parts) = read(&format, log, 7);
    assert_eq!(whole.seen(), parts.seen());
    assert_eq!(by_whole, by_parts);
    assert!(by_whole.entries + by_whole.unread <= log.len() as u64);
    if let Some(format) = detect(log) {
        read(&format, log, 4096);
    }
});
