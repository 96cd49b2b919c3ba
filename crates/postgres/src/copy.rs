//! Rows into a table by `COPY .. FROM STDIN BINARY`.

use std::future::poll_fn;
use std::pin::Pin;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_sink::Sink as _;
use tokio_postgres::CopyInSink;

use crate::error::Error;

/// So much is sent at once. The driver's own writer sends 4 KiB, and each of its messages wakes the task that sends and the
/// server's process up (ADR 0048).
const AT_ONCE: usize = 64 * 1024;

/// What every such stream begins with: the signature, no flags, no extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// A field as a column of its type takes it.
#[derive(Debug, Clone, Copy)]
pub enum Field<'a> {
    /// Of any type.
    Null,
    /// `boolean`.
    Bool(bool),
    /// `smallint`.
    Int2(i16),
    /// `bigint`.
    Int8(i64),
    /// `text`, of less than 1 GiB.
    Text(&'a str),
}

impl Field<'_> {
    /// Puts its length and its bytes.
    fn put(self, rows: &mut BytesMut) {
        match self {
            Self::Null => rows.put_i32(-1),
            Self::Bool(is) => {
                rows.put_i32(1);
                rows.put_u8(u8::from(is));
            }
            Self::Int2(number) => {
                rows.put_i32(2);
                rows.put_i16(number);
            }
            Self::Int8(number) => {
                rows.put_i32(8);
                rows.put_i64(number);
            }
            Self::Text(text) => {
                // The server refuses what is longer than it takes.
                rows.put_i32(i32::try_from(text.len()).unwrap_or(i32::MAX));
                rows.put_slice(text.as_bytes());
            }
        }
    }
}

/// Rows on their way into a table. Dropped before its end, none of them is kept.
pub struct CopyIn<'a> {
    sink: Pin<Box<CopyInSink<Bytes>>>,
    rows: BytesMut,
    what: &'a str,
}

impl std::fmt::Debug for CopyIn<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CopyIn").field("what", &self.what).finish_non_exhaustive()
    }
}

impl<'a> CopyIn<'a> {
    pub(crate) fn new(sink: CopyInSink<Bytes>, what: &'a str) -> Self {
        let mut rows = BytesMut::with_capacity(AT_ONCE);
        rows.put_slice(HEADER);
        Self { sink: Box::pin(sink), rows, what }
    }

    /// One more row: its fields in the order of the columns.
    ///
    /// # Errors
    /// [`Error::Statement`].
    pub async fn row<const FIELDS: usize>(&mut self, fields: [Field<'_>; FIELDS]) -> Result<(), Error> {
        self.rows.put_i16(i16::try_from(FIELDS).unwrap_or(i16::MAX));
        fields.into_iter().for_each(|field| field.put(&mut self.rows));
        if self.rows.len() < AT_ONCE { Ok(()) } else { self.send().await }
    }

    /// All rows were given; how many the table took.
    ///
    /// # Errors
    /// [`Error::Statement`].
    pub async fn finish(mut self) -> Result<u64, Error> {
        self.rows.put_i16(-1);
        self.send().await?;
        let ended = poll_fn(|context| self.sink.as_mut().poll_finish(context)).await;
        ended.map_err(|error| Error::statement(self.what, error))
    }

    async fn send(&mut self) -> Result<(), Error> {
        let rows = std::mem::replace(&mut self.rows, BytesMut::with_capacity(AT_ONCE)).freeze();
        let sent = match poll_fn(|context| self.sink.as_mut().poll_ready(context)).await {
            Ok(()) => self.sink.as_mut().start_send(rows),
            Err(error) => Err(error),
        };
        sent.map_err(|error| Error::statement(self.what, error))
    }
}
