//! Report: everything known of one visit, from the records of this laptop, bound to the audit log by its digest.

mod outcome;
mod work;

use aseptic_baselines::rule::{EvidenceKind, Reference, Severity};
use aseptic_baselines::{Finding, Verdict};
use aseptic_device::{DeviceText, ImageId};
use aseptic_evidence::report::{self as page, Report};
use aseptic_evidence::{Proof, When};
use aseptic_patches::kit::Freshness;
use aseptic_patches::{Plan, Record};
use aseptic_store::VisitRow;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::assess::Assessment;
use crate::identify::Visit;
use crate::kits::{KitRecord, last};
use crate::laptop::Laptop;
use crate::problem::{Code, Problem};
use crate::returning::{ReturnStatement, Standing, returned, standing};

// What reports and patches are about until a device with several images is met.
const IMAGE: ImageId = ImageId(0);

/// One attempt at a plan with its journal, and the return to service after it.
pub(crate) struct PlanRecord {
    plan: Plan,
    journal: Vec<Record>,
    returned: Option<ReturnStatement>,
}

/// Gathers a visit's report and writes its digest to the audit log.
///
/// `visit` is an id, shortened as long as it is unique, or a device, which names its newest visit. Times are told in `zone`.
pub fn report(laptop: &Laptop, visit: &str, zone: &TimeZone) -> Result<Report, Problem> {
    let row = find(laptop, visit)?;
    let found: Visit = serde_json::from_str(&row.json).map_err(broken)?;
    let plans = plans(laptop, &row.id)?;
    let assessments: Vec<Assessment> = laptop.store.assessments(&row.id)?;
    let standing = found.identity.id.as_ref().map(|id| standing(laptop, &id.to_string())).transpose()?;
    let key = laptop.store.audit_key()?;
    let when = |at: Timestamp| When::in_zone(at, zone);
    let known = laptop.profile(&found.profile.id).map(|k| &k.profile);
    let model = known.map_or(found.profile.id.as_str(), |p| p.model.as_str());
    let serial = found.identity.serial.as_ref().map_or("without a serial number", DeviceText::as_str);
    let worked = plans.iter().flat_map(|p| &p.journal).map(|r| r.at).max();
    let mut report = Report {
        schema: page::SCHEMA.into(),
        title: format!("{model}, {serial}"),
        visit: row.id.clone(),
        tool: format!("aseptic {}", env!("CARGO_PKG_VERSION")),
        laptop: key.split('+').next().unwrap_or(&key).to_owned(),
        opened: when(found.opened),
        closed: row.closed.map(when),
        written: when(laptop.clock.now().wall),
        simulated: found.profile.simulated,
        device: device(&found, known.map_or("", |p| p.vendor.as_str()), model),
        profile: page::ProfileUsed {
            id: found.profile.id.clone(),
            digest: found.profile.digest.clone(),
            reviewed: !found.profile.unreviewed,
        },
        outcome: outcome::outcome(plans.last(), &assessments),
        service: outcome::service(standing.map(|(s, _)| s == Standing::OutOfService), &plans, &when),
        before: assessments.first().map(|a| findings(a, &when)),
        after: assessments.last().filter(|a| worked.is_some_and(|t| a.at > t)).map(|a| findings(a, &when)),
        works: plans.iter().map(|p| work::work(p, &when)).collect(),
        kit: last(&laptop.store)?.map(|k| kit(&k, &when)),
        proof: None,
    };
    let unreadable = |e| Problem::new(Code::Internal, e, "report this as a fault of Aseptic");
    let body = serde_json::json!({ "report-sha256": report.digest().map_err(unreadable)? });
    let seq = laptop.store.audit(laptop.entry("report.written", found.identity.id.as_ref(), Some(&row.id), body))?;
    let entry = String::from_utf8_lossy(&laptop.store.audit_leaf(seq)?).into_owned();
    report.proof = Some(Proof { entry, proof: laptop.store.proof(seq)?, key });
    Ok(report)
}

// A device names its newest visit.
fn find(laptop: &Laptop, visit: &str) -> Result<VisitRow, Problem> {
    let rows = laptop.store.visits()?;
    let about = |r: &&VisitRow| r.device.as_deref().is_some_and(|d| d == visit || d.rsplit('/').next() == Some(visit));
    if let Some(row) = rows.iter().filter(about).max_by_key(|r| &r.id) {
        return Ok(row.clone());
    }
    let mut rows = rows.into_iter().filter(|v| v.id.starts_with(visit));
    match (rows.next(), rows.next()) {
        (Some(row), None) => Ok(row),
        (None, _) => Err(Problem::new(Code::NotFound, format!("no visit {visit}"), "aseptic visit list shows them")),
        _ => Err(Problem::new(Code::Usage, format!("several visits begin with {visit}"), "give more of the id")),
    }
}

fn broken(e: serde_json::Error) -> Problem {
    Problem::new(Code::Untrusted, e, "verify the records with aseptic audit verify")
}

fn plans(laptop: &Laptop, visit: &str) -> Result<Vec<PlanRecord>, Problem> {
    let mut out = Vec::new();
    for plan in laptop.store.plans("")?.into_iter().filter(|p| p.visit.as_deref() == Some(visit)) {
        let mut attempts = laptop.store.attempts(Some(&plan.body.device.to_string()))?;
        attempts.retain(|a| a.plan.id == plan.id);
        if attempts.is_empty() {
            out.push(PlanRecord { plan, journal: Vec::new(), returned: None });
            continue;
        }
        for attempt in attempts {
            let returned = returned(laptop, &attempt)?;
            out.push(PlanRecord { plan: attempt.plan, journal: attempt.records, returned });
        }
    }
    out.sort_by_key(|p| p.journal.first().map_or(p.plan.made_at, |r| r.at));
    Ok(out)
}

fn device(visit: &Visit, vendor: &str, model: &str) -> page::Device {
    let identity = &visit.identity;
    let text = |t: &Option<DeviceText>| t.as_ref().map(ToString::to_string);
    page::Device {
        vendor: vendor.to_owned(),
        model: model.to_owned(),
        id: identity.id.as_ref().map(ToString::to_string),
        serial: text(&identity.serial),
        udi: text(&identity.udi),
        hardware: text(&identity.hardware),
        address: visit.sighting.address.to_string(),
        scanned: visit.scan.as_ref().map(|s| s.code.clone()),
        agreement: match visit.scan_agreed {
            Some(true) => page::Agreement::Agree,
            Some(false) => page::Agreement::Differ,
            None => page::Agreement::OnlyOne,
        },
    }
}

fn findings(assessment: &Assessment, when: &dyn Fn(Timestamp) -> When) -> page::Findings {
    page::Findings {
        at: when(assessment.at),
        baseline: assessment.baseline.clone(),
        rows: assessment.findings.iter().map(finding).collect(),
    }
}

fn finding(f: &Finding) -> page::Finding {
    let (verdict, accepted) = match &f.result {
        Verdict::Pass => (page::Verdict::Pass, None),
        Verdict::Fail => (page::Verdict::Fail, None),
        Verdict::Unknown => (page::Verdict::Unknown, None),
        Verdict::NotApplicable => (page::Verdict::NotApplicable, None),
        Verdict::Accepted { until, approver, control } => {
            (page::Verdict::Accepted, Some(format!("{approver} until {until}; instead: {control}")))
        }
    };
    let open = matches!(f.result, Verdict::Fail | Verdict::Unknown | Verdict::Accepted { .. });
    let severity = match f.severity {
        Severity::Low => "low",
        Severity::Medium => "medium",
        Severity::High => "high",
        Severity::Critical => "critical",
    };
    let evidence = match f.evidence {
        EvidenceKind::Measured => "measured",
        EvidenceKind::Version => "version",
        EvidenceKind::Attested => "attested",
        EvidenceKind::Bench => "bench",
    };
    let cited = |r: &Reference| {
        if r.unsure { format!("{} (unverified)", r.id) } else { r.id.clone() }
    };
    page::Finding {
        rule: f.rule.clone(),
        title: f.title.clone(),
        verdict,
        severity: severity.into(),
        evidence: evidence.into(),
        observed: f.observed.clone(),
        expected: f.expected.clone(),
        why: f.why.clone(),
        what_to_do: if open { vec![f.what_to_do.clone()] } else { Vec::new() },
        references: f.references.iter().map(cited).collect(),
        accepted,
    }
}

fn kit(kit: &KitRecord, when: &dyn Fn(Timestamp) -> When) -> page::Kit {
    page::Kit {
        taken: when(kit.taken),
        freshness: match kit.freshness {
            Freshness::Fresh => page::Freshness::Fresh,
            Freshness::Stale => page::Freshness::Stale,
        },
        accepted_by: kit.accepted_by.clone(),
        clock_jumped_back: kit.clock_jumped_back,
        roles: kit
            .roles
            .iter()
            .map(|r| page::KitRole { role: r.role.clone(), version: r.version, expires: when(r.expires) })
            .collect(),
    }
}
