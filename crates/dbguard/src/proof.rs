//! What an app shows to say who it is: a key that only it holds, and a proof made of it for one minute. Pure.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use palisade_core::{AppName, EnvironmentName, canonical};
use sha2::Sha256;

/// The first line of a key file that counts.
const FORMAT: &str = "palisade-key 1";

/// The key of one app in one database.
#[derive(Clone, PartialEq, Eq)]
pub struct AppKey {
    /// The database, as it calls itself.
    pub database: String,
    /// The app.
    pub app: AppName,
    /// Its environment.
    pub environment: EnvironmentName,
    /// Which key of the app it is; a rotation makes the next one.
    pub generation: u32,
    key: [u8; 32],
}

/// Why a text is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is not what a key file has there: {expected}")]
pub struct BadKey {
    /// Which line, from 1, without empty ones and remarks.
    pub line: usize,
    /// What belongs there.
    pub expected: &'static str,
}

impl fmt::Debug for AppKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AppKey({}/{} in {})", self.app, self.environment, self.database)
    }
}

impl AppKey {
    /// Puts a key together from what the database says. The key is 64 digits in hex.
    ///
    /// # Errors
    /// [`BadKey`].
    pub fn new(
        database: &str,
        app: AppName,
        environment: EnvironmentName,
        generation: u32,
        key: &str,
    ) -> Result<Self, BadKey> {
        let key = unhex(key).ok_or(BadKey { line: 6, expected: "key, then 64 digits in hex" })?;
        Ok(Self { database: database.to_owned(), app, environment, generation, key })
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// [`BadKey`], which holds nothing of the text.
    pub fn parse(text: &str) -> Result<Self, BadKey> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut lines = lines.enumerate();
        let mut field = |name: &'static str, expected: &'static str| {
            let (at, line) = lines.next().unwrap_or((0, ""));
            let bad = BadKey { line: at + 1, expected };
            let value = line.strip_prefix(name).and_then(|rest| rest.strip_prefix(' '));
            value.map(|value| (value, bad.clone())).ok_or(bad)
        };
        let (format, bad) = field("palisade-key", FORMAT)?;
        if format != "1" {
            return Err(bad);
        }
        let (database, _) = field("database", "database, then its id")?;
        let (app, bad) = field("app", "app, then its name")?;
        let app = AppName::new(app).map_err(|_| bad)?;
        let (environment, bad) = field("environment", "environment, then its name")?;
        let environment = EnvironmentName::new(environment).map_err(|_| bad)?;
        let (generation, bad) = field("generation", "generation, then a number")?;
        let generation = generation.parse().map_err(|_| bad)?;
        let (key, _) = field("key", "key, then 64 digits in hex")?;
        Self::new(database, app, environment, generation, key)
    }

    /// The key file. It holds the key: for a file of mode 0600 and nothing else.
    #[must_use]
    pub fn file(&self) -> String {
        let Self { database, app, environment, generation, key } = self;
        format!(
            "# Whoever reads this file can act as {app} in {environment}. A new one: palisade db key rotate\n\
             {FORMAT}\ndatabase {database}\napp {app}\nenvironment {environment}\ngeneration {generation}\nkey {}\n",
            canonical::hex(key)
        )
    }

    /// A proof for `palisade.begin`, good for half a minute around `at_s` (seconds since 1970).
    #[must_use]
    pub fn proof(&self, at_s: u64) -> String {
        let Self { database, app, environment, .. } = self;
        let message = format!("palisade-proof/1\n{database}\n{app}\n{environment}\n{at_s}");
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(message.as_bytes());
        format!("{at_s}-{}", canonical::hex(&mac.finalize().into_bytes()))
    }
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> AppKey {
        let (app, environment) = (AppName::new("shop").unwrap(), EnvironmentName::new("production").unwrap());
        AppKey::new("7/5", app, environment, 3, &"0b".repeat(32)).unwrap()
    }

    #[test]
    fn a_key_file_comes_back_and_its_key_is_not_shown() {
        let file = key().file();
        assert_eq!(AppKey::parse(&file).unwrap(), key());
        assert_eq!(AppKey::parse(&file.replace('\n', "\r\n")).unwrap(), key());
        assert!(!format!("{:?}", key()).contains("0b0b"));
    }

    #[test]
    fn whatever_is_no_key_file_is_told_by_its_line_and_without_its_text() {
        let file = key().file();
        for (change, line) in [
            (file.replace("palisade-key 1", "palisade-key 2"), 1),
            (file.replace("database ", "databse "), 2),
            (file.replace("app shop", "app "), 3),
            (file.replace("environment production", "environment a/b"), 4),
            (file.replace("generation 3", "generation x"), 5),
            (file.replace("key 0b", "key 0"), 6),
            (String::new(), 1),
        ] {
            let error = AppKey::parse(&change).unwrap_err();
            assert_eq!(error.line, line, "{change}");
            assert!(!error.to_string().contains("0b"));
        }
    }

    #[test]
    fn a_proof_names_its_moment_and_changes_with_it() {
        let (one, two) = (key().proof(1_700_000_000), key().proof(1_700_000_001));
        assert!(one.starts_with("1700000000-") && one.len() == 11 + 64);
        assert_ne!(one[11..], two[11..]);
    }
}
