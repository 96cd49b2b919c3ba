//! From the massacre to all back.

use palisade_testkit::Pm2;

use crate::Outcome;
use crate::commands::Commands;
use crate::raw;
use crate::report::Section;
use crate::rounds::Plan;
use crate::stats::Ratio;

pub(super) fn massacre(plan: &Plan, commands: &Commands, pm2: &Pm2) -> Outcome<Section> {
    super::layers::ready(pm2)?;
    commands.pm2(&["save", "--force"])?;
    let series = plan.take_turns(
        plan.rounds(7),
        "ms",
        &mut [
            ("`palisade pm2 restore` of 8", &mut || {
                commands.palisade(&["pm2", "snapshot"])?;
                commands.pm2(&["delete", "all"])?;
                let took = commands.palisade(&["pm2", "restore"])?;
                all_back(pm2).map(|()| took)
            }),
            ("`pm2 resurrect` of 8", &mut || {
                commands.pm2(&["delete", "all"])?;
                let took = commands.pm2(&["resurrect"])?;
                all_back(pm2).map(|()| took)
            }),
        ],
    )?;
    let ratios = vec![Ratio::of(&series[1], &series[0])];
    Ok(Section {
        title: "Massacre to all back",
        note: "After `palisade pm2 snapshot` and `pm2 delete all`: the whole process of `palisade pm2 restore`, \
               which ends once all eight are online and compared with the bundle field by field. Beside it \
               `pm2 resurrect`, which compares nothing and works only if somebody ran `pm2 save` at the right time."
            .to_owned(),
        series,
        ratios,
        targets: Vec::new(),
    })
}

fn all_back(pm2: &Pm2) -> Outcome<()> {
    let online = raw::processes(&pm2.rpc_socket())?.iter().filter(|(.., status)| status == "online").count();
    if online == 8 { Ok(()) } else { Err(format!("{online} of 8 are online").into()) }
}
