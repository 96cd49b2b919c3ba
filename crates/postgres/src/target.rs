//! Where to connect: a URL, taken apart, whose password is never shown again.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::error::Error;

/// How the connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// Not at all: on loopback, or where the URL says `sslmode=disable`.
    None,
    /// TLS, and the certificate has to be valid for the host: every other case, `sslmode=require` and `prefer` too.
    Verified,
    /// TLS without a look at the certificate: only where the URL says `sslmode=no-verify`.
    Unverified,
}

/// A database to connect to.
#[derive(Clone)]
pub struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) role: String,
    pub(crate) password: Option<String>,
    pub(crate) database: String,
    pub(crate) encryption: Encryption,
    pub(crate) roots: Option<PathBuf>,
    pub(crate) channel_binding: bool,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

/// The URL without its password.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { role, host, port, database, .. } = self;
        write!(f, "postgres://{role}@{host}:{port}/{database}")
    }
}

impl Target {
    /// Reads `postgres://ROLE:PASSWORD@HOST:PORT/DATABASE?sslmode=..&sslrootcert=..&channel_binding=..`.
    ///
    /// Other parameters are those of clients and poolers (`pgbouncer=true`, `connection_limit=..`): they say nothing
    /// about which database it is, and are left out.
    ///
    /// # Errors
    /// [`Error::Url`], whose text holds no part of the URL's password.
    pub fn parse(url: &str) -> Result<Self, Error> {
        let url = url.trim();
        let rest = ["postgres://", "postgresql://"].iter().find_map(|scheme| url.strip_prefix(scheme));
        let rest = rest.ok_or_else(|| wrong("does not begin with postgres:// or postgresql://"))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, place) = authority.rsplit_once('@').ok_or_else(|| wrong("names no role"))?;
        let (role, password) = match user.split_once(':') {
            Some((role, password)) => (role, Some(decoded(password)?)),
            None => (user, None),
        };
        let role = decoded(role)?;
        if role.is_empty() {
            return Err(wrong("names no role"));
        }
        let (host, port) = place_of(place)?;
        let database = if database.is_empty() { role.clone() } else { decoded(database)? };
        let loopback = matches!(host.as_str(), "localhost" | "127.0.0.1" | "::1");
        let encryption = if loopback { Encryption::None } else { Encryption::Verified };
        let mut target =
            Self { host, port, role, password, database, encryption, roots: None, channel_binding: false };
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            target.set(key, &decoded(value)?)?;
        }
        Ok(target)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), Error> {
        match key {
            "sslmode" => {
                self.encryption = match value {
                    "disable" => Encryption::None,
                    "no-verify" => Encryption::Unverified,
                    "require" | "verify-ca" | "verify-full" => Encryption::Verified,
                    // Both may fall back to no encryption at all, which off loopback nobody means.
                    "allow" | "prefer" => self.encryption,
                    _ => return Err(wrong("has an sslmode that is not known")),
                };
            }
            "sslrootcert" if value != "system" => self.roots = Some(PathBuf::from(value)),
            "channel_binding" => self.channel_binding = value == "require",
            "host" => {
                return Err(wrong(
                    "names a host as a parameter: sockets of the file system are not supported",
                ));
            }
            _ => {}
        }
        Ok(())
    }

    /// Another database of the same server.
    #[must_use]
    pub fn with_database(&self, database: &str) -> Self {
        Self { database: database.to_owned(), ..self.clone() }
    }

    /// The URL of another role on another database of the same server. It holds the password: for a file of mode
    /// 0600, or to be shown once.
    #[must_use]
    pub fn url_of(&self, role: &str, password: &str, database: &str) -> String {
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let mode = match self.encryption {
            Encryption::None if matches!(host.as_str(), "localhost" | "127.0.0.1" | "[::1]") => "",
            Encryption::None => "?sslmode=disable",
            Encryption::Verified => "?sslmode=verify-full",
            Encryption::Unverified => "?sslmode=no-verify",
        };
        let roots = self.roots.as_ref().map(|file| {
            let sign = if mode.is_empty() { '?' } else { '&' };
            format!("{sign}sslrootcert={}", encoded(&file.to_string_lossy()))
        });
        let (role, password, database) = (encoded(role), encoded(password), encoded(database));
        let port = self.port;
        format!("postgres://{role}:{password}@{host}:{port}/{database}{mode}{}", roots.unwrap_or_default())
    }

    /// Gives the password that the URL does not hold.
    #[must_use]
    pub fn or_password(mut self, password: Option<String>) -> Self {
        self.password = self.password.or(password);
        self
    }

    /// Whether the URL itself holds a password.
    #[must_use]
    pub fn has_password(&self) -> bool {
        self.password.is_some()
    }

    /// The role that connects.
    #[must_use]
    pub fn role(&self) -> &str {
        &self.role
    }

    /// The name of the database.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }

    /// How it is encrypted.
    #[must_use]
    pub fn encryption(&self) -> Encryption {
        self.encryption
    }

    /// The host without what a provider puts in for its pooler: both names lead to one database.
    #[must_use]
    pub fn direct_host(&self) -> Cow<'_, str> {
        match self.host.split_once('.') {
            Some((first, rest)) if first.ends_with("-pooler") => {
                format!("{}.{rest}", first.trim_end_matches("-pooler")).into()
            }
            _ => Cow::Borrowed(&self.host),
        }
    }

    pub(crate) fn place(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// `HOST`, `HOST:PORT` or `[ADDRESS]:PORT`.
fn place_of(place: &str) -> Result<(String, u16), Error> {
    if place.contains(',') {
        return Err(wrong("names several hosts: name the one that is meant"));
    }
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or_else(|| wrong("has a [ without a ]"))?;
            (host, port.strip_prefix(':'))
        }
        None => place.rsplit_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    let host = decoded(host)?;
    if host.is_empty() || host.starts_with('/') {
        return Err(wrong("names no host: sockets of the file system are not supported"));
    }
    let port = port
        .map_or(Ok(5432), str::parse)
        .map_err(|_| wrong("has a port that is no number from 0 to 65535"))?;
    Ok((host, port))
}

fn decoded(text: &str) -> Result<String, Error> {
    let text = percent_decode_str(text).decode_utf8().map_err(|_| wrong("is not UTF-8"))?;
    if text.contains('\0') { Err(wrong("holds a zero byte")) } else { Ok(text.into_owned()) }
}

fn wrong(problem: &str) -> Error {
    Error::Url { problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_and_its_password_is_not_shown() {
        let target = Target::parse("postgresql://a%40b:s%3Acret@db.example.org/jobs?pgbouncer=true").unwrap();
        assert_eq!(target.to_string(), "postgres://a@b@db.example.org:5432/jobs");
        assert_eq!(target.password.as_deref(), Some("s:cret"));
        assert!(!format!("{target:?}").contains("cret"));
        assert_eq!(target.encryption(), Encryption::Verified);
    }

    #[test]
    fn encryption_is_never_weaker_than_what_the_url_says_outright() {
        let of = |url: &str| Target::parse(url).unwrap().encryption();
        for (query, expected) in [
            ("", Encryption::Verified),
            ("?sslmode=prefer", Encryption::Verified),
            ("?sslmode=require", Encryption::Verified),
            ("?sslmode=disable", Encryption::None),
            ("?sslmode=no-verify", Encryption::Unverified),
        ] {
            assert_eq!(of(&format!("postgres://a@db.example.org/jobs{query}")), expected, "{query}");
        }
        assert_eq!(of("postgres://a@127.0.0.1/jobs"), Encryption::None);
        assert_eq!(of("postgres://a@127.0.0.1/jobs?sslmode=verify-full"), Encryption::Verified);
        assert_eq!(of("postgres://a@[::1]:6543/jobs"), Encryption::None);
    }

    #[test]
    fn the_url_of_another_role_leads_to_the_same_server_in_the_same_way() {
        for url in [
            "postgres://a:b@127.0.0.1:6543/jobs",
            "postgres://a:b@[::1]/jobs",
            "postgres://a:b@db.example.org/jobs?sslmode=disable",
            "postgres://a:b@db.example.org/jobs?sslrootcert=/a%20b.pem",
            "postgres://a:b@db.example.org/jobs?sslmode=no-verify",
        ] {
            let target = Target::parse(url).unwrap();
            let other = Target::parse(&target.url_of("r@/", "p:%", "d?&")).unwrap();
            assert_eq!(
                (other.place(), other.encryption, &other.roots),
                (target.place(), target.encryption, &target.roots)
            );
            assert_eq!((other.role.as_str(), other.database.as_str()), ("r@/", "d?&"));
            assert_eq!(other.password.as_deref(), Some("p:%"));
        }
    }

    #[test]
    fn a_wrong_url_is_told_without_its_text() {
        for url in [
            "mysql://a:hunter2@h/d",
            "postgres://hunter2",
            "postgres://a:hunter2@h:port/d",
            "postgres://a:hunter2@h1,h2/d",
            "postgres://a:hunter2@/d?host=/run",
            "postgres://a:hunter2@h/d?sslmode=maybe",
            "postgres://:hunter2@h/d",
        ] {
            let error = Target::parse(url).unwrap_err().to_string();
            assert!(error.starts_with("the database URL ") && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_providers_pooled_name_is_the_same_host() {
        let host = |url: &str| Target::parse(url).unwrap().direct_host().into_owned();
        let direct = host("postgres://a@ep-little-poetry-1.eu.example.org/d");
        assert_eq!(host("postgres://a@ep-little-poetry-1-pooler.eu.example.org/d"), direct);
    }
}
