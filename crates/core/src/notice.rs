//! What is told to people elsewhere: a notice, and where the policy sends it.
//!
//! A notice says what a record says, in one line and a few fields, without any value of an environment. How notices
//! are counted, kept and delivered is the business of the notify crate.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::canonical;
use crate::code::Code;
use crate::name::{AppName, EnvironmentName, Scope};
use crate::text::Shown;

/// The longest line of a notice, in characters; what is longer is cut.
pub const MAX_LINE: usize = 600;

/// Why somebody should hear of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Something was refused.
    Refused,
    /// Something would have been refused, and the mode is observe.
    Observed,
    /// A guard was opened, or something passed only because it is open.
    Bypass,
    /// For a while nobody judged.
    Gap,
    /// A guard, an alert or what stands behind them does not work.
    Fault,
    /// A person tries whether notices arrive.
    Test,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Refused, Self::Observed, Self::Bypass, Self::Gap, Self::Fault, Self::Test];

    /// The word of the policy file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Observed => "observed",
            Self::Bypass => "bypass",
            Self::Gap => "gap",
            Self::Fault => "fault",
            Self::Test => "test",
        }
    }
}

/// One event that is worth telling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Why.
    pub kind: Kind,
    /// Under which code it is explained.
    pub code: Code,
    /// On which resource: `pm2:/srv/pm2`, `postgres:shop/public.jobs`.
    pub resource: String,
    /// The app, where one is concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppName>,
    /// Its environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<EnvironmentName>,
    /// Whose doing it is, as one word: the process tree, a role. Quotas run over it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub caller: String,
    /// What happened, in one line.
    pub line: String,
    /// Facts beside the line. No secrets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, Value>,
}

impl Notice {
    /// A notice without app, caller and fields. The line is made safe to show, and cut to [`MAX_LINE`].
    #[must_use]
    pub fn new(kind: Kind, code: Code, resource: impl Into<String>, line: &str) -> Self {
        let line = Shown(line).to_string().chars().take(MAX_LINE).collect();
        let (resource, caller) = (resource.into(), String::new());
        Self { kind, code, resource, app: None, environment: None, caller, line, fields: BTreeMap::new() }
    }

    /// The same of an app.
    #[must_use]
    pub fn of(mut self, scope: Option<&Scope>) -> Self {
        self.app = scope.map(|scope| scope.app.clone());
        self.environment = scope.map(|scope| scope.environment.clone());
        self
    }

    /// The same by a caller.
    #[must_use]
    pub fn by(mut self, caller: &str) -> Self {
        self.caller = Shown(caller).to_string();
        self
    }

    /// The same with one more fact.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    /// What two notices share that are counted as one: all but line and fields.
    #[must_use]
    pub fn key(&self) -> String {
        let equal = (self.kind, self.code, &self.resource, &self.app, &self.environment, &self.caller);
        canonical::sha256_hex(canonical::json(&equal).as_bytes())[..24].to_owned()
    }
}

/// Where notices go: the policy's section `[notify]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receivers {
    /// A program and its arguments; it gets each notice on its standard input.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// An address that each notice is posted to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
    /// A private file that holds such an address, for one that is itself a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_file: Option<PathBuf>,
    /// A private file with the key that posts are signed by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing_key_file: Option<PathBuf>,
    /// Certificates of the authorities that a webhook's is checked by; those of the system if unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Which kinds are told. [`Kind::Test`] always is.
    pub about: BTreeSet<Kind>,
    /// Within which span equal notices are counted.
    pub window: Duration,
}

impl Default for Receivers {
    fn default() -> Self {
        Self {
            command: Vec::new(),
            webhook: None,
            webhook_file: None,
            signing_key_file: None,
            ca_file: None,
            about: [Kind::Refused, Kind::Bypass, Kind::Gap, Kind::Fault].into(),
            window: Duration::from_secs(60),
        }
    }
}

impl Receivers {
    /// Whether nobody is named.
    #[must_use]
    pub const fn is_nobody(&self) -> bool {
        self.command.is_empty() && self.webhook.is_none() && self.webhook_file.is_none()
    }

    /// Whether it is left as it is by default.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a notice of this kind goes to anybody.
    #[must_use]
    pub fn want(&self, kind: Kind) -> bool {
        !self.is_nobody() && (kind == Kind::Test || self.about.contains(&kind))
    }
}

/// An address for HTTP posts: `https`, or `http` on this machine. Its path may be a secret, so it is never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Webhook {
    whole: String,
    /// Whether it is encrypted.
    tls: bool,
    host: String,
    port: u16,
    /// Path and query.
    target: String,
}

/// The text is no address that notices can be posted to. The text is not shown, for it may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// Neither `https://` nor `http://`.
    #[error("a webhook begins with https://")]
    Scheme,
    /// `http` to another machine.
    #[error(
        "a webhook on another machine must be https; http is for this machine only (127.0.0.1, localhost, [::1])"
    )]
    Unencrypted,
    /// `user:password@`.
    #[error(
        "a webhook holds no user and password; put a token into its path, and the address into webhook_file"
    )]
    UserInfo,
    /// No host or no port number.
    #[error("a webhook needs a host, and its port is a number from 1 to 65535")]
    Host,
    /// Blanks, control characters, `#`, or more than 2048 bytes.
    #[error("a webhook has at most 2048 visible ASCII characters and no fragment")]
    Character,
}

impl Webhook {
    /// Reads an address.
    ///
    /// # Errors
    /// See [`WebhookError`].
    pub fn new(text: &str) -> Result<Self, WebhookError> {
        let visible = |c: char| c.is_ascii_graphic() && c != '#';
        let (tls, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(WebhookError::Scheme),
        };
        if text.len() > 2048 || !text.chars().all(visible) {
            return Err(WebhookError::Character);
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        if authority.contains('@') {
            return Err(WebhookError::UserInfo);
        }
        let (host, port) = host_and_port(authority).ok_or(WebhookError::Host)?;
        let port = port.map_or(Some(if tls { 443 } else { 80 }), |port| port.parse().ok());
        let port = port.filter(|port| *port != 0).ok_or(WebhookError::Host)?;
        if !tls && !matches!(host, "127.0.0.1" | "localhost" | "::1") {
            return Err(WebhookError::Unencrypted);
        }
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        Ok(Self { whole: text.to_owned(), tls, host: host.to_owned(), port, target })
    }

    /// Whether it is encrypted.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        self.tls
    }

    /// Its host, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Path and query, beginning with `/`: may be a secret.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// What a request names as its host: `example.org:8443`.
    #[must_use]
    pub fn authority(&self) -> String {
        let usual = if self.tls { 443 } else { 80 };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }
}

fn host_and_port(authority: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        let port = if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) };
        return (!host.is_empty()).then_some((host, port));
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    (!host.is_empty() && host.chars().all(fits)).then_some((host, port))
}

/// Scheme, host and port: what may be shown.
impl fmt::Display for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}/...", if self.tls { "https" } else { "http" }, self.authority())
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for Webhook {
    type Error = WebhookError;
    fn try_from(text: String) -> Result<Self, WebhookError> {
        Self::new(&text)
    }
}

impl From<Webhook> for String {
    fn from(webhook: Webhook) -> Self {
        webhook.whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart_and_its_path_is_never_shown() {
        let webhook = Webhook::new("https://hooks.example.org/T0/secret?x=1").unwrap();
        assert_eq!(
            (webhook.host(), webhook.port(), webhook.target()),
            ("hooks.example.org", 443, "/T0/secret?x=1")
        );
        assert_eq!(webhook.to_string(), "https://hooks.example.org/...");
        assert!(!format!("{webhook:?}").contains("secret"));
        let local = Webhook::new("http://[::1]:8080").unwrap();
        assert_eq!((local.host(), local.port(), local.target()), ("::1", 8080, "/"));
        assert_eq!(local.authority(), "[::1]:8080");
    }

    #[test]
    fn what_would_leak_or_cannot_be_reached_is_no_webhook() {
        for (text, error) in [
            ("ftp://x/", WebhookError::Scheme),
            ("http://example.org/", WebhookError::Unencrypted),
            ("https://user:word@example.org/", WebhookError::UserInfo),
            ("https:///path", WebhookError::Host),
            ("https://x:0/", WebhookError::Host),
            ("https://x:99999/", WebhookError::Host),
            ("https://x/a b", WebhookError::Character),
            ("https://x/a\r\nHost: y", WebhookError::Character),
            ("https://x/#a", WebhookError::Character),
        ] {
            assert_eq!(Webhook::new(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn line_and_fields_make_no_difference_to_what_is_counted_as_one() {
        let notice = Notice::new(Kind::Refused, Code::ForeignTarget, "pm2:/a", "one").by("session:1");
        let other = Notice { line: "two".to_owned(), ..notice.clone() }.with("x", 1);
        assert_eq!(notice.key(), other.key());
        assert_ne!(notice.key(), notice.clone().by("session:2").key());
        assert_ne!(notice.key(), Notice { kind: Kind::Observed, ..notice }.key());
    }

    #[test]
    fn a_line_is_one_line_and_not_endless() {
        let notice =
            Notice::new(Kind::Fault, Code::JudgeAbsent, "pm2:/a", &format!("a\nb{}", "x".repeat(9999)));
        assert!(!notice.line.contains('\n') && notice.line.chars().count() == MAX_LINE);
    }
}
