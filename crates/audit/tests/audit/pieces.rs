//! Logs as nobody wrote them.

use palisade_audit::log::{Format, Prefix, detect};
use proptest::prelude::*;

use crate::collected;

fn any_format() -> impl Strategy<Value = Format> {
    let prefixes =
        (0..Prefix::KNOWN.len()).prop_map(|at| Format::Plain(Prefix::parse(Prefix::KNOWN[at]).unwrap()));
    prop_oneof![Just(Format::Csv), Just(Format::Json), prefixes]
}

/// Text that is made of what logs are made of.
fn any_log() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        Just("2026-05-04 14:36:02.123 UTC".to_owned()),
        Just(" [7] ".to_owned()),
        Just("LOG:  ".to_owned()),
        Just("connection authorized: user=app database=jobs application_name=".to_owned()),
        Just(
            "palisade: PAL-301 refused: x; role app, application_name 'a', from 10.0.0.1, server process 7"
                .to_owned()
        ),
        Just("{\"timestamp\":\"t\",\"pid\":7,\"error_severity\":\"LOG\",\"message\":\"m\"}".to_owned()),
        Just("\n".to_owned()),
        Just("\n\t".to_owned()),
        Just("\"".to_owned()),
        Just(",".to_owned()),
        Just("'".to_owned()),
        "\\PC{0,20}",
    ];
    proptest::collection::vec(part, 0..60).prop_map(|parts| parts.concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_log_in_pieces_says_what_the_whole_says(log in any_log(), format in any_format(), piece in 1..200_usize) {
        let (whole, by_whole) = collected(&log, &format, log.len().max(1));
        let (parts, by_parts) = collected(&log, &format, piece);
        prop_assert_eq!(whole.seen(), parts.seen());
        prop_assert_eq!(by_whole.count(), by_parts.count());
        prop_assert_eq!(by_whole.count().bytes, log.len() as u64);
    }

    #[test]
    fn bytes_of_any_kind_are_read_or_counted(log in proptest::collection::vec(any::<u8>(), 0..2000), format in any_format()) {
        let (_, reader) = collected(&log, &format, 100);
        prop_assert!(reader.count().entries + reader.count().unread <= log.len() as u64);
        prop_assert!(detect(&log).is_none() || !log.is_empty());
    }
}

#[test]
fn the_fuzz_corpus_reads_the_same_whole_and_in_pieces() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/log");
    let mut replayed = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap();
        // What a fuzzer found worth keeping need not hold an entry.
        let found = file.file_name().to_string_lossy().starts_with("found-");
        let bytes = std::fs::read(file.path()).unwrap();
        let (first, log) = bytes.split_first().unwrap();
        let format = match first {
            b'c' => Format::Csv,
            b'j' => Format::Json,
            other => {
                let known = Prefix::KNOWN[usize::from(*other) % Prefix::KNOWN.len()];
                Format::Plain(Prefix::parse(known).unwrap())
            }
        };
        let (whole, by_whole) = collected(log, &format, log.len().max(1));
        let (parts, by_parts) = collected(log, &format, 7);
        assert_eq!((whole.seen(), by_whole.count()), (parts.seen(), by_parts.count()));
        assert!(found || by_whole.count().entries > 0, "{first}: an entry that is read");
        replayed += 1;
    }
    assert!(replayed >= 16);
}
