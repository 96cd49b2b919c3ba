//! The literal is written at the right place, and everything else stays as it was.

use palisade_ci::epoch::{self, Error};
use palisade_ci::workflow;
use palisade_core::Epoch;
use proptest::prelude::*;

const ACTIONS: &str = ".gitea/workflows/deploy.yml";
const GITLAB: &str = ".gitlab-ci.yml";

fn number(number: u32) -> Epoch {
    Epoch::try_from(number).unwrap()
}

fn written(path: &str, text: &str, to: Option<u32>) -> String {
    epoch::write(path, text, to.map(number)).unwrap_or_else(|error| panic!("{text:?}: {error}")).text
}

#[test]
fn a_workflow_without_variables_gets_them_before_its_jobs_and_below_its_remarks() {
    let text = "# Deploys.\nname: Deploy\non:\n  push: # always\n\n# the work\n# of it\njobs:\n  a:\n    steps: []\n";
    let expected = "# Deploys.\nname: Deploy\non:\n  push: # always\n\nenv:\n  PALISADE_EPOCH: \"1\"\n\n# the work\n# of it\njobs:\n  a:\n    steps: []\n";
    assert_eq!(written(ACTIONS, text, None), expected);
}

#[test]
fn an_epoch_is_put_and_replaced_in_every_way_that_variables_are_written() {
    let jobs = "jobs: {a: {steps: []}}\n";
    for (before, after) in [
        (
            "env:\n  A: \"1\" # one\n  # two\n  B: 2\n",
            "env:\n  PALISADE_EPOCH: \"7\"\n  A: \"1\" # one\n  # two\n  B: 2\n",
        ),
        ("env:\n    A: é\n", "env:\n    PALISADE_EPOCH: \"7\"\n    A: é\n"),
        ("env: # ours\n", "env: # ours\n  PALISADE_EPOCH: \"7\"\n"),
        ("env:\n", "env:\n  PALISADE_EPOCH: \"7\"\n"),
        ("env: {}\n", "env: {PALISADE_EPOCH: \"7\"}\n"),
        ("env: {A: b} # c\n", "env: {PALISADE_EPOCH: \"7\", A: b} # c\n"),
        ("env:\n  PALISADE_EPOCH: \"6\" # keep\n  A: b\n", "env:\n  PALISADE_EPOCH: \"7\" # keep\n  A: b\n"),
        ("env:\n  A: b\n  PALISADE_EPOCH: 6   # keep\n", "env:\n  A: b\n  PALISADE_EPOCH: \"7\"   # keep\n"),
        ("env:\n  PALISADE_EPOCH: '6'\n", "env:\n  PALISADE_EPOCH: \"7\"\n"),
        ("env: {A: b, PALISADE_EPOCH: 6, C: d}\n", "env: {A: b, PALISADE_EPOCH: \"7\", C: d}\n"),
        ("env: {A: b, PALISADE_EPOCH: \"6\"}\n", "env: {A: b, PALISADE_EPOCH: \"7\"}\n"),
        ("env:\n  PALISADE_EPOCH:\n  A: b\n", "env:\n  PALISADE_EPOCH: \"7\"\n  A: b\n"),
        ("env:\n  PALISADE_EPOCH: ${{ vars.EPOCH }}\n  A: b\n", "env:\n  PALISADE_EPOCH: \"7\"\n  A: b\n"),
        ("env:\r\n  A: b\r\n", "env:\r\n  PALISADE_EPOCH: \"7\"\r\n  A: b\r\n"),
        ("\u{feff}env:\n  A: b\n", "\u{feff}env:\n  PALISADE_EPOCH: \"7\"\n  A: b\n"),
    ] {
        let (first, last) = (format!("{before}{jobs}"), format!("{jobs}{before}"));
        assert_eq!(written(ACTIONS, &first, Some(7)), format!("{after}{jobs}"), "{before:?}");
        if !before.starts_with('\u{feff}') {
            assert_eq!(written(ACTIONS, &last, Some(7)), format!("{jobs}{after}"), "{before:?} at the end");
        }
    }
}

#[test]
fn gitlab_keeps_its_variables_under_their_own_name() {
    let job = "deploy:\n  script: [./deploy.sh]\n";
    assert_eq!(
        written(GITLAB, &format!("# CI\n{job}"), Some(7)),
        format!("# CI\nvariables:\n  PALISADE_EPOCH: \"7\"\n\n{job}")
    );
    let described = "variables:\n  PALISADE_EPOCH:\n    value: \"6\"\n    description: generation\n";
    assert_eq!(
        written(GITLAB, &format!("{described}{job}"), None),
        format!("{}{job}", described.replace('6', "7"))
    );
}

#[test]
fn the_next_epoch_is_one_more_and_a_lower_one_is_refused() {
    let text = |epoch: &str| format!("env:\n  PALISADE_EPOCH: \"{epoch}\"\njobs: {{}}\n");
    let edited = epoch::write(ACTIONS, &text("6"), None).unwrap();
    assert_eq!(
        (edited.from, edited.to, edited.line, edited.text),
        (Some(number(6)), number(7), 2, text("7"))
    );
    let same = epoch::write(ACTIONS, &text("6"), Some(number(6))).unwrap();
    assert_eq!(same.text, text("6"));
    let lower = epoch::write(ACTIONS, &text("6"), Some(number(5))).unwrap_err();
    assert_eq!(lower, Error::WouldFall { from: number(6), to: number(5) });
    assert_eq!(epoch::write(ACTIONS, &text("4294967295"), None).unwrap_err(), Error::NoNext);
}

#[test]
fn what_cannot_be_edited_safely_is_an_error_that_names_the_line() {
    for (text, line) in [
        ("env: ${{ fromJSON(inputs.env) }}\njobs: {}\n", 1),
        ("x: &a {A: b}\nenv: *a\njobs: {}\n", 2),
        ("env: {A: b}\nenv: {C: d}\njobs: {}\n", 1),
        ("env:\n  PALISADE_EPOCH: |\n    6\njobs: {}\n", 3),
        ("env:\n  PALISADE_EPOCH: &e \"6\"\njobs: {}\n", 2),
        ("{jobs: {a: {steps: []}}}\n", 1),
    ] {
        let error = epoch::write(ACTIONS, text, Some(number(7))).unwrap_err();
        assert!(
            matches!(error, Error::Place { line: at, .. } if at == line) || error == Error::NotVerified,
            "{text:?}: {error:?}"
        );
    }
    for no_workflow in ["", "# nothing\n", "a: b: c\n", "name: x\n", "- 1\n", "jobs:\n\t- a\n"] {
        assert!(
            matches!(epoch::write(ACTIONS, no_workflow, None), Err(Error::Workflow(_))),
            "{no_workflow:?}"
        );
    }
}

#[test]
fn an_expression_is_no_literal() {
    let workflow = workflow::read(ACTIONS, "env:\n  PALISADE_EPOCH: ${{ vars.E }}\njobs: {}\n").unwrap();
    let literal = epoch::read(&workflow).unwrap();
    assert_eq!(literal.line, 2);
    literal.epoch().unwrap_err();
    let bare = workflow::read(ACTIONS, "jobs:\n  a:\n    env: {PALISADE_EPOCH: \"7\"}\n").unwrap();
    assert_eq!(epoch::read(&bare), None, "a job's own variables are not the workflow's");
}

#[test]
fn aliases_that_multiply_are_refused_and_deep_nests_too() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let last = format!("*a{}", level - 1);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![last; 10].join(", ")));
    }
    workflow::read(ACTIONS, &format!("{bomb}jobs: {{}}\n")).unwrap_err();
    let deep = format!("jobs: {}{}\n", "[".repeat(100), "]".repeat(100));
    workflow::read(ACTIONS, &deep).unwrap_err();
}

proptest! {
    #[test]
    fn no_text_makes_reading_or_writing_panic(text in "[ -~\n]{0,200}") {
        if let Ok(edited) = epoch::write(ACTIONS, &text, None) {
            let again = workflow::read(ACTIONS, &edited.text).unwrap();
            prop_assert_eq!(epoch::read(&again).unwrap().epoch(), Ok(edited.to));
        }
    }

    #[test]
    fn a_workflow_keeps_its_lines(
        head in "(# [a-z é]{0,9}\n){0,3}",
        env in prop::option::of("env:( # x)?\n(  [A-Z]: [a-z0-9]{1,3}( # y)?\n){0,3}"),
        to in 1_u32..99,
    ) {
        let text = format!("{head}name: x\n{}jobs:\n  a:\n    steps:\n      - run: |\n          env:\n", env.unwrap_or_default());
        let edited = epoch::write(ACTIONS, &text, Some(number(to)));
        prop_assume!(!matches!(edited, Err(Error::Workflow(_))));
        let edited = edited.unwrap().text;
        let left: Vec<&str> = edited.lines().filter(|line| !line.contains("PALISADE_EPOCH")).collect();
        let mut kept = left.iter();
        prop_assert!(text.lines().all(|line| kept.any(|other| *other == line)), "{}", edited);
    }
}
