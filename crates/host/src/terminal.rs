//! The terminal that somebody calls from: to tell them what their own program keeps from them.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};

use palisade_core::actor::ProcessRef;
use palisade_core::text::Shown;
use rustix::fs::{OFlags, makedev};

use crate::process;

/// The kernel's number for consoles.
const CONSOLE: u32 = 4;
/// The kernel's number for the far ends of pseudo terminals.
const PSEUDO: u32 = 136;

/// Writes one line to the terminal of exactly this process, as `write` does, and waits for nobody.
///
/// `false` where it has no terminal, where that is not one that this process sees under the same name (a container's), or
/// where this user may not write there.
pub fn say(to: ProcessRef, line: &str) -> bool {
    let told = |mut terminal: File| terminal.write_all(format!("\r\n{}\r\n", Shown(line)).as_bytes());
    of(to).is_some_and(|terminal| told(terminal).is_ok())
}

fn of(to: ProcessRef) -> Option<File> {
    let stat = process::stat(to.pid).ok().filter(|stat| stat.process == to && stat.terminal != 0)?;
    let (major, minor) = taken_apart(stat.terminal);
    let path = match major {
        PSEUDO => format!("/dev/pts/{minor}"),
        CONSOLE => format!("/dev/tty{minor}"),
        _ => return None,
    };
    // Another mount namespace may have another terminal of that number.
    if !process::shares_mounts(to.pid) {
        return None;
    }
    let flags = OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let file = OpenOptions::new().write(true).custom_flags(flags.bits().cast_signed()).open(path).ok()?;
    (file.metadata().ok()?.rdev() == makedev(major, minor)).then_some(file)
}

/// Major and minor number of a device as `/proc/PID/stat` writes it.
const fn taken_apart(device: u32) -> (u32, u32) {
    (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xf_ff00)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_are_taken_apart_as_the_kernel_puts_them_together() {
        assert_eq!(taken_apart(136 << 8 | 7), (136, 7));
        assert_eq!(taken_apart(136 << 8 | 1 << 20 | 5), (136, 261));
        assert_eq!(taken_apart(4 << 8 | 1), (4, 1));
    }
}
