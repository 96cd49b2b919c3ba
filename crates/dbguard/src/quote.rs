//! Names and texts, written so that SQL reads them as such.

/// A name from the catalogue as an identifier.
#[must_use]
pub fn name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as a literal. The form with `E` reads the same whatever `standard_conforming_strings` says.
#[must_use]
pub fn text(text: &str) -> String {
    if text.contains('\\') {
        format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

/// A text, or NULL.
#[must_use]
pub fn optional(value: Option<&str>) -> String {
    value.map_or_else(|| "NULL".to_owned(), text)
}

/// Texts as an array of text.
#[must_use]
pub fn texts(list: &[String]) -> String {
    let list: Vec<_> = list.iter().map(|item| text(item)).collect();
    format!("ARRAY[{}]::text[]", list.join(", "))
}

/// A typed name, cut at its last dot that is not within quotes: what is before it, as it was typed, and the name behind it,
/// which is taken as it is where it has no quotes. `None` where there is no such dot, or quotes are not closed.
#[must_use]
pub fn split_last(typed: &str) -> Option<(&str, String)> {
    let (mut quoted, mut dot) = (false, None);
    for (at, character) in typed.char_indices() {
        match character {
            '"' => quoted = !quoted,
            '.' if !quoted => dot = Some(at),
            _ => {}
        }
    }
    let (before, last) = (!quoted).then(|| dot.map(|at| (&typed[..at], &typed[at + 1..])))??;
    let inner = last.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let name = inner.map_or_else(|| last.to_owned(), |inner| inner.replace("\"\"", "\""));
    (!before.is_empty() && !name.is_empty()).then_some((before, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typed_name_is_cut_at_its_last_dot_outside_of_quotes() {
        for (typed, expected) in [
            ("a.b", Some(("a", "b"))),
            ("s.a.B", Some(("s.a", "B"))),
            (r#"s."a.b".c"#, Some((r#"s."a.b""#, "c"))),
            (r#"a."b.c""#, Some(("a", "b.c"))),
            (r#"a."b""c""#, Some(("a", "b\"c"))),
            ("a", None),
            (".a", None),
            ("a.", None),
            (r#"a."""#, None),
            (r#"a."b"#, None),
            (r#""a.b""#, None),
        ] {
            let found = split_last(typed);
            assert_eq!(found.as_ref().map(|(table, name)| (*table, name.as_str())), expected, "{typed}");
        }
    }

    #[test]
    fn nothing_gets_out_of_its_quotes() {
        assert_eq!(name(r#"a"; DROP TABLE b; --"#), r#""a""; DROP TABLE b; --""#);
        assert_eq!(text("it's"), "'it''s'");
        assert_eq!(text(r"\'; DROP TABLE b; --"), r"E'\\''; DROP TABLE b; --'");
        assert_eq!(texts(&["a".to_owned(), "b'".to_owned()]), "ARRAY['a', 'b''']::text[]");
        assert_eq!(optional(None), "NULL");
    }
}
