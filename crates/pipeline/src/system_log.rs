//! The system log, for what the journal cannot take.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

/// How long a system log may take to take a line. One that is frozen has a full queue, and must hold up nobody who has
/// callers to answer.
const WITHIN: Duration = Duration::from_millis(100);

/// Writes one line to the local system log, as authpriv.warning.
///
/// # Errors
/// There is no system log on this host, or it does not take the line at once.
pub fn write(line: &str) -> io::Result<()> {
    write_to(Path::new("/dev/log"), line)
}

fn write_to(log: &Path, line: &str) -> io::Result<()> {
    const AUTHPRIV_WARNING: u8 = 10 << 3 | 4;
    let socket = UnixDatagram::unbound()?;
    socket.connect(log)?;
    socket.set_write_timeout(Some(WITHIN))?;
    let line = palisade_core::text::escaped(line);
    socket.send(format!("<{AUTHPRIV_WARNING}>palisade: {line}").as_bytes()).map(|_sent| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_datagram_and_a_log_that_takes_no_more_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = UnixDatagram::bind(&path).unwrap();
        write_to(&path, "two\nlines").unwrap();
        let mut buffer = [0; 256];
        let count = log.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..count], br"<84>palisade: two\u{a}lines");
        // Nobody reads: the kernel's queue is full sooner or later.
        let full = (0..100_000).find_map(|_| write_to(&path, "x").err()).expect("a queue has an end");
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    }
}
