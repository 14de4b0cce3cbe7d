//! What a profile says to read, read and judged, whatever the protocol.

use aseptic_device::driver::{CheckResult, Readiness, Sensed};
use aseptic_device::identity::is_sdk_default;
use aseptic_device::profile::{Condition, Profile, ReadFrom, passes};
use aseptic_device::{DeviceId, DeviceText, DriverError, Identity, Value};
use async_trait::async_trait;

/// A value, or why there is none; a failed link is an error of its own.
pub(crate) type Read = Result<Result<Value, String>, DriverError>;

/// Reads what a profile names.
#[async_trait]
pub(crate) trait Source: Send {
    /// Reads one value.
    async fn read(&mut self, from: &ReadFrom) -> Read;
}

/// Reads who a device is, but for its firmware.
pub(crate) async fn identity(profile: &Profile, source: &mut dyn Source) -> Result<Identity, DriverError> {
    let sources = &profile.identity;
    let serial = serial(&sources.serial, source).await?;
    let udi = text(sources.udi.as_ref(), source).await?;
    let hardware = text(sources.hardware.as_ref(), source).await?;
    let (id, unusable) = match &serial {
        None => (None, Some("no serial number could be read".to_owned())),
        Some(s)
            if is_sdk_default(s.as_str())
                || sources.placeholders.iter().any(|p| p.eq_ignore_ascii_case(s.as_str().trim())) =>
        {
            (None, Some(format!("serial number {s} is a placeholder that many devices share")))
        }
        Some(s) => match DeviceId::new(&profile.id, s.as_str()) {
            Some(id) => (Some(id), None),
            None => (None, Some(format!("serial number {s} cannot be used as an identifier"))),
        },
    };
    Ok(Identity { profile: profile.id.clone(), id, serial, udi, hardware, firmware: None, unusable })
}

// The first source that gives anything counts, even a placeholder: it must not be skipped for a weaker one.
async fn serial(sources: &[ReadFrom], source: &mut dyn Source) -> Result<Option<DeviceText>, DriverError> {
    for from in sources {
        if let Some(text) = text(Some(from), source).await?
            && !text.is_blank()
        {
            return Ok(Some(text));
        }
    }
    Ok(None)
}

/// Reads a value as text; `None` where there is no source or no value.
pub(crate) async fn text(from: Option<&ReadFrom>, source: &mut dyn Source) -> Result<Option<DeviceText>, DriverError> {
    let Some(from) = from else { return Ok(None) };
    Ok(source.read(from).await?.ok().map(|value| match value {
        Value::Text(text) => text,
        other => DeviceText::new(&other.to_string()),
    }))
}

/// Reads whether a device may be touched.
pub(crate) async fn readiness(profile: &Profile, source: &mut dyn Source) -> Result<Readiness, DriverError> {
    let conditions = &profile.readiness;
    Ok(Readiness {
        therapy: sense_declared(conditions.therapy_idle.as_ref(), source).await?,
        alarm: sense_declared(conditions.no_alarm.as_ref(), source).await?,
        power: power(profile, source).await?,
    })
}

/// Runs the profile's checks.
pub(crate) async fn checks(profile: &Profile, source: &mut dyn Source) -> Result<Vec<CheckResult>, DriverError> {
    let mut results = Vec::new();
    for check in &profile.checks {
        let condition = Condition { read: check.read.clone(), expect: check.expect.clone() };
        results.push(CheckResult { check: check.id.clone(), sensed: sense(&condition, source).await? });
    }
    Ok(results)
}

async fn sense(condition: &Condition, source: &mut dyn Source) -> Result<Sensed, DriverError> {
    Ok(match source.read(&condition.read).await? {
        Err(why) => Sensed::Unreadable(format!("{}: {why}", condition.read)),
        Ok(value) => match passes(&condition.expect, &value) {
            Some(true) => Sensed::Safe(format!("{} reads {value}", condition.read)),
            Some(false) => Sensed::Unsafe(format!("{} reads {value}, expected {}", condition.read, condition.expect)),
            None => Sensed::Unreadable(format!("{} reads {value}, which cannot be judged", condition.read)),
        },
    })
}

async fn sense_declared(condition: Option<&Condition>, source: &mut dyn Source) -> Result<Sensed, DriverError> {
    match condition {
        Some(condition) => sense(condition, source).await,
        None => Ok(Sensed::Unreadable("the profile names no reading".into())),
    }
}

// Mains or enough battery: one that passes is enough, one that fails counts only when the other does not pass.
async fn power(profile: &Profile, source: &mut dyn Source) -> Result<Sensed, DriverError> {
    let mains = sense_declared(profile.readiness.mains.as_ref(), source).await?;
    if matches!(mains, Sensed::Safe(_)) {
        return Ok(mains);
    }
    let battery = sense_declared(profile.readiness.battery.as_ref(), source).await?;
    Ok(match (mains, battery) {
        (_, safe @ Sensed::Safe(_)) => safe,
        (Sensed::Unsafe(a), Sensed::Unsafe(b)) => Sensed::Unsafe(format!("{a}; {b}")),
        (not_safe @ Sensed::Unsafe(_), _) | (_, not_safe) => not_safe,
    })
}
