//! A proxy that loses answers: what stands between a client and its server on a bad day.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A proxy in front of a port of this machine. It ends with its value; connections end with their ends.
#[derive(Debug)]
pub struct Between {
    shared: Arc<Shared>,
    port: u16,
}

#[derive(Debug)]
struct Shared {
    server: AtomicU16,
    /// The answer to the first request that holds this is lost, and the connection with it.
    cut: Mutex<Option<Vec<u8>>>,
    over: AtomicBool,
}

impl Between {
    /// Starts one in front of that port.
    ///
    /// # Panics
    /// If no port of this machine can be listened on.
    #[must_use]
    pub fn before(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port of this machine");
        let port = listener.local_addr().expect("it is bound").port();
        let shared = Arc::new(Shared {
            server: AtomicU16::new(server),
            cut: Mutex::new(None),
            over: AtomicBool::new(false),
        });
        let of_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if of_thread.over.load(Ordering::SeqCst) {
                    break;
                }
                let server = of_thread.server.load(Ordering::SeqCst);
                // A server that does not listen is a client that is turned away.
                if let (Ok(client), Ok(server)) = (client, TcpStream::connect(("127.0.0.1", server))) {
                    join(&of_thread, client, server);
                }
            }
        });
        Self { shared, port }
    }

    /// Where clients connect.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Leads new connections to another port.
    pub fn lead_to(&self, server: u16) {
        self.shared.server.store(server, Ordering::SeqCst);
    }

    /// Hands the next request that holds `text` to the server, waits until that has answered, and loses the answer.
    pub fn lose_answer_to(&self, text: &str) {
        *self.shared.cut.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.as_bytes().to_vec());
    }

    /// Whether the answer that was to be lost is lost.
    #[must_use]
    pub fn has_lost(&self) -> bool {
        self.shared.cut.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        // Wakes the thread up. One that cannot be reached has ended.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

fn join(shared: &Arc<Shared>, client: TcpStream, server: TcpStream) {
    let lost = Arc::new(AtomicBool::new(false));
    let (Ok(to_client), Ok(to_server)) = (client.try_clone(), server.try_clone()) else { return };
    let (shared, is_lost) = (Arc::clone(shared), Arc::clone(&lost));
    std::thread::spawn(move || {
        pass(client, to_server, |bytes| {
            let mut cut = shared.cut.lock().unwrap_or_else(PoisonError::into_inner);
            let holds = |text: &Vec<u8>| bytes.windows(text.len()).any(|window| window == text.as_slice());
            if cut.as_ref().is_some_and(holds) {
                lost.store(true, Ordering::SeqCst);
                *cut = None;
            }
            true
        });
    });
    std::thread::spawn(move || pass(server, to_client, |_| !is_lost.load(Ordering::SeqCst)));
}

/// Hands on what comes in, until one end is closed or `may` says no; then both are.
fn pass(mut from: TcpStream, mut to: TcpStream, mut may: impl FnMut(&[u8]) -> bool) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(read) if read > 0 && may(&buffer[..read]) && to.write_all(&buffer[..read]).is_ok() => {}
            _ => break,
        }
    }
    for end in [from, to] {
        // It may be closed already.
        drop(end.shutdown(Shutdown::Both));
    }
}
