//! MCUboot images: what they are, whether they are whole, and whose key signed them.
//!
//! Sources: MCUboot `docs/design.md` ("Image format") and imgtool. The signed region is header, payload and
//! protected TLVs; ed25519 signs its digest, or with the pure TLV the region itself.

use std::io;

use aseptic_device::{FirmwareVersion, ImageHash, ImageSource, VersionScheme};
use aws_lc_rs::digest::{Algorithm, Context, Digest, SHA256, SHA384, SHA512};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519, ParsedPublicKey, RSA_PSS_2048_8192_SHA256,
    UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const MAGIC: u32 = 0x96f3_b83d;
const TLV_MAGIC: u16 = 0x6907;
const PROTECTED_TLV_MAGIC: u16 = 0x6908;
const HEADER: usize = 32;
const ENCRYPTED: u32 = 0x4 | 0x8;
const PIECE: usize = 64 * 1024;
/// A pure signature needs the whole image in memory.
const LARGEST_PURE: u64 = 16 << 20;

mod tlv {
    pub const SHA256: u16 = 0x10;
    pub const SHA384: u16 = 0x11;
    pub const SHA512: u16 = 0x12;
    pub const RSA2048_PSS: u16 = 0x20;
    pub const ECDSA: u16 = 0x22;
    pub const RSA3072_PSS: u16 = 0x23;
    pub const ED25519: u16 = 0x24;
    pub const PURE: u16 = 0x25;
}

/// An image whose structure was read. Nothing is verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct McubootImage {
    /// Version from the header, `major.minor.revision[.build]` as devices show it.
    pub version: FirmwareVersion,
    /// The hash TLV: the name by which the device will know the image.
    pub hash: ImageHash,
    signed: u64,
    encrypted: bool,
    tlvs: Vec<(u16, Vec<u8>)>,
}

/// An image that cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub enum McubootError {
    /// The bytes could not be read.
    #[error("image cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is not an MCUboot image, or it is cut off.
    #[error("not a whole mcuboot image: {0}")]
    Malformed(&'static str),
    /// It was changed after it was made.
    #[error("image content does not match its own hash")]
    HashMismatch,
    /// None of the keys signed it.
    #[error("image is not signed by any of the maker's keys in the profile")]
    NotSigned,
    /// It is encrypted, so its content cannot be checked here.
    #[error("image is encrypted")]
    Encrypted,
}

impl McubootImage {
    /// Reads header and TLVs.
    pub fn read(source: &dyn ImageSource) -> Result<Self, McubootError> {
        let cut = McubootError::Malformed("it is cut off");
        let header: [u8; HEADER] = read_array(source, 0)?;
        let u32_at = |i: usize| header.get(i..i + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
        let u16_at = |i: usize| header.get(i..i + 2).and_then(|b| b.try_into().ok()).map(u16::from_le_bytes);
        if u32_at(0) != Some(MAGIC) {
            return Err(McubootError::Malformed("no mcuboot header"));
        }
        let (Some(header_size), Some(protected), Some(size), Some(flags)) =
            (u16_at(8), u16_at(10), u32_at(12), u32_at(16))
        else {
            return Err(cut);
        };
        if usize::from(header_size) < HEADER {
            return Err(McubootError::Malformed("the header is too short"));
        }
        let end = u64::from(header_size) + u64::from(size);
        let signed = end + u64::from(protected);
        let mut tlvs = Vec::new();
        if protected > 0 {
            let length = tlv_area(source, end, PROTECTED_TLV_MAGIC)?;
            if length != u64::from(protected) {
                return Err(McubootError::Malformed("the protected TLVs have another length than the header says"));
            }
            read_tlvs(source, end, length, &mut tlvs)?;
        }
        let length = tlv_area(source, signed, TLV_MAGIC)?;
        read_tlvs(source, signed, length, &mut tlvs)?;
        let hash = [tlv::SHA256, tlv::SHA384, tlv::SHA512]
            .into_iter()
            .find_map(|kind| find(&tlvs, kind))
            .and_then(ImageHash::new)
            .ok_or(McubootError::Malformed("it has no hash"))?;
        let (Some(&major), Some(&minor), Some(revision), Some(build)) =
            (header.get(20), header.get(21), u16_at(22), u32_at(24))
        else {
            return Err(cut);
        };
        let text = match build {
            0 => format!("{major}.{minor}.{revision}"),
            _ => format!("{major}.{minor}.{revision}.{build}"),
        };
        let version = FirmwareVersion::new(VersionScheme::Mcuboot, &text);
        Ok(Self { version, hash, signed, encrypted: flags & ENCRYPTED != 0, tlvs })
    }

    /// Checks the image against its own hash and the keys (SubjectPublicKeyInfo, PEM); one must have signed it.
    pub fn verify(&self, source: &dyn ImageSource, keys: &[String]) -> Result<(), McubootError> {
        if self.encrypted {
            return Err(McubootError::Encrypted);
        }
        let digest = self.digest(source)?;
        if digest.as_ref() != self.hash.as_bytes() {
            return Err(McubootError::HashMismatch);
        }
        let whole = if find(&self.tlvs, tlv::PURE).is_some() && self.signed <= LARGEST_PURE {
            let mut whole = vec![0; usize::try_from(self.signed).unwrap_or(0)];
            source.read_at(0, &mut whole)?;
            Some(whole)
        } else {
            None
        };
        let signed =
            keys.iter().filter_map(|pem| der(pem)).any(|key| self.is_signed_by(&key, &digest, whole.as_deref()));
        if signed { Ok(()) } else { Err(McubootError::NotSigned) }
    }

    fn digest(&self, source: &dyn ImageSource) -> Result<Digest, McubootError> {
        let algorithm: &'static Algorithm = match self.hash.as_bytes().len() {
            32 => &SHA256,
            48 => &SHA384,
            _ => &SHA512,
        };
        let mut context = Context::new(algorithm);
        let mut piece = vec![0; PIECE];
        let mut at = 0;
        while at < self.signed {
            let length = usize::try_from(self.signed - at).unwrap_or(PIECE).min(PIECE);
            let part = piece.get_mut(..length).ok_or(McubootError::Malformed("it is cut off"))?;
            source.read_at(at, part)?;
            context.update(part);
            at += length as u64;
        }
        Ok(context.finish())
    }

    fn is_signed_by(&self, key: &[u8], digest: &Digest, whole: Option<&[u8]>) -> bool {
        self.tlvs.iter().any(|(kind, signature)| match *kind {
            tlv::ED25519 => key.strip_prefix(ED25519_SPKI).is_some_and(|raw| {
                let message = whole.unwrap_or(digest.as_ref());
                UnparsedPublicKey::new(&ED25519, raw).verify(message, signature).is_ok()
            }),
            tlv::ECDSA if digest.algorithm() == &SHA384 => {
                UnparsedPublicKey::new(&ECDSA_P384_SHA384_ASN1, key).verify_digest(digest, signature).is_ok()
            }
            tlv::ECDSA => UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key).verify_digest(digest, signature).is_ok(),
            tlv::RSA2048_PSS | tlv::RSA3072_PSS => {
                UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, key).verify_digest(digest, signature).is_ok()
            }
            _ => false,
        })
    }
}

/// DER before the 32 bytes of an ed25519 key (RFC 8410).
const ED25519_SPKI: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";

fn der(pem: &str) -> Option<Vec<u8>> {
    let text: String = pem.lines().map(str::trim).filter(|l| !l.starts_with("-----")).collect();
    STANDARD.decode(text).ok()
}

/// Returns whether a text is a public key (SubjectPublicKeyInfo, PEM) of a kind with which images are signed.
pub fn is_signing_key(pem: &str) -> bool {
    let Some(key) = der(pem) else { return false };
    let kinds: [&'static dyn VerificationAlgorithm; 3] =
        [&ECDSA_P256_SHA256_ASN1, &ECDSA_P384_SHA384_ASN1, &RSA_PSS_2048_8192_SHA256];
    key.strip_prefix(ED25519_SPKI).is_some_and(|raw| raw.len() == 32)
        || kinds.iter().any(|kind| ParsedPublicKey::new(*kind, &key).is_ok())
}

fn find(tlvs: &[(u16, Vec<u8>)], kind: u16) -> Option<&[u8]> {
    tlvs.iter().find(|(k, _)| *k == kind).map(|(_, v)| v.as_slice())
}

fn read_array<const N: usize>(source: &dyn ImageSource, at: u64) -> Result<[u8; N], McubootError> {
    if at.checked_add(N as u64).is_none_or(|end| end > source.len()) {
        return Err(McubootError::Malformed("it is cut off"));
    }
    let mut bytes = [0; N];
    source.read_at(at, &mut bytes)?;
    Ok(bytes)
}

fn tlv_area(source: &dyn ImageSource, at: u64, magic: u16) -> Result<u64, McubootError> {
    let [m0, m1, l0, l1] = read_array(source, at)?;
    let length = u64::from(u16::from_le_bytes([l0, l1]));
    if u16::from_le_bytes([m0, m1]) != magic || length < 4 {
        return Err(McubootError::Malformed("no TLVs where they should be"));
    }
    if at + length > source.len() {
        return Err(McubootError::Malformed("it is cut off"));
    }
    Ok(length)
}

fn read_tlvs(
    source: &dyn ImageSource,
    at: u64,
    length: u64,
    into: &mut Vec<(u16, Vec<u8>)>,
) -> Result<(), McubootError> {
    let mut area = vec![0; usize::try_from(length.saturating_sub(4)).unwrap_or(0)];
    source.read_at(at + 4, &mut area)?;
    let mut rest = area.as_slice();
    while let Some(([k0, k1, l0, l1], tail)) = rest.split_first_chunk::<4>() {
        let length = usize::from(u16::from_le_bytes([*l0, *l1]));
        let (value, tail) =
            tail.split_at_checked(length).ok_or(McubootError::Malformed("a TLV is longer than its area"))?;
        into.push((u16::from_le_bytes([*k0, *k1]), value.to_vec()));
        rest = tail;
    }
    Ok(())
}

#[cfg(test)]
#[path = "mcuboot_tests.rs"]
mod tests;
