//! Keeps a judge running, passes questions on to it, and answers by itself while there is none.
//!
//! The judge is a process of its own, so that nothing that goes wrong there, however badly, closes the place where
//! PM2's clients look for their daemon. A judge that ends is replaced at once, and asked again what it still owed;
//! one that is silent is killed first. Whoever waits too long, or while judges fail one after another, is answered
//! by [`crate::fallback`]; how many that were is told to the next judge, for the journal. Where no app is in enforce
//! nobody waits at all: connections pass bytes on unread, until somebody judges again.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use palisade_core::Code;
use palisade_core::bypass::Opened;
use palisade_core::policy::Mode;
use palisade_core::record::{Administered, Gap};
use palisade_host::bypass::Folders;
use palisade_host::peer::Peer;
use palisade_host::{Environment, clock};
use palisade_pipeline::system_log;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use crate::connection::Unread;
use crate::fallback::{Unjudged, pause};
use crate::message::{Answer, FromJudge, Handed, Question, ToJudge};
use crate::pair::{Pair, PairError, hand_over};

/// Questions that wait for the holder.
pub(crate) const QUEUE: usize = 64;
/// How often either side gives a sign of life.
pub(crate) const BEAT: Duration = Duration::from_secs(1);
/// So many beats in a row without a word, and the other side is taken for gone. Only beats that one's own clock
/// ticked count, so a machine that was suspended condemns nobody.
pub(crate) const SILENT_BEATS: u32 = 5;
/// As [`SILENT_BEATS`], until nobody waits for it where no app is in enforce.
const SLOW_BEATS: u32 = 2;
/// How long a question may wait. A silent judge is replaced before, and the new one asked.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// A judge that lasted so long ended a series of failures.
const STEADY: Duration = Duration::from_secs(10);
/// How often one question is put to a judge: one that ends judges is not asked for ever.
const MOST_TRIES: u32 = 2;
/// Most records that wait for a judge.
const MOST_RECORDS: usize = 16;
/// How long a judge may take to end.
const END_WITHIN: Duration = Duration::from_secs(5);

/// What connections say.
#[derive(Debug)]
pub(crate) enum ToHolder {
    /// A question, and where its answer goes. Of what takes its time, lines on the way go to `steps`.
    Ask {
        connection: u64,
        client: Peer,
        question: Question,
        steps: Option<mpsc::Sender<String>>,
        answer: oneshot::Sender<Answer>,
    },
    /// A connection that asked has ended.
    Gone { connection: u64 },
    /// The daemon was started, for the record.
    Record(Administered),
}

/// Why a judge does not judge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) exit: u8,
    pub(crate) text: String,
}

/// How a judge is started.
#[derive(Debug)]
pub(crate) struct Program {
    /// The file that this process was started from: after an upgrade it is another one, and that is wanted.
    pub(crate) path: PathBuf,
    pub(crate) args: Vec<OsString>,
    /// What the judge keeps open beside the holder, so that its end frees no path.
    pub(crate) sockets: Vec<(Handed, OwnedFd)>,
}

/// The program that this process runs, whatever became of its file.
pub(crate) const OWN_IMAGE: &str = "/proc/self/exe";

struct Judge {
    child: Child,
    pair: Pair,
    since: Instant,
    is_ready: bool,
    silent: u32,
}

enum Seat {
    Taken(Box<Judge>),
    Empty { until: Instant, at_once: bool },
}

struct Waiting {
    connection: u64,
    client: Peer,
    question: Question,
    answer: oneshot::Sender<Answer>,
    steps: Option<mpsc::Sender<String>>,
    since: Instant,
    tries: u32,
}

impl Waiting {
    /// Whether it is an order that a judge has: it lasts as long as it lasts, and is given to no other one.
    const fn is_under_way(&self) -> bool {
        matches!(self.question, Question::Order { .. }) && self.tries > 0
    }
}

/// The holder's side of the judge.
pub(crate) struct Holder {
    program: Program,
    asks: mpsc::Receiver<ToHolder>,
    /// Told of the first judge that is ready.
    first: Option<oneshot::Sender<()>>,
    seat: Seat,
    waiting: BTreeMap<u64, Waiting>,
    next: u64,
    mode: Option<Mode>,
    failures: u32,
    /// Why there is no judge.
    reason: String,
    gap: Option<Gap>,
    /// Whether bytes pass unread.
    unread: watch::Sender<bool>,
    /// Requests that did.
    unread_requests: Arc<AtomicU64>,
    /// What the next judge has to record.
    records: Vec<Administered>,
    bypasses: Folders,
    guard: Opened,
}

impl Holder {
    pub(crate) fn new(
        home: &Path,
        program: Program,
        asks: mpsc::Receiver<ToHolder>,
        first: oneshot::Sender<()>,
    ) -> Self {
        Self {
            program,
            asks,
            first: Some(first),
            seat: Seat::Empty { until: Instant::now(), at_once: true },
            waiting: BTreeMap::new(),
            next: 0,
            mode: None,
            failures: 0,
            reason: "the firewall's judge is being started".to_owned(),
            gap: None,
            unread: watch::Sender::new(false),
            unread_requests: Arc::default(),
            records: Vec::new(),
            bypasses: Folders::of(&Environment::of_this_process(), rustix::process::geteuid().as_raw()),
            guard: Opened::pm2_home(&home.display().to_string()),
        }
    }

    /// What connections look at.
    pub(crate) fn unread(&self) -> Unread {
        Unread { is_on: self.unread.subscribe(), requests: Arc::clone(&self.unread_requests) }
    }

    /// Answers until every connection is gone, and ends the judge then.
    pub(crate) async fn run(mut self) {
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let empty_until = match &self.seat {
                Seat::Taken(_) => None,
                Seat::Empty { until, .. } => Some(*until),
            };
            tokio::select! {
                said = heard(&mut self.seat) => self.hear(said),
                asked = self.asks.recv() => match asked {
                    Some(asked) => self.take(asked),
                    None => break,
                },
                _ = beat.tick() => self.beat(),
                () = sleep_until(empty_until.unwrap_or_else(Instant::now)), if empty_until.is_some() => {
                    self.seat_judge();
                }
            }
            self.open_or_close();
        }
        self.dismiss().await;
    }

    fn take(&mut self, asked: ToHolder) {
        match asked {
            ToHolder::Ask { connection, client, question, steps, answer } => {
                let (since, tries) = (Instant::now(), 0);
                self.queue(Waiting { connection, client, question, answer, steps, since, tries });
            }
            ToHolder::Gone { connection } => {
                if let Seat::Taken(judge) = &mut self.seat {
                    judge.pair.send(&ToJudge::Gone { connection });
                }
            }
            ToHolder::Record(done) => {
                self.records.push(done);
                self.hand_on_records();
            }
        }
    }

    /// Lets bytes pass unread while nobody judges and no app is in enforce. Calls that wait pass too.
    fn open_or_close(&mut self) {
        let is_judged =
            matches!(&self.seat, Seat::Taken(judge) if judge.is_ready && judge.silent <= SLOW_BEATS);
        let is_open = !is_judged && self.mode == Some(Mode::Observe);
        if self.unread.send_replace(is_open) == is_open {
            return;
        }
        if is_open {
            if matches!(self.seat, Seat::Taken(_)) {
                "the firewall's judge is silent".clone_into(&mut self.reason);
            }
            self.begin_gap();
            self.answer_where(|waiting| waiting.question.is_of_a_call());
        } else {
            self.end_gap();
        }
    }

    fn queue(&mut self, asked: Waiting) {
        let is_open = *self.unread.borrow() && asked.question.is_of_a_call();
        if is_open || matches!(self.seat, Seat::Empty { at_once: false, .. }) {
            return self.answer_unjudged(asked);
        }
        self.waiting.insert(self.next, asked);
        self.put(self.next);
        self.next += 1;
    }

    fn hand_on_records(&mut self) {
        if let Seat::Taken(judge) = &mut self.seat
            && judge.is_ready
        {
            self.records.drain(..).for_each(|done| judge.pair.send(&ToJudge::Record(done)));
        }
        // A daemon that dies again and again while no judge lasts is told of often enough by the system log.
        self.records.truncate(MOST_RECORDS);
    }

    /// Puts the question of that number to the judge, if one is ready. One that does not read is as good as none.
    fn put(&mut self, id: u64) {
        let Seat::Taken(judge) = &mut self.seat else { return };
        let Some(waiting) = self.waiting.get_mut(&id).filter(|_| judge.is_ready) else { return };
        if judge.pair.has_room() {
            waiting.tries += 1;
            let (connection, client, question) =
                (waiting.connection, waiting.client, waiting.question.clone());
            return judge.pair.send(&ToJudge::Asked { id, connection, client, question });
        }
        "the firewall's judge reads no further question".clone_into(&mut self.reason);
        self.waiting.remove(&id).into_iter().for_each(|waiting| self.answer_unjudged(waiting));
    }

    fn hear(&mut self, said: Result<FromJudge, PairError>) {
        if let Seat::Taken(judge) = &mut self.seat {
            judge.silent = 0;
        }
        match said {
            Ok(FromJudge::Ready { mode }) => self.seated(mode),
            Ok(FromJudge::Answered { id, answer }) => {
                // One that was answered meanwhile was counted, and its caller knows.
                if let Some(waiting) = self.waiting.remove(&id) {
                    drop(waiting.answer.send(answer));
                }
                self.end_gap();
            }
            Ok(FromJudge::Step { id, line }) => {
                if let Some(steps) = self.waiting.get(&id).and_then(|waiting| waiting.steps.as_ref()) {
                    // Whoever reads too slowly misses a step, and not the end.
                    drop(steps.try_send(line));
                }
            }
            Ok(FromJudge::Beat) => {}
            Ok(FromJudge::Failed { text, .. }) => self.lose(&text),
            Err(error) => self.lose(&format!("the firewall's judge ended: {error}")),
        }
    }

    fn seated(&mut self, mode: Mode) {
        self.mode = Some(mode);
        if let Some(first) = self.first.take() {
            // Whoever waited for it may have given up.
            first.send(()).unwrap_or_default();
        }
        if let Seat::Taken(judge) = &mut self.seat
            && !judge.is_ready
        {
            judge.is_ready = true;
            self.end_gap();
            self.hand_on_records();
            let owed: Vec<u64> = self.waiting.keys().copied().collect();
            owed.into_iter().for_each(|id| self.put(id));
        }
    }

    fn seat_judge(&mut self) {
        match spawn(&self.program, self.failures) {
            Ok((child, pair)) => {
                let since = Instant::now();
                let judge = Judge { child, pair, since, is_ready: false, silent: 0 };
                self.seat = Seat::Taken(Box::new(judge));
            }
            Err(error) => self.lose(&format!("the firewall's judge cannot be started: {error}")),
        }
    }

    /// Ends the judge, whatever it still does, before its end of the pair is closed: one that saw the pair end and
    /// lived would take this process for dead.
    fn lose(&mut self, reason: &str) {
        let mut lasted = false;
        if let Seat::Taken(judge) = &mut self.seat {
            // It may have ended already.
            drop(judge.child.start_kill());
            lasted = judge.is_ready && judge.since.elapsed() >= STEADY;
        }
        self.failures = if lasted { 1 } else { self.failures.saturating_add(1) };
        let pause = pause(self.failures);
        self.seat = Seat::Empty { until: Instant::now() + pause, at_once: pause.is_zero() };
        reason.clone_into(&mut self.reason);
        self.begin_gap();
        // Where there is no system log, the journal has the gap, and callers the answer.
        system_log::write(&format!("{reason}; started again in {} ms", pause.as_millis()))
            .unwrap_or_default();
        self.answer_where(|waiting| {
            !pause.is_zero() || waiting.tries >= MOST_TRIES || waiting.is_under_way()
        });
    }

    fn beat(&mut self) {
        if let Seat::Taken(judge) = &mut self.seat {
            judge.silent += 1;
            judge.pair.send(&ToJudge::Beat);
            if judge.silent > SILENT_BEATS {
                self.lose("the firewall's judge was silent and has been killed");
            }
        }
        let is_late = |waiting: &Waiting| waiting.since.elapsed() >= ANSWER_WITHIN && !waiting.is_under_way();
        if self.gap.is_none() && self.waiting.values().any(is_late) {
            "the firewall's judge did not answer in time".clone_into(&mut self.reason);
        }
        self.answer_where(is_late);
    }

    fn answer_where(&mut self, is_due: impl Fn(&Waiting) -> bool) {
        let due: Vec<u64> =
            self.waiting.iter().filter(|(_, waiting)| is_due(waiting)).map(|(id, _)| *id).collect();
        for waiting in due.into_iter().filter_map(|id| self.waiting.remove(&id)).collect::<Vec<_>>() {
            self.answer_unjudged(waiting);
        }
    }

    fn answer_unjudged(&mut self, waiting: Waiting) {
        self.begin_gap();
        let unjudged = Unjudged { mode: self.mode, bypassed: self.is_bypassed() };
        let answer = match &waiting.question {
            Question::Bad { .. } => Answer::Pass,
            Question::Control { .. } => Answer::Refuse(self.reason.clone()),
            Question::Order { .. } if waiting.is_under_way() => Answer::Refuse(format!(
                "{} {}, and the order was under way: look with `pm2 list`, and the guard's user runs `palisade pm2 \
                 reconcile`",
                Code::OutcomeUnknown,
                self.reason
            )),
            Question::Order { .. } => Answer::Refuse(self.reason.clone()),
            Question::Call { method, .. } => unjudged.answer(method, &self.reason),
        };
        if let (Some(gap), Question::Call { .. }) = (&mut self.gap, &waiting.question) {
            match &answer {
                Answer::Pass => gap.passed += 1,
                Answer::Refuse(_) | Answer::Told(_) => gap.refused += 1,
            }
        }
        // Whoever hung up needs no answer.
        drop(waiting.answer.send(answer));
    }

    /// Whether `palisade off` is in force for this daemon: then what nobody judges passes.
    fn is_bypassed(&self) -> bool {
        self.bypasses.opening(&self.guard).is_some()
    }

    /// Begins to count what passes or is refused unjudged, and says so.
    fn begin_gap(&mut self) {
        if self.gap.is_none() {
            let (from, reason) = (clock::now(), self.reason.clone());
            self.gap = Some(Gap { from, to: from, passed: 0, refused: 0, unread: 0, reason });
            // Where there is no system log, the journal has the gap, and callers the answer.
            system_log::write(&format!("nobody judges from {from} on: {}", self.reason)).unwrap_or_default();
        }
    }

    fn end_gap(&mut self) {
        if let (Seat::Taken(judge), Some(gap)) = (&mut self.seat, self.gap.take()) {
            let unread = self.unread_requests.swap(0, Ordering::Relaxed);
            let gap = Gap { to: clock::now(), unread, ..gap };
            // As above.
            system_log::write(&gap.told()).unwrap_or_default();
            judge.pair.send(&ToJudge::Gap(gap));
        }
    }

    async fn dismiss(mut self) {
        if let Seat::Taken(judge) = &mut self.seat {
            judge.pair.send(&ToJudge::End);
            let ended = async { while judge.pair.next::<FromJudge>().await.is_ok() {} };
            drop(timeout(END_WITHIN, ended).await);
            drop(judge.child.start_kill());
            drop(timeout(END_WITHIN, judge.child.wait()).await);
        }
    }
}

async fn heard(seat: &mut Seat) -> Result<FromJudge, PairError> {
    match seat {
        Seat::Taken(judge) => judge.pair.next().await,
        Seat::Empty { .. } => std::future::pending().await,
    }
}

/// Starts a judge, waits until it says whether it can judge, and ends it.
pub(crate) async fn rehearse(program: &Program, within: Duration) -> io::Result<Result<(), Failed>> {
    let (mut child, mut pair) = spawn(program, 0)?;
    let failed = |exit, text| Err(Failed { exit, text });
    let found = async {
        loop {
            match pair.next().await {
                Ok(FromJudge::Beat | FromJudge::Answered { .. } | FromJudge::Step { .. }) => {}
                Ok(FromJudge::Ready { .. }) => break Ok(()),
                Ok(FromJudge::Failed { exit, text }) => break failed(exit, text),
                Err(error) => break failed(1, format!("the judge ended: {error}")),
            }
        }
    };
    let silent = |_| failed(1, format!("the judge did not say within {within:?} whether it can judge"));
    let found = timeout(within, found).await.unwrap_or_else(silent);
    child.kill().await?;
    Ok(found)
}

/// Starts a judge from the file that is there now, and every second time after failures from this process's own
/// image: a file of an upgrade that cannot judge here closes nothing.
fn spawn(program: &Program, failures: u32) -> io::Result<(Child, Pair)> {
    let (ours, theirs) = StdStream::pair()?;
    let sockets: Vec<_> = program.sockets.iter().map(|(what, socket)| (*what, socket.as_fd())).collect();
    hand_over(&ours, &sockets)?;
    let theirs = OwnedFd::from(theirs);
    let start = |path: &Path| {
        let mut command = Command::new(path);
        command.arg0("palisade-firewall").arg("--judge").args(&program.args);
        command.stdin(Stdio::from(theirs.try_clone()?)).stdout(Stdio::null());
        // What a supervisor tells the holder is not meant for its child.
        for name in ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_USEC"] {
            command.env_remove(name);
        }
        command.spawn()
    };
    let own = Path::new(OWN_IMAGE);
    let child = if failures % 2 == 1 { start(own)? } else { start(&program.path).or_else(|_| start(own))? };
    Ok((child, Pair::new(ours, Vec::new())?))
}

#[cfg(test)]
mod tests;
