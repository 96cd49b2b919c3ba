//! The systemd units of one guard, as text. Pure but for [`startup_unit`], which looks for PM2's own.

use std::path::{Path, PathBuf};

use palisade_host::files;
use palisade_pm2::Isolation;

use crate::places::Places;
use crate::separate;

/// Largest unit that is read.
const MAX_BYTES: u64 = 1 << 20;

/// Where an administrator's units lie.
pub const FOLDER: &str = "/etc/systemd/system";

/// What the units of one guard are made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The paths of the home.
    pub places: Places,
    /// The daemon's user, whose guard it is.
    pub user: String,
    /// The user that the firewall runs as: the same, or one of its own.
    pub owner: String,
    /// The group that may connect, or the firewall's own.
    pub group: String,
    /// What separates them.
    pub isolation: Isolation,
    /// The firewall's binary.
    pub firewall: PathBuf,
    /// The binary `palisade`, which delivers notices.
    pub palisade: PathBuf,
    /// The state folder, where notices wait.
    pub state: PathBuf,
    /// PM2's own start-up unit, where there is one: `pm2-USER.service`.
    pub startup: Option<String>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Its path below the folder of units.
    pub name: String,
    /// Its content.
    pub text: String,
}

impl Wanted {
    fn base(&self) -> String {
        format!("palisade-pm2-{}", self.user)
    }

    /// The service.
    #[must_use]
    pub fn service(&self) -> String {
        format!("{}.service", self.base())
    }

    /// The sockets' units, each with its name and path. A guard with a user of its own has a folder of its own, and a
    /// third socket for requests to itself.
    #[must_use]
    pub fn sockets(&self) -> Vec<(String, &'static str, PathBuf)> {
        let unit = |name: &str| format!("{}-{name}.socket", self.base());
        match self.isolation {
            Isolation::SameUid => vec![
                (unit("rpc"), "rpc", self.places.rpc.clone()),
                (unit("pub"), "pub", self.places.bus.clone()),
            ],
            Isolation::SeparateUid => {
                let guard = separate::guard_folder(&self.places.home);
                let of = |name: &'static str, file: &str| (unit(name), name, guard.join(file));
                vec![of("rpc", "rpc.sock"), of("pub", "pub.sock"), of("control", "control.sock")]
            }
        }
    }

    /// The path unit that watches for notices, or the service that delivers them.
    #[must_use]
    pub fn notices(&self, kind: &str) -> String {
        format!("palisade-notify-{}.{kind}", self.user)
    }

    /// Every file.
    ///
    /// # Errors
    /// A path or name that would become several words or another setting in a unit.
    pub fn units(&self) -> Result<Vec<Unit>, Unwritable> {
        let sockets = self.sockets();
        let names = sockets.iter().map(|(unit, ..)| unit.as_str()).collect::<Vec<_>>().join(" ");
        let mut units = Vec::new();
        for (unit, name, path) in &sockets {
            let template = include_str!("../../../packaging/systemd/palisade-pm2.socket");
            let path = path.display().to_string();
            let more = [("NAME", *name), ("PATH", path.as_str()), ("MODE", self.mode())];
            units.push(Unit { name: unit.clone(), text: self.filled(template, &names, &more)? });
        }
        let service = include_str!("../../../packaging/systemd/palisade-pm2.service");
        let options = self.options();
        let text = self.filled(service, &names, &[("OPTIONS", options.as_str())])?;
        units.push(Unit { name: self.service(), text });
        for (name, template) in [
            (self.notices("path"), include_str!("../../../packaging/systemd/palisade-notify.path")),
            (self.notices("service"), include_str!("../../../packaging/systemd/palisade-notify.service")),
        ] {
            units.push(Unit { name, text: self.filled(template, &names, &[])? });
        }
        if let Some(startup) = &self.startup {
            let drop_in = include_str!("../../../packaging/systemd/pm2-palisade.conf");
            let name = format!("{startup}.d/palisade.conf");
            let mut text = self.filled(drop_in, &names, &[])?;
            if self.isolation == Isolation::SeparateUid {
                // PM2's own unit names the user that it was written for.
                text.push_str(&self.filled("User=@USER@\nGroup=@USER@\n", &names, &[])?);
            }
            units.push(Unit { name, text });
        }
        Ok(units)
    }

    const fn mode(&self) -> &'static str {
        match self.isolation {
            Isolation::SameUid => "0700",
            Isolation::SeparateUid => "0770",
        }
    }

    fn options(&self) -> String {
        let default = Places::of(&self.places.home, None);
        let mut options = " --leave-notices".to_owned();
        if default.private_rpc != self.places.private_rpc {
            options.push_str(&format!(
                " --private-rpc {} --private-pub {}",
                self.places.private_rpc.display(),
                self.places.private_bus.display()
            ));
        }
        if self.isolation == Isolation::SeparateUid {
            options.push(' ');
            options.push_str(&separate::arguments(&self.places.home).join(" "));
        }
        options
    }

    fn filled(&self, template: &str, sockets: &str, more: &[(&str, &str)]) -> Result<String, Unwritable> {
        let path = |path: &Path| path.display().to_string();
        let (home, firewall) = (path(&self.places.home), path(&self.firewall));
        let (private_rpc, private_pub) = (path(&self.places.private_rpc), path(&self.places.private_bus));
        let (palisade, state) = (path(&self.palisade), path(&self.state));
        let (service, notify) = (self.service(), self.notices("service"));
        let own = [
            ("PALISADE", palisade.as_str()),
            ("STATE", &state),
            ("NOTIFY", &notify),
            ("USER", self.user.as_str()),
            ("OWNER", &self.owner),
            ("GROUP", &self.group),
            ("HOME", &home),
            ("FIREWALL", &firewall),
            ("PRIVATE_RPC", &private_rpc),
            ("PRIVATE_PUB", &private_pub),
            ("SERVICE", &service),
        ];
        let mut text = template.replace("@SOCKETS@", sockets);
        for (key, value) in own.iter().chain(more) {
            let is_words = *key == "OPTIONS";
            if value.contains(|c: char| c.is_control() || c == '%' || c == '"' || c == '\\' || c == '$')
                || (!is_words && value.contains(' '))
            {
                return Err(Unwritable((*value).to_owned()));
            }
            text = text.replace(&format!("@{key}@"), value);
        }
        Ok(text)
    }
}

/// A path or name that cannot stand in a unit as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} has a character that a systemd unit takes for something else; write the units by hand")]
pub struct Unwritable(String);

/// PM2's own start-up unit of that user or home in `folder`: what `pm2 startup` wrote.
#[must_use]
pub fn startup_unit(folder: &Path, user: &str, home: &Path) -> Option<String> {
    let usual = format!("pm2-{user}.service");
    if folder.join(&usual).is_file() {
        return Some(usual);
    }
    let entries = folder.read_dir().ok()?.flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let wanted = format!("PM2_HOME={}", home.display());
    let mut fits = names.filter(|name| {
        let text = || files::read_bounded(&folder.join(name), MAX_BYTES).unwrap_or_default();
        name.ends_with(".service") && String::from_utf8_lossy(&text()).contains(&wanted)
    });
    fits.next()
}

/// The line that starts the guard and the daemon behind it where systemd is not in charge.
#[must_use]
pub fn cron_line(firewall: &Path, places: &Places, pm2: Option<&Path>) -> String {
    let pm2 = pm2.map_or_else(|| "/path/to/pm2".to_owned(), |path| path.display().to_string());
    format!(
        "@reboot {} --pm2-home {} --detached --start-daemon {pm2}",
        firewall.display(),
        places.home.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(home: &str) -> Wanted {
        Wanted {
            places: Places::of(home.as_ref(), None),
            user: "deploy".to_owned(),
            owner: "deploy".to_owned(),
            group: "deploy".to_owned(),
            isolation: Isolation::SameUid,
            firewall: "/usr/bin/palisade-firewall".into(),
            palisade: "/usr/bin/palisade".into(),
            state: "/var/lib/palisade".into(),
            startup: Some("pm2-deploy.service".to_owned()),
        }
    }

    #[test]
    fn every_place_of_a_template_is_filled() {
        let units = wanted("/home/deploy/.pm2").units().unwrap();
        let names: Vec<&str> = units.iter().map(|unit| unit.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "palisade-pm2-deploy-rpc.socket",
                "palisade-pm2-deploy-pub.socket",
                "palisade-pm2-deploy.service",
                "palisade-notify-deploy.path",
                "palisade-notify-deploy.service",
                "pm2-deploy.service.d/palisade.conf",
            ]
        );
        for unit in &units {
            let setting = |line: &&str| !line.starts_with('#') && !line.starts_with("SystemCallFilter");
            let open = unit.text.lines().filter(setting).find(|line| line.contains('@'));
            assert_eq!(open, None, "{}", unit.name);
        }
        assert!(
            units[2].text.contains(
                "ExecStart=/usr/bin/palisade-firewall --pm2-home /home/deploy/.pm2 --leave-notices\n"
            )
        );
        assert!(units[5].text.contains("PM2_DAEMON_RPC_PORT=/home/deploy/.pm2/private/rpc.sock"));
    }

    #[test]
    fn users_of_their_own_have_folders_of_their_own() {
        let wanted =
            Wanted { isolation: Isolation::SeparateUid, owner: "guard".to_owned(), ..wanted("/srv/pm2") };
        let units = wanted.units().unwrap();
        let text = |name: &str| units.iter().find(|unit| unit.name.ends_with(name)).unwrap().text.clone();
        assert!(text("-control.socket").contains("ListenStream=/srv/pm2/guard/control.sock\n"));
        assert!(text("-rpc.socket").contains("SocketMode=0770\n"));
        assert!(
            text("pm2-deploy.service").contains("--public /srv/pm2/guard --group --isolation separate-uid")
        );
        assert!(text("pm2-deploy.service").contains("User=guard\n"));
        assert!(text("palisade.conf").ends_with("User=deploy\nGroup=deploy\n"));
    }

    #[test]
    fn a_path_cannot_become_another_setting() {
        for home in ["/srv/a\nExecStartPre=/bin/evil", "/srv/%h", "/srv/a b", "/srv/$HOME"] {
            assert!(wanted(home).units().is_err(), "{home:?}");
        }
    }
}
