//! Collects the pages of `docs/errors` for `palisade explain`, and links the command at a fixed address.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let folder = Path::new(&set_by_cargo("CARGO_MANIFEST_DIR")?).join("../../docs/errors").canonicalize()?;
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut paths: Vec<_> = fs::read_dir(&folder)?.collect::<Result<Vec<_>, _>>()?;
    paths.sort_by_key(fs::DirEntry::file_name);
    let mut code = String::from("/// The pages, by code.\nconst PAGES: &[(&str, &str)] = &[\n");
    for path in
        paths.iter().map(fs::DirEntry::path).filter(|path| path.extension().is_some_and(|e| e == "md"))
    {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        writeln!(code, "    ({name:?}, include_str!({:?})),", path.display().to_string())
            .map_err(io::Error::other)?;
    }
    code.push_str("];\n");
    fs::write(Path::new(&set_by_cargo("OUT_DIR")?).join("pages.rs"), code)?;
    link_at_a_fixed_address()
}

/// Relocating 25,000 pointers was a third of what starting this command costs: ADR 0036. The guard, which listens to
/// others for months, is linked as usual.
fn link_at_a_fixed_address() -> io::Result<()> {
    if set_by_cargo("CARGO_CFG_TARGET_OS")? == "linux" && set_by_cargo("CARGO_CFG_TARGET_ENV")? == "gnu" {
        println!("cargo::rustc-link-arg-bins=-no-pie");
    }
    Ok(())
}

/// Asked when the script runs, not when it is compiled: a target folder may outlive its checkout.
#[expect(clippy::disallowed_methods, reason = "a build script's arguments are variables")]
fn set_by_cargo(name: &str) -> io::Result<OsString> {
    env::var_os(name).ok_or_else(|| io::Error::other(format!("{name} is not set: run this with cargo")))
}
