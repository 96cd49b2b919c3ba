//! The codec: properties, captures from real daemons, and what fuzzing found.

use std::path::{Path, PathBuf};

use palisade_pm2::wire::{Arg, DecodeError, Decoder, EncodeError, FRAME_CAP, Frame, encode};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Owned {
    Json(String),
    Text(String),
    Blob(Vec<u8>),
}

impl Owned {
    fn arg(&self) -> Arg<'_> {
        match self {
            Self::Json(json) => Arg::Json(json),
            Self::Text(text) => Arg::Text(text),
            Self::Blob(bytes) => Arg::Blob(bytes),
        }
    }
}

fn any_arg() -> impl Strategy<Value = Owned> {
    let blob = proptest::collection::vec(any::<u8>(), 0..64)
        .prop_filter("ambiguous", |bytes| !bytes.starts_with(b"j:") && !bytes.starts_with(b"s:"));
    prop_oneof![".{0,40}".prop_map(Owned::Json), ".{0,40}".prop_map(Owned::Text), blob.prop_map(Owned::Blob)]
}

fn any_frames() -> impl Strategy<Value = Vec<Vec<Owned>>> {
    proptest::collection::vec(proptest::collection::vec(any_arg(), 1..=15), 0..6)
}

/// Every frame in `bytes`, pushed in pieces of the given sizes, and the error that ended it.
fn decoded(bytes: &[u8], pieces: &[usize]) -> (Vec<Frame>, Option<DecodeError>) {
    let (mut decoder, mut frames, mut rest) = (Decoder::new(), Vec::new(), bytes);
    let mut sizes = pieces.iter().copied().cycle();
    while !rest.is_empty() {
        let size = sizes.next().unwrap_or(rest.len()).clamp(1, rest.len());
        decoder.push(&rest[..size]);
        rest = &rest[size..];
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

fn reencoded(frames: &[Frame]) -> Result<Vec<u8>, DecodeError> {
    let mut bytes = Vec::new();
    for frame in frames {
        bytes.extend(encode(&frame.args()?).expect("what was read can be written"));
    }
    Ok(bytes)
}

proptest! {
    #[test]
    fn frames_come_back_as_they_were_written_in_whatever_pieces_they_arrive(
        frames in any_frames(),
        pieces in proptest::collection::vec(1_usize..40, 1..5),
    ) {
        let mut bytes = Vec::new();
        for frame in &frames {
            bytes.extend(encode(&frame.iter().map(Owned::arg).collect::<Vec<_>>()).unwrap());
        }
        let (found, error) = decoded(&bytes, &pieces);
        prop_assert_eq!(error, None);
        prop_assert_eq!(found.len(), frames.len());
        for (found, frame) in found.iter().zip(&frames) {
            prop_assert_eq!(found.args().unwrap(), frame.iter().map(Owned::arg).collect::<Vec<_>>());
        }
    }

    #[test]
    fn any_bytes_are_frames_or_an_error_and_the_same_in_whatever_pieces(
        bytes in proptest::collection::vec(prop_oneof![Just(0x12_u8), Just(0_u8), any::<u8>()], 0..200),
        pieces in proptest::collection::vec(1_usize..40, 1..5),
    ) {
        let whole = decoded(&bytes, &[]);
        prop_assert_eq!(decoded(&bytes, &pieces), whole);
    }
}

#[test]
fn an_announced_length_sets_no_memory_aside() {
    let mut decoder = Decoder::new();
    decoder.push(&[0x12]);
    decoder.push(&u32::try_from(FRAME_CAP - 5).unwrap().to_be_bytes());
    assert_eq!(decoder.next_frame(), Ok(None));
    assert_eq!(decoder.pending(), 5);
    let (_, error) = decoded(&[0x12, 0xff, 0xff, 0xff, 0xff], &[]);
    assert!(matches!(error, Some(DecodeError::TooLarge { .. })));
}

#[test]
fn the_cap_is_on_the_whole_frame_and_reachable() {
    let blob = vec![0; FRAME_CAP - 5];
    let bytes = encode(&[Arg::Blob(&blob)]).unwrap();
    assert_eq!(bytes.len(), FRAME_CAP);
    let (frames, error) = decoded(&bytes, &[1 << 20]);
    assert_eq!((frames.len(), error), (1, None));
    let above = vec![0; FRAME_CAP - 4];
    assert_eq!(encode(&[Arg::Blob(&above)]), Err(EncodeError::TooLarge(FRAME_CAP + 1)));
    let half = u32::try_from(FRAME_CAP / 2).unwrap().to_be_bytes();
    let mut decoder = Decoder::new();
    decoder.push(&[&[0x12][..], &half, &vec![0; FRAME_CAP / 2], &half].concat());
    assert!(matches!(decoder.next_frame(), Err(DecodeError::TooLarge { .. })));
}

#[test]
fn frames_that_no_reader_would_take_as_meant_are_not_written() {
    assert_eq!(encode(&[]), Err(EncodeError::Count(0)));
    assert_eq!(encode(&[Arg::Text(""); 16]), Err(EncodeError::Count(16)));
    assert_eq!(encode(&[Arg::Blob(b"j:{}")]), Err(EncodeError::AmbiguousBlob));
    assert_eq!(encode(&[Arg::Blob(b"s:x")]), Err(EncodeError::AmbiguousBlob));
}

#[test]
fn an_error_stays_and_frees_what_was_held() {
    let mut decoder = Decoder::new();
    decoder.push(&[0x22, 1, 2, 3]);
    assert_eq!(decoder.next_frame(), Err(DecodeError::Version(2)));
    decoder.push(&encode(&[Arg::Text("late")]).unwrap());
    assert_eq!(decoder.next_frame(), Err(DecodeError::Version(2)));
    assert_eq!(decoder.pending(), 0);
    assert_eq!(decoded(&[0x10], &[]).1, Some(DecodeError::Empty));
}

#[test]
fn text_that_is_not_utf_8_is_an_error_of_its_argument() {
    let bytes = [&[0x11, 0, 0, 0, 3][..], b"s:\xff"].concat();
    let (frames, error) = decoded(&bytes, &[]);
    assert_eq!(error, None);
    assert_eq!(frames[0].args(), Err(DecodeError::NotText(0)));
}

#[test]
fn ten_thousand_small_frames_in_one_read_cost_little() {
    let one = encode(&[Arg::Text("x")]).unwrap();
    let bytes = one.repeat(200_000);
    let (frames, error) = decoded(&bytes, &[]);
    assert_eq!((frames.len(), error), (200_000, None));
}

#[test]
fn a_frames_debug_form_shows_no_content() {
    let bytes = encode(&[Arg::Json(r#"{"DATABASE_URL":"hunter2"}"#)]).unwrap();
    let (frames, _) = decoded(&bytes, &[]);
    assert!(!format!("{frames:?}").contains("hunter2"));
}

#[test]
fn captures_of_real_daemons_are_read_and_written_back_byte_for_byte() {
    let captures = files("tests/golden");
    assert!(captures.len() >= 12, "captures of three versions");
    for path in captures {
        let bytes = std::fs::read(&path).unwrap();
        let (frames, error) = decoded(&bytes, &[7]);
        assert_eq!(error, None, "{}", path.display());
        assert!(!frames.is_empty(), "{}", path.display());
        assert_eq!(reencoded(&frames).unwrap(), bytes, "{}", path.display());
    }
}

#[test]
fn the_fuzz_corpus_never_breaks_the_codec() {
    let corpus = files("fuzz/corpus/wire");
    assert!(!corpus.is_empty());
    for path in corpus {
        let bytes = std::fs::read(&path).unwrap();
        let whole = decoded(&bytes, &[]);
        assert_eq!(decoded(&bytes, &[1, 3]), whole, "{}", path.display());
        if let (frames, None) = &whole
            && let Ok(again) = reencoded(frames)
        {
            assert!(bytes.starts_with(&again), "{}", path.display());
        }
    }
}

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.expect("readable").path()).collect()
}

#[test]
fn the_last_argument_is_replaced_as_if_the_frame_had_been_written_with_it() {
    for last in ["", "7:0", "a longer one than before"] {
        let before = encode(&[Arg::Json("{\"args\":[1]}"), Arg::Text("12")]).unwrap();
        let mut decoder = Decoder::new();
        decoder.push(&before);
        let frame = decoder.next_frame().unwrap().unwrap();
        let expected = encode(&[Arg::Json("{\"args\":[1]}"), Arg::Text(last)]).unwrap();
        assert_eq!(frame.with_last_text(last).unwrap(), expected);
    }
}

/// Everything that is given out of `bytes`, in parts where a frame is large, and each frame's end.
fn in_parts(bytes: &[u8], pieces: usize, enough: usize) -> (Vec<u8>, usize) {
    let (mut decoder, mut given, mut ends) = (Decoder::new(), Vec::new(), 0);
    for piece in bytes.chunks(pieces) {
        decoder.push(piece);
        while let Some(frame) = decoder.next_frame().expect("frames") {
            assert_eq!(frame.last_text(), Some("7:1"));
            given.extend(frame.with_last_text("12:3456").expect("small"));
            ends += 1;
        }
        if let Some(part) = decoder.part(enough) {
            assert!(decoder.is_within_a_frame() && part.len() >= enough);
            given.extend(part);
        }
    }
    assert!(!decoder.is_within_a_frame() && decoder.pending() == 0);
    (given, ends)
}

#[test]
fn a_large_frame_can_be_given_out_in_parts_and_its_end_renamed() {
    let body = |id: &str| -> Vec<u8> {
        let frames =
            [3, 5_000, 0, 700].map(|size| encode(&[Arg::Json(&"x".repeat(size)), Arg::Text(id)]).unwrap());
        frames.concat()
    };
    for pieces in [1, 2, 3, 64, 999, 10_000] {
        for enough in [1, 100, 100_000] {
            assert_eq!(in_parts(&body("7:1"), pieces, enough), (body("12:3456"), 4), "{pieces} {enough}");
        }
    }
}

#[test]
fn what_was_not_given_out_as_a_frame_can_be_taken_as_it_came() {
    let frame = encode(&[Arg::Json("{}"), Arg::Text("1:1")]).unwrap();
    let mut decoder = Decoder::new();
    decoder.push(&[&frame[..], &frame[..4]].concat());
    assert!(decoder.next_frame().unwrap().is_some());
    assert_eq!((decoder.take_pending(), decoder.pending()), (frame[..4].to_vec(), 0));
    decoder.push(&frame);
    assert_eq!(decoder.next_frame().unwrap().unwrap().bytes(), frame, "it begins anew");
}
