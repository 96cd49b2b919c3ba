//! TLS: the certificate is checked unless the URL says outright that it shall not be.

use std::process::Command;

use palisade_postgres::{Error, Target, identify};
use palisade_testkit::{Postgres, Scratch};

use crate::wait;

/// A certificate for `name`, signed by itself, readable by the server's user.
fn certificate(folder: &Scratch, name: &str) -> (String, String) {
    let (key, certificate) = (folder.join("key"), folder.join("certificate"));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]);
    openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    openssl.args(["-addext", &format!("subjectAltName=DNS:{name}")]).arg("-keyout").arg(&key);
    let ran = openssl.arg("-out").arg(&certificate).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    (key.display().to_string(), certificate.display().to_string())
}

#[test]
fn only_a_certificate_that_is_valid_for_the_host_is_trusted() {
    let folder = Scratch::new();
    let (key, certificate) = certificate(&folder, "localhost");
    let server = Postgres::start("15");
    server.install("server.key", &key);
    server.install("server.crt", &certificate);
    server.sql("postgres", "ALTER SYSTEM SET ssl = on");
    server.sql("postgres", "SELECT pg_reload_conf()");
    let at = |host: &str, query: &str| {
        let url = server.admin("postgres").replace("127.0.0.1", host);
        wait(identify(&Target::parse(&format!("{url}?{query}")).unwrap())).map(|(_, identity)| identity)
    };
    let trusted = format!("sslmode=require&sslrootcert={certificate}");
    let verified = palisade_testkit::eventually("the server takes TLS", || at("localhost", &trusted).ok());
    assert_eq!(verified.encryption, "verified");
    let bound = at("localhost", &format!("{trusted}&channel_binding=require")).unwrap();
    assert_eq!(bound.encryption, "verified");
    assert_eq!(at("localhost", "sslmode=no-verify").unwrap().encryption, "unverified");
    for (host, query) in [("localhost", "sslmode=require"), ("127.0.0.1", trusted.as_str())] {
        let error = at(host, query).unwrap_err();
        assert!(matches!(&error, Error::Refused { .. } | Error::Roots { .. }), "{host} {query}: {error}");
    }
}
