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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_gets_out_of_its_quotes() {
        assert_eq!(name(r#"a"; DROP TABLE b; --"#), r#""a""; DROP TABLE b; --""#);
        assert_eq!(text("it's"), "'it''s'");
        assert_eq!(text(r"\'; DROP TABLE b; --"), r"E'\\''; DROP TABLE b; --'");
        assert_eq!(texts(&["a".to_owned(), "b'".to_owned()]), "ARRAY['a', 'b''']::text[]");
        assert_eq!(optional(None), "NULL");
    }
}
