//! DSSE envelopes (secure-systems-lab "Dead Simple Signing Envelope" v1) with ed25519 signatures.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::pkcs8::DecodePublicKey as _;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Signed bytes and what kind they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    /// Media type of the payload.
    pub payload_type: String,
    /// Payload in standard Base64.
    pub payload: String,
    /// At least one.
    pub signatures: Vec<EnvelopeSignature>,
}

/// One signature of an envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvelopeSignature {
    /// Hint which key; not trusted.
    #[serde(default)]
    pub keyid: String,
    /// Signature in standard Base64.
    pub sig: String,
}

/// A key that may sign, enrolled under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignerKey {
    /// Name given at enrolment.
    pub name: String,
    key: VerifyingKey,
}

/// An envelope that cannot be accepted, or a key that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The text is not an envelope.
    #[error("not a DSSE envelope: {0}")]
    Malformed(String),
    /// It holds another kind of payload.
    #[error("envelope holds {found}, expected {expected}")]
    PayloadType {
        /// The expected media type.
        expected: String,
        /// The one found.
        found: String,
    },
    /// No signature verifies with an enrolled key.
    #[error("no signature of an enrolled key verifies")]
    Untrusted,
    /// The text is not an ed25519 public key.
    #[error("not an ed25519 public key: expected PEM (SubjectPublicKeyInfo) or 64 hex digits")]
    NotAKey,
}

impl SignerKey {
    /// Reads a public key: PEM (SubjectPublicKeyInfo) or 64 hex digits.
    pub fn parse(name: &str, text: &str) -> Result<Self, EnvelopeError> {
        let text = text.trim();
        let key = if text.starts_with("-----BEGIN") {
            VerifyingKey::from_public_key_pem(text).ok()
        } else {
            hex32(text).and_then(|raw| VerifyingKey::from_bytes(&raw).ok())
        };
        key.filter(|k| !k.is_weak()).map(|key| Self { name: name.into(), key }).ok_or(EnvelopeError::NotAKey)
    }

    /// Returns the public key in hex.
    pub fn hex(&self) -> String {
        hex(self.key.as_bytes())
    }

    /// Returns the key id: SHA-256 of the raw public key, in hex.
    pub fn id(&self) -> String {
        key_id(&self.key)
    }
}

fn key_id(key: &VerifyingKey) -> String {
    hex(&Sha256::digest(key.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn hex32(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut out = [0; 32];
    for (i, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    Some(out)
}

impl Envelope {
    /// Signs a payload.
    pub fn sign(payload_type: &str, payload: &[u8], key: &SigningKey) -> Self {
        let signature = key.sign(&pre_authentication_encoding(payload_type, payload));
        Self {
            payload_type: payload_type.into(),
            payload: STANDARD.encode(payload),
            signatures: vec![EnvelopeSignature {
                keyid: key_id(&key.verifying_key()),
                sig: STANDARD.encode(signature.to_bytes()),
            }],
        }
    }

    /// Returns the payload and the names of all enrolled keys whose signature verifies; at least one must.
    pub fn verify(&self, payload_type: &str, keys: &[SignerKey]) -> Result<(Vec<u8>, Vec<String>), EnvelopeError> {
        if self.payload_type != payload_type {
            return Err(EnvelopeError::PayloadType { expected: payload_type.into(), found: self.payload_type.clone() });
        }
        let payload = STANDARD.decode(&self.payload).map_err(|e| EnvelopeError::Malformed(e.to_string()))?;
        let message = pre_authentication_encoding(payload_type, &payload);
        let signatures: Vec<Signature> = self
            .signatures
            .iter()
            .filter_map(|s| STANDARD.decode(&s.sig).ok())
            .filter_map(|raw| Signature::from_slice(&raw).ok())
            .collect();
        let signed = |key: &&SignerKey| signatures.iter().any(|s| key.key.verify_strict(&message, s).is_ok());
        let names: Vec<String> = keys.iter().filter(signed).map(|k| k.name.clone()).collect();
        if names.is_empty() { Err(EnvelopeError::Untrusted) } else { Ok((payload, names)) }
    }
}

// "DSSEv1" SP LEN(type) SP type SP LEN(body) SP body
fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    out.extend_from_slice(payload);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> (SigningKey, SignerKey) {
        let secret = SigningKey::from_bytes(&[seed; 32]);
        let public = SignerKey::parse("approver", &hex(secret.verifying_key().as_bytes())).unwrap();
        (secret, public)
    }

    #[test]
    fn the_encoding_is_the_one_of_the_specification() {
        // The example of the DSSE protocol document.
        let got = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world");
        assert_eq!(got, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }

    #[test]
    fn only_enrolled_keys_and_the_exact_bytes_verify() {
        let (secret, public) = key(1);
        let (_, other) = key(2);
        let envelope = Envelope::sign("t", b"body", &secret);
        assert_eq!(
            envelope.verify("t", &[other.clone(), public.clone()]).unwrap(),
            (b"body".to_vec(), vec!["approver".into()])
        );
        assert_eq!(envelope.verify("t", &[other]), Err(EnvelopeError::Untrusted));
        let changed = Envelope { payload: STANDARD.encode(b"Body"), ..envelope.clone() };
        assert_eq!(changed.verify("t", std::slice::from_ref(&public)), Err(EnvelopeError::Untrusted));
        assert!(matches!(envelope.verify("u", &[public]), Err(EnvelopeError::PayloadType { .. })));
    }

    #[test]
    fn a_weak_or_misspelt_key_is_no_key() {
        for text in ["", "zz", &"00".repeat(32), &"é".repeat(32)] {
            assert_eq!(SignerKey::parse("x", text), Err(EnvelopeError::NotAKey), "{text}");
        }
    }
}
