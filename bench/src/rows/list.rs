//! `palisade pm2 list` beside `pm2 jlist` and the bare socket.

use std::path::Path;

use crate::Outcome;
use crate::commands::Commands;
use crate::raw;
use crate::report::{Section, Target};
use crate::rounds::{Plan, SETTLE, timed};
use crate::stats::Ratio;

const LIST: [&str; 3] = ["pm2", "list", "--json"];

/// Five processes: beside PM2's command line.
pub(super) fn of_five(plan: &Plan, commands: &Commands) -> Outcome<Section> {
    let series = plan.take_turns(
        plan.rounds(21),
        "ms",
        &mut [
            ("`palisade pm2 list --json`", &mut || commands.palisade(&LIST)),
            ("`pm2 jlist`", &mut || commands.pm2(&["jlist"])),
        ],
    )?;
    let ratio = Ratio::of(&series[1], &series[0]);
    let figure = ratio.of_medians;
    Ok(Section {
        title: "List of 5 processes",
        note: "Whole processes, from fork to exit.".to_owned(),
        series,
        ratios: vec![ratio],
        targets: vec![Target::at_least(
            "list of 5 at least 20 times faster than `pm2 jlist`",
            figure,
            20.0,
            "x",
        )],
    })
}

/// Two hundred processes: beside the least that a client can do.
pub(super) fn of_many(plan: &Plan, commands: &Commands, socket: &Path) -> Outcome<Section> {
    let bytes = raw::list(socket)?.len();
    let settled = || std::thread::sleep(SETTLE);
    let series = plan.take_turns(
        plan.rounds(31),
        "ms",
        &mut [
            ("`palisade pm2 list --json`", &mut || {
                settled();
                commands.palisade(&LIST)
            }),
            ("bare socket exchange", &mut || {
                settled();
                Ok(timed(|| raw::list(socket))?.0)
            }),
            ("bare socket exchange as the least program", &mut || {
                settled();
                commands.least_client(socket)
            }),
            ("`palisade --version`", &mut || commands.palisade(&["--version"])),
            ("`pm2 jlist`", &mut || {
                settled();
                commands.pm2(&["jlist"])
            }),
        ],
    )?;
    let ratio = Ratio::of(&series[0], &series[2]);
    let figure = ratio.of_medians;
    let within = [Ratio::of(&series[0], &series[1]), Ratio::of(&series[2], &series[1])];
    let jlist = Ratio::of(&series[4], &series[0]);
    Ok(Section {
        title: "List of 200 processes",
        note: format!(
            "Ours is the whole process, from fork to exit. The bare exchange runs inside the measuring process: \
             connect, one `getMonitorData`, the whole reply of {bytes} bytes read and not decoded. The least program does \
             that and nothing else (`bench/src/bin/least-client.rs`), so that two whole processes are compared; how far \
             it is itself above the exchange within a process is below. `palisade --version` is what starting and ending \
             ours alone costs. Before each the daemon gets {} ms to clean up after the last list.",
            SETTLE.as_millis()
        ),
        series,
        ratios: [ratio].into_iter().chain(within).chain([jlist]).collect(),
        targets: vec![Target::at_most(
            "list of 200, whole process, within 1.3 of the least program that does the bare exchange",
            figure,
            1.3,
            "x",
        )],
    })
}

/// The least that any command costs.
pub(super) fn version(plan: &Plan, commands: &Commands) -> Outcome<Section> {
    let series = plan.take_turns(
        plan.rounds(41),
        "ms",
        &mut [("`palisade --version`", &mut || commands.palisade(&["--version"]))],
    )?;
    let figure = series[0].median();
    Ok(Section {
        title: "Start",
        note: "The whole process, from fork to exit.".to_owned(),
        series,
        ratios: Vec::new(),
        targets: vec![Target::at_most("`palisade --version` under 20 ms", figure, 20.0, " ms")],
    })
}
