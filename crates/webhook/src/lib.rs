//! Posts one notice over HTTP, with the certificate checked.
//!
//! One POST over one connection, of which only the status is looked at: no redirect is followed, no cookie kept, no
//! proxy asked. So this is a page of code and not a client library. It runs in the short-lived process that delivers
//! notices, never in a guard.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use palisade_core::Timestamp;
use palisade_core::canonical::hex;
use palisade_core::notice::Webhook;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use sha2::Sha256;

/// How long connecting, and each read and write, may take.
pub const WITHIN: Duration = Duration::from_secs(10);
/// Of the answer nothing beyond its first line is needed.
const MAX_STATUS_LINE: usize = 512;

/// The notice was not taken. Neither the address nor the answer's text is shown, for either may hold a secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name has no address, nobody listens, or the connection broke.
    #[error("{webhook} cannot be reached: {source}")]
    Connection {
        /// Whom, without its path.
        webhook: String,
        /// What the system said.
        source: io::Error,
    },
    /// The certificate is not one of that host, or not of an authority that this machine trusts.
    #[error("{webhook} could not be verified: {source}")]
    Tls {
        /// Whom, without its path.
        webhook: String,
        /// What is wrong.
        source: rustls::Error,
    },
    /// Nobody is trusted.
    #[error("no certificate authority to trust; install ca-certificates, or name a ca_file that has one")]
    NoAuthorities,
    /// The file of authorities cannot be read.
    #[error("{file} holds no certificates that can be read: {source}")]
    Authorities {
        /// Which one.
        file: String,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// The host is no name that a certificate can have.
    #[error("{webhook} has a host that no certificate can name")]
    Name {
        /// Whom, without its path.
        webhook: String,
    },
    /// It answered with something that is no HTTP.
    #[error("{webhook} does not speak HTTP")]
    NotHttp {
        /// Whom, without its path.
        webhook: String,
    },
    /// It answered, and did not take it. A redirect is no success: its target is not what the policy names.
    #[error("{webhook} answered with status {status}")]
    Status {
        /// Whom, without its path.
        webhook: String,
        /// The status, from 100 to 599.
        status: u16,
    },
    /// The key has no bytes.
    #[error("the key that posts are signed by is empty")]
    EmptyKey,
}

/// One post.
#[derive(Debug, Clone, Copy)]
pub struct Post<'a> {
    /// Whom to.
    pub webhook: &'a Webhook,
    /// The same for every try of one notice.
    pub id: &'a str,
    /// What: JSON.
    pub body: &'a [u8],
    /// What time and body are signed by, if they are.
    pub key: Option<&'a [u8]>,
    /// When.
    pub at: Timestamp,
    /// A file with the certificates of the authorities to trust; those of the system if there is none.
    pub authorities: Option<&'a Path>,
}

/// Posts it.
///
/// The signature is `Palisade-Signature: t=SECONDS,v1=HEX`, the HMAC-SHA-256 of `SECONDS.BODY`.
///
/// # Errors
/// See [`Error`]. Only a status of 200 to 299 is a success.
pub fn post(post: &Post<'_>) -> Result<(), Error> {
    let Post { webhook, id, body, key, at, authorities } = *post;
    let signature = key.map(|key| signature(key, body, at)).transpose()?;
    let request = request(webhook, id, body, signature.as_deref());
    let broken = |source: io::Error| connection_error(webhook, source);
    let tcp = connect(webhook).map_err(broken)?;
    let status = if webhook.is_tls() {
        let session = session(webhook, authorities)?;
        let mut stream = StreamOwned::new(session, tcp);
        // The handshake by itself, so that a certificate that is no good is told from a network that is down.
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).map_err(|source| connection_error(webhook, source))?;
        }
        exchange(&mut stream, &request).map_err(broken)?
    } else {
        let mut stream = tcp;
        exchange(&mut stream, &request).map_err(broken)?
    };
    match status {
        Some(200..=299) => Ok(()),
        Some(status) => Err(Error::Status { webhook: webhook.to_string(), status }),
        None => Err(Error::NotHttp { webhook: webhook.to_string() }),
    }
}

/// The header's value for `body` at that moment.
///
/// # Errors
/// The key is empty.
pub fn signature(key: &[u8], body: &[u8], at: Timestamp) -> Result<String, Error> {
    if key.is_empty() {
        return Err(Error::EmptyKey);
    }
    let seconds = at.unix_ms() / 1000;
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|_| Error::EmptyKey)?;
    mac.update(format!("{seconds}.").as_bytes());
    mac.update(body);
    Ok(format!("t={seconds},v1={}", hex(&mac.finalize().into_bytes())))
}

fn request(webhook: &Webhook, id: &str, body: &[u8], signature: Option<&str>) -> Vec<u8> {
    let mut head = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: palisade/{}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nPalisade-Notice: {id}\r\nConnection: close\r\n",
        webhook.target(),
        webhook.authority(),
        env!("CARGO_PKG_VERSION"),
        body.len()
    );
    if let Some(signature) = signature {
        head.push_str(&format!("Palisade-Signature: {signature}\r\n"));
    }
    head.push_str("\r\n");
    [head.as_bytes(), body].concat()
}

fn connect(webhook: &Webhook) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
    for address in (webhook.host(), webhook.port()).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, WITHIN) {
            Ok(stream) => {
                stream.set_read_timeout(Some(WITHIN))?;
                stream.set_write_timeout(Some(WITHIN))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn session(webhook: &Webhook, authorities: Option<&Path>) -> Result<ClientConnection, Error> {
    let mut roots = RootCertStore::empty();
    let found = match authorities {
        Some(file) => {
            let unreadable = |source| Error::Authorities { file: file.display().to_string(), source };
            let all = CertificateDer::pem_file_iter(file).map_err(unreadable)?;
            all.collect::<Result<Vec<_>, _>>().map_err(unreadable)?
        }
        None => rustls_native_certs::load_native_certs().certs,
    };
    // A store may hold certificates that cannot be read; one good one is enough to go on with.
    roots.add_parsable_certificates(found);
    if roots.is_empty() {
        return Err(Error::NoAuthorities);
    }
    let name = ServerName::try_from(webhook.host().to_owned())
        .map_err(|_| Error::Name { webhook: webhook.to_string() })?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has every suite of TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    ClientConnection::new(Arc::new(config), name)
        .map_err(|source| Error::Tls { webhook: webhook.to_string(), source })
}

/// Sends the request and reads the status; `None` if the answer is no HTTP.
fn exchange(stream: &mut (impl Read + Write), request: &[u8]) -> io::Result<Option<u16>> {
    stream.write_all(request)?;
    stream.flush()?;
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < MAX_STATUS_LINE && !line.ends_with(b"\n") {
        match stream.read(&mut byte) {
            Ok(0) => break,
            Ok(_) => line.push(byte[0]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(status(&line))
}

fn status(line: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(line).ok()?;
    let rest = line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 "))?;
    let (digits, after) = rest.split_at_checked(3)?;
    let ends = after.chars().next().is_none_or(char::is_whitespace);
    digits.parse().ok().filter(|status| ends && (100..=599).contains(status))
}

/// rustls hands its own errors on inside those of the system.
fn connection_error(webhook: &Webhook, source: io::Error) -> Error {
    let webhook = webhook.to_string();
    match source.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).cloned() {
        Some(source) => Error::Tls { webhook, source },
        None => Error::Connection { webhook, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_read_and_nothing_else_counts_as_one() {
        assert_eq!(status(b"HTTP/1.1 204 No Content\r\n"), Some(204));
        assert_eq!(status(b"HTTP/1.0 500\r\n"), Some(500));
        assert_eq!(status(b"HTTP/1.1 200"), Some(200));
        for line in [
            &b"SSH-2.0-x\r\n"[..],
            b"HTTP/1.1 99\r\n",
            b"HTTP/1.1 2000 OK\r\n",
            b"HTTP/1.1 +20 OK\r\n",
            b"HTTP/1.1 600 What\r\n",
            b"HTTP/1.1 20\xc3\xa9\r\n",
            b"HTTP/2 200\r\n",
            b" HTTP/1.1 200 OK\r\n",
            b"",
            b"HTTP/1.1 \xff\xff\xff",
        ] {
            assert_eq!(status(line), None, "{line:?}");
        }
    }

    /// Keeps what is written, and answers read by read.
    struct Peer {
        written: Vec<u8>,
        answers: std::vec::IntoIter<io::Result<Vec<u8>>>,
        reads: usize,
    }

    impl Read for Peer {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.reads += 1;
            let next = self.answers.next().unwrap_or_else(|| Ok(Vec::new()))?;
            into[..next.len()].copy_from_slice(&next);
            Ok(next.len())
        }
    }

    impl Write for Peer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Two bytes at most: a request is written whole all the same.
            let taken = bytes.len().min(2);
            self.written.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn asked(answers: Vec<io::Result<Vec<u8>>>) -> (io::Result<Option<u16>>, Peer) {
        let mut peer = Peer { written: Vec::new(), answers: answers.into_iter(), reads: 0 };
        (exchange(&mut peer, b"POST / HTTP/1.1\r\n\r\n"), peer)
    }

    fn bytes(text: &str) -> Vec<io::Result<Vec<u8>>> {
        text.bytes().map(|byte| Ok(vec![byte])).collect()
    }

    #[test]
    fn of_an_answer_only_the_first_line_is_read() {
        let (status, peer) = asked(bytes("HTTP/1.1 200 OK\r\nX: y\r\n\r\nbody"));
        assert_eq!(status.unwrap(), Some(200));
        assert_eq!(peer.reads, "HTTP/1.1 200 OK\r\n".len());
        assert_eq!(peer.written, b"POST / HTTP/1.1\r\n\r\n");
        // A line without an end is given up, whatever it began with.
        let (status, peer) = asked(bytes(&"x".repeat(MAX_STATUS_LINE * 2)));
        assert_eq!((status.unwrap(), peer.reads), (None, MAX_STATUS_LINE));
        let (status, _) = asked(Vec::new());
        assert_eq!(status.unwrap(), None, "it closed without an answer");
    }

    #[test]
    fn a_signal_between_two_bytes_is_no_failure_and_a_lost_connection_is_one() {
        let mut answers = bytes("HTTP/1.1 503 x\r\n");
        answers.insert(4, Err(io::ErrorKind::Interrupted.into()));
        assert_eq!(asked(answers).0.unwrap(), Some(503));
        let mut answers = bytes("HTTP/1.1 200 x\r\n");
        answers.insert(12, Err(io::ErrorKind::ConnectionReset.into()));
        assert_eq!(asked(answers).0.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn a_signature_covers_time_and_body() {
        let at = Timestamp::from_unix_ms(1_700_000_000_999);
        let signed = signature(b"key", b"{}", at).unwrap();
        assert!(signed.starts_with("t=1700000000,v1="));
        assert_ne!(signed, signature(b"key", b"{ }", at).unwrap());
        assert_ne!(signed, signature(b"other", b"{}", at).unwrap());
        assert!(matches!(signature(b"", b"{}", at), Err(Error::EmptyKey)));
    }
}
