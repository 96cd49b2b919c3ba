//! A folder of this machine, or a bucket of an S3 or R2 server.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    ClientOptions, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload, RetryConfig,
};
use palisade_core::EnvironmentName;
use palisade_core::canonical::sha256_hex;
use palisade_core::text::escaped;
use palisade_host::files;
use palisade_jobs::{Checkpoint, JobId, Token};
use tokio::time::timeout;

use super::MOST_BYTES;

/// What a bucket is reached with. Only what a caller hands over: nothing is read from the environment here.
#[derive(Clone, Default)]
pub struct Access {
    /// `AWS_ACCESS_KEY_ID`.
    pub key_id: Option<String>,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret: Option<String>,
    /// `AWS_SESSION_TOKEN`.
    pub session: Option<String>,
    /// `AWS_REGION`; R2 takes `auto`.
    pub region: Option<String>,
    /// `AWS_ENDPOINT_URL`: for R2 and other servers than Amazon's. `http://` only for this machine.
    pub endpoint: Option<String>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("region", &self.region)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// A place for checkpoints that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NoPlace {
    /// The folder cannot be made or is not private.
    #[error("the folder for checkpoints cannot be used")]
    Folder(#[source] files::Error),
    /// The text names no place.
    #[error("{given:?} is no place for checkpoints: {rule}")]
    Named {
        /// What was given.
        given: String,
        /// What it has to be.
        rule: &'static str,
    },
    /// A key of two parts, and one is missing.
    #[error(
        "checkpoints in {place}: only one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is set; set both, or neither where this machine has a role at Amazon's"
    )]
    HalfOfAKey {
        /// Which place.
        place: String,
    },
    /// The client refuses these settings.
    #[error("checkpoints in {place}: {problem}")]
    Settings {
        /// Which place.
        place: String,
        /// What the client says.
        problem: String,
    },
}

/// Why a checkpoint was not put. It may lie there all the same, under a key that nothing points at.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// It is too large. Trying again cannot help.
    #[error(
        "a checkpoint of {bytes} bytes is above the limit of {MOST_BYTES}; store less, or a reference to it"
    )]
    TooLarge {
        /// How many bytes it has.
        bytes: u64,
    },
    /// Under its key lie other bytes: another store of jobs uses the same folder or prefix.
    #[error("{key} is taken by other bytes; give each store of jobs a folder or prefix of its own")]
    Taken {
        /// Its key.
        key: String,
    },
    /// The place does not take it now.
    #[error("{0}")]
    Unreachable(String),
}

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not there, or not what was put. Reading again cannot help.
    #[error("{0}")]
    Bad(String),
    /// The place does not answer now, which says nothing about the checkpoint.
    #[error("{0}")]
    Unreachable(String),
}

/// Where checkpoints lie.
#[derive(Debug, Clone)]
pub struct Place {
    store: Arc<dyn ObjectStore>,
    /// What keys begin with, above the environment; empty in a folder.
    prefix: Path,
    environment: String,
    shown: String,
    patience: Duration,
}

/// What a worker leaves in a place to see that it can be used. It stays as it is: what an earlier worker put is compared.
const CHECKED: &[u8] = b"a worker of palisade put this here to see whether checkpoints can be stored\n";

/// What keys begin with where no environment is known.
const NO_ENVIRONMENT: &str = "unset";

impl Place {
    /// A place may take this long for one request before it counts as unreachable.
    pub const PATIENCE: Duration = Duration::from_secs(30);

    /// The place that `given` names: `s3://BUCKET[/PREFIX]`, else the path of a folder, which is made if absent.
    ///
    /// # Errors
    /// If it names none, or one that cannot be used. A bucket is not asked before the first request: [`Self::check`] is one.
    pub fn open(
        given: &str,
        access: &Access,
        environment: Option<&EnvironmentName>,
    ) -> Result<Self, NoPlace> {
        match given.strip_prefix("s3://") {
            Some(bucket) => Self::bucket(given, bucket, access, environment),
            None if given.contains("://") => Err(NoPlace::Named {
                given: given.to_owned(),
                rule: "write s3://BUCKET/PREFIX, or the path of a folder",
            }),
            None => Self::folder(PathBuf::from(given), environment),
        }
    }

    /// A folder of this machine. It is made (0700) if absent.
    ///
    /// # Errors
    /// [`NoPlace::Folder`] if it is not private or cannot be made.
    pub fn folder(folder: PathBuf, environment: Option<&EnvironmentName>) -> Result<Self, NoPlace> {
        files::private_folder(&folder).map_err(NoPlace::Folder)?;
        let shown = folder.display().to_string();
        let store = LocalFileSystem::new_with_prefix(&folder)
            .map_err(|error| NoPlace::Settings { place: shown.clone(), problem: one_line(&error) })?;
        Ok(Self::at(Arc::new(store.with_fsync(true)), Path::default(), shown, environment))
    }

    fn bucket(
        given: &str,
        bucket: &str,
        access: &Access,
        environment: Option<&EnvironmentName>,
    ) -> Result<Self, NoPlace> {
        let (bucket, prefix) = bucket.split_once('/').unwrap_or((bucket, ""));
        let named = |rule| NoPlace::Named { given: given.to_owned(), rule };
        if bucket.is_empty() {
            return Err(named("the name of the bucket is missing; write s3://BUCKET/PREFIX"));
        }
        let prefix = Path::parse(prefix.trim_end_matches('/')).map_err(|_| named("the prefix is no path"))?;
        // Only how TLS is spoken; another part of this process may have said so already.
        rustls::crypto::ring::default_provider().install_default().ok();
        let client = ClientOptions::new()
            .with_timeout(Self::PATIENCE)
            .with_connect_timeout(Duration::from_secs(5))
            .with_allow_http(access.endpoint.as_deref().is_some_and(is_of_this_machine));
        let retry =
            RetryConfig { max_retries: 2, retry_timeout: Duration::from_secs(10), ..RetryConfig::default() };
        let mut builder =
            AmazonS3Builder::new().with_bucket_name(bucket).with_client_options(client).with_retry(retry);
        let region = access.region.as_deref().unwrap_or("us-east-1");
        builder = builder.with_region(region);
        if let Some(endpoint) = &access.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        match (&access.key_id, &access.secret) {
            (Some(id), Some(secret)) => {
                builder = builder.with_access_key_id(id).with_secret_access_key(secret);
            }
            // The client asks for the role that a machine of Amazon's has.
            (None, None) => {}
            (Some(_), None) | (None, Some(_)) => return Err(NoPlace::HalfOfAKey { place: given.to_owned() }),
        }
        if let Some(session) = &access.session {
            builder = builder.with_token(session);
        }
        let store = builder
            .build()
            .map_err(|error| NoPlace::Settings { place: given.to_owned(), problem: one_line(&error) })?;
        Ok(Self::at(Arc::new(store), prefix, given.to_owned(), environment))
    }

    fn at(
        store: Arc<dyn ObjectStore>,
        prefix: Path,
        shown: String,
        environment: Option<&EnvironmentName>,
    ) -> Self {
        let environment = environment.map_or(NO_ENVIRONMENT, EnvironmentName::as_str).to_owned();
        Self { store, prefix, environment, shown, patience: Self::PATIENCE }
    }

    /// The same with another patience for one request.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// For people: the folder, or the bucket with its prefix.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Tries what every checkpoint needs: puts a small object under `environment/0/0/0`, where no job's checkpoint lies, or
    /// reads it where an earlier worker put it. A mistyped bucket is seen here, and not hours later.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub async fn check(&self) -> Result<(), PutError> {
        self.put(JobId(0), Token(0), 0, CHECKED).await.map(drop)
    }

    /// Puts the bytes of a checkpoint, and answers the row that points at them.
    ///
    /// A key is written once. Where the bytes lie there already, because the answer to an earlier request was lost,
    /// that is a success.
    ///
    /// # Errors
    /// As [`PutError`].
    pub async fn put(
        &self,
        job: JobId,
        token: Token,
        sequence: u64,
        bytes: &[u8],
    ) -> Result<Checkpoint, PutError> {
        let length = bytes.len() as u64;
        if length > MOST_BYTES {
            return Err(PutError::TooLarge { bytes: length });
        }
        let key = format!("{}/{job}/{token}/{sequence}", self.environment);
        let checkpoint = Checkpoint { sequence, key, sha256: sha256_hex(bytes), bytes: length };
        let path = self.path(&checkpoint);
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let payload = PutPayload::from(bytes.to_vec());
        match timeout(self.patience, self.store.put_opts(&path, payload, options)).await {
            Ok(Ok(_)) => Ok(checkpoint),
            Ok(Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. })) => {
                match self.read(&checkpoint).await {
                    Ok(_) => Ok(checkpoint),
                    Err(ReadError::Bad(_)) => Err(PutError::Taken { key: checkpoint.key }),
                    Err(ReadError::Unreachable(problem)) => Err(PutError::Unreachable(problem)),
                }
            }
            Ok(Err(error)) => Err(PutError::Unreachable(one_line(&error))),
            Err(_) => Err(PutError::Unreachable(self.no_answer())),
        }
    }

    /// The bytes of a checkpoint, if they are the ones that were put.
    ///
    /// # Errors
    /// As [`ReadError`].
    pub async fn read(&self, checkpoint: &Checkpoint) -> Result<Vec<u8>, ReadError> {
        let bytes = match timeout(self.patience, self.fetch(checkpoint)).await {
            Ok(fetched) => fetched?,
            Err(_) => return Err(ReadError::Unreachable(self.no_answer())),
        };
        let found = sha256_hex(&bytes);
        if found == checkpoint.sha256 {
            return Ok(bytes);
        }
        let Checkpoint { key, sha256, .. } = checkpoint;
        Err(ReadError::Bad(format!("{key}: its SHA-256 is {found}, not {sha256}")))
    }

    async fn fetch(&self, checkpoint: &Checkpoint) -> Result<Vec<u8>, ReadError> {
        let key = &checkpoint.key;
        let problem = |error: object_store::Error| match error {
            object_store::Error::NotFound { .. } => ReadError::Bad(format!("{key}: nothing lies there")),
            error => ReadError::Unreachable(one_line(&error)),
        };
        let found = self.store.get(&self.path(checkpoint)).await.map_err(problem)?;
        // Asked before the bytes are fetched, so that a wrong one cannot fill the memory.
        if found.meta.size != checkpoint.bytes {
            let (is, was) = (found.meta.size, checkpoint.bytes);
            return Err(ReadError::Bad(format!("{key}: it has {is} bytes, not {was}")));
        }
        Ok(found.bytes().await.map_err(problem)?.to_vec())
    }

    /// Removes a checkpoint that nothing points at any more. One that is gone already is no error.
    ///
    /// # Errors
    /// What the place said, in one line.
    pub async fn remove(&self, checkpoint: &Checkpoint) -> Result<(), PutError> {
        match timeout(self.patience, self.store.delete(&self.path(checkpoint))).await {
            Ok(Ok(()) | Err(object_store::Error::NotFound { .. })) => Ok(()),
            Ok(Err(error)) => Err(PutError::Unreachable(one_line(&error))),
            Err(_) => Err(PutError::Unreachable(self.no_answer())),
        }
    }

    /// Keys come from our own rows; what is no path in one is encoded, so none leads out of the place.
    fn path(&self, checkpoint: &Checkpoint) -> Path {
        let below = checkpoint.key.split('/').filter(|part| !part.is_empty());
        below.fold(self.prefix.clone(), |path, part| path.join(part))
    }

    fn no_answer(&self) -> String {
        format!("{}: no answer within {} s", self.shown, self.patience.as_secs_f32())
    }
}

/// Plain HTTP carries a checkpoint in the clear, so only where it does not leave the machine.
fn is_of_this_machine(endpoint: &str) -> bool {
    let Some(rest) = endpoint.strip_prefix("http://") else { return false };
    let host = rest.split('/').next().unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    matches!(host, "127.0.0.1" | "localhost" | "[::1]")
}

/// The client's errors are long and may have many lines: the start is enough to act on, with what the server says of
/// itself where it answered with a document.
fn one_line(error: &object_store::Error) -> String {
    brief(&error.to_string())
}

fn brief(text: &str) -> String {
    let first = text.lines().next().unwrap_or_default();
    let before = first.split_once("<?xml").map_or(first, |(before, _)| before);
    let start: String = before.trim_end().trim_end_matches(':').chars().take(300).collect();
    let said = |tag: &str| {
        let (_, rest) = text.split_once(&format!("<{tag}>"))?;
        Some(rest.split_once(&format!("</{tag}>"))?.0.chars().take(120).collect::<String>())
    };
    let whole = match (said("Code"), said("Message")) {
        (Some(code), Some(message)) => format!("{start}: {code}, {message}"),
        (Some(code), None) => format!("{start}: {code}"),
        (None, _) => start,
    };
    escaped(&whole).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_stays_on_this_machine() {
        for (endpoint, is) in [
            ("http://127.0.0.1:9000", true),
            ("http://localhost", true),
            ("http://[::1]:9000/x", true),
            ("http://minio.internal:9000", false),
            ("http://127.0.0.1.evil.example", false),
            ("https://s3.example", false),
        ] {
            assert_eq!(is_of_this_machine(endpoint), is, "{endpoint}");
        }
    }

    #[test]
    fn a_text_that_names_no_place_says_what_would() {
        for given in ["s3://", "s3:///x", "ftp://host/x", "http://bucket"] {
            let error = Place::open(given, &Access::default(), None).unwrap_err();
            assert!(matches!(error, NoPlace::Named { .. }), "{given}: {error}");
        }
    }

    #[test]
    fn an_answer_in_xml_is_told_by_its_code_and_message() {
        let xml = "PUT http://s3/b/k - 404 Not Found: <?xml version=\"1.0\"?>\n<Error><Code>NoSuchBucket</Code>\
                   <Message>The bucket does not exist</Message><RequestId>7</RequestId></Error>";
        for (text, told) in [
            (xml, "PUT http://s3/b/k - 404 Not Found: NoSuchBucket, The bucket does not exist"),
            ("503: <?xml?><Error><Code>SlowDown</Code></Error>", "503: SlowDown"),
            ("403: <?xml?><Error><Code>cut off", "403"),
            ("connection refused\nand a second line", "connection refused"),
            ("a \u{1b}[31mred\u{1b}[0m one", r"a \u{1b}[31mred\u{1b}[0m one"),
            ("", ""),
        ] {
            assert_eq!(brief(text), told, "{text:?}");
        }
        assert_eq!(brief(&"x".repeat(400)).len(), 300);
    }

    #[test]
    fn a_secret_is_in_no_debug_output() {
        let access = Access { secret: Some("hush".to_owned()), ..Access::default() };
        assert!(!format!("{access:?}").contains("hush"));
    }
}
