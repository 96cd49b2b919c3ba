//! Any text is a list or an error, and a list is the same with and without fingerprints.
//!
//! Run with `./run fuzz`; corpus files are replayed by the plain tests.

#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_core::redact::Salt;
use palisade_pm2::list::Listing;

fuzz_target!(|text: &str| {
    let full = Listing::parse(text, &Salt::new([7; 32]));
    let bare = Listing::parse_without_fingerprints(text);
    match (full, bare) {
        (Ok(full), Ok(bare)) => {
            assert_eq!(full.retiring, bare.retiring);
            for (mut full, bare) in full.entries.into_iter().zip(bare.entries) {
                full.process.environment.clear();
                assert_eq!(full.process, bare.process);
            }
        }
        (Err(full), Err(bare)) => assert_eq!(full.to_string(), bare.to_string()),
        (full, bare) => panic!("only one of them is an error: {} {}", full.is_ok(), bare.is_ok()),
    }
});
