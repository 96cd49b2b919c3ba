//! Text from outside, as it may stand in a policy file.

use palisade_core::text::escaped;

/// `text` as a TOML string on one line, with everything that a terminal could obey escaped.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if escaped(c.encode_utf8(&mut [0; 4])).len() == c.len_utf8() => out.push(c),
            c => out.push_str(&format!("\\U{:08X}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

/// `texts` as a TOML list: on one line if it is short, else one element a line.
pub(crate) fn list(texts: &[&str]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
    let line = format!("[{}]", quoted.join(", "));
    if line.len() <= 90 {
        return line;
    }
    let lines: String = quoted.iter().map(|text| format!("    {text},\n")).collect();
    format!("[\n{lines}]")
}
