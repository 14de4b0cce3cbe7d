//! The laptop's own power, as far as the operating system tells.

use std::fs;
use std::path::Path;

use aseptic_device::driver::Sensed;

/// A laptop on battery needs at least this charge, in percent.
const ENOUGH: u8 = 30;

/// Reads whether the laptop will not lose power. Linux: `/sys/class/power_supply`.
pub fn laptop_power() -> Sensed {
    power_from(Path::new("/sys/class/power_supply"))
}

fn power_from(supplies: &Path) -> Sensed {
    let Ok(entries) = fs::read_dir(supplies) else {
        return Sensed::Unreadable("this system does not tell the laptop's power".into());
    };
    let mut battery = None;
    for supply in entries.flatten() {
        let read = |name: &str| fs::read_to_string(supply.path().join(name)).ok().map(|s| s.trim().to_owned());
        match read("type").as_deref() {
            Some("Mains" | "USB") if read("online").as_deref() == Some("1") => {
                return Sensed::Safe("laptop on mains".into());
            }
            Some("Battery") if read("scope").as_deref() != Some("Device") => {
                battery = read("capacity").and_then(|c| c.parse::<u8>().ok()).or(battery);
            }
            _ => {}
        }
    }
    match battery {
        Some(percent) if percent >= ENOUGH => Sensed::Safe(format!("laptop battery at {percent} %")),
        Some(percent) => Sensed::Unsafe(format!("laptop battery at {percent} %, at least {ENOUGH} % needed")),
        None => Sensed::Unreadable("this system does not tell the laptop's power".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn supplies(entries: &[(&str, &[(&str, &str)])]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, files) in entries {
            fs::create_dir(dir.path().join(name)).unwrap();
            for (file, text) in *files {
                fs::write(dir.path().join(name).join(file), text).unwrap();
            }
        }
        dir
    }

    #[test]
    fn mains_or_enough_battery_is_safe_and_silence_is_unreadable() {
        let mains = supplies(&[("AC", &[("type", "Mains\n"), ("online", "1\n")])]);
        assert!(matches!(power_from(mains.path()), Sensed::Safe(_)));
        let low = supplies(&[
            ("AC", &[("type", "Mains\n"), ("online", "0\n")]),
            ("BAT0", &[("type", "Battery\n"), ("capacity", "29\n")]),
        ]);
        assert!(matches!(power_from(low.path()), Sensed::Unsafe(_)));
        assert!(matches!(power_from(supplies(&[]).path()), Sensed::Unreadable(_)));
        let mouse = supplies(&[("hid", &[("type", "Battery\n"), ("scope", "Device\n"), ("capacity", "90\n")])]);
        assert!(matches!(power_from(mouse.path()), Sensed::Unreadable(_)));
    }
}
