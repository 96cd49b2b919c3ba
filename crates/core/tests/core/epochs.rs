//! Which job a minimum stops: a table, and that minimums only rise.

use palisade_core::Code;
use palisade_core::actor::Forge;
use palisade_core::epoch::{Epoch, Job, Minimum, Ratchet, Subject};
use palisade_core::time::Timestamp;
use proptest::prelude::*;

fn epoch(number: u32) -> Epoch {
    Epoch::try_from(number).unwrap()
}

fn subject(repository: &str, workflow: Option<&str>, file: Option<&str>) -> Subject {
    Subject {
        repository: repository.to_owned(),
        workflow: workflow.map(str::to_owned),
        file: file.map(str::to_owned),
    }
}

fn minimum(subject: Subject, number: u32) -> Minimum {
    let raised_at = Timestamp::from_unix_ms(1_771_323_180_123);
    Minimum { subject, epoch: epoch(number), raised_at, raised_by: "ada".to_owned() }
}

fn ratchet(minimums: impl IntoIterator<Item = Minimum>) -> Ratchet {
    let mut ratchet = Ratchet::default();
    for minimum in minimums {
        ratchet.raise(minimum).unwrap();
    }
    ratchet
}

fn job(repository: &str, workflow: &str, file: Option<&str>, epoch: Option<&str>) -> Job {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Job {
        forge: Some(Forge::Gitea),
        repository: text(repository),
        workflow: text(workflow),
        file: file.map(str::to_owned),
        epoch: epoch.map(str::to_owned),
        run: None,
    }
}

fn code(ratchet: &Ratchet, job: &Job) -> Option<Code> {
    ratchet.objection(job).map(|finding| finding.code)
}

#[test]
fn an_older_missing_or_unreadable_epoch_is_objected_to_and_the_same_or_a_newer_passes() {
    let ratchet = ratchet([minimum(subject("acme/shop", Some("Deploy"), None), 7)]);
    let of = |epoch| code(&ratchet, &job("acme/shop", "Deploy", None, epoch));
    for (carried, expected) in [
        (Some("7"), None),
        (Some("8"), None),
        (Some("4294967295"), None),
        (Some("6"), Some(Code::StaleWorkflow)),
        (Some("1"), Some(Code::StaleWorkflow)),
        (None, Some(Code::NoEpoch)),
        (Some(""), Some(Code::NoEpoch)),
        (Some("0"), Some(Code::NoEpoch)),
        (Some("07"), Some(Code::NoEpoch)),
        (Some("+7"), Some(Code::NoEpoch)),
        (Some(" 7"), Some(Code::NoEpoch)),
        (Some("7.0"), Some(Code::NoEpoch)),
        (Some("-7"), Some(Code::NoEpoch)),
        (Some("99999999999"), Some(Code::NoEpoch)),
        (Some("${{ vars.EPOCH }}"), Some(Code::NoEpoch)),
    ] {
        assert_eq!(of(carried), expected, "{carried:?}");
    }
}

#[test]
fn a_minimum_is_for_its_own_workflow_by_name_or_file() {
    let by_name =
        ratchet([minimum(subject("Acme/Shop", Some("Deploy"), Some(".gitea/workflows/deploy.yml")), 7)]);
    let by_file = ratchet([minimum(subject("acme/shop", Some("deploy.yml"), None), 7)]);
    let path = Some(".gitea/workflows/deploy.yml");
    for (ratchet, repository, workflow, file, stops) in [
        (&by_name, "acme/shop", "Deploy", None, true),
        (&by_name, "acme/shop", "Deploy to test", None, false),
        // The version that runs may still have its earlier name.
        (&by_name, "acme/shop", "Release", path, true),
        (&by_name, "acme/other", "Deploy", None, false),
        (&by_file, "acme/shop", ".github/workflows/deploy.yml", None, true),
        (&by_file, "acme/shop", "Deploy", path, true),
        (&by_file, "acme/shop", "Deploy", Some(".gitea/workflows/redeploy.yml"), false),
        (&by_file, "acme/shop", "Test", None, false),
        // What the job does not name is taken against it.
        (&by_name, "acme/shop", "", None, true),
        (&by_name, "", "Deploy", None, true),
        (&by_name, "acme/other", "", None, false),
    ] {
        let found = code(ratchet, &job(repository, workflow, file, Some("6"))).is_some();
        assert_eq!(found, stops, "{repository} {workflow} {file:?}");
    }
}

#[test]
fn the_highest_minimum_that_applies_counts_and_none_stops_nobody() {
    let all = ratchet([
        minimum(subject("acme/shop", None, None), 3),
        minimum(subject("acme/shop", Some("Deploy"), None), 7),
    ]);
    assert_eq!(code(&all, &job("acme/shop", "Deploy", None, Some("3"))), Some(Code::StaleWorkflow));
    assert_eq!(code(&all, &job("acme/shop", "Once called so", None, Some("3"))), None);
    assert_eq!(code(&all, &job("acme/shop", "Once called so", None, None)), Some(Code::NoEpoch));
    assert_eq!(code(&Ratchet::default(), &job("acme/shop", "Deploy", None, None)), None);
}

#[test]
fn texts_of_a_job_cannot_drive_the_terminal() {
    let ratchet = ratchet([minimum(subject("acme/shop", None, None), 3)]);
    let finding = ratchet.objection(&job("acme/shop", "\x1b[2J", None, Some("\x1b[1m"))).unwrap();
    assert!(!finding.message.contains('\x1b'), "{finding:?}");
}

proptest! {
    #[test]
    fn whatever_is_asked_for_a_minimum_never_falls(raises in prop::collection::vec((0_usize..3, 1_u32..9), 0..40)) {
        let subjects = [
            subject("acme/shop", None, None),
            subject("ACME/shop", Some("Deploy"), None),
            subject("acme/other", Some("Deploy"), Some(".github/workflows/deploy.yml")),
        ];
        let mut ratchet = Ratchet::default();
        let mut highest = [0; 3];
        for (at, number) in raises {
            let raised = ratchet.raise(minimum(subjects[at].clone(), number));
            prop_assert_eq!(raised.is_ok(), number >= highest[at]);
            highest[at] = highest[at].max(number);
            prop_assert_eq!(ratchet.minimum(&subjects[at]).map(|kept| kept.epoch), Some(epoch(highest[at])));
        }
        let text = serde_json::to_string(&ratchet).unwrap();
        prop_assert_eq!(serde_json::from_str::<Ratchet>(&text).unwrap(), ratchet);
    }
}
