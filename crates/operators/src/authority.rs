//! [`Authority`]: the value that says who allowed a change. Nothing changes a device without one.

use aseptic_device::{DeviceId, ImageHash, SettingKey, Value};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::attestation::{Attestation, Person, Role};
use crate::order::{SignedOrder, Window};

/// What is to be changed, as far as somebody must allow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The device.
    pub device: DeviceId,
    /// Image to be installed or gone back to.
    pub image: Option<ImageHash>,
    /// Settings to be written.
    pub settings: Vec<(SettingKey, Value)>,
}

/// Proof that somebody allowed a scope now. Only the checks below make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    source: AuthoritySource,
    device: DeviceId,
    attestations: Vec<Attestation>,
}

/// Where an authority came from; kept in the journal and shown in reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum AuthoritySource {
    /// A person at a terminal typed a name and the last four of the serial number. Nobody checked the name.
    #[serde(rename_all = "kebab-case")]
    Terminal {
        /// The typed name.
        person: Person,
        /// Always false until operators can sign in.
        authenticated: bool,
    },
    /// A signed work order.
    #[serde(rename_all = "kebab-case")]
    Order {
        /// Order id.
        id: String,
        /// SHA-256 of the signed payload.
        digest: String,
        /// Names of the keys that signed.
        signers: Vec<String>,
        /// Who allowed it.
        approvers: Vec<Person>,
        /// When it may be used.
        window: Window,
    },
}

impl AuthoritySource {
    /// Returns a short name for lists.
    pub fn actor(&self) -> String {
        match self {
            Self::Terminal { person, .. } => format!("{} (unauthenticated)", person.name),
            Self::Order { id, signers, .. } => format!("order {id} signed by {}", signers.join(", ")),
        }
    }
}

/// Why there is no authority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// No name was typed.
    #[error("no name was given")]
    NoName,
    /// The typed characters are not the end of this device's serial number.
    #[error("the last four characters of the serial number do not match {0}")]
    LastFour(DeviceId),
    /// The order does not name the device.
    #[error("the work order does not name {0}")]
    NotInOrder(DeviceId),
    /// The order is for another time.
    #[error("the work order is for {from} to {until}; it is {now}")]
    OutsideWindow {
        /// First moment.
        from: Timestamp,
        /// First moment after it.
        until: Timestamp,
        /// Now.
        now: Timestamp,
    },
    /// The order allows another image, or none.
    #[error("the work order does not allow this image on {0}")]
    Image(DeviceId),
    /// The order does not allow a setting to be written so.
    #[error("the work order does not allow {key} = {to} on {device}")]
    Setting {
        /// The device.
        device: DeviceId,
        /// The setting.
        key: SettingKey,
        /// The planned value.
        to: Value,
    },
}

impl Authority {
    /// Takes the word of a person at a terminal: a name and the last four characters of the serial number.
    pub fn from_terminal(scope: &Scope, name: &str, last_four: &str) -> Result<Self, AuthorityError> {
        if name.trim().is_empty() {
            return Err(AuthorityError::NoName);
        }
        if last_four.trim() != scope.device.last_four() {
            return Err(AuthorityError::LastFour(scope.device.clone()));
        }
        let person = Person { name: name.trim().into(), role: Role::Technician };
        Ok(Self {
            source: AuthoritySource::Terminal { person, authenticated: false },
            device: scope.device.clone(),
            attestations: Vec::new(),
        })
    }

    /// Takes a signed order: the whole scope must be allowed in it, and `now` must be in its window.
    pub fn from_order(scope: &Scope, signed: &SignedOrder, now: Timestamp) -> Result<Self, AuthorityError> {
        let order = signed.order();
        let Window { from, until } = order.window;
        if now < from || now >= until {
            return Err(AuthorityError::OutsideWindow { from, until, now });
        }
        let device = &scope.device;
        let allowed = signed.device(device).ok_or_else(|| AuthorityError::NotInOrder(device.clone()))?;
        if scope.image.is_some() && scope.image != allowed.image {
            return Err(AuthorityError::Image(device.clone()));
        }
        for (key, to) in &scope.settings {
            if !allowed.settings.iter().any(|s| &s.key == key && &s.to == to) {
                return Err(AuthorityError::Setting { device: device.clone(), key: key.clone(), to: to.clone() });
            }
        }
        Ok(Self {
            source: AuthoritySource::Order {
                id: order.id.clone(),
                digest: signed.digest().into(),
                signers: signed.signers().to_vec(),
                approvers: order.approvers.clone(),
                window: order.window,
            },
            device: device.clone(),
            attestations: allowed.attestations.clone(),
        })
    }

    /// Returns where it came from.
    pub fn source(&self) -> &AuthoritySource {
        &self.source
    }

    /// Returns the device that it is for.
    pub fn device(&self) -> &DeviceId {
        &self.device
    }

    /// Returns what the order's people vouch for on this device.
    pub fn attestations(&self) -> &[Attestation] {
        &self.attestations
    }

    /// Returns the window of an order; a person at the terminal has none.
    pub fn window(&self) -> Option<Window> {
        match &self.source {
            AuthoritySource::Order { window, .. } => Some(*window),
            AuthoritySource::Terminal { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dsse::{Envelope, SignerKey};
    use crate::order::{Limits, Order, OrderDevice, OrderError, OrderedSetting, PAYLOAD_TYPE, SCHEMA};
    use ed25519_dalek::SigningKey;

    fn at(s: &str) -> Timestamp {
        s.parse().unwrap()
    }

    fn order() -> Order {
        Order {
            schema: SCHEMA.into(),
            id: "WO-1".into(),
            hospital: "aa".into(),
            issued: at("2026-11-24T00:00:00Z"),
            window: Window { from: at("2026-11-24T01:00:00Z"), until: at("2026-11-24T06:00:00Z") },
            approvers: vec![Person { name: "A. Approver".into(), role: Role::Approver }],
            devices: vec![OrderDevice {
                id: DeviceId::new("p", "SN-0042").unwrap(),
                image: ImageHash::new(&[1; 32]),
                settings: vec![OrderedSetting { key: "net/telnet".into(), to: Value::Bool(false) }],
                attestations: vec![],
            }],
            limits: Limits::default(),
            accept_stale: None,
        }
    }

    fn signed(order: &Order) -> SignedOrder {
        let secret = SigningKey::from_bytes(&[7; 32]);
        let hex: String = secret.verifying_key().as_bytes().iter().map(|b| format!("{b:02x}")).collect();
        let envelope = Envelope::sign(PAYLOAD_TYPE, &serde_json::to_vec(order).unwrap(), &secret);
        SignedOrder::verify(&serde_json::to_vec(&envelope).unwrap(), &[SignerKey::parse("k", &hex).unwrap()], "aa")
            .unwrap()
    }

    fn scope() -> Scope {
        Scope {
            device: DeviceId::new("p", "SN-0042").unwrap(),
            image: ImageHash::new(&[1; 32]),
            settings: vec![("net/telnet".into(), Value::Bool(false))],
        }
    }

    #[test]
    fn an_order_allows_exactly_what_it_says_when_it_says() {
        let signed = signed(&order());
        let noon = at("2026-11-24T02:00:00Z");
        assert!(Authority::from_order(&scope(), &signed, noon).is_ok());
        for now in ["2026-11-24T00:59:59Z", "2026-11-24T06:00:00Z"] {
            assert!(matches!(
                Authority::from_order(&scope(), &signed, at(now)),
                Err(AuthorityError::OutsideWindow { .. })
            ));
        }
        let mut other = scope();
        other.device = DeviceId::new("p", "SN-0043").unwrap();
        assert!(matches!(Authority::from_order(&other, &signed, noon), Err(AuthorityError::NotInOrder(_))));
        let mut other = scope();
        other.image = ImageHash::new(&[2; 32]);
        assert!(matches!(Authority::from_order(&other, &signed, noon), Err(AuthorityError::Image(_))));
        let mut other = scope();
        other.settings[0].1 = Value::Bool(true);
        assert!(matches!(Authority::from_order(&other, &signed, noon), Err(AuthorityError::Setting { .. })));
    }

    #[test]
    fn an_order_of_another_hospital_or_with_unknown_fields_is_refused() {
        let secret = SigningKey::from_bytes(&[7; 32]);
        let hex: String = secret.verifying_key().as_bytes().iter().map(|b| format!("{b:02x}")).collect();
        let keys = [SignerKey::parse("k", &hex).unwrap()];
        let seal = |value: &serde_json::Value| {
            serde_json::to_vec(&Envelope::sign(PAYLOAD_TYPE, &serde_json::to_vec(value).unwrap(), &secret)).unwrap()
        };
        let mut value = serde_json::to_value(order()).unwrap();
        assert!(matches!(SignedOrder::verify(&seal(&value), &keys, "bb"), Err(OrderError::OtherHospital)));
        value["force"] = true.into();
        assert!(matches!(SignedOrder::verify(&seal(&value), &keys, "aa"), Err(OrderError::Malformed(_))));
    }

    #[test]
    fn the_terminal_needs_a_name_and_the_last_four() {
        assert_eq!(Authority::from_terminal(&scope(), " ", "0042"), Err(AuthorityError::NoName));
        assert!(matches!(Authority::from_terminal(&scope(), "T. Tech", "0043"), Err(AuthorityError::LastFour(_))));
        let ok = Authority::from_terminal(&scope(), "T. Tech", "0042").unwrap();
        assert_eq!(ok.source().actor(), "T. Tech (unauthenticated)");
    }
}
