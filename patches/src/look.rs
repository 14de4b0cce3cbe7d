//! What a device shows of a step: done, still to do, failed, or changed by somebody else.

use aseptic_device::SettingKey;

use crate::journal::{Failure, Observed};
use crate::next::Act;
use crate::plan::{PatchRef, Plan, Step};
use crate::progress::{Progress, StepProgress};

pub(crate) enum Look {
    Done,
    Todo(Act),
    Failed(Failure),
    Foreign(String),
}

/// Returns what somebody else did to the device, if anything: a running image, a pending flag, a spare
/// image or a setting that this plan did not cause.
pub(crate) fn foreign(plan: &Plan, progress: &Progress, seen: &Observed) -> Option<String> {
    let image = plan.body.patch.as_ref().map(|p| p.image).unwrap_or_default();
    let target = plan.body.patch.as_ref().map(|p| &p.hash);
    let from = &plan.body.from;
    let active = seen.images.active(image);
    let running = active.and_then(|s| s.hash.as_ref());
    let marked = progress.begun(plan, &Step::Test);
    if running != from.running.as_ref() && (running != target || !marked) {
        return Some(format!("image {} runs", running.map_or_else(|| "without hash".into(), |h| h.short())));
    }
    if running == target
        && target.is_some()
        && active.is_some_and(|s| s.confirmed)
        && !progress.begun(plan, &Step::Confirm)
    {
        return Some("the new image was already confirmed".into());
    }
    // Once another firmware ran, it may have changed settings itself: then the check and the way back judge them.
    if progress.turned_back.is_none() && !progress.begun(plan, &Step::Restart) {
        let moved: Vec<String> = unplanned(plan, progress, seen).iter().map(ToString::to_string).collect();
        if !moved.is_empty() {
            return Some(format!("settings differ from the backup: {}", moved.join(", ")));
        }
    }
    let spare = seen.images.spare(image)?;
    if spare.pending && (!marked || spare.hash.as_ref() != target) {
        return Some("an image waits for the next restart".into());
    }
    let known = [from.spare.as_ref(), from.running.as_ref(), target];
    match &spare.hash {
        Some(hash) if !known.contains(&Some(hash)) => Some(format!("the spare slot holds image {}", hash.short())),
        _ => None,
    }
}

pub(crate) fn look(plan: &Plan, step: &Step, all: &Progress, own: &StepProgress, seen: &Observed) -> Look {
    let Some(patch) = plan.body.patch.as_ref() else { return look_settings(plan, step, all, own, seen) };
    let active = seen.images.active(patch.image).filter(|s| s.hash.as_ref() == Some(&patch.hash));
    let spare = seen.images.spare(patch.image).filter(|s| s.hash.as_ref() == Some(&patch.hash));
    match step {
        Step::Stage if spare.is_some() || active.is_some() => Look::Done,
        Step::Stage => Look::Todo(Act::Upload),
        Step::Verify if spare.is_some() || active.is_some() => Look::Done,
        Step::Verify => Look::Failed(Failure::NotReadBack {
            detail: format!("the spare slot does not show image {}", patch.hash.short()),
        }),
        Step::Test if active.is_some() || spare.is_some_and(|s| s.pending) => Look::Done,
        Step::Test => Look::Todo(Act::MarkTest),
        Step::Restart if active.is_some() => Look::Done,
        Step::Restart if spare.is_some_and(|s| s.pending) => Look::Todo(Act::Restart),
        Step::Restart => Look::Failed(Failure::Reverted),
        Step::Check if active.is_some() => Look::Todo(Act::Soak),
        Step::Confirm if active.is_some_and(|s| s.confirmed) => Look::Done,
        Step::Confirm if active.is_some() => Look::Todo(Act::Confirm),
        Step::Check | Step::Confirm => Look::Failed(Failure::Reverted),
        Step::Backup | Step::Set { .. } | Step::Reload | Step::Prove => look_settings(plan, step, all, own, seen),
    }
}

fn look_settings(plan: &Plan, step: &Step, all: &Progress, own: &StepProgress, seen: &Observed) -> Look {
    match step {
        Step::Backup => Look::Todo(Act::Backup),
        Step::Set { key, from, to } => match seen.config.value(key) {
            // Read back is not saved: only the act that saw both answered is noted as done.
            Some(value) if value == from || value == to && own.attempts > 0 => {
                Look::Todo(Act::Set { key: key.clone(), value: to.clone() })
            }
            Some(value) => Look::Foreign(format!("{key} reads {value}")),
            None => Look::Failed(Failure::NotReadBack { detail: format!("{key} cannot be read") }),
        },
        Step::Reload => Look::Todo(Act::Reload),
        Step::Prove => match unproved(plan, all, seen) {
            None => Look::Done,
            Some(detail) => Look::Failed(Failure::NotReadBack { detail }),
        },
        // Only a plan with a patch has these; one without its patch cannot be carried out.
        Step::Stage | Step::Verify | Step::Test | Step::Restart | Step::Check | Step::Confirm => {
            Look::Failed(Failure::Untrusted { detail: format!("the plan names no patch for its step {}", step.name()) })
        }
    }
}

// The last reading: version, hash, confirmation, written settings, and everything else as in the backup.
fn unproved(plan: &Plan, progress: &Progress, seen: &Observed) -> Option<String> {
    if let Some(patch) = &plan.body.patch {
        match seen.images.active(patch.image) {
            Some(slot) if slot.hash.as_ref() != Some(&patch.hash) => return Some("another image runs".into()),
            Some(slot) if !slot.confirmed => return Some("the new image is not confirmed".into()),
            Some(slot) if !shows_version(patch, slot.version.as_str()) => {
                return Some(format!("the device reports version {}, not {}", slot.version, patch.version));
            }
            Some(_) => {}
            None => return Some("no image is shown as running".into()),
        }
    }
    let wrong: Vec<String> = plan
        .body
        .steps
        .iter()
        .filter_map(|s| match s {
            Step::Set { key, to, .. } if seen.config.value(key) != Some(to) => Some(key.to_string()),
            _ => None,
        })
        .collect();
    if !wrong.is_empty() {
        return Some(format!("not as written: {}", wrong.join(", ")));
    }
    let moved: Vec<String> = unplanned(plan, progress, seen).iter().map(ToString::to_string).collect();
    (!moved.is_empty()).then(|| format!("changed without being planned: {}", moved.join(", ")))
}

/// Returns whether the device's text for a version is the patch's version.
pub(crate) fn shows_version(patch: &PatchRef, shown: &str) -> bool {
    let shown = aseptic_device::FirmwareVersion::new(patch.version.scheme, shown);
    shown.compare(&patch.version) == Some(std::cmp::Ordering::Equal)
}

/// Returns the settings that must stay, were not planned to change, and differ from the backup.
pub(crate) fn unplanned(plan: &Plan, progress: &Progress, seen: &Observed) -> Vec<SettingKey> {
    let Some(backup) = progress.backup_config() else { return Vec::new() };
    backup
        .differences(&seen.config)
        .into_iter()
        .filter(|key| backup.settings.get(*key).is_some_and(|r| r.class.must_stay()))
        .filter(|key| !plan.body.steps.iter().any(|s| matches!(s, Step::Set { key: k, .. } if k == *key)))
        .cloned()
        .collect()
}
