//! What a reaper tells people, and its passes in the journal of this host.

use std::sync::{Mutex, PoisonError};

use palisade_core::Code;
use palisade_core::notice::{Kind, Notice};
use palisade_core::record::{Act, Phase};
use palisade_core::text::{Shown, escaped};
use palisade_host::clock;
use palisade_pipeline::act::Begun;
use palisade_reaper::{Clerk, News};
use serde_json::{Value, json};

use crate::command::notify;
use crate::output::{BAD, GOOD, Output, styled};
use crate::session::Session;

/// Tells people, and writes passes into the journal of this host.
pub(crate) struct ForPeople<'a> {
    output: Output,
    session: &'a Session,
    place: String,
    /// A part of a worker: all it says goes where the worker's words go.
    beside: bool,
    /// The fault that was told last, and lasts.
    fault: Mutex<Option<String>>,
}

impl<'a> ForPeople<'a> {
    pub(crate) const fn new(output: Output, session: &'a Session, place: String, beside: bool) -> Self {
        Self { output, session, place, beside, fault: Mutex::new(None) }
    }

    /// The same fault with each sweep is told once.
    fn is_old(&self, news: &News) -> bool {
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        match news {
            News::Fault { problem } if fault.as_ref() == Some(problem) => true,
            News::Fault { problem } => {
                *fault = Some(problem.clone());
                false
            }
            _ => {
                *fault = None;
                false
            }
        }
    }
}

/// What somebody should hear of who is not looking.
const fn alarm(news: &News) -> Option<Code> {
    match news {
        News::Held { .. } | News::TooManyStuck { .. } => Some(Code::ReaperHeld),
        News::Stuck(_) => Some(Code::JobStuck),
        _ => None,
    }
}

impl ForPeople<'_> {
    /// Tells those whom the policy of this host names; a host without one tells nobody.
    fn alert(&self, news: &News) {
        let Some(code) = alarm(news) else { return };
        let Ok(host) = self.session.host_policy() else { return };
        let notice = Notice::new(Kind::Fault, code, self.place.as_str(), &line(news));
        notify::tell(self.session, self.output, &host.policy().notify, notice);
    }
}

impl Clerk for ForPeople<'_> {
    type Record = Begun;

    fn tell(&self, news: &News) {
        if self.is_old(news) {
            return;
        }
        self.alert(news);
        if self.output.json {
            let mut document = json!({ "at": clock::now(), "what": "reaper" });
            if let (Value::Object(all), Ok(Value::Object(fields))) =
                (&mut document, serde_json::to_value(news))
            {
                all.extend(fields);
            }
            // Nobody can be told that it is closed; the store has every reason.
            Output::json_line(&document).unwrap_or_default();
        } else if self.beside {
            self.output.talk(format!("{} reaper: {}", clock::now(), line(news)));
        } else if matches!(news, News::Reaped(_) | News::WouldReap(_)) {
            let style = if matches!(news, News::Reaped(_)) { GOOD } else { BAD };
            self.output.data(format!("{} {}", clock::now(), styled(style, line(news)))).unwrap_or_default();
        } else {
            self.output.talk(format!("{} {}", clock::now(), line(news)));
        }
    }

    fn begin(&self, details: Vec<String>) -> Option<Begun> {
        match self.session.begin(Act::Reap, &self.place, details) {
            Ok(begun) => Some(begun),
            Err(failure) => {
                let problem = format!("{}; without its record nothing is reaped", failure.message);
                self.tell(&News::Fault { problem });
                None
            }
        }
    }

    fn end(&self, record: Begun, phase: Phase, details: Vec<String>) {
        record.end(phase, details);
    }
}

fn line(news: &News) -> String {
    match news {
        News::Elected { term } => format!("elected, term {term}"),
        News::Waiting { holder, term } => {
            format!("{} is the reaper, under term {term}; waiting", Shown(holder))
        }
        News::TermOver => "the term is over; somebody else may be the reaper".to_owned(),
        News::Fault { problem } => format!("nothing is charged: {}", escaped(problem)),
        News::OtherTimeline => "another history of the store answers; every silence begins anew".to_owned(),
        News::Held { suspects, most, population } => format!(
            "held: {suspects} of {population} are silent and at most {most} may be: that is a fault of ours, or look and \
             use --lift-brake"
        ),
        News::Stuck(taking) => format!("{taking} is stuck: {}", Shown(&taking.reason)),
        News::TooManyStuck { stuck, most } => format!(
            "{stuck} jobs are stuck at once and at most {most} may be taken for it: that is no fault of theirs, so none is"
        ),
        News::Released => "released: few are silent again".to_owned(),
        News::Reaped(taking) => format!("{taking}: {}", Shown(&taking.reason)),
        News::WouldReap(taking) => format!("would take {taking}: {}", Shown(&taking.reason)),
        News::Refuted(taking) => format!("{taking} not taken: it beat, ended or is being worked on"),
        News::NotReaped { taking, problem } => format!("{taking} not taken: {}", escaped(problem)),
    }
}
