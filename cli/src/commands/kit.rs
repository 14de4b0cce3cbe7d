//! `aseptic kit`: the vendor's and the hospital's side.

use std::io::{self, Read};
use std::path::Path;

use aseptic_device::{FirmwareVersion, ImageSource, VersionScheme};
use aseptic_patches::kit::author::{Draft, NewPatch, generate_key, public_key};
use aseptic_patches::kit::{Ladder, ObjectSink, Source, TrustState, import as take};
use aseptic_store::ObjectStore;
use aseptic_workflow::{Code, DeviceState, Problem, kits};
use jiff::Timestamp;
use rand::rngs::OsRng;

use crate::args::{Cli, Kit, KitAdd, in_days};
use crate::console::{Console, Done, local};
use crate::context::laptop;
use crate::event::Event;

/// Makes, signs, packs, imports, lists or verifies kits.
pub fn run(cli: &Cli, verb: &Kit, console: &mut Console) -> Result<Done, Problem> {
    let now = Timestamp::now();
    let said = |text: &str| Ok(Done::with(DeviceState::NotInvolved, text));
    match verb {
        Kit::New { dir, key, threshold, days } => {
            Draft::create(dir, key, *threshold, in_days(now, *days), &mut OsRng)?;
            said("kit begun; delegate to vendors, add, sign, pack")
        }
        Kit::Key { file } => {
            let public = generate_key(file, &mut OsRng)?;
            let hex: String = public.as_bytes().iter().map(|b| format!("{b:02x}")).collect();
            write_public(file)?;
            console.record("key", serde_json::json!({ "ed25519": hex }), &hex);
            said("key pair written; keep the private half to yourself")
        }
        Kit::Delegate { dir, vendor, key, threshold, days } => {
            Draft::open(dir)?.delegate(vendor, key, *threshold, in_days(now, *days))?;
            said("delegated; targets must be signed again")
        }
        Kit::Add(args) => add(args, now, console),
        Kit::Withdraw { dir, vendor, id } => {
            Draft::open(dir)?.withdraw(vendor, id)?;
            said(&format!("{id} withdrawn; vendor-{vendor} must be signed again"))
        }
        Kit::Sign { dir, role, key } => {
            let count = Draft::open(dir)?.sign(role, key)?;
            said(&format!("{role} has {count} signature(s)"))
        }
        Kit::Rotate { dir, key, threshold, days } => {
            Draft::open(dir)?.rotate_root(key, *threshold, in_days(now, *days))?;
            said("root keys replaced; now sign root with the old keys and the new ones")
        }
        Kit::Pack { dir, output, days } => {
            Draft::open(dir)?.pack(output, in_days(now, *days))?;
            // Nobody should carry a kit to a ward that no laptop will take.
            let root = dir.join("metadata/1.root.json");
            verify(cli, output, Some(&root), now, console).map_err(|e| Problem {
                help: format!(
                    "{} is not usable yet: sign what is missing and pack again; {}",
                    output.display(),
                    e.help
                ),
                ..e
            })?;
            said(&format!("packed {}", output.display()))
        }
        Kit::Import { kit, accept_stale } => {
            let record = kits::import(&laptop(cli, None)?, kit, accept_stale.as_deref())?;
            for role in &record.roles {
                console.say(format!("{:<16} version {:<4} expires {}", role.role, role.version, local(role.expires)));
            }
            if record.clock_jumped_back {
                console.say("! this laptop's clock is earlier than when the last kit was taken: is it right?");
            }
            let message = format!("kit taken: {} patches, {} profiles", record.patches.len(), record.profiles.len());
            console.event(Event::Kit { kit: record });
            said(&message)
        }
        Kit::List => {
            for patch in kits::patches(&laptop(cli, None)?)? {
                let text = format!(
                    "{:<20} {:<10} for {}  {}",
                    patch.id,
                    patch.version,
                    patch.profiles.join(", "),
                    patch.title
                );
                console.record("patch", serde_json::to_value(&patch).unwrap_or_default(), text);
            }
            Ok(Done::quietly())
        }
        Kit::Verify { kit, root } => verify(cli, kit, root.as_deref(), now, console),
    }
}

// The public half beside the private one, as NAME.pub.pem.
fn write_public(file: &Path) -> Result<(), Problem> {
    use std::fmt::Write as _;
    let key = public_key(file)?;
    let mut der = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00".to_vec();
    der.extend(key.as_bytes());
    let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
    let _ = writeln!(pem, "{}", base64(&der));
    pem.push_str("-----END PUBLIC KEY-----\n");
    std::fs::write(file.with_extension("pub.pem"), pem)
        .map_err(|e| Problem::new(Code::NotFound, format!("{}: {e}", file.display()), "check the path"))
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn add(args: &KitAdd, now: Timestamp, console: &mut Console) -> Result<Done, Problem> {
    let draft = Draft::open(&args.dir)?;
    if let Some(file) = &args.hospital_profile {
        crate::context::profile(file)?;
        draft.add_hospital("profiles", file)?;
        return Ok(Done::with(DeviceState::NotInvolved, "profile added; targets must be signed again"));
    }
    if let Some(file) = &args.hospital_baseline {
        draft.add_hospital("baselines", file)?;
        return Ok(Done::with(DeviceState::NotInvolved, "baseline added; targets must be signed again"));
    }
    let (Some(vendor), Some(image), Some(id)) = (&args.vendor, &args.image, &args.id) else {
        return Err(Problem::new(
            Code::Usage,
            "nothing to add",
            "give --vendor, --image, --id and --for-profile, or --hospital-profile",
        ));
    };
    let version = args.to_version.as_deref().map(|t| FirmwareVersion::new(VersionScheme::Mcuboot, t));
    let new = NewPatch {
        id: id.clone(),
        vendor: vendor.clone(),
        title: args.title.clone(),
        notes: args.notes.clone(),
        profiles: args.for_profile.clone(),
        hardware: args.hardware.clone(),
        from: args.from.clone(),
        version,
        rollback: args.rollback,
        advisories: args.advisory.clone(),
        minutes: args.minutes,
    };
    let manifest = draft.add_patch(new, image, in_days(now, args.days))?;
    let text = format!("{} → {}, image {}", manifest.id, manifest.version, manifest.image.hash.short());
    console.record("patch", serde_json::to_value(&manifest).unwrap_or_default(), text);
    Ok(Done::with(DeviceState::NotInvolved, format!("patch added; vendor-{vendor} must be signed again")))
}

struct Aside(ObjectStore);

impl ObjectSink for Aside {
    fn put(&mut self, sha256: &[u8; 32], length: u64, from: &mut dyn Read) -> io::Result<()> {
        self.0.put(sha256, length, from)
    }

    fn open(&self, sha256: &[u8; 32]) -> io::Result<Box<dyn ImageSource>> {
        let name: String = sha256.iter().map(|b| format!("{b:02x}")).collect();
        self.0.open(&name).map(|o| Box::new(o) as Box<dyn ImageSource>).map_err(io::Error::other)
    }
}

// Targets go to a folder that is thrown away.
fn verify(cli: &Cli, kit: &Path, root: Option<&Path>, now: Timestamp, console: &mut Console) -> Result<Done, Problem> {
    let trusted = match root {
        Some(file) => {
            let bytes = std::fs::read(file)
                .map_err(|e| Problem::new(Code::NotFound, format!("{}: {e}", file.display()), "check the path"))?;
            TrustState { files: [("root.json".to_owned(), bytes)].into(), newest: None }
        }
        None => kits::trusted(&laptop(cli, None)?.store)?,
    };
    let aside =
        tempfile::tempdir().map_err(|e| Problem::new(Code::Internal, e, "make room in the temporary folder"))?;
    let mut sink = Aside(ObjectStore::in_folder(aside.path()));
    let taken = take(&mut Source::open(kit)?, &trusted, now, Ladder::default(), &mut sink)?;
    for patch in &taken.patches {
        let text = format!("{:<20} {} by {}", patch.id, patch.version, patch.vendor);
        console.record("patch", serde_json::to_value(patch).unwrap_or_default(), text);
    }
    Ok(Done::with(DeviceState::NotInvolved, "the kit is whole and trusted; nothing was kept"))
}
