//! The system log, for what the journal cannot take.

use std::os::unix::net::UnixDatagram;

/// Writes one line to the local system log, as authpriv.warning.
///
/// # Errors
/// There is no system log on this host, or it does not take the line.
pub fn write(line: &str) -> std::io::Result<()> {
    const AUTHPRIV_WARNING: u8 = 10 << 3 | 4;
    let socket = UnixDatagram::unbound()?;
    socket.connect("/dev/log")?;
    let line = palisade_core::text::escaped(line);
    socket.send(format!("<{AUTHPRIV_WARNING}>palisade: {line}").as_bytes()).map(|_sent| ())
}
