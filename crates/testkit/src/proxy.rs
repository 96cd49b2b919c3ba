//! A TCP proxy that fails on order: late, wrong, short, never.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// What becomes of answers while it is in force. Requests are always handed on, except under [`Fault::Refuse`] and
/// [`Fault::Hold`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is wrong.
    None,
    /// Nothing passes in either direction until another order comes.
    Hold,
    /// Answers never arrive; requests do.
    Mute,
    /// The connection ends after so many bytes of an answer.
    Short(usize),
    /// The last byte of each piece of an answer is another one.
    Wrong,
    /// Connections end as soon as they are made, and those that are open at their next byte.
    Refuse,
    /// The connection ends in place of the first answer that contains these bytes.
    CutAt(Vec<u8>),
    /// The client's reading half ends with the next answer; what it sends still arrives.
    HalfClose,
    /// From the first request that contains these bytes on, [`Fault::Hold`].
    HoldAt(Vec<u8>),
}

#[derive(Debug)]
struct State {
    fault: Mutex<Fault>,
    changed: Condvar,
    ended: AtomicBool,
    cuts: AtomicU64,
    server: AtomicU16,
}

/// Stands on a port of its own before a server of this machine. Dropping it ends every connection.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    state: Arc<State>,
}

impl Proxy {
    /// Starts one before a port of 127.0.0.1, with nothing wrong.
    ///
    /// # Panics
    /// If 127.0.0.1 cannot be listened on.
    #[must_use]
    pub fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("127.0.0.1 can be listened on");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let state = Arc::new(State {
            fault: Mutex::new(Fault::None),
            changed: Condvar::new(),
            ended: AtomicBool::new(false),
            cuts: AtomicU64::new(0),
            server: AtomicU16::new(server),
        });
        let accepting = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if accepting.ended.load(Ordering::Acquire) {
                    return;
                }
                if *accepting.fault.lock().expect("no thread panics with it") != Fault::Refuse
                    && let Ok(server) =
                        TcpStream::connect(("127.0.0.1", accepting.server.load(Ordering::Acquire)))
                {
                    serve(&accepting, client, server);
                }
            }
        });
        Self { port, state }
    }

    /// The port on 127.0.0.1 that clients use.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What shall be wrong from now on.
    ///
    /// # Panics
    /// Never: no thread panics while it holds the order.
    pub fn order(&self, fault: Fault) {
        *self.state.fault.lock().expect("no thread panics with it") = fault;
        self.state.changed.notify_all();
    }

    /// Leads new connections to another port.
    pub fn lead_to(&self, server: u16) {
        self.state.server.store(server, Ordering::Release);
    }

    /// Whether nothing passes: [`Fault::Hold`] is in force, or has come to be.
    ///
    /// # Panics
    /// Never: no thread panics while it holds the order.
    #[must_use]
    pub fn holds(&self) -> bool {
        *self.state.fault.lock().expect("no thread panics with it") == Fault::Hold
    }

    /// How many connections were ended so far by [`Fault::Short`] or [`Fault::CutAt`].
    #[must_use]
    pub fn cuts(&self) -> u64 {
        self.state.cuts.load(Ordering::Acquire)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::Release);
        self.order(Fault::Refuse);
        // Wakes the thread that accepts, so that the port is free again.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

fn serve(state: &Arc<State>, client: TcpStream, server: TcpStream) {
    let (Ok(client_end), Ok(server_end)) = (client.try_clone(), server.try_clone()) else { return };
    let there = Arc::clone(state);
    thread::spawn(move || pump(&there, client, server, false));
    let back = Arc::clone(state);
    thread::spawn(move || pump(&back, server_end, client_end, true));
}

/// Hands on what comes, until one side ends or an order ends both.
fn pump(state: &State, mut from: TcpStream, mut to: TcpStream, answers: bool) {
    let mut bytes = vec![0; 64 * 1024];
    let mut passed = 0;
    drop(from.set_read_timeout(Some(Duration::from_millis(50))));
    loop {
        let length = match from.read(&mut bytes) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
            {
                if *state.fault.lock().expect("no thread panics with it") == Fault::Refuse {
                    break;
                }
                continue;
            }
            Err(_) => break,
        };
        let piece = &mut bytes[..length];
        if answers && *state.fault.lock().expect("no thread panics with it") == Fault::HalfClose {
            state.cuts.fetch_add(1, Ordering::AcqRel);
            drop(to.shutdown(Shutdown::Write));
            return;
        }
        let (keep, cut) = judge(state, piece, passed, answers);
        if to.write_all(&piece[..keep]).is_err() || cut {
            break;
        }
        passed += keep;
    }
    // Both ways, so that the other thread of this connection ends too.
    drop(from.shutdown(Shutdown::Both));
    drop(to.shutdown(Shutdown::Both));
}

/// How much of a piece passes, and whether the connection ends after that.
fn judge(state: &State, piece: &mut [u8], passed: usize, answers: bool) -> (usize, bool) {
    let mut fault = state.fault.lock().expect("no thread panics with it");
    if let Fault::HoldAt(bytes) = &*fault
        && !answers
        && piece.windows(bytes.len()).any(|window| window == bytes)
    {
        *fault = Fault::Hold;
    }
    while *fault == Fault::Hold {
        fault = state.changed.wait(fault).expect("no thread panics with it");
    }
    let cut = |keep| {
        state.cuts.fetch_add(1, Ordering::AcqRel);
        (keep, true)
    };
    match &*fault {
        Fault::Refuse => (0, true),
        _ if !answers => (piece.len(), false),
        Fault::None | Fault::Hold | Fault::HoldAt(_) | Fault::HalfClose => (piece.len(), false),
        Fault::Mute => (0, false),
        Fault::Short(most) if passed + piece.len() > *most => cut(most.saturating_sub(passed)),
        Fault::Short(_) => (piece.len(), false),
        Fault::Wrong => {
            if let Some(last) = piece.last_mut() {
                *last ^= 1;
            }
            (piece.len(), false)
        }
        Fault::CutAt(bytes) if piece.windows(bytes.len()).any(|window| window == bytes) => {
            *fault = Fault::None;
            cut(0)
        }
        Fault::CutAt(_) => (piece.len(), false),
    }
}
