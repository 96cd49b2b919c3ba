use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixListener, UnixStream};

use palisade_host::{peer, process};

use crate::roles::Actor;

#[test]
fn the_peer_of_a_socket_pair_is_this_process() {
    let (here, _there) = UnixStream::pair().unwrap();
    let peer = peer::of(&here).unwrap();
    let own = process::credentials(std::process::id()).unwrap();
    assert_eq!((peer.pid, peer.uid, peer.gid), (std::process::id(), own.uid, own.gid));
    assert_eq!(peer.process, Some(process::this().unwrap()));
    assert_eq!(peer::of(here.as_fd()).unwrap(), peer);
}

#[test]
fn the_peer_of_an_accepted_connection_is_who_connected() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let _client = UnixStream::connect(&path).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    assert_eq!(peer::of(&accepted).unwrap().process, Some(process::this().unwrap()));
}

#[test]
fn the_peer_is_the_child_that_connected_and_after_its_death_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
    let mut child = Actor::start("connect", folder.path());
    assert_eq!(child.line(), "connected");
    let (accepted, _) = listener.accept().unwrap();
    let peer = peer::of(&accepted).unwrap();
    assert_eq!(peer.pid, child.pid());
    assert_eq!(peer.process, Some(process::stat(child.pid()).unwrap().process));
    assert_eq!(process::ancestors(peer.pid)[0].process, process::this().unwrap());
    child.kill();
    let later = peer::of(&accepted).unwrap();
    assert_eq!((later.pid, later.uid, later.process), (peer.pid, peer.uid, None));
}

#[test]
fn what_is_not_a_socket_has_no_peer() {
    let file = tempfile::tempfile().unwrap();
    let error = peer::of(&file).unwrap_err();
    assert_eq!(error.to_string(), "cannot read the credentials of the socket's peer");
}
