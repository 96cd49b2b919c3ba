//! The least that a client of PM2's socket can do: the floor that ours is held against.
//!
//! It connects, writes frames and counts whole replies. Nothing is decoded while the clock runs.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::Outcome;

const DEADLINE: Duration = Duration::from_secs(20);
const READ_BYTES: usize = 256 * 1024;

/// One reply's first argument, JSON without its tag.
pub(crate) type Reply = Vec<u8>;

/// Connects anew, sends the calls side by side and gives the replies, in the order in which they came.
pub(crate) fn exchange(socket: &Path, calls: &[(&str, Value)]) -> Outcome<Vec<Reply>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    let frames: Vec<u8> = calls.iter().enumerate().flat_map(|(id, call)| frame(id, call)).collect();
    stream.write_all(&frames)?;
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; READ_BYTES]);
    let mut replies = Vec::new();
    let mut start = 0;
    while replies.len() < calls.len() {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Err("the daemon closed the connection".into());
        }
        bytes.extend_from_slice(&buffer[..count]);
        while let Some((reply, end)) = whole(&bytes, start) {
            replies.push(bytes[reply].to_vec());
            start = end;
        }
    }
    Ok(replies)
}

/// `getMonitorData`, whole and undecoded.
pub(crate) fn list(socket: &Path) -> Outcome<Reply> {
    let mut replies = exchange(socket, &[("getMonitorData", serde_json::json!({}))])?;
    replies.pop().ok_or_else(|| "no reply".into())
}

/// Name, number and status of each process. For between the rounds, not for the clock.
pub(crate) fn processes(socket: &Path) -> Outcome<Vec<(String, u64, String)>> {
    let reply: Value = serde_json::from_slice(&list(socket)?)?;
    let entries = reply["args"][0].as_array().ok_or("the list is no list")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let entry = |entry: &Value| {
        (text(&entry["name"]), entry["pm_id"].as_u64().unwrap_or_default(), text(&entry["pm2_env"]["status"]))
    };
    Ok(entries.iter().map(entry).collect())
}

fn frame(id: usize, (method, argument): &(&str, Value)) -> Vec<u8> {
    let body = serde_json::json!({ "type": "call", "method": method, "args": [argument] });
    let mut bytes = vec![0x12];
    for part in [format!("j:{body}"), format!("s:bench:{id}")] {
        bytes.extend_from_slice(&u32::try_from(part.len()).unwrap_or_default().to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    bytes
}

/// The frame at `start`, if it is there as a whole: where its first argument is, and where it ends.
fn whole(bytes: &[u8], start: usize) -> Option<(std::ops::Range<usize>, usize)> {
    let mut at = start + 1;
    let mut first = None;
    for _ in 0..(*bytes.get(start)? & 0x0f) {
        let length: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
        let content = at + 4..at + 4 + usize::try_from(u32::from_be_bytes(length)).ok()?;
        at = content.end;
        // Without the tag `j:`.
        first.get_or_insert(content.start + 2..content.end);
    }
    (at <= bytes.len()).then_some((first?, at))
}
