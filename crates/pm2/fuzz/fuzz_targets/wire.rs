//! Any bytes are frames or an error, and what was read can be written back byte for byte.
//!
//! Run with `./run fuzz`; corpus files are replayed by the plain tests.

#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_pm2::wire::{Decoder, encode};

fuzz_target!(|bytes: &[u8]| {
    let mut decoder = Decoder::new();
    let mut rest = bytes;
    for piece in bytes.chunks(13) {
        decoder.push(piece);
        while let Ok(Some(frame)) = decoder.next_frame() {
            assert!(rest.starts_with(frame.bytes()));
            rest = &rest[frame.bytes().len()..];
            if let Ok(args) = frame.args() {
                assert_eq!(encode(&args).as_deref(), Ok(frame.bytes()));
            }
        }
    }
});
