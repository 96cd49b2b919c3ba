//! `palisade-firewall`: parse, run, say how it ended.

use std::io::Write as _;
use std::process::ExitCode;

use palisade_core::Exit;
use palisade_firewall::options::{self, USAGE, Wanted};
use palisade_firewall::serve;

fn main() -> ExitCode {
    // Everything that is made here is for this user alone, unless it says otherwise.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let exit = match options::read(std::env::args_os().skip(1)) {
        Ok(Wanted::Help) => said(USAGE, Exit::Done),
        Ok(Wanted::Version) => said(concat!("palisade-firewall ", env!("CARGO_PKG_VERSION")), Exit::Done),
        Ok(Wanted::Run(options)) => run(&options),
        Err(error) => complained(&format!("{error}\n\n{USAGE}"), Exit::Usage),
    };
    ExitCode::from(exit.number())
}

fn run(options: &options::Options) -> Exit {
    if options.detached {
        // Whoever leads a session already is on its own.
        rustix::process::setsid().map(drop).unwrap_or_default();
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complained(&error.to_string(), Exit::Failure),
    };
    let ready = || {
        complained(&format!("listening on {}", options.home.join("rpc.sock").display()), Exit::Done);
    };
    match runtime.block_on(serve::run(options, ready)) {
        Ok(()) => Exit::Done,
        Err(error) => {
            let mut text = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                text.push_str(&format!(": {cause}"));
                source = cause.source();
            }
            complained(&text, error.exit())
        }
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
