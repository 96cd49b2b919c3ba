//! `palisade db rotate`: a new role for the good code, and the old one loses what can do harm.

use std::path::Path;

use palisade_core::Exit;
use palisade_core::record::Act;
use palisade_core::text::Shown;
use palisade_dbguard::rotate::{self, Plan, Rotation, Step, User};
use palisade_dbguard::{Error, audit};
use palisade_host::random;
use palisade_postgres::{Session, scram_verifier};
use serde_json::json;

use crate::args::rotate::{BeginArgs, RotateCommand, StatusArgs, StepArgs};
use crate::command::db::{reach, reach_to_write};
use crate::failure::Failure;
use crate::output::{GOOD, Output, STRONG, styled};
use crate::render::table;
use crate::session::Session as Host;

/// What stands in place of the password's verifier in a dry run.
const UNMADE: &str = "(made when it runs)";

pub(crate) async fn rotate(output: Output, command: &RotateCommand) -> Result<Exit, Failure> {
    match command {
        RotateCommand::Begin(args) => begin(output, args).await,
        RotateCommand::Restrict(args) => {
            let (session, identity) = reach_to_write(output, &args.step.database).await?;
            let plan = rotate::restrict(&session, &args.step.old, args.owner.as_deref()).await?;
            let plan = (plan, args.step.old.clone());
            let at = (&session, identity.place());
            forward(output, &args.step, at, plan, "may not change guarded columns any more").await
        }
        RotateCommand::Retire(args) => {
            let (session, identity) = reach_to_write(output, &args.step.database).await?;
            let plan = rotate::retire(&session, &args.step.old, args.terminate).await?;
            let at = (&session, identity.place());
            let plan = (plan, args.step.old.clone());
            forward(output, &args.step, at, plan, "may not log in any more").await
        }
        RotateCommand::Undo(args) => undo(output, args).await,
        RotateCommand::Status(args) => status(output, args).await,
    }
}

async fn begin(output: Output, args: &BeginArgs) -> Result<Exit, Failure> {
    let (session, identity) = reach_to_write(output, &args.database).await?;
    let place = identity.place();
    if args.dry_run {
        let plan = rotate::prepare(&session, &args.old, &args.to, UNMADE).await?;
        return show(output, &plan, &[]);
    }
    let password = password()?;
    let plan = rotate::prepare(&session, &args.old, &args.to, &scram_verifier(&password)).await?;
    // The file comes first: a role whose password nobody has helps nobody.
    if let Some(file) = &args.password_file {
        keep(file, &password)?;
    }
    let done = carry_out(&session, &place, &plan, "begin").await;
    if let (Err(_), Some(file)) = (&done, &args.password_file) {
        std::fs::remove_file(file).unwrap_or_default();
    }
    done?;
    let shown = args.password_file.is_none().then_some(&password);
    output.document(&json!({
        "result": "begun", "database": identity.id, "old": args.old, "new": args.to, "password": shown,
        "password_file": args.password_file, "notes": plan.notes,
    }))?;
    output.data(format!(
        "{} {} has what {} was given here",
        styled(GOOD, "ok:"),
        Shown(&args.to),
        Shown(&args.old)
    ))?;
    match (&args.password_file, shown) {
        (Some(file), _) => output.data(format!("password  in {}", file.display()))?,
        (None, Some(password)) => output.data(format!("password  {password}  (shown this once)"))?,
        (None, None) => {}
    }
    notes(output, &plan);
    output.talk(format!(
        "next: give it to the good code, then palisade db rotate status, then restrict {}",
        args.old
    ));
    Ok(Exit::Done)
}

/// 192 random bits in letters and digits that no URL has to escape.
fn password() -> Result<String, Failure> {
    let bytes: [u8; 24] = random::bytes()?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Writes a secret into a file that was not there before.
fn keep(file: &Path, secret: &str) -> Result<(), Failure> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let failed = |error: std::io::Error| {
        Failure::new(Exit::Failure, format!("cannot write {}: {error}", file.display()))
            .hint("name a file that is not there yet; nothing was changed")
    };
    let mut new = std::fs::OpenOptions::new();
    let mut open = new.write(true).create_new(true).mode(0o600).open(file).map_err(failed)?;
    open.write_all(format!("{secret}\n").as_bytes()).and_then(|()| open.sync_all()).map_err(failed)
}

/// A step that takes something from a role: whoever uses that role is named first.
async fn step(
    output: Output,
    args: &StepArgs,
    (session, place): (&Session, String),
    (plan, loses): (Plan, String),
    said: &str,
) -> Result<Exit, Failure> {
    let users = rotate::users(session, &loses, args.since.as_secs()).await?;
    if args.dry_run {
        return show(output, &plan, &users);
    }
    if !users.is_empty() && args.confirm.as_deref() != Some(args.old.as_str()) {
        let list: Vec<_> = users.iter().map(user).collect();
        let problem = format!("{} would be hit by it: {}", users.len(), list.join("; "));
        let failure = Failure::from(Error::Barred { role: loses, problem });
        return Err(failure.hint(format!("if they shall be hit: --confirm={}", args.old)));
    }
    carry_out(session, &place, &plan, said).await?;
    output.document(&json!({
        "result": "done", "old": plan.old, "new": plan.new, "hit": users, "notes": plan.notes,
    }))?;
    output.data(format!("{} {} {said}", styled(GOOD, "ok:"), Shown(&loses)))?;
    notes(output, &plan);
    Ok(Exit::Done)
}

/// A step that can be taken back.
async fn forward(
    output: Output,
    args: &StepArgs,
    at: (&Session, String),
    plan: (Plan, String),
    said: &str,
) -> Result<Exit, Failure> {
    let exit = step(output, args, at, plan, said).await?;
    if !args.dry_run {
        output.talk(format!("undo: palisade db rotate undo {}", args.old));
    }
    Ok(exit)
}

async fn undo(output: Output, args: &StepArgs) -> Result<Exit, Failure> {
    let (session, identity) = reach_to_write(output, &args.database).await?;
    let place = identity.place();
    let (plan, reached) = rotate::undo(&session, &args.old).await?;
    if reached == Step::Prepared {
        let new = plan.new.clone();
        return step(output, args, (&session, place), (plan, new), "is gone").await;
    }
    if args.dry_run {
        return show(output, &plan, &[]);
    }
    carry_out(&session, &place, &plan, "undo").await?;
    output.document(&json!({ "result": "undone", "old": plan.old, "new": plan.new, "step": reached }))?;
    output.data(format!("{} {} has back what the step took", styled(GOOD, "ok:"), Shown(&plan.old)))?;
    Ok(Exit::Done)
}

/// Carries a step out with its intent recorded before and its outcome after. The plan's SQL stays out of it: it may
/// hold the verifier of a password.
async fn carry_out(session: &Session, place: &str, plan: &Plan, said: &str) -> Result<(), Failure> {
    let details = vec![format!("{} to {}: {said}", plan.old, plan.new)];
    let begun = Host::open()?.begin(Act::Rotate, place, details)?;
    Ok(begun.settle(rotate::carry_out(session, plan).await, |_| Vec::new()).map(drop)?)
}

fn show(output: Output, plan: &Plan, users: &[User]) -> Result<Exit, Failure> {
    output.document(&json!({ "would_hit": users, "sql": plan.sql(), "notes": plan.notes }))?;
    for each in users {
        output.talk(format!("would hit: {}", Shown(&user(each))));
    }
    if users.is_empty() {
        output.talk("would hit: nobody that the database knows of");
    }
    notes(output, plan);
    output.data(plan.sql().trim_end())?;
    Ok(Exit::Done)
}

fn notes(output: Output, plan: &Plan) {
    for note in &plan.notes {
        output.talk(format!("look: {}", Shown(note)));
    }
}

fn user(user: &User) -> String {
    let app = if user.app.is_empty() { "a client without a name" } else { &user.app };
    let User { address, sessions, writes, last, .. } = user;
    format!("{app} from {address}, {sessions} sessions, {writes} writes of guarded tables, last at {last}")
}

/// Who uses a role, as a row of the status.
fn using(role: &str, user: &User) -> Vec<String> {
    let User { app, address, sessions, writes, last, .. } = user;
    vec![
        role.to_owned(),
        app.clone(),
        address.clone(),
        sessions.to_string(),
        writes.to_string(),
        last.clone(),
    ]
}

/// The row of a role that nobody uses, as far as the database knows.
fn unused(role: &str) -> Vec<String> {
    let nothing = || "-".to_owned();
    vec![role.to_owned(), "nobody yet known".to_owned(), nothing(), nothing(), nothing(), nothing()]
}

async fn status(output: Output, args: &StatusArgs) -> Result<Exit, Failure> {
    let (session, _) = reach(output, None, &args.database).await?;
    let mut document = Vec::new();
    let rotations = rotate::rotations(&session).await?;
    if rotations.is_empty() {
        output.talk("no role is being rotated here: palisade db rotate begin OLD --to NEW");
    }
    for rotation in &rotations {
        let Rotation { old, new, step, begun_at, .. } = rotation;
        let step = step.as_str();
        output.data(format!(
            "{} to {}: {step}, begun at {begun_at}",
            styled(STRONG, Shown(old)),
            Shown(new)
        ))?;
        let mut both = serde_json::Map::new();
        let mut rows = Vec::new();
        for role in [old, new] {
            let users = rotate::users(&session, role, args.since.as_secs()).await?;
            match users.is_empty() {
                true => rows.push(unused(role)),
                false => rows.extend(users.iter().map(|user| using(role, user))),
            }
            both.insert(role.to_owned(), json!(users));
        }
        for line in table::columns(&["role", "app (claimed)", "from", "sessions", "writes", "last"], &rows) {
            output.data(format!("  {line}"))?;
        }
        document.push(json!({ "rotation": rotation, "users": both }));
    }
    output.document(&document)?;
    // Who may be missing: only what is kept can be told.
    if !rotations.is_empty() && audit::expectations(&session).await?.is_some() {
        output.talk("told from sessions, guarded tables and the login trigger; the server's log knows more: palisade db audit");
    }
    Ok(Exit::Done)
}
