//! Judging one device against a baseline: every rule comes to exactly one finding.

use aseptic_device::profile::{Profile, passes};
use aseptic_device::setting::Reading;
use aseptic_device::{
    ConfigSnapshot, DeviceText, FirmwareVersion, Identity, ImageHash, ImageId, Images, Posture, SettingClass,
    SettingKey, Value,
};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use sha2::{Digest as _, Sha256};

use crate::finding::{Finding, Fix, Verdict};
use crate::radio;
use crate::rule::{BuiltIn, Read, Rule, RuleError, RulesFile};
use crate::waiver::Waiver;

/// A named set of rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Baseline {
    /// Short id.
    pub id: String,
    /// Rules, in the order of the report.
    pub rules: Vec<Rule>,
}

/// Returns the built-in baseline.
pub fn built_in() -> Result<Baseline, RuleError> {
    let mut rules = Vec::new();
    for text in [
        include_str!("../rules/identity.toml"),
        include_str!("../rules/firmware.toml"),
        include_str!("../rules/settings.toml"),
        include_str!("../rules/radio.toml"),
    ] {
        rules.extend(RulesFile::parse(text)?.rules);
    }
    Ok(Baseline { id: "ward-default".into(), rules })
}

/// What was read, and what is known besides.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// Who the device is.
    pub identity: &'a Identity,
    /// Slots and bootloader.
    pub images: &'a Images,
    /// Settings.
    pub config: &'a ConfigSnapshot,
    /// The model.
    pub profile: &'a Profile,
    /// Hashes of images that makers signed, from kits.
    pub signed_images: &'a [ImageHash],
    /// Versions known to be vulnerable.
    pub vulnerable: &'a [FirmwareVersion],
    /// Whether a scanned code agreed with the serial number; `None` where nothing was scanned.
    pub scan_agreed: Option<bool>,
    /// Device identifier (GS1 01) of the scanned label, where it has one.
    pub scanned_device: Option<&'a str>,
    /// What the radio link showed; `None` over a cable.
    pub posture: Option<&'a Posture>,
    /// Where the device is: its clock shows local time.
    pub zone: TimeZone,
}

/// Judges a device.
pub fn assess(baseline: &Baseline, facts: &Facts<'_>, waivers: &[Waiver], now: Timestamp) -> Vec<Finding> {
    baseline.rules.iter().map(|rule| finding(rule, facts, waivers, now)).collect()
}

pub(crate) struct Judged {
    pub(crate) verdict: Verdict,
    pub(crate) observed: String,
    pub(crate) expected: String,
    pub(crate) fix: Option<Fix>,
}

fn judged(passed: bool, observed: impl Into<String>, expected: impl Into<String>) -> Judged {
    let verdict = if passed { Verdict::Pass } else { Verdict::Fail };
    Judged { verdict, observed: observed.into(), expected: expected.into(), fix: None }
}

fn unknown(observed: impl Into<String>, expected: impl Into<String>) -> Judged {
    Judged { verdict: Verdict::Unknown, observed: observed.into(), expected: expected.into(), fix: None }
}

fn finding(rule: &Rule, facts: &Facts<'_>, waivers: &[Waiver], now: Timestamp) -> Finding {
    let mut judged = match &rule.read {
        Read::Setting(key) => setting(rule, key, facts),
        Read::SecretNot { key, defaults } => secret(key, defaults, facts),
        Read::BuiltIn(built_in) => judge_built_in(*built_in, facts, now),
    };
    let mut what_to_do = rule.remediation.clone();
    if judged.verdict == Verdict::Fail {
        let serial = facts.identity.serial.as_ref().map(DeviceText::as_str);
        let about: Vec<&Waiver> = waivers.iter().filter(|w| w.is_about(&rule.id, &facts.profile.id, serial)).collect();
        if let Some(waiver) = about.iter().find(|w| now < w.until) {
            judged.verdict = Verdict::Accepted {
                until: waiver.until,
                approver: waiver.approver.clone(),
                control: waiver.control.clone(),
            };
        } else if let Some(expired) = about.iter().max_by_key(|w| w.until) {
            what_to_do = format!("the waiver by {} EXPIRED at {}; {what_to_do}", expired.approver, expired.until);
        }
    }
    Finding {
        rule: rule.id.clone(),
        title: rule.title.clone(),
        result: judged.verdict,
        severity: rule.severity,
        evidence: rule.evidence,
        observed: judged.observed,
        expected: judged.expected,
        why: rule.rationale.clone(),
        what_to_do,
        references: rule.references.clone(),
        fix: judged.fix,
    }
}

// `Err`: there is no value to judge.
#[expect(clippy::result_large_err, reason = "the error is the finding itself")]
fn value<'a>(key: &SettingKey, facts: &'a Facts<'_>, expected: &str) -> Result<&'a Value, Judged> {
    match facts.config.settings.get(key).map(|s| &s.reading) {
        None => Err(Judged {
            verdict: Verdict::NotApplicable,
            observed: "the profile lists no such setting".into(),
            expected: expected.into(),
            fix: None,
        }),
        Some(Reading::Unreadable(why)) => Err(unknown(format!("not readable: {why}"), expected)),
        Some(Reading::Value(value)) => Ok(value),
    }
}

fn setting(rule: &Rule, key: &SettingKey, facts: &Facts<'_>) -> Judged {
    let expected = rule.expect.as_ref().map(ToString::to_string).unwrap_or_default();
    let value = match value(key, facts, &expected) {
        Ok(value) => value,
        Err(judged) => return judged,
    };
    let Some(passed) = rule.expect.as_ref().and_then(|e| passes(e, value)) else {
        return unknown(format!("{key} reads {value}, which cannot be judged"), expected);
    };
    let writable =
        facts.profile.setting(key).is_some_and(|s| s.writable && s.class == SettingClass::Security && !s.secret);
    let fix = rule.fix.as_ref().filter(|_| !passed && writable);
    Judged {
        fix: fix.map(|to| Fix { key: key.clone(), from: value.clone(), to: to.clone() }),
        ..judged(passed, format!("{key} reads {value}"), expected)
    }
}

fn secret(key: &SettingKey, defaults: &[String], facts: &Facts<'_>) -> Judged {
    let expected = "not a known default";
    let value = match value(key, facts, expected) {
        Ok(value) => value,
        Err(judged) => return judged,
    };
    let Value::Text(digest) = value else { return unknown("its value is not text", expected) };
    let known = |default: &String| {
        let hash: String = Sha256::digest(default.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
        digest.as_str() == format!("sha256:{hash}")
    };
    if !digest.as_str().starts_with("sha256:") {
        return unknown(format!("{key} is not marked secret in the profile"), expected);
    }
    match defaults.iter().any(known) {
        true => judged(false, format!("{key} is a known default (value not shown)"), expected),
        false => judged(true, format!("{key} is not a known default (value not shown)"), expected),
    }
}

fn judge_built_in(what: BuiltIn, facts: &Facts<'_>, now: Timestamp) -> Judged {
    let active = facts.images.active(ImageId(0));
    match what {
        BuiltIn::VersionApproved => version_approved(facts),
        BuiltIn::ImagesSettled => match active {
            None => unknown("no image list", "active and confirmed, none pending"),
            Some(slot) => {
                let pending = facts.images.slots.iter().any(|s| s.pending);
                let observed = format!(
                    "active {}, {}",
                    if slot.confirmed { "and confirmed" } else { "but not confirmed" },
                    if pending { "another image is pending" } else { "none pending" }
                );
                judged(slot.confirmed && !pending, observed, "active and confirmed, none pending")
            }
        },
        BuiltIn::RunningImageKnown => match active.and_then(|s| s.hash.as_ref()) {
            None => unknown("the running image's hash is not told", "a hash from a signed kit"),
            Some(_) if facts.signed_images.is_empty() => {
                unknown("no kit is imported to compare with", "a hash from a signed kit")
            }
            Some(hash) if facts.signed_images.contains(hash) => {
                judged(true, format!("{} is in a signed kit", hash.short()), "a hash from a signed kit")
            }
            // Kits carry what is to be installed, rarely everything that ever was: absence proves nothing.
            Some(hash) => unknown(format!("{} is in no imported kit", hash.short()), "a hash from a signed kit"),
        },
        BuiltIn::SpareNotVulnerable => spare(facts),
        BuiltIn::SerialUsable => match &facts.identity.unusable {
            None => judged(
                true,
                facts.identity.serial.as_ref().map(ToString::to_string).unwrap_or_default(),
                "a serial number of its own",
            ),
            Some(why) => judged(false, why.clone(), "a serial number of its own"),
        },
        BuiltIn::UdiPresent => present(facts.profile.identity.udi.is_some(), facts.identity.udi.as_ref(), "a UDI"),
        BuiltIn::HardwareKnown => {
            present(facts.profile.identity.hardware.is_some(), facts.identity.hardware.as_ref(), "a hardware revision")
        }
        BuiltIn::Radio(what) => radio::judge(what, facts, now),
        BuiltIn::SecondIdentifier => match facts.scan_agreed {
            None => unknown("no label was scanned", "a scanned code that agrees with the serial number"),
            Some(agreed) => {
                let observed = if agreed { "the scanned code agrees" } else { "the scanned code is of another device" };
                judged(agreed, observed, "a scanned code that agrees with the serial number")
            }
        },
    }
}

fn present(declared: bool, text: Option<&DeviceText>, expected: &str) -> Judged {
    match text {
        _ if !declared => Judged {
            verdict: Verdict::NotApplicable,
            observed: "the profile names no source".into(),
            expected: expected.into(),
            fix: None,
        },
        None => unknown("not readable", expected),
        Some(text) if text.is_blank() => judged(false, "blank", expected),
        Some(text) => judged(true, text.to_string(), expected),
    }
}

fn version_approved(facts: &Facts<'_>) -> Judged {
    let approved = &facts.profile.firmware.approved;
    let expected =
        if approved.is_empty() { "an approved version".into() } else { format!("one of {}", approved.join(", ")) };
    let Some(version) = &facts.identity.firmware else { return unknown("the version is not told", expected) };
    if approved.is_empty() {
        return unknown(format!("{version}, and the profile approves none"), expected);
    }
    let same =
        |text: &String| version.compare(&FirmwareVersion::new(version.scheme, text)) == Some(std::cmp::Ordering::Equal);
    judged(approved.iter().any(same), version.to_string(), expected)
}

fn spare(facts: &Facts<'_>) -> Judged {
    let expected = "no version known to be vulnerable";
    let Some(slot) = facts.images.spare(ImageId(0)) else {
        return match facts.images.slots.is_empty() {
            true => unknown("no image list", expected),
            false => judged(true, "the spare slot is empty", expected),
        };
    };
    let version = FirmwareVersion { scheme: facts.profile.firmware.version_scheme, text: slot.version.clone() };
    let bad = facts.vulnerable.iter().any(|v| v.compare(&version) == Some(std::cmp::Ordering::Equal));
    if facts.vulnerable.is_empty() {
        return unknown(format!("holds {version}; no advisories are imported to compare with"), expected);
    }
    judged(!bad, format!("holds {version}"), expected)
}

#[cfg(test)]
#[path = "assess_tests.rs"]
mod tests;
