//! Plans and refusals as text.

use palisade_core::plan::Target;
use palisade_core::text::Shown;
use palisade_core::{Operation, Plan, Refusal, Scope};

use crate::output::{BAD, STRONG, styled};

/// An operation and whose it is. A restore is nobody's: it brings back processes of any app.
pub(crate) fn task(operation: Operation, scope: &Scope) -> String {
    match operation {
        Operation::Restore => operation.to_string(),
        Operation::Delete | Operation::Stop | Operation::Restart | Operation::Reload => {
            format!("{operation} of {scope}")
        }
    }
}

/// Layer 4: the exact name, status and pm_id of every target, and of what is spared.
pub(crate) fn plan(plan: &Plan) -> Vec<String> {
    let radius = plan.blast_radius();
    if plan.operation == Operation::Restore {
        return restore(plan);
    }
    let mut lines = vec![format!(
        "{} of {}: {} of {} processes ({} {})",
        styled(STRONG, plan.operation),
        plan.scope,
        radius.targets,
        radius.total,
        radius.apps,
        if radius.apps == 1 { "app" } else { "apps" }
    )];
    lines.extend(plan.targets.iter().map(|target| row('-', target)));
    lines.extend(plan.spared.iter().map(|target| row(' ', target)));
    lines
}

/// What comes back, under the number that it had, and what runs beside it.
fn restore(plan: &Plan) -> Vec<String> {
    let (gone, there) = (plan.targets.len(), plan.spared.len());
    let named = |target: &Target| format!("{} (pm_id {}", Shown(&target.pin.name), target.pin.pm_id);
    let mut lines = vec![format!("{}: {gone} of {} processes", styled(STRONG, plan.operation), gone + there)];
    let back = plan.targets.iter();
    lines.extend(back.map(|target| format!("  + brings back {}, {})", named(target), target.owner)));
    let beside = plan.spared.iter();
    lines
        .extend(beside.map(|target| {
            format!("    leaves      {}, {}, {})", named(target), target.status, target.owner)
        }));
    lines
}

fn row(sign: char, target: &Target) -> String {
    let what = if sign == '-' { "takes" } else { "spares" };
    format!(
        "  {sign} {what:6} {} (pm_id {}, {}, {})",
        Shown(&target.pin.name),
        target.pin.pm_id,
        target.status,
        target.owner
    )
}

/// Who, what, which rule, what was not touched, how to go on.
pub(crate) fn refusal(refusal: &Refusal, who: &str, recorded: &str) -> Vec<String> {
    let plan = &refusal.plan;
    let mut lines = vec![format!(
        "{} {} on PM2 {} ({})",
        styled(BAD, "refused:"),
        task(plan.operation, &plan.scope),
        Shown(&plan.daemon.version),
        Shown(&plan.daemon.home)
    )];
    for finding in &refusal.findings {
        lines.push(format!("  {} {}", styled(STRONG, finding.code), finding.message));
        lines.push(format!("          fix: {}", finding.fix));
    }
    lines.push(format!("  who:      {who}"));
    lines.push(format!(
        "  touched:  nothing; all {} processes of this daemon are as they were",
        plan.blast_radius().total
    ));
    lines.push(format!("  recorded: {recorded}"));
    let first = refusal.findings.first().map(|finding| finding.code.to_string());
    lines.push(format!("  more:     palisade explain {}", first.unwrap_or_default()));
    lines
}
