//! Posts to real servers on this machine.
#![expect(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::thread::JoinHandle;

use palisade_core::Timestamp;
use palisade_core::notice::Webhook;
use palisade_testkit::Scratch;
use palisade_webhook::{Error, Post, post, signature};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

const AT: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);

/// A server that takes one request, answers with `answer`, and gives head and body.
fn server(answer: &'static str) -> (u16, JoinHandle<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = std::thread::spawn(move || serve(listener.accept().unwrap().0, answer));
    (port, served)
}

fn serve(stream: TcpStream, answer: &str) -> (String, String) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.strip_prefix("Content-Length: ") {
            length = value.trim().parse().unwrap();
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    (&stream).write_all(answer.as_bytes()).unwrap();
    (head, String::from_utf8(body).unwrap())
}

fn about(webhook: &Webhook) -> Post<'_> {
    Post { webhook, id: "id-1", body: b"{\"a\":1}", key: None, at: AT, authorities: None }
}

fn to(port: u16, path: &str) -> Webhook {
    Webhook::new(&format!("http://127.0.0.1:{port}{path}")).unwrap()
}

#[test]
fn a_post_has_the_body_its_length_an_id_and_a_signature() {
    let (port, served) = server("HTTP/1.1 204 No Content\r\n\r\n");
    post(&Post { key: Some(b"key"), ..about(&to(port, "/hook?x=1")) }).unwrap();
    let (head, body) = served.join().unwrap();
    assert!(head.starts_with("POST /hook?x=1 HTTP/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("Host: 127.0.0.1:{port}\r\n")), "{head}");
    assert!(head.contains("Palisade-Notice: id-1\r\n"), "{head}");
    let signed = signature(b"key", b"{\"a\":1}", AT).unwrap();
    assert!(head.contains(&format!("Palisade-Signature: {signed}\r\n")), "{head}");
    assert_eq!(body, "{\"a\":1}");
}

#[test]
fn only_a_success_is_one_and_the_address_stays_hidden() {
    for (answer, status) in [
        ("HTTP/1.1 500 Oops\r\n\r\n", Some(500)),
        ("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n", Some(302)),
        ("220 mail.example.org\r\n", None),
        ("", None),
    ] {
        let (port, served) = server(answer);
        let error = post(&about(&to(port, "/secret-token"))).unwrap_err();
        match (&error, status) {
            (Error::Status { status: found, .. }, Some(status)) => assert_eq!(*found, status),
            (Error::NotHttp { .. }, None) => {}
            _ => panic!("{answer:?}: {error}"),
        }
        assert!(!error.to_string().contains("secret-token"), "{error}");
        served.join().unwrap();
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let nobody = post(&about(&to(port, "/secret-token"))).unwrap_err();
    assert!(matches!(nobody, Error::Connection { .. }), "{nobody}");
}

/// A certificate of its own for `localhost`, and its key.
fn certificate(scratch: &Scratch) -> (PathBuf, PathBuf) {
    let (key, certificate) = (scratch.join("key.pem"), scratch.join("cert.pem"));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]);
    openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    openssl.args(["-addext", "subjectAltName=DNS:localhost"]).arg("-keyout").arg(&key);
    let made = openssl.arg("-out").arg(&certificate).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    (certificate, key)
}

/// A TLS server that takes one request and answers 204; gives what it heard, or why the handshake failed.
fn tls_server(scratch: &Scratch) -> (u16, PathBuf, JoinHandle<std::io::Result<String>>) {
    let (certificate, key) = certificate(scratch);
    let chain = CertificateDer::pem_file_iter(&certificate).unwrap().map(Result::unwrap).collect();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap())
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = std::thread::spawn(move || {
        let tcp = listener.accept().unwrap().0;
        let session = ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = StreamOwned::new(session, tcp);
        let mut heard = vec![0; 4096];
        let length = stream.read(&mut heard)?;
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
        stream.flush()?;
        Ok(String::from_utf8_lossy(&heard[..length]).into_owned())
    });
    (port, certificate, served)
}

#[test]
fn over_tls_the_certificate_decides_and_the_name_in_it() {
    let scratch = Scratch::new();
    let (port, certificate, served) = tls_server(&scratch);
    let localhost = Webhook::new(&format!("https://localhost:{port}/secret-token")).unwrap();
    post(&Post { authorities: Some(&certificate), ..about(&localhost) }).unwrap();
    assert!(served.join().unwrap().unwrap().starts_with("POST /secret-token HTTP/1.1\r\n"));

    let (port, certificate, served) = tls_server(&scratch);
    let by_number = Webhook::new(&format!("https://127.0.0.1:{port}/secret-token")).unwrap();
    let error = post(&Post { authorities: Some(&certificate), ..about(&by_number) }).unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error:?}");
    assert!(served.join().unwrap().is_err());

    let (port, _, served) = tls_server(&scratch);
    let localhost = Webhook::new(&format!("https://localhost:{port}/secret-token")).unwrap();
    let error = post(&about(&localhost)).unwrap_err();
    assert!(matches!(error, Error::Tls { .. } | Error::NoAuthorities), "{error:?}");
    assert!(!error.to_string().contains("secret-token"), "{error}");
    // Nothing was sent to somebody who is not verified. Without authorities nobody was even called.
    if matches!(error, Error::NoAuthorities) {
        drop(TcpStream::connect(("127.0.0.1", port)));
    }
    assert!(served.join().unwrap().map_or(true, |heard| heard.is_empty()));
}
