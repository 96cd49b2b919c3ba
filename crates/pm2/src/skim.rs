//! Of a JSON object only the members that are wanted, without reading the others.
//!
//! Nine tenths of a daemon's list are variables of apps, each of them twice. Here they are passed over at the speed of a
//! search for quotation marks, and what is left is small enough for an ordinary reader. Only JSON without blanks between
//! its parts is taken, which is how PM2 writes it; what is passed over is not checked.

use memchr::memchr2;

/// Which members of an object are wanted.
#[derive(Debug)]
pub enum Wanted {
    /// All of them, or whatever value it is.
    All,
    /// Those of these names, whole.
    Named(&'static [&'static str]),
    /// Those of these names, each as it says.
    Members(&'static [(&'static str, Wanted)]),
}

/// Why nothing was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The object's end is not here yet.
    Incomplete,
    /// It is no object, or not written as PM2 writes.
    Unknown,
}

/// Writes `into` the object that `bytes` begin with, with its `wanted` members only, in their order. Gives the length of
/// the whole object.
///
/// A name is compared as it is written: one with an escape in it is wanted by nobody.
pub(crate) fn object(bytes: &[u8], wanted: &Wanted, into: &mut Vec<u8>) -> Result<usize, Stop> {
    let mut skim = Skim { bytes, at: 0 };
    skim.expect(b'{').and_then(|()| skim.members(wanted, into))?;
    Ok(skim.at)
}

impl Wanted {
    fn member(&self, name: &[u8]) -> Option<&Self> {
        match self {
            Self::All => Some(&Self::All),
            Self::Named(names) => names.iter().any(|known| known.as_bytes() == name).then_some(&Self::All),
            Self::Members(members) => {
                members.iter().find(|(known, _)| known.as_bytes() == name).map(|(_, wanted)| wanted)
            }
        }
    }
}

struct Skim<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Skim<'_> {
    fn next(&self) -> Result<u8, Stop> {
        self.bytes.get(self.at).copied().ok_or(Stop::Incomplete)
    }

    fn expect(&mut self, byte: u8) -> Result<(), Stop> {
        if self.next()? != byte {
            return Err(Stop::Unknown);
        }
        self.at += 1;
        Ok(())
    }

    /// What comes after an object's `{`, to its `}`.
    fn members(&mut self, wanted: &Wanted, into: &mut Vec<u8>) -> Result<(), Stop> {
        into.push(b'{');
        let mut is_first = true;
        let mut ends = self.next()? == b'}';
        while !ends {
            let begins = self.at;
            self.expect(b'"').and_then(|()| self.string())?;
            let name = &self.bytes[begins + 1..self.at - 1];
            self.expect(b':')?;
            match wanted.member(name) {
                None => self.value()?,
                Some(wanted) => {
                    if !std::mem::take(&mut is_first) {
                        into.push(b',');
                    }
                    self.member(begins, wanted, into)?;
                }
            }
            ends = match self.next()? {
                b'}' => true,
                b',' => false,
                _ => return Err(Stop::Unknown),
            };
            self.at += usize::from(!ends);
        }
        self.at += 1;
        into.push(b'}');
        Ok(())
    }

    /// A member's value, written with its name, which `begins` there.
    fn member(&mut self, begins: usize, wanted: &Wanted, into: &mut Vec<u8>) -> Result<(), Stop> {
        if !matches!(wanted, Wanted::All) && self.next()? == b'{' {
            self.at += 1;
            into.extend_from_slice(&self.bytes[begins..self.at - 1]);
            return self.members(wanted, into);
        }
        self.value()?;
        into.extend_from_slice(&self.bytes[begins..self.at]);
        Ok(())
    }

    fn value(&mut self) -> Result<(), Stop> {
        match self.next()? {
            b'"' => {
                self.at += 1;
                self.string()
            }
            b'{' | b'[' => self.nested(),
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
                while matches!(self.next()?, b'-' | b'+' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'E') {
                    self.at += 1;
                }
                Ok(())
            }
            _ => Err(Stop::Unknown),
        }
    }

    /// What comes after a string's opening quotation mark, to its closing one.
    fn string(&mut self) -> Result<(), Stop> {
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let found = memchr2(b'"', b'\\', rest).ok_or(Stop::Incomplete)?;
            let is_end = rest[found] == b'"';
            self.at += found + if is_end { 1 } else { 2 };
            if is_end {
                return Ok(());
            }
        }
    }

    /// An object or an array, to its end.
    fn nested(&mut self) -> Result<(), Stop> {
        let mut depth = 0_usize;
        loop {
            let byte = self.next()?;
            self.at += 1;
            match byte {
                b'"' => self.string()?,
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;

    const WANTED: Wanted = Wanted::Members(&[
        ("id", Wanted::All),
        ("settings", Wanted::Members(&[("status", Wanted::All), ("env", Wanted::Named(&["NODE_ENV"]))])),
    ]);

    fn skimmed(text: &str, wanted: &Wanted) -> Result<(String, usize), Stop> {
        let mut into = Vec::new();
        let length = object(text.as_bytes(), wanted, &mut into)?;
        Ok((String::from_utf8(into).unwrap(), length))
    }

    #[test]
    fn only_what_is_wanted_is_written_and_the_length_is_that_of_the_whole() {
        for (whole, expected) in [
            ("{}", "{}"),
            (r#"{"x":1}"#, "{}"),
            (r#"{"id":-1.5e+3}"#, r#"{"id":-1.5e+3}"#),
            (r#"{"x":{"id":2},"id":null,"y":[{"id":3}]}"#, r#"{"id":null}"#),
            (r#"{"id":{"a":["}",1]},"x":"\\","settings":[]}"#, r#"{"id":{"a":["}",1]},"settings":[]}"#),
            (
                r#"{"settings":{"a":"\"}","status":"online","env":{"TOKEN":"s","NODE_ENV":"test"}},"x":true}"#,
                r#"{"settings":{"status":"online","env":{"NODE_ENV":"test"}}}"#,
            ),
            (r#"{"\u0069d":1,"i\"d":2,"id":3}"#, r#"{"id":3}"#),
        ] {
            let followed = format!("{whole},{{]");
            assert_eq!(skimmed(&followed, &WANTED), Ok((expected.to_owned(), whole.len())), "{whole}");
            assert_eq!(skimmed(whole, &Wanted::All), Ok((whole.to_owned(), whole.len())));
            for end in 0..whole.len() {
                assert_eq!(skimmed(&whole[..end], &WANTED), Err(Stop::Incomplete), "{whole} to {end}");
            }
        }
    }

    #[test]
    fn what_pm2_does_not_write_is_not_guessed_at() {
        for other in [
            "[]",
            " {}",
            "{ }",
            r#"{"a" :1}"#,
            r#"{"a": 1}"#,
            r#"{"a":1 }"#,
            r#"{"a":1,}"#,
            r#"{"a":x}"#,
            "{1:2}",
        ] {
            assert_eq!(skimmed(other, &WANTED), Err(Stop::Unknown), "{other}");
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "(?s).{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                any_object(inner).prop_map(Value::from),
            ]
        })
    }

    fn any_object(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
        let name = prop_oneof!["id|settings|status|env|NODE_ENV", "(?s).{0,5}"];
        prop::collection::hash_map(name, value, 0..6).prop_map(|members| members.into_iter().collect())
    }

    fn by_the_book(value: &Value, wanted: &Wanted) -> Value {
        let Value::Object(members) = value else { return value.clone() };
        let kept = members.iter().filter_map(|(name, value)| {
            Some((name.clone(), by_the_book(value, wanted.member(name.as_bytes())?)))
        });
        Value::Object(kept.collect())
    }

    proptest! {
        #[test]
        fn any_object_is_read_as_by_an_ordinary_reader(members in any_object(any_value())) {
            let value = Value::Object(members);
            let text = value.to_string();
            let (slim, length) = skimmed(&text, &WANTED).unwrap();
            prop_assert_eq!(length, text.len());
            prop_assert_eq!(serde_json::from_str::<Value>(&slim).unwrap(), by_the_book(&value, &WANTED));
        }

        #[test]
        fn no_bytes_at_all_make_it_panic(text in r#"[{}\[\]",:\\a0-9 ]{0,40}"#) {
            if let Ok((_, length)) = skimmed(&text, &WANTED) {
                prop_assert!(length <= text.len());
            }
        }
    }

    #[test]
    fn a_number_that_is_wanted_keeps_its_digits() {
        let text = json!({ "id": 9_007_199_254_740_993_u64 }).to_string();
        assert_eq!(skimmed(&text, &WANTED), Ok((text.clone(), text.len())));
    }
}
