//! The sockets that the holder listens on: made by itself, given by a supervisor, or handed on.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use crate::message::Handed;
use crate::options::Options;
use crate::pair::{PairError, taken};
use crate::renewal::Sockets;
use crate::serve::Error;
use palisade_host::activation::ActivationError;
use palisade_pm2::listen::{self, ListenError, Place};

/// What the holder listens on.
pub(crate) struct Places {
    pub(crate) rpc: Place,
    pub(crate) bus: Place,
    pub(crate) control: Option<Place>,
    pub(crate) apps: Vec<Place>,
    lock: File,
}

impl Places {
    /// Those that this process makes.
    pub(crate) fn made(options: &Options) -> Result<Self, Error> {
        let lock = listen::lock(&options.public)?;
        let mode = if options.group { 0o770 } else { 0o700 };
        let listen = if options.take_over { listen::take_over } else { listen::listen };
        let rpc = listen(&options.public.join("rpc.sock"), mode)?;
        let bus = listen(&options.public.join("pub.sock"), mode)?;
        let control = options.control.as_ref().map(|path| listen::listen(path, mode)).transpose()?;
        Ok(Self { rpc, bus, control, apps: Self::apps(options)?, lock })
    }

    /// Whoever may enter the folder that an administrator made for such a socket is let in.
    fn apps(options: &Options) -> Result<Vec<Place>, ListenError> {
        options.app_sockets.iter().map(|path| listen::listen(path, 0o770)).collect()
    }

    /// Those that a supervisor made, and removes.
    pub(crate) fn given(options: &Options, sockets: Vec<(String, OwnedFd)>) -> Result<Self, Error> {
        let lock = listen::lock(&options.public)?;
        let found = sockets.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(":");
        let (mut rpc, mut bus, mut control) = (None, None, None);
        for (name, socket) in sockets {
            let of = |path| Place::taken(socket, path, false);
            match name.as_str() {
                "rpc" => rpc = Some(of(options.public.join("rpc.sock"))?),
                "pub" => bus = Some(of(options.public.join("pub.sock"))?),
                "control" => control = Some(of(options.control.clone().unwrap_or_default())?),
                _ => return Err(ActivationError::Names { found }.into()),
            }
        }
        match (rpc, bus) {
            (Some(rpc), Some(bus)) => Ok(Self { rpc, bus, control, apps: Self::apps(options)?, lock }),
            _ => Err(ActivationError::Names { found }.into()),
        }
    }

    /// Those that another process of this firewall had.
    pub(crate) fn handed(options: &Options) -> Result<Self, Error> {
        let (sockets, _) = taken(io::stdin())?;
        // Where the home is gone nobody looks for a daemon any more.
        options.public.metadata()?;
        let (mut rpc, mut bus, mut control, mut lock, mut apps) = (None, None, None, None, Vec::new());
        let paths = (options.public.join("rpc.sock"), options.public.join("pub.sock"));
        let control_path = || options.control.clone().unwrap_or_default();
        for (what, socket) in sockets {
            match what {
                Handed::Rpc => rpc = Some(Place::taken(socket, paths.0.clone(), true)?),
                Handed::GivenRpc => rpc = Some(Place::taken(socket, paths.0.clone(), false)?),
                Handed::Pub => bus = Some(Place::taken(socket, paths.1.clone(), true)?),
                Handed::GivenPub => bus = Some(Place::taken(socket, paths.1.clone(), false)?),
                Handed::Control => control = Some(Place::taken(socket, control_path(), true)?),
                Handed::GivenControl => control = Some(Place::taken(socket, control_path(), false)?),
                Handed::App(number) => {
                    let path = options.app_sockets.get(usize::from(number)).ok_or(PairError::Message)?;
                    apps.push(Place::taken(socket, path.clone(), true)?);
                }
                Handed::Lock => lock = Some(File::from(socket)),
            }
        }
        match (rpc, bus, lock) {
            (Some(rpc), Some(bus), Some(lock)) => Ok(Self { rpc, bus, control, apps, lock }),
            _ => Err(PairError::Message.into()),
        }
    }

    /// Descriptors of all of them, for somebody who keeps them open too.
    pub(crate) fn shared(&self) -> io::Result<Vec<(Handed, OwnedFd)>> {
        let name = |place: &Place, ours, given| if place.is_ours() { ours } else { given };
        let mut shared = vec![
            (Handed::Lock, self.lock.as_fd().try_clone_to_owned()?),
            (name(&self.rpc, Handed::Rpc, Handed::GivenRpc), self.rpc.share()?),
            (name(&self.bus, Handed::Pub, Handed::GivenPub), self.bus.share()?),
        ];
        if let Some(control) = &self.control {
            shared.push((name(control, Handed::Control, Handed::GivenControl), control.share()?));
        }
        for (number, app) in (0..).zip(&self.apps) {
            shared.push((Handed::App(number), app.share()?));
        }
        Ok(shared)
    }

    /// Gives them up without removing a file.
    pub(crate) fn left(self) -> io::Result<Sockets> {
        let shared = self.shared()?;
        self.rpc.leave();
        self.bus.leave();
        if let Some(control) = self.control {
            control.leave();
        }
        self.apps.into_iter().for_each(Place::leave);
        Ok(Sockets(shared))
    }
}
