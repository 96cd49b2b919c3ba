//! The file of epochs: what was raised stays, and what is damaged is never "no epochs".

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use palisade_core::Timestamp;
use palisade_core::epoch::{Epoch, Minimum, Ratchet, Subject};
use palisade_host::epochs::{self, Error};
use palisade_host::state::StateDirectory;
use tempfile::TempDir;

fn state() -> (TempDir, StateDirectory) {
    let folder = tempfile::tempdir().unwrap();
    let state = StateDirectory::at(folder.path().join("state"));
    (folder, state)
}

fn raise(state: &StateDirectory, workflow: &str, number: u32) {
    let locked = epochs::lock(state).unwrap();
    let mut ratchet = locked.ratchet().clone();
    let subject =
        Subject { repository: "acme/shop".to_owned(), workflow: Some(workflow.to_owned()), file: None };
    let raised_at = Timestamp::from_unix_ms(1_771_323_180_123);
    let epoch = Epoch::try_from(number).unwrap();
    ratchet.raise(Minimum { subject, epoch, raised_at, raised_by: "ada".to_owned() }).unwrap();
    locked.write(ratchet).unwrap();
}

#[test]
fn a_host_without_epochs_has_none_and_nothing_is_made_by_looking() {
    let (_folder, state) = state();
    assert_eq!(epochs::read(&state).unwrap(), Ratchet::default());
    assert!(!state.root().exists());
}

#[test]
fn what_was_raised_is_read_again_from_a_private_file_of_this_form() {
    let (_folder, state) = state();
    raise(&state, "Deploy", 7);
    let ratchet = epochs::read(&state).unwrap();
    assert_eq!(ratchet.minimums()[0].epoch, Epoch::try_from(7).unwrap());
    assert_eq!(fs::metadata(state.epochs()).unwrap().permissions().mode() & 0o777, 0o600);
    let expected = concat!(
        r#"{"format":1,"generation":1,"minimums":[{"epoch":7,"raised_at":"2026-02-17T10:13:00.123Z","#,
        r#""raised_by":"ada","repository":"acme/shop","workflow":"Deploy"}]}"#,
        "\n"
    );
    assert_eq!(fs::read_to_string(state.epochs()).unwrap(), expected);
}

#[test]
fn a_file_that_is_gone_damaged_old_or_open_to_others_is_an_error_with_a_fix() {
    let (_folder, state) = state();
    raise(&state, "Deploy", 7);
    let first = fs::read(state.epochs()).unwrap();
    raise(&state, "Deploy", 8);
    let second = fs::read(state.epochs()).unwrap();
    let text = String::from_utf8(second.clone()).unwrap();
    let damaged: [(&str, &[u8]); 7] = [
        ("an older one put back", &first),
        ("emptied", b""),
        ("cut", &second[..second.len() / 2]),
        ("another format", &text.replace("\"format\":1", "\"format\":2").into_bytes()),
        ("no epoch", &text.replace("\"epoch\":8", "\"epoch\":0").into_bytes()),
        ("another word", &text.replace("\"minimums\"", "\"maximums\"").into_bytes()),
        ("more words", &text.replace("\"format\":1", "\"format\":1,\"x\":1").into_bytes()),
    ];
    for (what, bytes) in damaged {
        fs::write(state.epochs(), bytes).unwrap();
        let error = epochs::read(&state).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{what}: {error}");
        assert!(error.fix().contains("backup"), "{what}");
        epochs::lock(&state).expect_err(what);
    }
    fs::remove_file(state.epochs()).unwrap();
    assert!(matches!(epochs::read(&state).unwrap_err(), Error::Gone { generation: 2, .. }));
    fs::write(state.epochs(), &second).unwrap();
    fs::set_permissions(state.epochs(), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(epochs::read(&state).unwrap_err(), Error::File(_)));
    fs::set_permissions(state.epochs(), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(epochs::read(&state).unwrap().minimums().len(), 1);
    fs::write(state.root().join("epochs.lock"), "seven").unwrap();
    assert!(matches!(epochs::read(&state).unwrap_err(), Error::Damaged { .. }));
}

#[test]
fn two_at_once_raise_both() {
    let (_folder, state) = state();
    epochs::lock(&state).unwrap();
    std::thread::scope(|scope| {
        for at in 0..8 {
            let state = &state;
            scope.spawn(move || raise(state, &format!("Deploy {at}"), 2));
        }
    });
    assert_eq!(epochs::read(&state).unwrap().minimums().len(), 8);
}
