//! A corpus of checkouts: each dangerous shape is found where it stands, and good ones are left alone.

use std::collections::{BTreeMap, BTreeSet};

use palisade_ci::lint::{Finding, Report, Severity, lint};
use palisade_ci::workflow::dialect_of;
use palisade_core::Code;
use proptest::prelude::*;

struct Case {
    name: String,
    files: BTreeMap<String, String>,
    /// `FILE:LINE CODE`.
    expected: BTreeSet<String>,
}

/// `=== NAME`, `--- PATH` with the lines of the file, `> FILE:LINE CODE`.
fn corpus(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut open = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("=== ") {
            cases.push(Case { name: name.to_owned(), files: BTreeMap::new(), expected: BTreeSet::new() });
        } else if let Some(path) = line.strip_prefix("--- ") {
            open = path.to_owned();
            cases.last_mut().unwrap().files.insert(open.clone(), String::new());
        } else if let Some(expected) = line.strip_prefix("> ") {
            cases.last_mut().unwrap().expected.insert(expected.to_owned());
        } else {
            let file = cases.last_mut().unwrap().files.get_mut(&open).unwrap();
            file.push_str(line);
            file.push('\n');
        }
    }
    cases
}

fn look(files: &BTreeMap<String, String>) -> Report {
    let paths: Vec<String> = files.keys().filter(|path| dialect_of(path).is_some()).cloned().collect();
    lint(&paths, &|path| files.get(path).cloned())
}

fn line(finding: &Finding) -> String {
    format!("{}:{} {}", finding.spot.file, finding.spot.line, finding.code)
}

fn bad() -> Vec<Case> {
    corpus(include_str!("corpus/bad.txt"))
}

fn good() -> Vec<Case> {
    corpus(include_str!("corpus/good.txt"))
}

#[test]
fn every_dangerous_shape_is_found_where_it_stands() {
    for case in bad() {
        let report = look(&case.files);
        // Errors must be expected; warnings count where the case is about them.
        let about = |finding: &&Finding| {
            finding.severity == Severity::Error
                || case.expected.iter().any(|expected| expected.ends_with(&finding.code.to_string()))
        };
        let found: BTreeSet<String> = report.findings.iter().filter(about).map(line).collect();
        assert_eq!(found, case.expected, "{}", case.name);
        assert!(report.findings.iter().all(|finding| !finding.fix.is_empty()), "{}", case.name);
    }
}

#[test]
fn good_checkouts_are_left_alone() {
    for case in good() {
        let open: Vec<String> = look(&case.files)
            .findings
            .iter()
            .filter(|finding| finding.accepted.is_none())
            .map(|finding| format!("{}: {}", line(finding), finding.message))
            .collect();
        assert_eq!(open, [""; 0], "{}", case.name);
    }
}

#[test]
fn the_corpus_has_forty_files_and_every_rule() {
    let files = |cases: &[Case]| cases.iter().map(|case| case.files.len()).sum::<usize>();
    assert!(files(&bad()) + files(&good()) >= 40);
    let found: BTreeSet<Code> =
        bad().iter().flat_map(|case| look(&case.files).findings).map(|finding| finding.code).collect();
    let rules = Code::ALL.iter().copied().filter(|code| (705..=715).contains(&code.number()));
    assert_eq!(found, rules.collect());
}

#[test]
fn a_finding_in_a_script_says_through_what_it_is_reached() {
    let cases = bad();
    let case = cases.iter().find(|case| case.name == "through package.json").unwrap();
    let report = look(&case.files);
    let stop = report.findings.iter().find(|finding| line(finding) == "package.json:6 PAL-705").unwrap();
    let via: Vec<String> = stop.via.iter().map(|spot| format!("{}:{}", spot.file, spot.line)).collect();
    assert_eq!(via, [".github/workflows/a.yml:4", "package.json:4"]);
}

#[test]
fn scripts_that_are_not_in_the_checkout_are_named() {
    let cases = good();
    let case = cases.iter().find(|case| case.name.starts_with("scripts of elsewhere")).unwrap();
    assert_eq!(
        look(&case.files).unread,
        BTreeSet::from(["./not-there.sh".to_owned(), "../outside.sh".to_owned()])
    );
}

#[test]
fn texts_that_run_themselves_and_endless_nests_end() {
    let nests = format!("{}x{}", "$(".repeat(20_000), ")".repeat(20_000));
    let quotes = format!("{}x", "bash -c \"".repeat(2_000));
    for script in
        ["A='eval $A; eval $A'\neval $A", "trap 'eval \"$B\"' EXIT; B='trap \"$B\"'", &nests, &quotes]
    {
        let script = script.replace('\n', "\n          ");
        let workflow =
            format!("jobs:\n  a:\n    steps:\n      - run: |\n          {script}\n          pm2 kill\n");
        let files = BTreeMap::from([(".github/workflows/a.yml".to_owned(), workflow)]);
        look(&files);
    }
}

proptest! {
    #[test]
    fn no_script_makes_it_panic_or_hang(script in "[ -~\n]{0,300}", program in "[ -~\n]{0,200}") {
        let indented = script.replace('\n', "\n          ");
        let workflow = format!("jobs:\n  a:\n    steps:\n      - run: |\n          node x.js\n          {indented}\n");
        let files = BTreeMap::from([
            (".github/workflows/a.yml".to_owned(), workflow),
            ("x.js".to_owned(), program.clone()),
            ("Makefile".to_owned(), program.clone()),
            ("package.json".to_owned(), program),
        ]);
        look(&files);
    }

    #[test]
    fn a_step_is_found_whatever_stands_around_it(before in "[a-z ]{0,20}", after in "[a-z ]{0,20}") {
        let script = format!("echo {before}\n          pm2 delete all\n          echo {after}");
        let workflow = format!("jobs:\n  a:\n    steps:\n      - run: |\n          {script}\n");
        let files = BTreeMap::from([(".github/workflows/a.yml".to_owned(), workflow)]);
        let errors: Vec<String> =
            look(&files).findings.iter().filter(|finding| finding.severity == Severity::Error).map(line).collect();
        prop_assert_eq!(errors, [".github/workflows/a.yml:6 PAL-705"]);
    }
}
