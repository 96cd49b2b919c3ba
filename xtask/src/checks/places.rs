//! No path of somebody's machine, and nothing that looks like a secret.

use crate::repository::Repository;
use crate::violation::Violation;

/// Folders of one machine. Written in two parts, so that this file does not break its own rule.
const PLACES: [&str; 2] = [concat!("/wo", "rk/"), concat!("/ro", "ot/")];

/// How well-known keys begin, and how many letters or digits follow at least.
const KEYS: [(&str, usize); 3] =
    [(concat!("AK", "IA"), 16), (concat!("gh", "p_"), 36), (concat!("sk_", "live_"), 16)];

const PRIVATE_KEY: &str = concat!("PRIVATE ", "KEY-----");

/// Looks through every line of every tracked text file.
pub(crate) fn check(repository: &Repository) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in repository.files() {
        for (number, line) in file.lines() {
            if let Some(place) = PLACES.into_iter().find(|place| names_place(line, place)) {
                let message =
                    format!("`{place}` is a folder of one machine: take a relative path or a variable");
                found.push(Violation::new(file.path(), number, message));
            }
            if is_secret_like(line) {
                found.push(Violation::new(
                    file.path(),
                    number,
                    "looks like a secret: no key belongs in the repository",
                ));
            }
        }
    }
    found
}

/// Whether `place` stands in `line` as a path of its own, not in the middle of another one.
fn names_place(line: &str, place: &str) -> bool {
    let before = |at: usize| line[..at].chars().next_back();
    let within = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '~' | '}' | ')' | '*');
    line.match_indices(place).any(|(at, _)| !before(at).is_some_and(within))
}

fn is_secret_like(line: &str) -> bool {
    let follows = |at: usize| line[at..].chars().take_while(char::is_ascii_alphanumeric).count();
    let key = |(start, length): (&str, usize)| {
        line.match_indices(start).any(|(at, _)| follows(at + start.len()) >= length)
    };
    line.contains(PRIVATE_KEY) || KEYS.into_iter().any(key)
}

#[cfg(test)]
mod tests {
    use super::super::found;
    use super::*;

    #[test]
    fn a_path_of_this_machine_is_found_and_a_longer_path_is_not() {
        let text = format!("cd {}x\n/home/runner{}x\n$HOME{1}y\n", PLACES[0], PLACES[0]);
        assert_eq!(found(check, &[("run", &text)]).len(), 1);
        assert!(found(check, &[("run", &format!("x={}y", PLACES[1]))])[0].starts_with("run:1: "));
    }

    #[test]
    fn keys_are_found_by_their_beginning_and_length() {
        let (start, length) = KEYS[0];
        let key = format!("id = {start}{}", "A".repeat(length));
        assert_eq!(
            found(check, &[("a.toml", &key), ("b.toml", start)]),
            ["a.toml:1: looks like a secret: no key belongs in the repository",]
        );
        assert_eq!(found(check, &[("a.pem", &format!("-----BEGIN {PRIVATE_KEY}"))]).len(), 1);
    }
}
