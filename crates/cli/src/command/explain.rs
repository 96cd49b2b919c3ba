//! `palisade explain`: the page of a code.

use palisade_core::text::nearest;
use palisade_core::{Code, Exit};
use serde_json::json;

use crate::args::ExplainArgs;
use crate::failure::Failure;
use crate::output::Output;

// The pages of docs/errors, by code: `const PAGES: &[(&str, &str)]`.
include!(concat!(env!("OUT_DIR"), "/pages.rs"));

pub(crate) fn explain(output: Output, args: &ExplainArgs) -> Result<Exit, Failure> {
    let Some(typed) = &args.code else { return all(output) };
    let code: Code = typed.parse().map_err(|_unknown| unknown(typed))?;
    let name = code.to_string();
    let page = PAGES.iter().find(|(known, _)| *known == name).map_or("", |(_, page)| *page);
    output.document(&json!({ "code": code, "title": code.title(), "page": page }))?;
    output.data(page.trim_end())?;
    Ok(Exit::Done)
}

fn all(output: Output) -> Result<Exit, Failure> {
    let codes: Vec<_> = Code::ALL.iter().map(|code| json!({ "code": code, "title": code.title() })).collect();
    output.document(&codes)?;
    for code in Code::ALL {
        output.data(format_args!("{code}  {}", code.title()))?;
    }
    Ok(Exit::Done)
}

fn unknown(typed: &str) -> Failure {
    let known: Vec<String> = Code::ALL.iter().map(Code::to_string).collect();
    let meant = nearest(&typed.to_uppercase(), known.iter().map(String::as_str));
    let failure = Failure::usage(format!("{typed:?} is not a code of this version"));
    match meant {
        Some(code) => failure.hint(format!("did you mean {code}?")),
        None => failure.hint("`palisade explain` without a code lists them all"),
    }
}
