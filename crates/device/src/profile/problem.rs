//! Reading a profile file: what cannot be read, else all that does not fit together at once, each with its line.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use crate::setting::SettingClass;

use super::{Pairing, Profile, Protocol, ReadFrom, SCHEMA};

/// One problem of a profile file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileProblem {
    /// Line, counted from 1; 1 where the problem has no single place.
    pub line: usize,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for ProfileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

/// A profile that cannot be used, with the problems found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("profile cannot be used: {}", .problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct ProfileError {
    /// At least one.
    pub problems: Vec<ProfileProblem>,
}

pub(super) fn parse(text: &str) -> Result<Profile, ProfileError> {
    let profile: Profile = toml::from_str(text).map_err(|e| ProfileError {
        problems: vec![ProfileProblem { line: line_of(text, e.span()), message: e.message().to_owned() }],
    })?;
    let problems: Vec<_> = problems(&profile)
        .into_iter()
        .map(|(anchor, message)| ProfileProblem { line: find_line(text, &anchor), message })
        .collect();
    if problems.is_empty() { Ok(profile) } else { Err(ProfileError { problems }) }
}

fn line_of(text: &str, span: Option<Range<usize>>) -> usize {
    let end = span.map_or(0, |s| s.start);
    text.bytes().take(end).filter(|b| *b == b'\n').count() + 1
}

fn find_line(text: &str, anchor: &str) -> usize {
    text.lines().position(|l| l.contains(anchor)).map_or(1, |i| i + 1)
}

// Each problem with a text by which its line is found.
fn problems(p: &Profile) -> Vec<(String, String)> {
    let mut out: Vec<(String, String)> = Vec::new();
    let mut say = |anchor: &str, message: String| out.push((anchor.to_owned(), message));

    if p.schema != SCHEMA {
        say("schema", format!("schema must be \"{SCHEMA}\""));
    }
    if crate::identity::DeviceId::new(&p.id, "x").is_none() {
        say("id", "id must be lower-case letters, digits, '-' and '.'".into());
    }
    if p.vendor.trim().is_empty() || p.model.trim().is_empty() {
        say("vendor", "vendor and model must be filled".into());
    }
    if !p.simulated && p.timing.soak_s < 60 {
        say("soak-s", format!("soak-s is {} but at least 60 is needed outside a simulation", p.timing.soak_s));
    }
    if !p.simulated && p.timing.gate_span_s < 30 {
        say(
            "gate-span-s",
            format!("gate-span-s is {} but at least 30 is needed outside a simulation", p.timing.gate_span_s),
        );
    }
    for (name, seconds) in
        [("restart-s", p.timing.restart_s), ("answer-s", p.timing.answer_s), ("erase-s", p.timing.erase_s)]
    {
        if seconds == 0 || seconds > 3_600 {
            say(name, format!("{name} must be from 1 to 3600"));
        }
    }
    if p.firmware.images == 0 {
        say("images", "images must be at least 1".into());
    }
    let mut seen = BTreeSet::new();
    for s in &p.settings {
        let quoted = format!("\"{}\"", s.key);
        if !seen.insert(&s.key) {
            say(&quoted, format!("setting {} is listed twice", s.key));
        }
        if s.key.0.is_empty() || s.key.0.len() > 64 || !s.key.0.chars().all(|c| c.is_ascii_graphic()) {
            say(&quoted, "a setting's key must be 1 to 64 printable ASCII characters".into());
        }
        if s.writable && s.class != SettingClass::Security {
            say(&quoted, format!("setting {} is writable, but only class \"security\" may be written", s.key));
        }
    }
    for s in p.settings.iter().filter(|s| s.writable && s.secret) {
        say(&format!("\"{}\"", s.key), format!("setting {} is secret, and secrets are never written", s.key));
    }
    if p.protocol == Protocol::Gatt {
        let has = |what: &str| format!("{what}: Bluetooth SIG services have none, and such a device is never changed");
        if !p.settings.is_empty() {
            say("[[settings]]", has("protocol \"gatt\" lists settings"));
        }
        if !p.firmware.signing_keys.is_empty() {
            say("signing-keys", has("protocol \"gatt\" lists signing keys"));
        }
    }
    if p.radio.pairing != Pairing::None && p.ble.is_empty() {
        say("pairing", "pairing is declared, but no [[ble]] advertisement".into());
    }
    for hash in &p.radio.database_hashes {
        if hash.len() != 32 || !hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            say(&format!("\"{hash}\""), format!("database hash {hash} is not 32 digits of lower-case hex"));
        }
    }
    let mut checks = BTreeSet::new();
    for c in &p.checks {
        if !checks.insert(&c.id) {
            say(&format!("\"{}\"", c.id), format!("check {} is listed twice", c.id));
        }
    }
    let r = &p.readiness;
    let conditions = [&r.therapy_idle, &r.no_alarm, &r.mains, &r.battery];
    let sources = p
        .identity
        .serial
        .iter()
        .chain(&p.identity.udi)
        .chain(&p.identity.hardware)
        .chain(p.checks.iter().map(|c| &c.read))
        .chain(conditions.into_iter().flatten().map(|c| &c.read));
    for source in sources {
        let only_elsewhere = match source {
            ReadFrom::Setting(key) => Some(format!("\"{key}\"")),
            ReadFrom::OsInfo(_) => Some("os-info".into()),
            ReadFrom::Stat { .. } => Some("stat".into()),
            ReadFrom::UsbSerial => Some("usb-serial".into()),
            ReadFrom::Dis(_) | ReadFrom::Udi | ReadFrom::Battery | ReadFrom::InsulinDelivery => None,
        };
        if let Some(anchor) = only_elsewhere.filter(|_| p.protocol == Protocol::Gatt) {
            say(&anchor, format!("{source} cannot be read with protocol \"gatt\""));
        } else if let ReadFrom::Setting(key) = source
            && p.setting(key).is_none()
        {
            say(&format!("\"{key}\""), format!("setting {key} is read here but not listed under [[settings]]"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = r#"
schema = "aseptic.profile/1"
id = "acme-sp1"
vendor = "Acme"
model = "SP-1"
protocol = "smp"
[identity]
serial = [{ setting = "id/serial" }]
[firmware]
version-scheme = "mcuboot"
[[settings]]
key = "id/serial"
class = "status"
type = "text"
"#;

    #[test]
    fn a_sound_profile_loads() {
        assert_eq!(Profile::parse(GOOD).unwrap().id, "acme-sp1");
    }

    #[test]
    fn all_problems_are_told_at_once_with_their_lines() {
        let bad = GOOD
            .replace("acme-sp1", "Acme")
            .replace("[[settings]]\nkey = \"id/serial\"", "[timing]\nsoak-s = 3\n[[settings]]\nkey = \"x\"");
        let problems = Profile::parse(&bad).unwrap_err().problems;
        assert_eq!(problems.iter().map(|p| p.line).collect::<Vec<_>>(), [3, 12, 8], "{problems:?}");
    }

    #[test]
    fn a_misspelt_field_is_an_error_on_its_line() {
        let bad = GOOD.replace("vendor =", "vender =");
        assert_eq!(Profile::parse(&bad).unwrap_err().problems.first().unwrap().line, 4);
    }

    #[test]
    fn a_therapy_setting_cannot_be_writable() {
        let bad = GOOD.replace("class = \"status\"", "class = \"therapy\"\nwritable = true");
        assert!(Profile::parse(&bad).unwrap_err().to_string().contains("only class \"security\""));
    }

    #[test]
    fn a_secret_cannot_be_writable() {
        let bad = GOOD.replace("class = \"status\"", "class = \"security\"\nwritable = true\nsecret = true");
        assert!(Profile::parse(&bad).unwrap_err().to_string().contains("never written"));
    }

    #[test]
    fn a_short_soak_is_only_for_simulations() {
        let short = format!("{GOOD}[timing]\nsoak-s = 3\ngate-span-s = 1\n");
        assert!(Profile::parse(&short).is_err());
        assert!(Profile::parse(&short.replace("vendor =", "simulated = true\nvendor =")).is_ok());
    }

    const RADIO: &str = r#"
schema = "aseptic.profile/1"
id = "acme-ox"
vendor = "Acme"
model = "OX"
protocol = "gatt"
[[ble]]
service = "00001822-0000-1000-8000-00805f9b34fb"
[radio]
pairing = "passkey"
database-hashes = ["00112233445566778899aabbccddeeff"]
[identity]
serial = [{ dis = 0x2a25 }]
[firmware]
version-scheme = "dotted"
"#;

    fn first_problem(text: &str) -> (usize, String) {
        let problem = Profile::parse(text).unwrap_err().problems.remove(0);
        (problem.line, problem.message)
    }

    #[test]
    fn a_radio_profile_needs_no_port_and_cannot_ask_for_what_no_radio_service_tells() {
        Profile::parse(RADIO).unwrap();
        let setting = "[[settings]]\nkey = \"net/telnet\"\nclass = \"security\"\ntype = \"bool\"\n";
        let check = "[[checks]]\nid = \"a\"\ntitle = \"A\"\nread = { setting = \"b\" }\nexpect = { equals = true }\n";
        for (more, line, told) in [
            (setting, 16, "lists settings"),
            ("signing-keys = [\"x\"]\n", 16, "lists signing keys"),
            (check, 19, "setting b cannot be read"),
        ] {
            let (found, message) = first_problem(&format!("{RADIO}{more}"));
            assert!(found == line && message.contains(told), "line {found}: {message}");
        }
        let serial = RADIO.replace("{ dis = 0x2a25 }", "\"usb-serial\"");
        let (line, message) = first_problem(&serial);
        assert!(line == 13 && message.contains("USB serial number cannot be read"), "line {line}: {message}");
    }

    #[test]
    fn a_hash_that_is_none_and_pairing_without_a_radio_are_told() {
        let short = RADIO.replace("00112233445566778899aabbccddeeff", "0011");
        assert_eq!(first_problem(&short), (11, "database hash 0011 is not 32 digits of lower-case hex".into()));
        let wired = RADIO.replace("[[ble]]\nservice =", "[[match]]\nvid = 1\npid = 2\nproduct =");
        let (line, message) = first_problem(&wired);
        assert!(line == 12 && message.contains("no [[ble]]"), "line {line}: {message}");
    }

    proptest! {
        #[test]
        fn any_text_loads_or_is_refused_with_a_line(text in ".{0,300}", cut in 0usize..300) {
            for t in [text.as_str(), GOOD.get(..cut.min(GOOD.len())).unwrap_or("")] {
                if let Err(e) = Profile::parse(t) {
                    prop_assert!(!e.problems.is_empty() && e.problems.iter().all(|p| p.line >= 1));
                }
            }
        }
    }
}
