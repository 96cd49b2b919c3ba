//! The judge's process: hears questions over its standard input, which is one end of a pair of sockets, and answers
//! them one after another. Signs of life do not wait behind a question.
//!
//! It also keeps the listening sockets open. When the holder is gone, or silent, it becomes the holder.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::sync::Arc;
use std::time::Duration;

use palisade_core::Exit;
use palisade_host::clock::Stopwatch;
use palisade_host::environment::Environment;
use palisade_host::peer::Peer;
use palisade_host::state::{Locations, StateDirectory};
use palisade_host::{context, files, registration};
use palisade_notify::{Delivery, Teller};
use palisade_pipeline::calls::CallLog;
use palisade_pm2::locate::{Location, Origin};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, getppid, pidfd_open, pidfd_send_signal};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::caller::Caller;
use crate::guard::Guard;
use crate::holder::{BEAT, SILENT_BEATS};
use crate::judge::strictest;
use crate::message::{Answer, FromJudge, Question, ToJudge};
use crate::options::Options;
use crate::order::{self, CarriedOut, OrderError};
use crate::pair::{Pair, PairError, taken};
use crate::renewal::Sockets;
use crate::serve::Error;
use crate::telling;
use crate::view::View;
use palisade_config::policy_file::PolicyFile;

/// Questions that wait for the guard. The holder has at most one of each connection under way.
const QUEUE: usize = 1024;
/// Callers that are remembered: one per connection that asked.
const MOST_CALLERS: usize = 512;
/// How often the dump is looked at.
const LOOK_AT_DUMP: Duration = Duration::from_secs(1);
/// How long a last record may take, and a holder to end.
const END_WITHIN: Duration = Duration::from_secs(5);

/// How a judge ended.
#[derive(Debug)]
pub enum Ended {
    /// The holder said so, or this judge cannot judge and has said why.
    Done,
    /// The holder is gone: its sockets.
    Orphaned(Sockets),
}

/// Judges until the holder says that it is over, or is gone.
///
/// # Errors
/// Standard input is no pair of a holder.
pub async fn run(options: &Options) -> Result<Ended, Error> {
    let stream = StdStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let (sockets, rest) = match taken(&stream) {
        Ok(taken) => taken,
        Err(error @ PairError::Version(_)) => {
            let mut pair = Pair::new(stream, Vec::new())?;
            pair.send(&FromJudge::Failed { exit: 1, text: error.to_string() });
            pair.flush().await?;
            return Ok(Ended::Done);
        }
        Err(error) => return Err(error.into()),
    };
    let holder = Holding::of_parent();
    let mut pair = Pair::new(stream, rest)?;
    let (questions, asked) = mpsc::channel(QUEUE);
    let (answers, mut said) = mpsc::channel(QUEUE);
    let mut guards = JoinSet::new();
    guards.spawn(answer_all(options.clone(), asked, answers));
    let is_over = converse(&mut pair, &questions, &mut said).await?;
    drop(questions);
    // What was counted is written; what hangs at that is cut off.
    drop(timeout(END_WITHIN, async { while guards.join_next().await.is_some() {} }).await);
    guards.shutdown().await;
    if is_over {
        return Ok(Ended::Done);
    }
    holder.end();
    Ok(Ended::Orphaned(Sockets(sockets)))
}

/// Moves messages until it is over (`true`), or the holder is gone (`false`).
async fn converse(
    pair: &mut Pair,
    questions: &mpsc::Sender<ToJudge>,
    said: &mut mpsc::Receiver<FromJudge>,
) -> Result<bool, Error> {
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // A signal for the whole group is meant for the holder, which then says what to do.
    let (mut terminated, mut interrupted, mut hung_up) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?);
    let mut silent = 0;
    loop {
        tokio::select! {
            heard = pair.next::<ToJudge>() => {
                silent = 0;
                match heard {
                    Ok(ToJudge::End) => return Ok(true),
                    Ok(ToJudge::Beat) => {}
                    // What there is no room for is answered by the holder.
                    Ok(asked) => drop(questions.try_send(asked)),
                    // A holder that lives and says what this version does not know replaces its judge.
                    Err(PairError::Message | PairError::Version(_)) => return Ok(true),
                    Err(PairError::Gone | PairError::Io(_)) => return Ok(false),
                }
            }
            answer = said.recv() => match answer {
                Some(answer) => pair.send(&answer),
                None => {
                    pair.flush().await?;
                    return Ok(true);
                }
            },
            _ = beat.tick() => {
                silent += 1;
                if silent > SILENT_BEATS {
                    return Ok(false);
                }
                pair.send(&FromJudge::Beat);
            }
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
            _ = hung_up.recv() => {}
        }
    }
}

/// Opens what judging needs, says so, and answers questions until there are none.
async fn answer_all(
    options: Options,
    mut questions: mpsc::Receiver<ToJudge>,
    answers: mpsc::Sender<FromJudge>,
) {
    let failed = |exit: Exit, text: String| FromJudge::Failed { exit: exit.number(), text };
    let guard = match spawn_blocking(move || open(&options)).await {
        Ok(Ok(guard)) => guard,
        // Where the holder is gone nobody needs to know.
        Ok(Err(error)) => return drop(answers.send(failed(error.exit(), error.told())).await),
        Err(error) => return drop(answers.send(failed(Exit::Failure, error.to_string())).await),
    };
    let mut desk = Desk { guard, callers: BTreeMap::new(), orders: JoinSet::new(), answers };
    desk.is_ready().await;
    let mut look = interval(LOOK_AT_DUMP);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = look.tick() => desk.guard.look_at_dump().await,
            question = questions.recv() => match question {
                Some(question) => desk.take(question).await,
                None => break,
            },
            Some(carried_out) = desk.orders.join_next() => desk.tell(carried_out).await,
        }
    }
    while let Some(carried_out) = desk.orders.join_next().await {
        desk.tell(carried_out).await;
    }
    desk.guard.end().await;
}

/// What the judge answers with: the guard, whom it has looked at, and the orders that it carries out meanwhile.
struct Desk {
    guard: Guard,
    callers: BTreeMap<u64, Arc<Caller>>,
    /// The question's number, and what became of it.
    orders: JoinSet<(u64, CarriedOut)>,
    answers: mpsc::Sender<FromJudge>,
}

impl Desk {
    /// Tells the holder in which mode the strictest app is.
    async fn is_ready(&self) {
        self.send(FromJudge::Ready { mode: strictest(self.guard.policy()) }).await;
    }

    async fn send(&self, said: FromJudge) {
        // A holder that is gone is noticed elsewhere.
        drop(self.answers.send(said).await);
    }

    async fn take(&mut self, question: ToJudge) {
        match question {
            ToJudge::Asked { id, connection, client, question } => {
                let heard = Stopwatch::start();
                let caller = caller_of(&mut self.callers, connection, &client);
                if self.guard.refresh_policy().await {
                    self.is_ready().await;
                }
                if let Some(answer) = self.answer(id, (&caller, &client), question, &heard).await {
                    self.send(FromJudge::Answered { id, answer }).await;
                }
            }
            ToJudge::Gone { connection } => drop(self.callers.remove(&connection)),
            ToJudge::Gap(gap) => {
                if let Ok(actor) = context::observe(&Environment::default()) {
                    self.guard.note_gap(actor, gap).await;
                }
            }
            ToJudge::Record(done) => {
                if let Ok(actor) = context::observe(&Environment::default()) {
                    self.guard.note_start(actor, done).await;
                }
            }
            ToJudge::Beat | ToJudge::End => {}
        }
    }

    /// The answer to a question; `None` of an order that was begun, for it comes when that has ended.
    async fn answer(
        &mut self,
        id: u64,
        (caller, client): (&Caller, &Peer),
        question: Question,
        heard: &Stopwatch,
    ) -> Option<Answer> {
        Some(match question {
            Question::Call { method, kind, socket } => {
                self.guard.answer(caller, &method, &kind, socket.as_deref(), heard).await
            }
            Question::Control { line } => self.guard.control(caller, client, &line).await,
            Question::Bad { why } => self.guard.note_bad_call(caller, &why).await,
            Question::Order { line } => match self.begin(id, caller, &line).await {
                Ok(()) => return None,
                Err(error) => Answer::Refuse(error.told()),
            },
        })
    }

    /// Begins to carry an order out beside the questions.
    async fn begin(&mut self, id: u64, caller: &Caller, line: &str) -> Result<(), OrderError> {
        if self.orders.len() >= order::MOST {
            return Err(OrderError::TooMany);
        }
        let work = self.guard.accept(caller, line).await?;
        let answers = self.answers.clone();
        // A step that there is no room for is left out: the end says what was done.
        let step = move |line| drop(answers.try_send(FromJudge::Step { id, line }));
        self.orders.spawn(async move {
            let carried_out = spawn_blocking(move || work.carry_out(step)).await;
            let cut_off =
                |error: JoinError| order::refused(&format!("the order was cut off: {error}")).into();
            (id, carried_out.unwrap_or_else(cut_off))
        });
        Ok(())
    }

    async fn tell(&self, carried_out: Result<(u64, CarriedOut), JoinError>) {
        // What went wrong within an order is told by its answer.
        if let Ok((id, CarriedOut { line, notice })) = carried_out {
            notice.into_iter().for_each(|notice| self.guard.tell_of_order(notice));
            self.send(FromJudge::Answered { id, answer: Answer::Told(line) }).await;
        }
    }
}

/// The caller at the other end of a connection, as it is now: one that went to another folder is looked at again.
fn caller_of(callers: &mut BTreeMap<u64, Arc<Caller>>, connection: u64, client: &Peer) -> Arc<Caller> {
    if let Some(caller) = callers.get(&connection).filter(|caller| caller.is_current()) {
        return Arc::clone(caller);
    }
    let now = Caller::of(client);
    // One that has ended meanwhile is still the one who asked.
    if let Some(caller) = callers.get(&connection).filter(|_| now.chain.is_empty()) {
        return Arc::clone(caller);
    }
    if callers.len() >= MOST_CALLERS {
        callers.pop_first();
    }
    let caller = Arc::new(now);
    callers.insert(connection, Arc::clone(&caller));
    caller
}

fn open(options: &Options) -> Result<Guard, Error> {
    let environment = Environment::of_this_process();
    let uid = rustix::process::geteuid().as_raw();
    let locations = Locations::default();
    let (file, host) = PolicyFile::open(locations.policy_path(&environment, uid)?)?;
    let state = locations.state(&environment, uid)?;
    files::private_folder(state.root())?;
    // What is left of processes that have ended counts for nothing; a folder that cannot be tidied is no reason not to
    // judge.
    drop(registration::prune(&state.registrations()));
    let window = host.policy().limits.window;
    let log = CallLog::open(state.clone(), host.reference().clone(), window)?;
    let socket = options.private_rpc.clone();
    let location = Location { home: options.home.clone(), socket, origin: Origin::Explicit };
    let view = View::new(location, locations.homes(&environment));
    let teller = teller(&state, options);
    Ok(Guard::new((file, host), state, view, log, teller))
}

/// Who keeps notices, and starts whoever delivers them where nobody else does.
fn teller(state: &StateDirectory, options: &Options) -> Teller {
    let delivery = if options.leave_notices { Delivery::Left } else { Delivery::Started };
    Teller::start(state.root().to_owned(), delivery, telling::failed)
}

/// The process that holds the connections: this one's parent.
struct Holding {
    pidfd: Option<OwnedFd>,
}

impl Holding {
    fn of_parent() -> Self {
        let open = |parent: Pid| pidfd_open(parent, PidfdFlags::empty()).ok();
        Self { pidfd: getppid().and_then(open) }
    }

    /// Makes sure that it is gone before another one takes its place. One that lives has stopped working.
    fn end(&self) {
        let Some(pidfd) = &self.pidfd else { return };
        // It may have ended meanwhile, which is as good.
        pidfd_send_signal(pidfd, Signal::KILL).unwrap_or_default();
        let within = Timespec::try_from(END_WITHIN).ok();
        poll(&mut [PollFd::new(pidfd, PollFlags::IN)], within.as_ref()).unwrap_or_default();
    }
}
