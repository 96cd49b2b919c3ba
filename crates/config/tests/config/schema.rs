//! The schema that editors get agrees with what the parser takes.

use palisade_config::schema;
use serde_json::Value;

use crate::support::{host, problems};

/// The properties of the schema's object at `path`.
fn keys_at(path: &str) -> Vec<String> {
    let schema = schema();
    let properties = schema.pointer(path).and_then(Value::as_object).expect("an object with properties");
    let mut keys: Vec<_> = properties.keys().cloned().collect();
    keys.sort();
    keys
}

/// The keys that the parser lists when it meets one that it does not know.
fn keys_of_parser(text: &str) -> Vec<String> {
    let problems = problems(text);
    let fix = problems.list().iter().find_map(|problem| problem.fix.strip_prefix("the keys here are: "));
    let mut keys: Vec<_> = fix.expect("an unknown key").split(", ").map(str::to_owned).collect();
    keys.sort();
    keys
}

#[test]
fn each_accepted_key_is_in_the_schema_and_no_other() {
    for (path, text) in [
        ("/properties", "zzzzzz = 1"),
        ("/properties/limits/properties", "[limits]\nzzzzzz = 1"),
        ("/properties/notify/properties", "[notify]\nzzzzzz = 1"),
        ("/properties/environments/additionalProperties/properties", "[environments.a]\nzzzzzz = 1"),
        ("/properties/app/items/properties", "[[app]]\nzzzzzz = 1"),
        (
            "/properties/app/items/properties/deployers/items/properties",
            "[[app]]\ndeployers = [{ uid = 1, zzzzzz = 1 }]",
        ),
    ] {
        assert_eq!(keys_at(path), keys_of_parser(text), "{path}");
    }
}

#[test]
fn no_object_of_the_schema_takes_unknown_keys() {
    for path in
        ["", "/properties/limits", "/properties/environments/additionalProperties", "/properties/app/items"]
    {
        assert_eq!(schema().pointer(path).unwrap()["additionalProperties"], Value::Bool(false), "{path}");
    }
}

#[test]
fn the_words_of_the_schema_are_words_of_the_parser() {
    let schema = schema();
    let words = |path: &str| schema.pointer(path).and_then(Value::as_array).unwrap().clone();
    for mode in words("/properties/app/items/properties/mode/enum") {
        for operation in words("/properties/app/items/properties/confirm/items/enum") {
            host(&format!(
                "revision = 1\n[environments.x]\nmode = {mode}\n[[app]]\nname = \"a\"\nenvironment = \"x\"\n\
                 processes = [\"a\"]\nmode = {mode}\nconfirm = [{operation}]\n"
            ));
        }
    }
}
