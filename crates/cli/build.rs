//! Collects the pages of `docs/errors` for `palisade explain`.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let folder = Path::new(&env!("CARGO_MANIFEST_DIR")).join("../../docs/errors").canonicalize()?;
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
    #[expect(clippy::disallowed_methods, reason = "a build script's arguments are variables")]
    let target = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    fs::write(Path::new(&target).join("pages.rs"), code)
}
