//! Who may make a permit, and who may make a receipt.

use crate::repository::Repository;
use crate::source::has_word;
use crate::violation::Violation;

/// A function that only some files may name.
struct Reserved {
    word: &'static str,
    /// Beginnings of paths, from the repository's root.
    places: &'static [&'static str],
    /// Whether tests may name it too.
    in_tests: bool,
    rule: &'static str,
}

const RESERVED: [Reserved; 3] = [
    Reserved {
        word: "for_durable_record",
        places: &["crates/journal/src/", "crates/core/src/verdict.rs"],
        in_tests: true,
        rule: "only the journal says that a record is durable",
    },
    Reserved {
        word: "for_system_log",
        places: &["crates/pipeline/src/", "crates/core/"],
        in_tests: false,
        rule: "only the pipeline passes an operation with a record in the system log",
    },
    Reserved {
        word: "Permit::new",
        places: &["crates/core/"],
        in_tests: false,
        rule: "only the judge makes a permit",
    },
];

/// Looks for the reserved functions everywhere else.
pub(crate) fn check(repository: &Repository) -> Vec<Violation> {
    RESERVED.iter().flat_map(|reserved| elsewhere(repository, reserved)).collect()
}

fn elsewhere(repository: &Repository, reserved: &Reserved) -> Vec<Violation> {
    let mut found = Vec::new();
    let allowed = |path: &str| reserved.places.iter().any(|place| path.starts_with(place));
    for file in repository.rust().filter(|file| !allowed(file.path())) {
        let lines = if reserved.in_tests { file.production() } else { file.code().collect() };
        let named = lines.into_iter().filter(|(_, line)| has_word(line, reserved.word));
        found.extend(named.map(|(number, _)| {
            Violation::new(file.path(), number, format!("`{}` here: {}", reserved.word, reserved.rule))
        }));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::found;
    use super::*;

    const RECEIPT: &str = "let r = Receipt::for_durable_record(1, leaf);\n";

    #[test]
    fn a_receipt_is_made_by_the_journal_and_by_tests() {
        let fine = [
            ("crates/journal/src/journal.rs", RECEIPT),
            ("crates/core/src/verdict.rs", RECEIPT),
            ("crates/pm2/tests/pm2/main.rs", RECEIPT),
        ];
        assert_eq!(found(check, &fine), [""; 0]);
        assert_eq!(
            found(check, &[("crates/pipeline/src/run.rs", RECEIPT)]),
            [
                "crates/pipeline/src/run.rs:1: `for_durable_record` here: only the journal says that a record is durable",
            ]
        );
    }

    #[test]
    fn permits_and_receipts_of_the_system_log_are_reserved_in_tests_too() {
        let text = "Permit::new(plan);\nReceipt::for_system_log();\n";
        assert_eq!(
            found(check, &[("crates/pm2/tests/a.rs", text), ("crates/core/src/rules.rs", text)]),
            [
                "crates/pm2/tests/a.rs:2: `for_system_log` here: only the pipeline passes an operation with a record in \
             the system log",
                "crates/pm2/tests/a.rs:1: `Permit::new` here: only the judge makes a permit",
            ]
        );
    }
}
