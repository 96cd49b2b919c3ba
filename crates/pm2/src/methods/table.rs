//! Every method that a daemon of PM2 5, 6 or 7 names when asked.

use serde_json::Value;

use super::shape::{Kind, Param, ShapeError};

/// What a method does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Changes nothing.
    Read,
    /// Touches the one process that its arguments number.
    MutateOne,
    /// May touch several processes.
    MutateMany,
    /// Starts a new process: arbitrary code as the daemon's user.
    Create,
    /// Ends, marks or profiles the daemon itself. This client never calls one.
    Lifecycle,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Which method.
    pub method: Method,
    /// Its name on the wire.
    pub name: &'static str,
    /// What it does.
    pub class: Class,
    /// Its parameters, the callback left out. As many arguments have to be sent, no more and no fewer.
    pub params: &'static [Param],
    /// How many parameters the daemon names when asked for its methods, the callback counted; `None` where it
    /// names none at all because the function is wrapped.
    pub named_params: Option<usize>,
    /// The first release that has it.
    pub since: Release,
}

/// A release of PM2 whose methods were asked of a real daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Release {
    /// 5, measured on 5.4.3.
    Five,
    /// 6, measured on 6.0.14.
    Six,
    /// 7, measured on 7.0.4; what a later daemon has on top of it is not known, and so not passed on.
    Seven,
}

impl Release {
    /// The release that a daemon of `version` is taken for: its own, or the newest that is known. `None` for one
    /// that is older than all, or that gives no version.
    #[must_use]
    pub fn of(version: &str) -> Option<Self> {
        match version.split('.').next()?.parse::<u32>().ok()? {
            0..=4 => None,
            5 => Some(Self::Five),
            6 => Some(Self::Six),
            7.. => Some(Self::Seven),
        }
    }

    /// Its methods.
    pub fn methods(self) -> impl Iterator<Item = Method> {
        TABLE.iter().filter(move |entry| entry.since <= self).map(|entry| entry.method)
    }
}

macro_rules! methods {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $class:ident, $params:expr, $named:expr, $since:ident;)*) => {
        /// A method of the daemon.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Method {
            $($(#[$doc])* $variant,)*
        }

        /// Every known method, in order.
        pub const TABLE: &[Entry] = &[$(Entry {
            method: Method::$variant,
            name: $name,
            class: Class::$class,
            params: $params,
            named_params: $named,
            since: Release::$since,
        },)*];

        impl Method {
            /// Its row of the table.
            #[must_use]
            pub const fn entry(self) -> &'static Entry {
                &TABLE[self as usize]
            }
        }
    };
}

use Kind::{Any, Number, Object as Nested, Signal, Text};
use Param::{Id, IdOrOptions, MethodName, MethodValue, Nothing, Object};

const RESTART: &[Param] = &[Object(&[("id", Kind::Id), ("env", Nested)])];
const PROFILE: &[Param] = &[Object(&[("pwd", Text), ("timeout", Number)])];
const WATCH: &[Param] = &[MethodName, MethodValue];

methods! {
    /// The whole list, with every environment.
    GetMonitorData = "getMonitorData", Read, &[Nothing], Some(2), Five;
    /// Load and memory of the machine.
    GetSystemData = "getSystemData", Read, &[Nothing], Some(2), Seven;
    /// The daemon's version.
    GetVersion = "getVersion", Read, &[Nothing], Some(2), Five;
    /// Answers `pong`.
    Ping = "ping", Read, &[Nothing], Some(2), Five;
    /// The daemon's own environment and facts.
    GetReport = "getReport", Read, &[Nothing], Some(2), Five;
    /// Ends a process and takes it off the list.
    DeleteProcessId = "deleteProcessId", MutateOne, &[Id], Some(2), Five;
    /// Ends a process and keeps it on the list.
    StopProcessId = "stopProcessId", MutateOne, &[IdOrOptions], Some(2), Five;
    /// Starts a stopped process.
    StartProcessId = "startProcessId", MutateOne, &[Id], Some(2), Five;
    /// Starts one more like it.
    DuplicateProcessId = "duplicateProcessId", MutateOne, &[Id], Some(2), Five;
    /// Sets the counters of a process to zero.
    ResetMetaProcessId = "resetMetaProcessId", MutateOne, &[Id], Some(2), Five;
    /// Begins to watch a process's health.
    Monitor = "monitor", MutateOne, &[Id], Some(2), Five;
    /// Ends that.
    Unmonitor = "unmonitor", MutateOne, &[Id], Some(2), Five;
    /// Ends and starts a process; what `env` holds becomes part of it.
    RestartProcessId = "restartProcessId", MutateOne, RESTART, Some(2), Five;
    /// Starts a cluster's new worker before the old one ends; in fork mode a restart.
    ReloadProcessId = "reloadProcessId", MutateOne, RESTART, Some(2), Five;
    /// Like reload, with a message to the worker first.
    SoftReloadProcessId = "softReloadProcessId", MutateOne, RESTART, Some(2), Five;
    /// Sends a signal to a process.
    SendSignalToProcessId = "sendSignalToProcessId", MutateOne,
        &[Object(&[("process_id", Kind::Id), ("signal", Signal)])], Some(2), Five;
    /// Sends a message to a process.
    SendDataToProcessId = "sendDataToProcessId", MutateOne,
        &[Object(&[("id", Kind::Id), ("data", Any), ("topic", Any)])], Some(2), Five;
    /// Writes a line to a process's standard input.
    SendLineToStdin = "sendLineToStdin", MutateOne,
        &[Object(&[("pm_id", Kind::Id), ("line", Text)])], Some(2), Five;
    /// Tells those who listen of an act on a process. PM2's own `startOrReload` sends a name for the number; a
    /// guard must not hand that on, for the daemon looks it up among the fields of an object.
    NotifyByProcessId = "notifyByProcessId", MutateOne,
        &[Object(&[("id", Any), ("action_name", Text)])], Some(2), Five;
    /// Sends a signal to every process of a name.
    SendSignalToProcessName = "sendSignalToProcessName", MutateMany,
        &[Object(&[("process_name", Text), ("signal", Signal)])], Some(2), Five;
    /// Sends an action to processes by number, name, namespace or `all`.
    MsgProcess = "msgProcess", MutateMany, &[Object(&[("msg", Any)])], Some(2), Five;
    /// Ends the watch of one process, or with `deleteAll` and `stopAll` of every one.
    StopWatch = "stopWatch", MutateMany, WATCH, Some(3), Five;
    /// Begins the watch of a process.
    StartWatch = "startWatch", MutateMany, WATCH, Some(3), Five;
    /// Turns the watch of a process round.
    ToggleWatch = "toggleWatch", MutateMany, WATCH, Some(3), Five;
    /// Opens the log files anew.
    ReloadLogs = "reloadLogs", MutateMany, &[Nothing], Some(2), Five;
    /// Starts a process from a configuration.
    Prepare = "prepare", Create, &[Object(&[])], Some(2), Five;
    /// Ends the daemon, which leaves its apps behind.
    KillMe = "killMe", Lifecycle, &[Object(&[("pid", Number)])], None, Five;
    /// Marks the daemon as ending: it refuses restarts from then on, and never answers.
    NotifyKillPm2 = "notifyKillPM2", Lifecycle, &[Nothing], None, Five;
    /// Writes a CPU profile to any path.
    ProfileCpu = "profileCPU", Lifecycle, PROFILE, None, Five;
    /// Writes a memory profile to any path.
    ProfileMem = "profileMEM", Lifecycle, PROFILE, None, Five;
}

impl Method {
    /// The method of that name on the wire.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        TABLE.iter().find(|entry| entry.name == name).map(|entry| entry.method)
    }

    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.entry().name
    }

    /// Whether a daemon may be given these arguments.
    ///
    /// # Errors
    /// What is wrong with them; a daemon that got them could restart every app.
    pub fn check(self, args: &[Value]) -> Result<(), ShapeError> {
        let entry = self.entry();
        if args.len() != entry.params.len() {
            return Err(ShapeError::Arity {
                method: entry.name,
                expected: entry.params.len(),
                found: args.len(),
            });
        }
        let wrong = args.iter().zip(entry.params).position(|(value, param)| !param.accepts(value));
        wrong.map_or(Ok(()), |index| {
            Err(ShapeError::Type { method: entry.name, index, expected: entry.params[index] })
        })
    }
}
