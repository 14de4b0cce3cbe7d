//! Training firmware: MCUboot images whose first line tells the simulation how they behave.
//!
//! The payload begins with one line of JSON, `{"aseptic-training":"runs"}`; what follows is filler.
//! An image without that line runs.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use data_encoding::BASE64;
use rand::{RngCore as _, SeedableRng as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// How a firmware behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Behaviour {
    /// It runs.
    #[default]
    Runs,
    /// It hangs until the watchdog restarts the device.
    NeverComesUp,
    /// It runs and its self-test fails.
    FailsSelfTest,
    /// It changes an alarm limit when it starts.
    ChangesAnAlarmLimit,
    /// It runs for a second, then hangs until the watchdog restarts the device.
    DiesDuringSoak,
}

#[derive(Serialize, Deserialize)]
struct Header {
    #[serde(rename = "aseptic-training")]
    behaviour: Behaviour,
}

/// Returns how the firmware with this payload behaves.
pub fn behaviour(payload: &[u8]) -> Behaviour {
    let line = payload.split(|b| *b == b'\n').next().unwrap_or_default();
    serde_json::from_slice::<Header>(line).map_or(Behaviour::Runs, |h| h.behaviour)
}

/// A key that is not one of the kinds that can sign here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an ed25519 or ecdsa p-256 private key (pkcs#8, pem)")]
pub struct NotASigningKey;

enum Signer {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
}

/// Makes a signed training image of about `size` bytes. `key`: PKCS#8 in PEM, ed25519 or ECDSA P-256.
pub fn build(
    version: (u8, u8, u16, u32),
    behaviour: Behaviour,
    size: usize,
    key: &str,
) -> Result<Vec<u8>, NotASigningKey> {
    let mut payload = serde_json::to_vec(&Header { behaviour }).map_err(|_| NotASigningKey)?;
    payload.push(b'\n');
    let mut filler = vec![0; size.saturating_sub(payload.len())];
    let seed = u64::from(version.0) << 48 | u64::from(version.1) << 32 | u64::from(version.2);
    rand::rngs::StdRng::seed_from_u64(seed).fill_bytes(&mut filler);
    payload.extend(filler);
    sign(version, &payload, key)
}

fn sign(version: (u8, u8, u16, u32), payload: &[u8], key: &str) -> Result<Vec<u8>, NotASigningKey> {
    const HEADER: u16 = 32;
    let text: String = key.lines().filter(|l| !l.starts_with("-----")).map(str::trim).collect();
    let der = BASE64.decode(text.as_bytes()).map_err(|_| NotASigningKey)?;
    let signer = match Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der) {
        Ok(pair) => Signer::Ed25519(pair),
        Err(_) => {
            Signer::P256(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &der).map_err(|_| NotASigningKey)?)
        }
    };
    let mut image = Vec::with_capacity(payload.len() + 256);
    image.extend(0x96f3_b83d_u32.to_le_bytes());
    image.extend(0u32.to_le_bytes());
    image.extend(HEADER.to_le_bytes());
    image.extend(0u16.to_le_bytes());
    image.extend(u32::try_from(payload.len()).map_err(|_| NotASigningKey)?.to_le_bytes());
    image.extend(0u32.to_le_bytes());
    image.extend([version.0, version.1]);
    image.extend(version.2.to_le_bytes());
    image.extend(version.3.to_le_bytes());
    image.extend(0u32.to_le_bytes());
    image.extend(payload);
    let digest = Sha256::digest(&image);
    let (kind, signature, public): (u16, Vec<u8>, Vec<u8>) = match &signer {
        Signer::Ed25519(pair) => {
            let mut spki = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00".to_vec();
            spki.extend(pair.public_key().as_ref());
            (0x24, pair.sign(&digest).as_ref().to_vec(), spki)
        }
        Signer::P256(pair) => {
            let mut spki = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00".to_vec();
            spki.extend(pair.public_key().as_ref());
            let signature = pair.sign(&SystemRandom::new(), &image).map_err(|_| NotASigningKey)?;
            (0x22, signature.as_ref().to_vec(), spki)
        }
    };
    let mut tlvs = Vec::new();
    for (kind, value) in [(0x10, digest.to_vec()), (0x01, Sha256::digest(public).to_vec()), (kind, signature)] {
        tlvs.extend(kind.to_le_bytes());
        tlvs.extend(u16::try_from(value.len()).unwrap_or(0).to_le_bytes());
        tlvs.extend(value);
    }
    image.extend(0x6907_u16.to_le_bytes());
    image.extend(u16::try_from(tlvs.len() + 4).unwrap_or(0).to_le_bytes());
    image.extend(tlvs);
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootloader::Image;
    use crate::{TRAINING_KEY_PRIVATE, TRAINING_KEY_PUBLIC};

    #[test]
    fn a_built_image_is_valid_and_tells_how_it_behaves() {
        let bytes = build((1, 3, 0, 0), Behaviour::FailsSelfTest, 5_000, TRAINING_KEY_PRIVATE).unwrap();
        let image = Image::read(&bytes).unwrap();
        assert_eq!(image.version_text(), "1.3.0");
        assert!(image.is_valid(&bytes, &[TRAINING_KEY_PUBLIC.into()]));
        assert_eq!(behaviour(image.payload(&bytes)), Behaviour::FailsSelfTest);
    }

    #[test]
    fn one_flipped_byte_makes_an_image_invalid() {
        let bytes = build((1, 3, 0, 0), Behaviour::Runs, 200, TRAINING_KEY_PRIVATE).unwrap();
        for at in (0..bytes.len()).step_by(7) {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            let valid = Image::read(&bad).is_some_and(|i| i.is_valid(&bad, &[TRAINING_KEY_PUBLIC.into()]));
            // The key hash TLV is a hint; everything else counts.
            let key_hash = bytes.len() - 64 - 4 - 32..bytes.len() - 64 - 4;
            assert!(
                !valid || key_hash.contains(&at) || (bytes.len() - 64 - 8 - 32..bytes.len() - 64 - 4).contains(&at),
                "byte {at}"
            );
        }
    }
}
