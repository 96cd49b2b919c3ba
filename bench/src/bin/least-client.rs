//! The least of all clients, as a program of its own: it asks a daemon for its list, reads the whole reply, decodes nothing
//! and ends. What it takes beside the same exchange in a process that is there already is what starting and ending costs.

use std::env;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;

/// Bytes that are read at once.
const PIECE: usize = 64 * 1024;

fn main() -> io::Result<()> {
    let socket = env::args_os().nth(1).ok_or(io::ErrorKind::InvalidInput)?;
    let mut daemon = UnixStream::connect(socket)?;
    daemon.write_all(&request())?;
    let (mut piece, mut read, mut whole) = (vec![0; PIECE], 0, None);
    while whole.is_none_or(|whole| read < whole) {
        let count = daemon.read(&mut piece)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // One byte that counts the arguments, the length of the first and it, the length of the second and it.
        if let (None, Some(length)) = (whole, piece[..count].get(1..5)) {
            let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            whole = Some(1 + 4 + length + 4 + ID.len());
        }
        read += count;
    }
    Ok(())
}

const CALL: &[u8] = br#"j:{"type":"call","method":"getMonitorData","args":[{}]}"#;
const ID: &[u8] = b"s:1:0";

fn request() -> Vec<u8> {
    let mut bytes = vec![0x12];
    for argument in [CALL, ID] {
        let length = u32::try_from(argument.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(argument);
    }
    bytes
}
