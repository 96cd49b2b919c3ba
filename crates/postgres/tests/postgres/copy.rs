//! Rows by `COPY`.

use palisade_postgres::Field::{self, Bool, Int2, Int8, Null, Text};
use palisade_postgres::{Error, Session, Target};
use palisade_testkit::Postgres;

use crate::wait;

const TABLE: &str = "CREATE TABLE kept (n bigint PRIMARY KEY, small smallint, set boolean, said text)";
const COPY: &str = "COPY kept (n, small, set, said) FROM STDIN BINARY";

async fn put(session: &Session, rows: &[[Field<'_>; 4]]) -> Result<u64, Error> {
    let mut copy = session.copy_in("keep rows", COPY).await?;
    for row in rows {
        copy.row(*row).await?;
    }
    copy.finish().await
}

#[test]
fn rows_of_every_field_and_size_arrive_as_they_were_given() {
    let server = Postgres::start("15");
    server.sql("postgres", TABLE);
    wait(async {
        let session = Session::connect(&Target::parse(&server.admin("postgres")).unwrap()).await.unwrap();
        assert_eq!(put(&session, &[]).await.unwrap(), 0);
        // One that is larger than what is sent at once, between many that share a message.
        let long = "é".repeat(300_000);
        let mut rows = vec![
            [Int8(i64::MIN), Int2(i16::MIN), Bool(false), Text("")],
            [Int8(i64::MAX), Int2(i16::MAX), Bool(true), Text("a\tb\n\\.\n")],
            [Int8(-1), Null, Null, Null],
            [Int8(-2), Int2(0), Bool(true), Text(&long)],
        ];
        rows.extend((0..20_000).map(|n| [Int8(n), Int2(7), Bool(true), Text("one of many")]));
        assert_eq!(put(&session, &rows).await.unwrap(), 20_004);
    });
    let said = |sql: &str| server.sql("postgres", sql);
    assert_eq!(said("SELECT n, small, set FROM kept WHERE said = ''"), "-9223372036854775808|-32768|f");
    assert_eq!(
        said(r"SELECT n, small, set FROM kept WHERE said = E'a\tb\n\\.\n'"),
        "9223372036854775807|32767|t"
    );
    assert_eq!(said("SELECT count(*) FROM kept WHERE n = -1 AND (small, set, said) IS NULL"), "1");
    assert_eq!(said("SELECT n FROM kept WHERE said = repeat('é', 300000)"), "-2");
    assert_eq!(
        said("SELECT count(*), sum(n), min(small) FROM kept WHERE said = 'one of many'"),
        "20000|199990000|7"
    );
}

#[test]
fn rows_that_are_refused_or_given_up_are_not_kept_and_the_connection_goes_on() {
    let server = Postgres::start("15");
    server.sql("postgres", TABLE);
    wait(async {
        let session = Session::connect(&Target::parse(&server.admin("postgres")).unwrap()).await.unwrap();
        // So many that messages are on their way when the server refuses.
        let mut rows = vec![[Int8(1), Null, Null, Text("first")], [Int8(1), Null, Null, Text("again")]];
        rows.extend((2..50_000).map(|n| [Int8(n), Null, Null, Text("one of many")]));
        let error = put(&session, &rows).await.unwrap_err().to_string();
        assert!(error.contains("keep rows") && error.contains("kept_pkey"), "{error}");
        // A field that is no bigint.
        assert!(put(&session, &[[Int2(1), Null, Null, Null]]).await.is_err());
        let mut given_up = session.copy_in("keep rows", COPY).await.unwrap();
        for row in &rows[2..] {
            given_up.row(*row).await.unwrap();
        }
        drop(given_up);
        assert_eq!(put(&session, &[[Int8(7), Null, Null, Text("last")]]).await.unwrap(), 1);
    });
    assert_eq!(server.sql("postgres", "SELECT n, said FROM kept"), "7|last");
}
