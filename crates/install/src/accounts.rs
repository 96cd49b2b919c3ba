//! The users of a guard, by name or number.

use std::path::{Path, PathBuf};

use palisade_host::files;

/// Largest user or group database that is read.
const MAX_BYTES: u64 = 4 << 20;

/// One user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name, or its number where the database has none.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// Its group; its own number where the database has none.
    pub gid: u32,
    /// Its home folder; `/` where the database has none.
    pub home: PathBuf,
}

/// The three of a guard with users of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Users {
    /// Daemon and apps.
    pub daemon: Account,
    /// Guard, journal and key.
    pub guard: Account,
    /// The group of those who may connect.
    pub deployers: u32,
}

/// No such user or group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no {what} {name:?}")]
pub struct Unknown {
    what: &'static str,
    name: String,
}

/// The user called or numbered `text`, as `/etc/passwd` has it. A number that is not there is taken as it is.
///
/// # Errors
/// A name that is not there.
pub fn user(text: &str) -> Result<Account, Unknown> {
    user_in(&read("/etc/passwd"), text)
}

/// The group called or numbered `text`, as `/etc/group` has it.
///
/// # Errors
/// A name that is not there.
pub fn group(text: &str) -> Result<u32, Unknown> {
    group_in(&read("/etc/group"), text)
}

fn read(path: &str) -> String {
    let bytes = files::read_bounded(Path::new(path), MAX_BYTES).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn user_in(database: &str, text: &str) -> Result<Account, Unknown> {
    let entry = database.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let mut fits = entry.filter(|fields| fields.first() == Some(&text) || fields.get(2) == Some(&text));
    if let Some(fields) = fits.next()
        && let (Some(uid), Some(gid)) = (number(fields.get(2)), number(fields.get(3)))
    {
        let home = fields.get(5).map(PathBuf::from).filter(|home| home.is_absolute());
        let home = home.unwrap_or_else(|| "/".into());
        return Ok(Account { name: (*fields.first().unwrap_or(&text)).to_owned(), uid, gid, home });
    }
    let uid = text.parse().map_err(|_| Unknown { what: "user", name: text.to_owned() })?;
    Ok(Account { name: text.to_owned(), uid, gid: uid, home: "/".into() })
}

fn group_in(database: &str, text: &str) -> Result<u32, Unknown> {
    let entry = database.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let mut fits = entry.filter(|fields| fields.first() == Some(&text));
    let gid = fits.next().and_then(|fields| number(fields.get(2)));
    gid.or_else(|| text.parse().ok()).ok_or_else(|| Unknown { what: "group", name: text.to_owned() })
}

fn number(field: Option<&&str>) -> Option<u32> {
    field?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root-home:/bin/sh\npm2d:x:51:61::/var/lib/pm2d:/bin/false\n";

    #[test]
    fn users_are_found_by_name_and_number() {
        let expected = Account { name: "pm2d".into(), uid: 51, gid: 61, home: "/var/lib/pm2d".into() };
        assert_eq!(user_in(PASSWD, "pm2d"), Ok(expected.clone()));
        assert_eq!(user_in(PASSWD, "51"), Ok(expected));
        assert_eq!(user_in(PASSWD, "5101").map(|user| (user.uid, user.gid)), Ok((5101, 5101)));
        assert!(user_in(PASSWD, "pm2").is_err() && group_in("adm:x:4:\n", "admin").is_err());
        assert_eq!(group_in("adm:x:4:\n", "adm"), Ok(4));
        assert_eq!(group_in("", "77"), Ok(77));
    }
}
