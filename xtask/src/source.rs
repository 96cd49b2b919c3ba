//! Source text, and Rust without its comments, strings and tests.

use std::iter::Peekable;
use std::str::Chars;

/// One tracked file.
#[derive(Debug)]
pub(crate) struct Source {
    path: String,
    text: String,
    /// For Rust: the text with blanks for comments and the content of strings.
    code: String,
}

/// A line with its number, from 1.
pub(crate) type Line<'a> = (usize, &'a str);

impl Source {
    pub(crate) fn new(path: &str, text: String) -> Self {
        let code = if path.ends_with(".rs") { without_comments_and_strings(&text) } else { String::new() };
        Self { path: path.to_owned(), text, code }
    }

    /// Path from the repository's root.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Whether it is Rust.
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether the whole file is for tests, by its place.
    pub(crate) fn is_test(&self) -> bool {
        let folder = |name: &str| self.path.split('/').any(|part| part == name);
        folder("tests") || folder("benches") || self.path.ends_with("/tests.rs")
    }

    /// Every line as it is written.
    pub(crate) fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        (1..).zip(self.text.lines())
    }

    /// Every line of Rust, without comments and strings.
    pub(crate) fn code(&self) -> impl Iterator<Item = Line<'_>> {
        (1..).zip(self.code.lines())
    }

    /// As [`Source::code`], without items under `#[cfg(test)]`; nothing if the whole file is for tests.
    pub(crate) fn production(&self) -> Vec<Line<'_>> {
        let mut kept = Vec::new();
        if self.is_test() {
            return kept;
        }
        let mut skipped = Item::default();
        let mut skipping = false;
        for (number, line) in self.code() {
            if !skipping && line.trim_start().starts_with("#[cfg(test)]") {
                (skipping, skipped) = (true, Item::default());
            }
            if !skipping {
                kept.push((number, line));
            } else if skipped.ends_on(line) {
                skipping = false;
            }
        }
        kept
    }
}

/// Where an item ends: at its closing brace, or at a semicolon before any brace.
#[derive(Debug, Default)]
struct Item {
    depth: usize,
    opened: bool,
}

impl Item {
    fn ends_on(&mut self, line: &str) -> bool {
        for c in line.chars() {
            match c {
                '{' => (self.depth, self.opened) = (self.depth + 1, true),
                '}' => self.depth = self.depth.saturating_sub(1),
                ';' if !self.opened => return true,
                _ => {}
            }
            if self.opened && self.depth == 0 {
                return true;
            }
        }
        false
    }
}

/// Whether `word` stands in `line` with no letter, digit or `_` before it.
pub(crate) fn has_word(line: &str, word: &str) -> bool {
    let before = |at: usize| line[..at].chars().next_back();
    line.match_indices(word).any(|(at, _)| !before(at).is_some_and(|c| c.is_alphanumeric() || c == '_'))
}

/// `text` with every comment, and the content of every string and character, replaced by blanks. Lines stay.
fn without_comments_and_strings(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match (c, rest.peek().copied()) {
            ('/', Some('/')) => blank_until(&mut rest, &mut out, |rest| rest.peek() == Some(&'\n')),
            ('/', Some('*')) => block_comment(&mut rest, &mut out),
            ('r', Some('"' | '#')) => raw_string(&mut rest, &mut out),
            ('"', _) => quoted(&mut rest, &mut out, '"'),
            ('\'', _) if is_character(rest.clone()) => quoted(&mut rest, &mut out, '\''),
            _ => out.push(c),
        }
    }
    out
}

type Rest<'a> = Peekable<Chars<'a>>;

fn push_blank(out: &mut String, c: char) {
    out.push(if c == '\n' { '\n' } else { ' ' });
}

fn blank_until(rest: &mut Rest<'_>, out: &mut String, end: impl Fn(&mut Rest<'_>) -> bool) {
    out.push(' ');
    while !end(rest) {
        let Some(c) = rest.next() else { return };
        push_blank(out, c);
    }
}

fn block_comment(rest: &mut Rest<'_>, out: &mut String) {
    let mut depth = 0_usize;
    let mut last = '/';
    out.push(' ');
    for c in rest.by_ref() {
        push_blank(out, c);
        let (opens, closes) = (last == '/' && c == '*', last == '*' && c == '/');
        depth = depth + usize::from(opens) - usize::from(closes);
        if closes && depth == 0 {
            return;
        }
        // One character counts for one mark only.
        last = if opens || closes { ' ' } else { c };
    }
}

/// A raw string; or a raw identifier such as `r#type`, which stays.
fn raw_string(rest: &mut Rest<'_>, out: &mut String) {
    let hashes = rest.clone().take_while(|c| *c == '#').count();
    if rest.clone().nth(hashes) != Some('"') {
        out.push('r');
        return;
    }
    out.push(' ');
    for c in rest.by_ref().take(hashes + 1) {
        push_blank(out, c);
    }
    while let Some(c) = rest.next() {
        push_blank(out, c);
        if c == '"' && rest.clone().take(hashes).filter(|c| *c == '#').count() == hashes {
            rest.by_ref().take(hashes).for_each(|c| push_blank(out, c));
            return;
        }
    }
}

/// After an opening quote: is this a character, or else a lifetime?
fn is_character(mut rest: Rest<'_>) -> bool {
    match (rest.next(), rest.next()) {
        (Some('\\'), _) => true,
        (Some(_), Some('\'')) => true,
        (Some(_) | None, _) => false,
    }
}

fn quoted(rest: &mut Rest<'_>, out: &mut String, end: char) {
    out.push(end);
    while let Some(c) = rest.next() {
        if c == end {
            out.push(end);
            return;
        }
        push_blank(out, c);
        if c == '\\'
            && let Some(escaped) = rest.next()
        {
            push_blank(out, escaped);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_become_blanks_and_lines_stay() {
        let text = "a // b\n/* c\n/* d */ */ e \"f\\\"g\" h\nr#\"i\n\"j\"# k 'l' '\\'' &'m n r#type \"o\n\"";
        let code = without_comments_and_strings(text);
        assert_eq!(code.lines().count(), text.lines().count());
        let words: Vec<&str> = code.split_whitespace().collect();
        assert_eq!(
            words,
            ["a", "e", "\"", "\"", "h", "k", "'", "'", "'", "'", "&'m", "n", "r#type", "\"", "\""]
        );
    }

    #[test]
    fn items_under_cfg_test_are_left_out() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests;\nfn b() {}\n#[cfg(test)]\nmod more {\n  fn c() { \"}\"; }\n}\nfn d() {}\n";
        let source = Source::new("crates/x/src/lib.rs", text.to_owned());
        let kept: Vec<&str> = source.production().into_iter().map(|(_, line)| line).collect();
        assert_eq!(kept, ["fn a() {}", "fn b() {}", "fn d() {}"]);
    }

    #[test]
    fn a_file_below_tests_is_a_test() {
        for (path, expected) in [
            ("crates/core/tests/core/main.rs", true),
            ("crates/core/src/rules/tests.rs", true),
            ("crates/core/src/rules.rs", false),
        ] {
            assert_eq!(Source::new(path, String::new()).is_test(), expected, "{path}");
        }
    }

    #[test]
    fn a_word_is_found_where_it_begins() {
        assert!(has_word("    todo!()", "todo!"));
        assert!(!has_word("    not_todo!()", "todo!"));
    }
}
