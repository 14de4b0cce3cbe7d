//! `aseptic tuf`: the contract of the public TUF client conformance suite. Exit codes are 0 and 1 only.

use aseptic_patches::kit::client;
use aseptic_workflow::{Code, DeviceState, Problem};
use jiff::Timestamp;

use crate::args::{Tuf, TufVerb};
use crate::console::Done;

/// Runs one verb of the contract.
pub async fn run(args: &Tuf) -> Result<Done, Problem> {
    let fail = |e: &dyn std::fmt::Display| {
        Problem::new(Code::Internal, e, "see the TUF specification").with_state(DeviceState::NotInvolved)
    };
    let need = |what: &Option<String>, name: &str| what.clone().ok_or_else(|| fail(&format!("{name} is missing")));
    let dir = &args.metadata_dir;
    let now = Timestamp::now();
    let result = match &args.verb {
        TufVerb::Init { root } => client::init(dir, root),
        TufVerb::Refresh => client::refresh(dir, &need(&args.metadata_url, "--metadata-url")?, now).await,
        TufVerb::Download if args.target_name.is_empty() => return Err(fail(&"--target-name is missing")),
        TufVerb::Download => {
            let url = need(&args.metadata_url, "--metadata-url")?;
            let base = need(&args.target_base_url, "--target-base-url")?;
            let out = args.target_dir.as_ref().ok_or_else(|| fail(&"--target-dir is missing"))?;
            client::download(dir, &url, &args.target_name, &base, out, now).await
        }
    };
    result.map(|()| Done::quietly()).map_err(|e| fail(&e))
}
