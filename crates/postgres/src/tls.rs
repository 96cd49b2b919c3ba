//! TLS by rustls, with the certificate checked and bound to the password exchange.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_rustls::{TlsConnector, client};

use crate::error::Error;
use crate::target::{Encryption, Target};

/// Makes TLS of one TCP connection.
pub(crate) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Tls {
    /// The checks that `target` asks for.
    pub(crate) fn of(target: &Target) -> Result<Self, Error> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("ring has every suite of TLS 1.2 and 1.3");
        let config = if target.encryption() == Encryption::Unverified {
            let any = Arc::new(AnyCertificate(provider));
            builder.dangerous().with_custom_certificate_verifier(any).with_no_client_auth()
        } else {
            builder.with_root_certificates(roots(target.roots.as_deref())?).with_no_client_auth()
        };
        let name = ServerName::try_from(target.host.clone())
            .map_err(|_| Error::Url { problem: "has a host that no certificate can name".to_owned() })?;
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name })
    }
}

fn roots(file: Option<&Path>) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore::empty();
    let (place, found) = match file {
        Some(file) => {
            let place = file.display().to_string();
            let read = |error: rustls::pki_types::pem::Error| Error::Roots {
                place: place.clone(),
                problem: error.to_string(),
            };
            let found: Result<Vec<_>, _> =
                CertificateDer::pem_file_iter(file).map_err(read)?.map(|each| each.map_err(read)).collect();
            (place.clone(), found?)
        }
        None => ("of this system".to_owned(), rustls_native_certs::load_native_certs().certs),
    };
    // A store may hold certificates that rustls cannot read; one good one is enough to go on with.
    store.add_parsable_certificates(found);
    if store.is_empty() {
        return Err(Error::Roots { place, problem: "no certificate in it".to_owned() });
    }
    Ok(store)
}

impl TlsConnect<TcpStream> for Tls {
    type Stream = Encrypted;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted>> + Send>>;

    fn connect(self, stream: TcpStream) -> Self::Future {
        Box::pin(async move { self.connector.connect(self.name, stream).await.map(Encrypted) })
    }
}

/// A stream that knows the certificate it was made with.
pub(crate) struct Encrypted(client::TlsStream<TcpStream>);

impl TlsStream for Encrypted {
    fn channel_binding(&self) -> ChannelBinding {
        let certificates = self.0.get_ref().1.peer_certificates();
        let bound = certificates.and_then(|list| list.first()).and_then(|first| end_point(first));
        bound.map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// The certificate's hash as RFC 5929 wants it: by the hash of its own signature, SHA-256 for older ones.
fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let (_, whole) = der(certificate)?;
    let (after_body, _) = der(whole)?;
    let (_, algorithm) = der(&whole[after_body..])?;
    let (_, oid) = der(algorithm)?;
    match oid {
        // sha1WithRSA, sha256WithRSA, ecdsaWithSHA1, ecdsaWithSHA256.
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5 | 11] | [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1] => {
            Some(Sha256::digest(certificate).to_vec())
        }
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2] => Some(Sha256::digest(certificate).to_vec()),
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12] | [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3] => {
            Some(Sha384::digest(certificate).to_vec())
        }
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 13] | [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4] => {
            Some(Sha512::digest(certificate).to_vec())
        }
        _ => None,
    }
}

/// The first element of `bytes` in DER: where it ends, and its content.
fn der(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let first = usize::from(*bytes.get(1)?);
    let (header, length) = if first < 0x80 {
        (2, first)
    } else {
        let digits = bytes.get(2..2 + (first & 0x7f))?;
        if digits.len() > 4 {
            return None;
        }
        (2 + digits.len(), digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)))
    };
    Some((header + length, bytes.get(header..header + length)?))
}

/// What `sslmode=no-verify` asks for.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
