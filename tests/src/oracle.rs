//! Outside programs that the tests hold Aseptic against. `./x test` sets them up and makes them a must.

use std::path::PathBuf;
use std::process::Command;

/// Returns the project's folder.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Runs a Python script of `tests/oracles` and returns what it printed.
///
/// Without the environment of `./x test` this is `None`: a plain `cargo test` on a machine without it goes on.
pub fn python(script: &str, args: &[&str]) -> Option<String> {
    let interpreter = root().join(".venv/bin/python");
    if !interpreter.exists() {
        assert!(std::env::var_os("ASEPTIC_ORACLES").is_none(), "./x test should have made .venv");
        eprintln!("{script} was not run: there is no .venv (./x test makes it)");
        return None;
    }
    let done = Command::new(interpreter).arg(root().join("tests/oracles").join(script)).args(args).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{script}: {out}\n{err}");
    Some(out.into_owned())
}
