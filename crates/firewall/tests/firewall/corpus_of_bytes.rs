//! The fuzz target's corpus, replayed: what was judged is what is written for the daemon.

use std::path::Path;

use proptest::prelude::*;

#[path = "../../fuzz/check.rs"]
mod check;

fn corpus() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/session");
    let file = |path: std::path::PathBuf| (path.display().to_string(), std::fs::read(&path).unwrap());
    folder.read_dir().unwrap().map(|entry| file(entry.unwrap().path())).collect()
}

#[test]
fn every_file_of_the_corpus_is_judged_as_it_is_written() {
    let corpus = corpus();
    assert!(corpus.len() >= 13, "{}", corpus.len());
    for (name, bytes) in corpus {
        assert!(std::panic::catch_unwind(|| check::check(&bytes)).is_ok(), "{name}");
    }
}

proptest! {
    /// A byte changed here and there reaches other branches than bytes at random.
    #[test]
    fn so_is_every_file_with_a_few_bytes_changed(
        file in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let corpus = corpus();
        let mut bytes = file.get(&corpus).1.clone();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        check::check(&bytes);
    }
}
