//! As much of Redis' protocol as leases need: commands as arrays of strings, answers of RESP 2.

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// No answer that leases need is longer, or nested deeper.
const LONGEST: usize = 4 << 20;
const DEEPEST: usize = 4;

/// What Redis answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Nothing,
    Text(String),
    Number(i64),
    List(Vec<Answer>),
    /// Redis refused; the connection is as good as before.
    Refused(String),
}

/// Why an exchange ended without an answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The connection.
    #[error(transparent)]
    Connection(#[from] std::io::Error),
    /// What came is no answer of Redis, or a larger one than leases have.
    #[error("{0}")]
    Answer(&'static str),
    /// Not a number where one has to be.
    #[error("{0:?} is no number")]
    Number(String),
    /// Redis said no.
    #[error("{0}")]
    Refused(String),
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    pub(super) async fn open(host: &str, port: u16) -> Result<Self, Fault> {
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Sends one command and reads its answer. After an error the connection cannot be used any more.
    pub(super) async fn ask(&mut self, words: &[&str]) -> Result<Answer, Fault> {
        self.stream.get_mut().write_all(&command(words)).await?;
        self.answer(0).await
    }

    async fn line(&mut self) -> Result<String, Fault> {
        let mut line = Vec::new();
        let mut limited = (&mut self.stream).take(LONGEST as u64);
        limited.read_until(b'\n', &mut line).await?;
        let text = line
            .strip_suffix(b"\r\n")
            .ok_or(Fault::Answer("the connection ended in the middle of an answer"))?;
        String::from_utf8(text.to_vec()).map_err(|_| Fault::Answer("an answer is not UTF-8"))
    }

    async fn answer(&mut self, depth: usize) -> Result<Answer, Fault> {
        let line = self.line().await?;
        let (kind, rest) = line.split_at_checked(1).ok_or(Fault::Answer("an answer is empty"))?;
        let number = || rest.parse::<i64>().map_err(|_| Fault::Number(rest.to_owned()));
        match kind {
            "+" => Ok(Answer::Text(rest.to_owned())),
            "-" => Ok(Answer::Refused(rest.to_owned())),
            ":" => Ok(Answer::Number(number()?)),
            "$" => self.text(number()?).await,
            "*" => {
                let Ok(count) = usize::try_from(number()?) else { return Ok(Answer::Nothing) };
                if depth >= DEEPEST || count > LONGEST {
                    return Err(Fault::Answer("an answer is larger than leases can be"));
                }
                let mut list = Vec::new();
                for _ in 0..count {
                    list.push(Box::pin(self.answer(depth + 1)).await?);
                }
                Ok(Answer::List(list))
            }
            _ => Err(Fault::Answer("this is not Redis")),
        }
    }

    async fn text(&mut self, length: i64) -> Result<Answer, Fault> {
        let Ok(length) = usize::try_from(length) else { return Ok(Answer::Nothing) };
        if length > LONGEST {
            return Err(Fault::Answer("an answer is larger than leases can be"));
        }
        let mut bytes = vec![0; length + 2];
        self.stream.read_exact(&mut bytes).await?;
        bytes.truncate(length);
        String::from_utf8(bytes).map(Answer::Text).map_err(|_| Fault::Answer("an answer is not UTF-8"))
    }
}

fn command(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_says_how_long_each_word_is() {
        assert_eq!(command(&["SET", "k", "a\r\n*"]), b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\na\r\n*\r\n");
    }
}
