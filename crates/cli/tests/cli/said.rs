//! What one run of the binary said, and how a test compares it.

use std::process::Output;

use palisade_core::Exit;
use serde_json::Value;

/// Exit status and both outputs of one run.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    /// `None` if a signal ended it.
    pub(crate) exit: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("palisade writes UTF-8");
        Self { exit: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Said {
    /// The same, if it ended with that code.
    #[track_caller]
    pub(crate) fn ends(self, exit: Exit) -> Self {
        let wanted = Some(i32::from(exit.number()));
        assert!(
            self.exit == wanted,
            "expected {exit:?}, not {:?}\n{}\n{}",
            self.exit,
            self.stdout,
            self.stderr
        );
        self
    }

    /// The one JSON document on standard output.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("no one document: {error}\n{}\n{}", self.stdout, self.stderr))
    }

    /// The documents of standard output, one a line.
    #[track_caller]
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        let read = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.stdout.lines().map(read).collect()
    }
}

/// Compares a whole output with the text expected, and shows both in full when they differ.
#[track_caller]
pub(crate) fn same(found: &str, expected: &str) {
    assert!(
        found.trim() == expected.trim(),
        "the output differs; expected:\n{}\nfound:\n{found}\n(end)",
        expected.trim()
    );
}

/// `text` with each volatile part replaced by its kind: pids, terms of time, ids and hashes.
pub(crate) fn settled(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !is_of_word(c)).unwrap_or(rest.len());
        if end == 0 {
            let next = rest.chars().next().map_or(1, char::len_utf8);
            out.push_str(&rest[..next]);
            rest = &rest[next..];
        } else {
            out.push_str(&word(&rest[..end], &out));
            rest = &rest[end..];
        }
    }
    out
}

fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | ':' | '.' | '_')
}

fn word(word: &str, before: &str) -> String {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_time = word.len() >= 20 && word.contains('T') && word.contains('Z') && digits(&word[..4]);
    let is_id = word.len() == 36 && word.split('-').count() == 5;
    let after_pid = before.ends_with("pid ") || before.ends_with("pids ");
    if is_id {
        "ID".to_owned()
    } else if is_time && word.ends_with('Z') {
        "TIME".to_owned()
    } else if is_time || (word.len() > 15 && digits(&word[..8]) && word.contains('-')) {
        "SNAPSHOT".to_owned()
    } else if word.len() >= 40 && hex(word) {
        "HASH".to_owned()
    } else if after_pid && digits(word) {
        "PID".to_owned()
    } else if (before.ends_with(" in ") || before.ends_with(" byte ")) && digits(word) {
        "N".to_owned()
    } else {
        word.to_owned()
    }
}
