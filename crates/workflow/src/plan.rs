//! Plan: what would be done to one device, step by step, or why nothing may be.

use std::cmp::Ordering;

use aseptic_baselines::Finding;
use aseptic_device::setting::Reading;
use aseptic_device::{BootMode, FirmwareVersion, ImageId, Inspecting, Session};
use aseptic_operators::GateId;
use aseptic_patches::kit::PatchManifest;
use aseptic_patches::mcuboot::McubootImage;
use aseptic_patches::plan::SCHEMA;
use aseptic_patches::{Estimate, FromState, PatchRef, Plan, PlanBody, Step, WayBack};

use crate::assess::{Against, Assessment, judge, same_device, usable};
use crate::identify::{Visit, visit_of};
use crate::kits::patches;
use crate::laptop::{Laptop, Purpose};
use crate::locate::{DeviceRef, open};
use crate::problem::{Code, Problem};

/// What a person wants done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Patch id.
    pub patch: Option<String>,
    /// Rules whose fix is to be made.
    pub fixes: Vec<String>,
    /// Go back to the image in the spare slot instead, which this device ran before.
    pub back: bool,
}

/// Makes a plan and keeps it. Nothing is changed on the device.
pub async fn plan(laptop: &Laptop, device: &DeviceRef, wanted: &Wanted) -> Result<Plan, Problem> {
    let visit = visit_of(laptop, device).await?;
    let mut session = open(laptop, &same_device(&visit, device), Purpose::Change).await?;
    let plan = make(laptop, &visit, &mut session, wanted).await?;
    let steps: Vec<String> = plan.body.steps.iter().map(ToString::to_string).collect();
    let body = serde_json::json!({ "plan": plan.id, "patch": plan.body.patch, "steps": steps, "way-back": plan.body.way_back });
    laptop.store.put_plan(&plan, laptop.entry("planned", Some(&plan.body.device), Some(&visit.id), body))?;
    Ok(plan)
}

/// Makes a plan from what the device shows now.
pub(crate) async fn make(
    laptop: &Laptop,
    visit: &Visit,
    session: &mut Session<Inspecting>,
    wanted: &Wanted,
) -> Result<Plan, Problem> {
    if wanted.patch.is_none() && wanted.fixes.is_empty() && !wanted.back {
        return Err(Problem::new(Code::Usage, "nothing is wanted", "name a patch with --patch or a rule with --fix"));
    }
    let seen = judge(laptop, visit, session, Against::EveryRule).await?;
    let id = usable(&seen.identity)?.clone();
    let known = laptop.profile(id.profile()).ok_or_else(|| refuse("the profile is not known here"))?;
    let settled =
        seen.images.slots.iter().all(|s| !s.pending) && seen.images.slots.iter().any(|s| s.active && s.confirmed);
    if !seen.images.slots.is_empty() && !settled {
        return Err(refuse("an image is pending or not confirmed: somebody left another update unfinished"));
    }
    compares(&seen)?;
    let patch = match (&wanted.patch, wanted.back) {
        (Some(patch), _) => Some(patch_ref(laptop, session, &seen, patch)?),
        (None, true) => Some(back_ref(laptop, session, &seen)?),
        (None, false) => None,
    };
    let mut steps = vec![Step::Backup];
    let fixes = fixes(&seen, &wanted.fixes)?;
    let needs_restart = fixes
        .iter()
        .any(|f| f.fix.as_ref().is_some_and(|x| known.profile.setting(&x.key).is_some_and(|s| s.needs_restart)));
    for finding in fixes {
        if let Some(fix) = &finding.fix {
            steps.push(Step::Set { key: fix.key.clone(), from: fix.from.clone(), to: fix.to.clone() });
        }
    }
    if needs_restart {
        steps.push(Step::Reload);
    }
    let way_back = if patch.is_some() {
        steps.extend([Step::Stage, Step::Verify, Step::Test, Step::Restart, Step::Check, Step::Confirm]);
        way_back(&seen)?
    } else {
        WayBack::Settings
    };
    steps.push(Step::Prove);
    let estimate = estimate(&known.profile, patch.as_ref(), &steps);
    let body = PlanBody {
        device: id,
        profile: known.reference.clone(),
        from: FromState::of(ImageId(0), &seen.images, &seen.config)?,
        patch,
        steps,
        gates: GateId::ALL.to_vec(),
        way_back,
    };
    Ok(Plan { schema: SCHEMA.into(), id: body.id()?, body, made_at: seen.at, visit: Some(visit.id.clone()), estimate })
}

fn refuse(why: impl std::fmt::Display) -> Problem {
    Problem::new(Code::Refused, format!("no plan: {why}"), "nothing was changed")
}

// What cannot be read before cannot be shown to be the same afterwards.
fn compares(seen: &Assessment) -> Result<(), Problem> {
    let unread: Vec<String> = seen
        .config
        .settings
        .iter()
        .filter(|(_, setting)| setting.class.must_stay())
        .filter_map(|(key, setting)| match &setting.reading {
            Reading::Value(_) => None,
            Reading::Unreadable(why) => Some(format!("{key} ({why})")),
        })
        .collect();
    if unread.is_empty() {
        return Ok(());
    }
    Err(refuse(format!("settings that must stay cannot be read, so a change could not be seen: {}", unread.join(", "))))
}

// No way back, no patch.
fn way_back(seen: &Assessment) -> Result<WayBack, Problem> {
    let bootloader = &seen.images.bootloader;
    if !bootloader.mode.has_revert() {
        return Err(no_way_back(bootloader.mode));
    }
    Ok(WayBack::Restart { measured: bootloader.measured, downgrade_prevented: bootloader.downgrade_prevention })
}

fn no_way_back(mode: BootMode) -> Problem {
    if mode == BootMode::Unknown {
        let message =
            "no plan: neither device nor profile says how the bootloader works, and unknown counts as no way back";
        let help = "nothing was changed; where you know it, declare it in the profile: bootloader, under [firmware]";
        return Problem::new(Code::Refused, message, help);
    }
    let name = serde_json::to_value(mode).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
    let message = format!("no plan: the bootloader ({name}) has no way back, so a bad image could not be undone");
    Problem::new(Code::Refused, message, "nothing was changed; have the maker patch this device on the bench")
}

fn one_image(session: &Session<Inspecting>, seen: &Assessment) -> Result<(), Problem> {
    if seen.images.count() != 1 || session.profile().firmware.images != 1 {
        return Err(refuse("the device has several images; only single-image devices are patched"));
    }
    Ok(())
}

fn patch_ref(laptop: &Laptop, session: &Session<Inspecting>, seen: &Assessment, id: &str) -> Result<PatchRef, Problem> {
    one_image(session, seen)?;
    let manifest = patches(laptop)?.into_iter().find(|p| p.id == id).ok_or_else(|| {
        Problem::new(
            Code::NotFound,
            format!("no patch {id} on this laptop"),
            "import a kit; aseptic kit list shows what is there",
        )
    })?;
    fits(session, seen, &manifest)?;
    let patch = PatchRef {
        id: manifest.id,
        vendor: manifest.vendor,
        version: manifest.version,
        image: manifest.image.number,
        hash: manifest.image.hash,
        object: manifest.image.sha256,
        length: manifest.image.length,
        rollback: manifest.rollback,
    };
    check_image(laptop, session.profile(), &patch).map_err(|why| {
        Problem::new(
            Code::Untrusted,
            format!("no plan: {why}"),
            "nothing was changed; import the kit again, or correct the profile's signing keys",
        )
    })?;
    Ok(patch)
}

/// Checks an image of the object store: content, MCUboot hash and the maker's signature.
pub(crate) fn check_image(
    laptop: &Laptop,
    profile: &aseptic_device::Profile,
    patch: &PatchRef,
) -> Result<aseptic_store::ObjectImage, String> {
    let object = laptop.store.objects().open(&patch.object).map_err(|e| e.to_string())?;
    let image = McubootImage::read(&object).map_err(|e| e.to_string())?;
    if image.hash != patch.hash {
        return Err("the image is not the one of the patch".into());
    }
    if profile.firmware.signing_keys.is_empty() {
        return Err(format!("profile {} names no signing key of the maker", profile.id));
    }
    image.verify(&object, &profile.firmware.signing_keys).map_err(|e| e.to_string())?;
    Ok(object)
}

fn fits(session: &Session<Inspecting>, seen: &Assessment, patch: &PatchManifest) -> Result<(), Problem> {
    let profile = session.profile();
    if !patch.profiles.contains(&profile.id) {
        return Err(refuse(format!("patch {} is for {}, not for {}", patch.id, patch.profiles.join(", "), profile.id)));
    }
    let hardware = seen.identity.hardware.as_ref().map(|h| h.as_str().to_owned());
    if !patch.hardware.is_empty() && !hardware.as_ref().is_some_and(|h| patch.hardware.contains(h)) {
        let read = hardware.unwrap_or_else(|| "unknown".into());
        return Err(refuse(format!(
            "patch {} is for hardware {}, this is {read}",
            patch.id,
            patch.hardware.join(", ")
        )));
    }
    let Some(running) = &seen.identity.firmware else { return Err(refuse("the running version is not told")) };
    let same = |text: &String| running.compare(&FirmwareVersion::new(running.scheme, text)) == Some(Ordering::Equal);
    if !patch.from.is_empty() && !patch.from.iter().any(same) {
        return Err(refuse(format!(
            "patch {} goes over {}, the device runs {running}",
            patch.id,
            patch.from.join(", ")
        )));
    }
    match step(&patch.version, running) {
        Some(Ordering::Greater) => Ok(()),
        Some(Ordering::Equal) => Err(refuse(format!("the device already runs {running}"))),
        Some(Ordering::Less) if patch.rollback && seen.images.bootloader.downgrade_prevention != Some(true) => Ok(()),
        Some(Ordering::Less) if patch.rollback => Err(refuse("the bootloader refuses older versions")),
        Some(Ordering::Less) => {
            Err(refuse(format!("{} is older than {running}, and not a signed rollback", patch.version)))
        }
        None => Err(refuse(format!("{} and {running} cannot be compared", patch.version))),
    }
}

// The profile says how the device's versions read; the kit's text is read the same way.
fn step(offered: &FirmwareVersion, running: &FirmwareVersion) -> Option<Ordering> {
    FirmwareVersion::new(running.scheme, offered.text.as_str()).compare(running)
}

// Only an image that this device ran, by the journal, and that still lies in its spare slot.
fn back_ref(laptop: &Laptop, session: &Session<Inspecting>, seen: &Assessment) -> Result<PatchRef, Problem> {
    one_image(session, seen)?;
    let id = usable(&seen.identity)?;
    let spare = seen
        .images
        .spare(ImageId(0))
        .ok_or_else(|| refuse("the spare slot is empty: there is nothing to go back to"))?;
    let hash = spare.hash.clone().ok_or_else(|| refuse("the spare image's hash is not told"))?;
    let ran = laptop.store.plans_of(&id.to_string())?.into_iter().any(|p| p.body.from.running.as_ref() == Some(&hash));
    if !ran {
        return Err(refuse("nothing shows that this device ran the image in its spare slot"));
    }
    if seen.images.bootloader.downgrade_prevention == Some(true) {
        return Err(refuse("the bootloader refuses older versions; the vendor must sign a rollback"));
    }
    let scheme = session.profile().firmware.version_scheme;
    let version = FirmwareVersion { scheme, text: spare.version.clone() };
    Ok(PatchRef {
        id: format!("back-to-{version}"),
        vendor: "this-device".into(),
        version,
        image: ImageId(0),
        hash,
        object: String::new(),
        length: 0,
        rollback: true,
    })
}

fn fixes<'a>(seen: &'a Assessment, wanted: &[String]) -> Result<Vec<&'a Finding>, Problem> {
    wanted
        .iter()
        .map(|rule| {
            let finding = seen.findings.iter().find(|f| &f.rule == rule);
            let finding = finding.ok_or_else(|| {
                Problem::new(Code::NotFound, format!("no rule {rule}"), "aseptic assess lists the rules")
            })?;
            match finding.fix {
                Some(_) => Ok(finding),
                None => Err(refuse(format!("rule {rule} has nothing to fix here ({})", finding.observed))),
            }
        })
        .collect()
}

fn estimate(profile: &aseptic_device::Profile, patch: Option<&PatchRef>, steps: &[Step]) -> Estimate {
    let bytes_a_second = u64::from(profile.serial.line.baud) / 10 * 6 / 10;
    let upload = patch.map_or(0, |p| p.length / bytes_a_second.max(1));
    let restarts = steps.iter().filter(|s| matches!(s, Step::Restart | Step::Reload)).count() as u64;
    let timing = &profile.timing;
    let restart = u64::from(timing.restart_s);
    let soak = if patch.is_some() { u64::from(timing.soak_s) } else { 0 };
    let total = upload + u64::from(timing.gate_span_s) * 2 + restarts * restart / 2 + soak + 20;
    // Going back is a restart, its swap, reading everything, and the gates once more.
    let revert = restart + u64::from(timing.gate_span_s) + 30;
    Estimate { total_s: u32::try_from(total).unwrap_or(u32::MAX), revert_s: u32::try_from(revert).unwrap_or(u32::MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kit_s_version_is_read_as_the_profile_reads_the_device_s() {
        use aseptic_device::VersionScheme::{Dotted, Mcuboot, Opaque, Semver};
        let offered = FirmwareVersion::new(Mcuboot, "2.1.0");
        for scheme in [Mcuboot, Semver, Dotted] {
            assert_eq!(step(&offered, &FirmwareVersion::new(scheme, "2.0.0")), Some(Ordering::Greater), "{scheme:?}");
        }
        assert_eq!(step(&offered, &FirmwareVersion::new(Opaque, "2.0.0")), None);
        assert_eq!(step(&FirmwareVersion::new(Mcuboot, "2.1.0.7"), &FirmwareVersion::new(Semver, "2.0.0")), None);
    }

    #[test]
    fn a_bootloader_that_nobody_tells_of_is_told_apart_from_one_without_a_way_back() {
        assert!(no_way_back(BootMode::Unknown).help.contains("profile"));
        assert!(no_way_back(BootMode::OverwriteOnly).message.contains("overwrite-only"));
        assert_eq!(no_way_back(BootMode::Unknown).code, Code::Refused);
    }
}
