//! Assess: read everything and hold it against a baseline. Nothing is changed.

use aseptic_baselines::rule::RulesFile;
use aseptic_baselines::{Baseline, Facts, Finding, Summary, Verdict, built_in};
use aseptic_device::{Bond, ConfigSnapshot, DeviceId, Identity, ImageHash, Images, Inspecting, Posture, Session};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::identify::{Visit, visit_of};
use crate::kits::patches;
use crate::laptop::{Laptop, Purpose};
use crate::locate::{DeviceRef, open};
use crate::problem::{Code, Problem};

/// One device held against one baseline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Assessment {
    /// The visit.
    pub visit: String,
    /// When.
    pub at: Timestamp,
    /// The baseline.
    pub baseline: String,
    /// Who the device is.
    pub identity: Identity,
    /// What runs.
    pub images: Images,
    /// Every setting that the profile names; secrets as digests.
    pub config: ConfigSnapshot,
    /// One finding a rule.
    pub findings: Vec<Finding>,
    /// How many came to what.
    pub summary: Summary,
    /// What the radio link showed; `None` over a cable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub posture: Option<Posture>,
}

impl Assessment {
    /// Returns how a command that assessed ends: failures first, then what could not be read.
    pub fn code(&self) -> Code {
        match self.summary {
            Summary { fail: 1.., .. } => Code::FindingsFailed,
            Summary { unknown: 1.., .. } => Code::Incomplete,
            _ => Code::Done,
        }
    }
}

/// Assesses a device within its visit. The device's clock is held against local time in `zone`.
pub async fn assess(
    laptop: &Laptop,
    device: &DeviceRef,
    baseline: Option<&str>,
    zone: &TimeZone,
) -> Result<Assessment, Problem> {
    let visit = visit_of(laptop, device).await?;
    let mut session = open(laptop, &same_device(&visit, device), Purpose::Audit).await?;
    let assessment = judge(laptop, &visit, &mut session, Against::Baseline(baseline, zone)).await?;
    let id = assessment.identity.id.clone();
    if let Some(bond) = assessment.posture.as_ref().map(|p| p.bond).filter(Bond::came_about) {
        let kind = if bond.now { "pairing.left" } else { "pairing.undone" };
        laptop.store.audit(laptop.entry(kind, id.as_ref(), Some(&visit.id), serde_json::json!({ "bond": bond })))?;
    }
    let body = serde_json::json!({
        "baseline": assessment.baseline, "summary": assessment.summary,
        "failed": assessment.findings.iter().filter(|f| f.result == Verdict::Fail).map(|f| &f.rule).collect::<Vec<_>>(),
    });
    let entry = laptop.entry("assessed", id.as_ref(), Some(&visit.id), body);
    laptop.store.put_assessment(&visit.id, &assessment, entry)?;
    Ok(assessment)
}

/// Returns the name by which the visit's device is found again.
pub(crate) fn same_device(visit: &Visit, device: &DeviceRef) -> DeviceRef {
    visit.identity.id.clone().map_or_else(|| device.clone(), DeviceRef::Id)
}

/// What a device is held against.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Against<'a> {
    /// One baseline; the built-in one without a name. The radio is read too.
    Baseline(Option<&'a str>, &'a TimeZone),
    /// Every rule of every baseline, so that a fix of any of them can be planned. A kit's rule replaces a built-in one.
    /// The radio is not read: nothing that it shows can be fixed from here, and planning may have paired.
    EveryRule,
}

pub(crate) async fn judge(
    laptop: &Laptop,
    visit: &Visit,
    session: &mut Session<Inspecting>,
    against: Against<'_>,
) -> Result<Assessment, Problem> {
    let (rules, zone) = match against {
        Against::Baseline(wanted, zone) => (chosen(laptop, wanted)?, Some(zone)),
        Against::EveryRule => (every_rule(laptop)?, None),
    };
    let identity = session.identity().clone();
    let profile = session.profile().clone();
    let device = session.inspecting()?;
    let images = device.images().await?;
    let config = device.read_config().await?;
    let posture = match zone {
        Some(_) => device.posture().await?,
        None => None,
    };
    let signed_images: Vec<ImageHash> = patches(laptop)?.into_iter().map(|p| p.image.hash).collect();
    let facts = Facts {
        identity: &identity,
        images: &images,
        config: &config,
        profile: &profile,
        signed_images: &signed_images,
        // No advisories can be imported yet: rules on them end as unknown.
        vulnerable: &[],
        scan_agreed: visit.scan_agreed,
        scanned_device: visit.scan.as_ref().and_then(|s| s.gtin.as_deref()),
        posture: posture.as_ref(),
        zone: zone.cloned().unwrap_or(TimeZone::UTC),
    };
    let at = laptop.clock.now().wall;
    let findings = aseptic_baselines::assess(&rules, &facts, &[], at);
    let summary = Summary::of(&findings);
    let (visit, baseline) = (visit.id.clone(), rules.id);
    Ok(Assessment { visit, at, baseline, identity, images, config, findings, summary, posture })
}

fn every_rule(laptop: &Laptop) -> Result<Baseline, Problem> {
    let mut all = chosen(laptop, None)?;
    for (id, _) in laptop.store.documents("baseline")? {
        for rule in chosen(laptop, Some(&id))?.rules {
            all.rules.retain(|r| r.id != rule.id);
            all.rules.push(rule);
        }
    }
    Ok(all)
}

// The built-in baseline, or one that a kit brought.
fn chosen(laptop: &Laptop, wanted: Option<&str>) -> Result<Baseline, Problem> {
    let rules = built_in().map_err(|e| Problem::new(Code::Internal, e, "report this as a fault of Aseptic"))?;
    let Some(wanted) = wanted.filter(|b| *b != rules.id) else { return Ok(rules) };
    let kept = laptop.store.documents("baseline")?;
    let ids: Vec<&str> = [rules.id.as_str()].into_iter().chain(kept.iter().map(|(id, _)| id.as_str())).collect();
    let (id, text) = kept.iter().find(|(id, _)| id == wanted).ok_or_else(|| {
        Problem::new(Code::NotFound, format!("no baseline {wanted}"), format!("there are: {}", ids.join(", ")))
    })?;
    let file = RulesFile::parse(text).map_err(|e| Problem::new(Code::Untrusted, e, "import the kit again"))?;
    Ok(Baseline { id: id.clone(), rules: file.rules })
}

/// Returns the id, or why the device may not be changed.
pub(crate) fn usable(identity: &Identity) -> Result<&DeviceId, Problem> {
    identity.id.as_ref().ok_or_else(|| {
        let why = identity.unusable.clone().unwrap_or_else(|| "no serial number".into());
        aseptic_device::SessionError::NoIdentity(why).into()
    })
}

#[cfg(test)]
#[path = "assess_tests.rs"]
mod tests;
