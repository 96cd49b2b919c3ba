//! `palisade-firewall`: parse, run, say how it ended.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use palisade_core::Exit;
use palisade_firewall::options::{self, USAGE, Wanted};
use palisade_firewall::renewal::{self, Sockets};
use palisade_firewall::{judging, serve};

fn main() -> ExitCode {
    // Everything that is made here is for this user alone, unless it says otherwise.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let exit = match options::read(std::env::args_os().skip(1)) {
        Ok(Wanted::Help) => said(USAGE, Exit::Done),
        Ok(Wanted::Version) => said(concat!("palisade-firewall ", env!("CARGO_PKG_VERSION")), Exit::Done),
        Ok(Wanted::Run(options)) => run(&options, false),
        Ok(Wanted::Judge(options)) => run(&options, true),
        Err(error) => complained(&format!("{error}\n\n{USAGE}"), Exit::Usage),
    };
    ExitCode::from(exit.number())
}

fn run(options: &options::Options, is_judge: bool) -> Exit {
    if options.detached && !is_judge && !options.handed {
        // Whoever leads a session already is on its own.
        rustix::process::setsid().map(drop).unwrap_or_default();
    }
    // After an upgrade another file is there, and that one goes on.
    let program = std::env::current_exe().unwrap_or_default();
    let ended = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) if is_judge => runtime.block_on(judge(options)),
        Ok(runtime) => runtime.block_on(hold(options, &program)),
        Err(error) => Err(error.into()),
    };
    match ended {
        Ok(None) => Exit::Done,
        Ok(Some(sockets)) => {
            let error = renewal::become_holder(&program, &options.args, &sockets);
            complained(&format!("cannot run anew: {error}"), Exit::Failure)
        }
        // A judge's holder was told.
        Err(error) if is_judge => error.exit(),
        Err(error) => complained(&error.told(), error.exit()),
    }
}

async fn hold(options: &options::Options, program: &Path) -> Result<Option<Sockets>, serve::Error> {
    let tell = |text: &str| {
        complained(text, Exit::Done);
    };
    match serve::run(options, program, tell).await? {
        serve::Ended::Done => Ok(None),
        serve::Ended::Anew(sockets) => Ok(Some(sockets)),
    }
}

async fn judge(options: &options::Options) -> Result<Option<Sockets>, serve::Error> {
    match judging::run(options).await? {
        judging::Ended::Done => Ok(None),
        judging::Ended::Orphaned(sockets) => Ok(Some(sockets)),
    }
}

fn said(text: &str, exit: Exit) -> Exit {
    // A closed standard output changes nothing about the answer.
    writeln!(std::io::stdout(), "{text}").unwrap_or_default();
    exit
}

fn complained(text: &str, exit: Exit) -> Exit {
    let text = palisade_core::text::escaped_lines(text);
    // Where nobody listens, the exit code still says it.
    writeln!(std::io::stderr(), "palisade-firewall: {text}").unwrap_or_default();
    exit
}
