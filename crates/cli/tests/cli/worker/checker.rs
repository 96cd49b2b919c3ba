//! The checker that ends every run: no job lost, none effectively completed twice, no checkpoint going back.

use palisade_jobs::{EventKind, JobId, JobStore as _, State, Token};
use serde_json::Value;

use super::yard::Yard;

/// Checks the history of every job against the rules and against what the workers told.
///
/// A worker may have written an end without hearing so, but it never says that one is written which is not.
pub(crate) async fn check(yard: &Yard, jobs: &[JobId], ended: State) {
    let told = yard.told();
    for &job in jobs {
        let found = yard.job(job).await;
        assert_eq!(found.state, ended, "job {job} is lost: {found:?}");
        let events = yard.store.events(job).await.unwrap();
        let (mut in_force, mut sequence, mut completed) = (None::<Token>, 0, Vec::new());
        for event in &events {
            match &event.kind {
                EventKind::Claimed { .. } => {
                    assert!(event.token > in_force, "job {job}: token went back: {events:?}");
                    in_force = event.token;
                }
                EventKind::Refused { .. } => {}
                kind => {
                    if let Some(token) = event.token {
                        assert_eq!(
                            Some(token),
                            in_force,
                            "job {job}: a write with a spent token: {events:?}"
                        );
                    }
                    if let EventKind::Checkpoint { sequence: next } = kind {
                        assert!(*next > sequence, "job {job}: its checkpoint went back: {events:?}");
                        sequence = *next;
                    }
                    if let EventKind::Completed = kind {
                        completed.extend(event.token);
                    }
                }
            }
        }
        assert_eq!(completed.len(), usize::from(ended == State::Succeeded), "job {job}: {events:?}");
        for said in told.iter().flatten().filter(|said| said["job"] == job.0) {
            let token = said["token"].as_i64().map(Token);
            if said["what"] == "ended" && said["how"] == "completed" {
                assert_eq!(
                    completed.first().copied(),
                    token,
                    "job {job}: told of an end that is not: {said}"
                );
            }
            if said["what"] == "resumed" {
                resumed_from_what_was_there(said, &events, token);
            }
        }
    }
}

/// Nobody resumes from a checkpoint before the last one that had a row when the job was claimed, unless it is bad.
fn resumed_from_what_was_there(said: &Value, events: &[palisade_jobs::Event], token: Option<Token>) {
    let mut last = 0;
    for event in events {
        match &event.kind {
            EventKind::Checkpoint { sequence } => last = *sequence,
            EventKind::Claimed { .. } if event.token == token => break,
            _ => {}
        }
    }
    assert_eq!(said["sequence"].as_u64(), Some(last), "resumed from an older one: {said} {events:?}");
}
