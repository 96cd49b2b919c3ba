//! What a runner's hook decides, as a table.

use palisade_ci::admit::{Admission, Facts, Head, Minimums, judge};
use palisade_core::Code;
use palisade_core::actor::{Claimed, Forge};
use palisade_core::epoch::{Epoch, Minimum, Ratchet, Subject};
use palisade_core::time::Timestamp;

const NEW: &str = "1111111111111111111111111111111111111111";
const OLD: &str = "2222222222222222222222222222222222222222";

fn ratchet() -> Ratchet {
    let mut ratchet = Ratchet::default();
    let subject =
        Subject { repository: "acme/shop".to_owned(), workflow: Some("Deploy".to_owned()), file: None };
    let epoch = Epoch::try_from(7).unwrap();
    let raised_at = Timestamp::from_unix_ms(1_771_323_180_123);
    ratchet.raise(Minimum { subject, epoch, raised_at, raised_by: "ada".to_owned() }).unwrap();
    ratchet
}

fn claimed(forge: Forge) -> Claimed {
    let text = |text: &str| Some(text.to_owned());
    Claimed {
        forge: Some(forge),
        repository: text("acme/shop"),
        workflow: text("Deploy"),
        commit: text(NEW),
        branch: text("main"),
        run_attempt: text("1"),
        event: text("push"),
        epoch: text("7"),
        ..Claimed::default()
    }
}

fn facts<'a>(claimed: &'a Claimed, ratchet: &'a Ratchet) -> Facts<'a> {
    Facts {
        claimed,
        runner_version: Some("v1.0.1"),
        minimums: Minimums::Known(ratchet),
        head: Head::Is(NEW.to_owned()),
        copies: Vec::new(),
        is_hook: true,
    }
}

fn codes(admission: &Admission) -> (Vec<Code>, Vec<Code>) {
    let of = |findings: &[palisade_core::Finding]| findings.iter().map(|finding| finding.code).collect();
    (of(&admission.refusals), of(&admission.warnings))
}

#[test]
fn a_current_job_is_admitted_on_every_forge_without_a_word() {
    let ratchet = ratchet();
    for forge in [Forge::GitHub, Forge::Gitea, Forge::Forgejo, Forge::GitLab] {
        let claimed = claimed(forge);
        assert_eq!(judge(&facts(&claimed, &ratchet)), Some(Admission::default()), "{forge}");
    }
    let nobody = Claimed::default();
    assert_eq!(judge(&facts(&nobody, &ratchet)), None);
}

#[test]
fn an_old_or_missing_epoch_is_refused_but_not_where_a_hook_cannot_see_it() {
    let ratchet = ratchet();
    for (forge, is_hook, epoch, expected) in [
        (Forge::Gitea, true, Some("6"), vec![Code::StaleWorkflow]),
        (Forge::Forgejo, true, None, vec![Code::NoEpoch]),
        (Forge::GitHub, true, None, vec![]),
        (Forge::GitHub, true, Some("6"), vec![Code::StaleWorkflow]),
        (Forge::GitHub, false, None, vec![Code::NoEpoch]),
        (Forge::GitLab, false, Some("x"), vec![Code::NoEpoch]),
    ] {
        let claimed = Claimed { epoch: epoch.map(str::to_owned), ..claimed(forge) };
        let admission = judge(&Facts { is_hook, ..facts(&claimed, &ratchet) }).unwrap();
        assert_eq!(codes(&admission), (expected, vec![]), "{forge} {is_hook} {epoch:?}");
        let is_told = admission.notes.iter().any(|note| note.contains("does not see"));
        assert_eq!(is_told, is_hook && forge == Forge::GitHub && epoch.is_none());
    }
}

#[test]
fn minimums_that_cannot_be_read_refuse_and_those_of_another_user_do_not() {
    let (ratchet, claimed) = (ratchet(), claimed(Forge::Gitea));
    let unreadable = Minimums::Unreadable("epochs.json is gone".to_owned());
    let admission = judge(&Facts { minimums: unreadable, ..facts(&claimed, &ratchet) }).unwrap();
    assert_eq!(codes(&admission), (vec![Code::EpochsUnreadable], vec![]));
    let admission = judge(&Facts { minimums: Minimums::Elsewhere, ..facts(&claimed, &ratchet) }).unwrap();
    assert_eq!((codes(&admission), admission.notes.len()), ((vec![], vec![]), 1));
}

#[test]
fn an_old_commit_or_a_further_attempt_is_a_warning_that_strict_refuses() {
    let ratchet = ratchet();
    let old = || Head::Is(OLD.to_owned());
    let unknown = || Head::Unknown("no route".to_owned());
    for (attempt, event, head, expected) in [
        ("1", "push", old(), vec![Code::OldCommit]),
        ("1", "schedule", old(), vec![Code::OldCommit]),
        ("2", "push", old(), vec![Code::RepeatedRun]),
        ("2", "push", Head::Is(NEW.to_owned()), vec![]),
        ("2", "push", unknown(), vec![Code::RepeatedRun]),
        ("1", "push", unknown(), vec![]),
    ] {
        let text = |text: &str| Some(text.to_owned());
        let claimed = Claimed { run_attempt: text(attempt), event: text(event), ..claimed(Forge::Forgejo) };
        let admission = judge(&Facts { head, ..facts(&claimed, &ratchet) }).unwrap();
        assert_eq!(codes(&admission), (vec![], expected.clone()), "{attempt} {event}");
        assert_eq!(codes(&admission.strict()), (expected, vec![]));
    }
}

#[test]
fn a_runner_that_keeps_old_copies_is_told_of() {
    let (ratchet, claimed) = (ratchet(), claimed(Forge::Gitea));
    for (version, expected) in [
        (Some("v0.2.11"), vec![Code::CachingRunner]),
        (Some("1.0.0"), vec![Code::CachingRunner]),
        (Some("v1.0.1"), vec![]),
        (Some("v3.0.0-rc1+x"), vec![]),
        (Some("dev"), vec![]),
        (None, vec![]),
    ] {
        let copies = vec!["acme-workflows@main".to_owned()];
        let admission =
            judge(&Facts { runner_version: version, copies, ..facts(&claimed, &ratchet) }).unwrap();
        assert_eq!(codes(&admission), (vec![], expected), "{version:?}");
        if version == Some("v0.2.11") {
            assert!(admission.warnings[0].message.contains("1 are there now: acme-workflows@main"));
        }
    }
}
