//! The rules of leases: the suite on the store in memory, and properties over random histories.

mod properties;

use palisade_lease::{Memory, conformance};

#[tokio::test]
async fn the_store_in_memory_passes_the_suite() {
    let store = Memory::default();
    conformance::check(&store, |span| {
        store.pass(span);
        std::future::ready(())
    })
    .await;
}
