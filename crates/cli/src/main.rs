//! The palisade command line: parse, call, render.

mod args;
mod command;
mod failure;
mod output;
mod render;
mod session;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use palisade_core::Exit;

use crate::args::database::ExplainCommand;
use crate::args::pm2::Pm2Command;
use crate::args::{Cli, Command};
use crate::failure::Failure;
use crate::output::Output;
use crate::session::Session;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return not_parsed(&error),
    };
    let output = Output::new(&cli.global);
    if !matches!(cli.command, Command::Off(_) | Command::On(_) | Command::WorkerKeeper(_)) {
        output.note_bypasses(command::bypass::in_force());
    }
    match run(&cli.command, output) {
        Ok(code) => ExitCode::from(code),
        Err(failure) if failure.exit == Exit::Done => ExitCode::SUCCESS,
        Err(failure) => {
            output.failure(&failure);
            ExitCode::from(failure.exit.number())
        }
    }
}

/// Help and version are data; anything else is a wrong command line, and with `--json` a document too.
fn not_parsed(error: &clap::Error) -> ExitCode {
    // Nobody can be told that the streams are closed.
    error.print().unwrap_or_default();
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    if std::env::args_os().take_while(|word| word != "--").any(|word| word == "--json") {
        let text = error.render().to_string();
        let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        Output::json_line(&Failure::usage(first).to_json()).unwrap_or_default();
    }
    ExitCode::from(Exit::Usage.number())
}

fn run(command: &Command, output: Output) -> Result<u8, Failure> {
    #[cfg(feature = "ablation")]
    injected()?;
    let exit = match command {
        Command::Explain(args) => match &args.command {
            Some(ExplainCommand::Row(args)) => block_on(command::undo::row(output, args))?,
            Some(ExplainCommand::Job(args)) => {
                block_on(command::job::explain(&Session::open()?, output, args))?
            }
            None => command::explain::explain(output, args)?,
        },
        Command::Completions { shell } => {
            // In memory first: the generator panics where a reader has gone away.
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "palisade", &mut script);
            std::io::stdout().lock().write_all(&script)?;
            Exit::Done
        }
        Command::Guard(args) => block_on(command::guard::guard(output, &args.command))?,
        Command::Quarantine(args) => block_on(command::quarantine::quarantine(output, args))?,
        Command::Off(args) => command::bypass::off(output, args)?,
        Command::On(args) => command::bypass::on(output, args)?,
        Command::Job(args) => block_on(command::job::job(&Session::open()?, output, &args.command))?,
        Command::Queue(args) => block_on(command::queue::queue(&Session::open()?, output, &args.command))?,
        Command::Notify(args) => command::notify::notify(&Session::open()?, output, &args.command)?,
        Command::Lease(args) => block_on(command::lease::lease(output, &args.command))?,
        Command::Reaper(args) => block_on(command::reaper::reaper(output, &args.command))?,
        Command::Verify(args) => block_on(command::verify::verify(output, &args.command))?,
        Command::Worker(args) => block_on(command::worker::run(&Session::open()?, output, args))?,
        Command::WorkerKeeper(args) => command::worker::keeper(args)?,
        Command::Config(args) => command::policy::config(&Session::open()?, output, &args.command)?,
        Command::Deploy(args) => {
            return block_on(command::deploy::deploy(&Session::open()?, output, args));
        }
        Command::Db(args) => block_on(command::db::db(output, &args.command))?,
        Command::Init(args) => block_on(command::policy::init(&Session::open()?, output, args))?,
        Command::Journal(args) => block_on(command::journal::run(&Session::open()?, output, &args.command))?,
        Command::Ci(args) => block_on(command::ci::run(&Session::open()?, output, &args.command))?,
        Command::Doctor(daemon) => block_on(command::doctor::doctor(&Session::open()?, output, daemon))?,
        Command::Pm2(args) => block_on(pm2(&Session::open()?, output, &args.command))?,
    };
    Ok(exit.number())
}

async fn pm2(session: &Session, output: Output, command: &Pm2Command) -> Result<Exit, Failure> {
    use palisade_core::Operation;

    use crate::command::{dumps, lifecycle, list, operate, reconcile, restore, runbook, save};
    match command {
        Pm2Command::List(daemon) => list::list(session, output, daemon).await,
        Pm2Command::Delete(args) => operate::operate(session, output, Operation::Delete, args, false).await,
        Pm2Command::Stop(args) => operate::operate(session, output, Operation::Stop, args, false).await,
        Pm2Command::Restart(args) => {
            operate::operate(session, output, Operation::Restart, &args.operate, args.update_env).await
        }
        Pm2Command::Reload(args) => {
            operate::operate(session, output, Operation::Reload, &args.operate, args.update_env).await
        }
        Pm2Command::Plan(args) => operate::plan(session, output, args).await,
        Pm2Command::Apply(args) => operate::apply(session, output, args).await,
        Pm2Command::Restore(args) => restore::restore(session, output, args).await,
        Pm2Command::Snapshot(daemon) => restore::take(session, output, daemon).await,
        Pm2Command::Snapshots => restore::snapshots(session, output),
        Pm2Command::Runbook(args) => runbook::runbook(session, output, args).await,
        Pm2Command::Reconcile(daemon) => reconcile::reconcile(session, output, daemon).await,
        Pm2Command::Kill(args) => lifecycle::kill(session, output, args).await,
        Pm2Command::Update(args) => lifecycle::update(session, output, args).await,
        Pm2Command::Save(args) => save::save(session, output, args).await,
        Pm2Command::Flush(args) => save::flush(session, output, args).await,
        Pm2Command::Dumps(args) => dumps::dumps(session, output, args),
    }
}

/// One thread is enough: a command waits for one daemon.
fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(future)
}

/// In a build for tests: the check that is switched off, and the step at which this process ends.
#[cfg(feature = "ablation")]
fn injected() -> Result<(), Failure> {
    let environment = palisade_host::environment::Environment::of_this_process();
    if let Some(check) = environment.text("PALISADE_ABLATE") {
        palisade_core::ablation::switch_off(&check).map_err(|error| Failure::usage(error.to_string()))?;
    }
    if let Some(step) = environment.text("PALISADE_END_AT")
        && !palisade_pipeline::fault::end_at(&step)
    {
        return Err(Failure::usage(format!("there is no step {step:?}")));
    }
    Ok(())
}
