//! The bootloader of a simulated device: what MCUboot does with two slots, over power cuts.
//!
//! Sources: MCUboot `docs/design.md` (image format, swap, trailers) and imgtool.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use data_encoding::BASE64;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::power::PowerSwitch;

const IMAGE_MAGIC: u32 = 0x96f3_b83d;
const TLV_MAGIC: u16 = 0x6907;
const PROTECTED_TLV_MAGIC: u16 = 0x6908;
const TLV_SHA256: u16 = 0x10;
const SECTOR: usize = 4_096;
/// What erased flash reads.
const ERASED: u8 = 0xff;

/// What the bootloader does with a new image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Swaps the slots by moving sectors.
    #[default]
    SwapUsingMove,
    /// Swaps the slots with a scratch area.
    SwapUsingScratch,
    /// Overwrites the running slot.
    OverwriteOnly,
}

impl Mode {
    /// Returns Zephyr's number for it.
    pub(crate) fn number(self) -> u64 {
        match self {
            Self::SwapUsingScratch => 1,
            Self::OverwriteOnly => 2,
            Self::SwapUsingMove => 3,
        }
    }
}

/// A request to start the image in the spare slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pending {
    /// Once, then back unless confirmed.
    Test,
    /// For good.
    Permanent,
}

/// What survives a power cut.
#[derive(Debug, Clone, Default)]
pub struct Flash {
    /// Slot 0: the image that runs.
    pub primary: Vec<u8>,
    /// The running image is kept.
    pub confirmed: bool,
    /// Slot 1.
    pub secondary: Vec<u8>,
    /// The spare image is to be started.
    pub pending: Option<Pending>,
    // A swap that a power cut interrupted; the bootloader finishes it.
    pub(crate) swapping: Option<Swapping>,
}

/// A swap, and how many sectors have changed places: MCUboot's swap status.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Swapping {
    swap: Swap,
    sectors: usize,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Swap {
    Forward { permanent: bool },
    Back,
}

/// An image as the bootloader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Major, minor, revision, build.
    pub version: (u8, u8, u16, u32),
    /// SHA-256 TLV.
    pub hash: Vec<u8>,
    payload: std::ops::Range<usize>,
    signed: usize,
    tlvs: Vec<(u16, Vec<u8>)>,
}

impl Image {
    /// Reads header and TLVs; `None` where there is no whole image.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let u16_at = |i: usize| Some(u16::from_le_bytes(bytes.get(i..i + 2)?.try_into().ok()?));
        let u32_at = |i: usize| Some(u32::from_le_bytes(bytes.get(i..i + 4)?.try_into().ok()?));
        if u32_at(0)? != IMAGE_MAGIC {
            return None;
        }
        let header = usize::from(u16_at(8)?);
        let protected = usize::from(u16_at(10)?);
        let end = header.checked_add(usize::try_from(u32_at(12)?).ok()?)?;
        let version = (*bytes.get(20)?, *bytes.get(21)?, u16_at(22)?, u32_at(24)?);
        let signed = end.checked_add(protected)?;
        if protected > 0 && u16_at(end)? != PROTECTED_TLV_MAGIC {
            return None;
        }
        if u16_at(signed)? != TLV_MAGIC {
            return None;
        }
        let last = signed.checked_add(usize::from(u16_at(signed + 2)?))?;
        let mut tlvs = Vec::new();
        let mut at = signed + 4;
        while at + 4 <= last {
            let length = usize::from(u16_at(at + 2)?);
            tlvs.push((u16_at(at)?, bytes.get(at + 4..at + 4 + length)?.to_vec()));
            at += 4 + length;
        }
        let hash = tlvs.iter().find(|(t, _)| *t == TLV_SHA256).map(|(_, v)| v.clone())?;
        Some(Self { version, hash, payload: header..end, signed, tlvs })
    }

    /// Returns the version as Zephyr prints it.
    pub fn version_text(&self) -> String {
        let (major, minor, revision, build) = self.version;
        if build == 0 { format!("{major}.{minor}.{revision}") } else { format!("{major}.{minor}.{revision}.{build}") }
    }

    /// Returns the payload.
    pub fn payload<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.payload.clone()).unwrap_or_default()
    }

    /// Returns whether hash and signature are right for one of the keys (SubjectPublicKeyInfo, PEM).
    pub fn is_valid(&self, bytes: &[u8], keys: &[String]) -> bool {
        let Some(signed) = bytes.get(..self.signed) else { return false };
        let digest = Sha256::digest(signed);
        digest.as_slice() == self.hash && keys.iter().any(|pem| self.is_signed_by(signed, &digest, pem))
    }

    fn is_signed_by(&self, signed: &[u8], digest: &[u8], pem: &str) -> bool {
        let Some(key) = der_of(pem) else { return false };
        self.tlvs.iter().any(|(kind, signature)| match kind {
            0x24 => key.last_chunk::<32>().is_some_and(|raw| verify(&ED25519, raw, digest, signature)),
            0x22 => key.last_chunk::<65>().is_some_and(|raw| verify(&ECDSA_P256_SHA256_ASN1, raw, signed, signature)),
            // SubjectPublicKeyInfo of RSA: the PKCS#1 key stands behind 24 bytes of header and algorithm.
            0x20 | 0x23 => key.get(24..).is_some_and(|raw| verify(&RSA_PSS_2048_8192_SHA256, raw, signed, signature)),
            _ => false,
        })
    }
}

fn verify(algorithm: &'static dyn VerificationAlgorithm, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok()
}

fn der_of(pem: &str) -> Option<Vec<u8>> {
    let text: String = pem.lines().filter(|l| !l.starts_with("-----")).map(str::trim).collect();
    BASE64.decode(text.as_bytes()).ok()
}

/// What the bootloader is set to.
#[derive(Debug, Clone)]
pub struct Config {
    /// What it does with a new image.
    pub mode: Mode,
    /// It refuses older versions.
    pub no_downgrade: bool,
    /// Keys, SubjectPublicKeyInfo in PEM.
    pub keys: Vec<String>,
}

/// The power went while the bootloader worked.
#[derive(Debug, PartialEq, Eq)]
pub struct PowerLost;

impl Flash {
    /// Returns the image that runs, if it is whole and valid.
    pub fn running(&self, config: &Config) -> Option<Image> {
        Image::read(&self.primary).filter(|i| i.is_valid(&self.primary, &config.keys))
    }

    /// Does what MCUboot does at a start; returns whether slots were swapped or copied.
    pub fn boot(&mut self, config: &Config, power: &PowerSwitch) -> Result<bool, PowerLost> {
        if let Some(begun) = self.swapping {
            self.go_on_swapping(begun, power)?;
            return Ok(true);
        }
        if let Some(pending) = self.pending {
            if !self.may_start_spare(config) {
                self.write(power)?;
                self.secondary.clear();
                self.pending = None;
                return Ok(false);
            }
            if config.mode == Mode::OverwriteOnly {
                self.overwrite(power)?;
            } else {
                self.swap(Swap::Forward { permanent: pending == Pending::Permanent }, power)?;
            }
            return Ok(true);
        }
        let can_go_back = Image::read(&self.secondary).is_some_and(|i| i.is_valid(&self.secondary, &config.keys));
        if !self.confirmed && can_go_back && config.mode != Mode::OverwriteOnly {
            self.swap(Swap::Back, power)?;
            return Ok(true);
        }
        Ok(false)
    }

    fn may_start_spare(&self, config: &Config) -> bool {
        let Some(new) = Image::read(&self.secondary) else { return false };
        let newer = Image::read(&self.primary).is_none_or(|old| new.version >= old.version);
        new.is_valid(&self.secondary, &config.keys) && (newer || !config.no_downgrade)
    }

    // Sector by sector; a cut leaves a mix in the slots that the next start finishes.
    fn swap(&mut self, swap: Swap, power: &PowerSwitch) -> Result<(), PowerLost> {
        self.write(power)?;
        let length = self.primary.len().max(self.secondary.len()).next_multiple_of(SECTOR);
        self.primary.resize(length, ERASED);
        self.secondary.resize(length, ERASED);
        self.go_on_swapping(Swapping { swap, sectors: 0 }, power)
    }

    fn go_on_swapping(&mut self, begun: Swapping, power: &PowerSwitch) -> Result<(), PowerLost> {
        self.swapping = Some(begun);
        let ours = self.primary.chunks_mut(SECTOR).zip(self.secondary.chunks_mut(SECTOR)).skip(begun.sectors);
        for (i, (a, b)) in ours.enumerate() {
            if power.tick() {
                return Err(PowerLost);
            }
            a.swap_with_slice(b);
            self.swapping = Some(Swapping { sectors: begun.sectors + i + 1, ..begun });
        }
        self.write(power)?;
        self.confirmed = match begun.swap {
            Swap::Forward { permanent } => permanent,
            Swap::Back => true,
        };
        self.pending = None;
        self.swapping = None;
        Ok(())
    }

    // A cut leaves a mix in the running slot; the spare one is still whole and pending, so the next start begins anew.
    fn overwrite(&mut self, power: &PowerSwitch) -> Result<(), PowerLost> {
        let new = self.secondary.clone();
        self.primary.resize(new.len(), ERASED);
        for (to, from) in self.primary.chunks_mut(SECTOR).zip(new.chunks(SECTOR)) {
            if power.tick() {
                return Err(PowerLost);
            }
            to.copy_from_slice(from);
        }
        self.write(power)?;
        self.secondary.clear();
        self.confirmed = true;
        self.pending = None;
        Ok(())
    }

    /// Counts a lasting write.
    #[expect(clippy::unused_self, reason = "the write belongs to this flash")]
    pub(crate) fn write(&self, power: &PowerSwitch) -> Result<(), PowerLost> {
        if power.tick() { Err(PowerLost) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firmware::{Behaviour, build};
    use crate::{TRAINING_KEY_PRIVATE, TRAINING_KEY_PUBLIC};

    fn image(minor: u8) -> Vec<u8> {
        build((1, minor, 0, 0), Behaviour::Runs, 20_000 + usize::from(minor) * 3_000, TRAINING_KEY_PRIVATE).unwrap()
    }

    fn config(mode: Mode) -> Config {
        Config { mode, no_downgrade: false, keys: vec![TRAINING_KEY_PUBLIC.into()] }
    }

    // Starts until the bootloader gets through, the power going once at the given write.
    fn boots(flash: &mut Flash, config: &Config, cut_at: u64) -> bool {
        let power = PowerSwitch::default();
        power.cut_at(cut_at, std::time::Duration::ZERO);
        if flash.boot(config, &power).is_ok() {
            return false;
        }
        while flash.boot(config, &PowerSwitch::default()).is_err() {}
        true
    }

    #[test]
    fn a_swap_that_is_cut_anywhere_is_finished_by_the_next_start_and_goes_back_when_not_kept() {
        let config = config(Mode::SwapUsingMove);
        for cut_at in 1.. {
            let mut flash = Flash {
                primary: image(2),
                confirmed: true,
                secondary: image(3),
                pending: Some(Pending::Test),
                swapping: None,
            };
            let was_cut = boots(&mut flash, &config, cut_at);
            assert_eq!(flash.running(&config).unwrap().version, (1, 3, 0, 0), "cut at {cut_at}");
            boots(&mut flash, &config, cut_at);
            assert_eq!(flash.running(&config).unwrap().version, (1, 2, 0, 0), "cut at {cut_at}");
            assert!(flash.confirmed && flash.pending.is_none());
            if !was_cut {
                return;
            }
        }
    }

    #[test]
    fn an_overwrite_that_is_cut_leaves_a_mix_until_the_next_start() {
        let config = config(Mode::OverwriteOnly);
        let mut flash = Flash {
            primary: image(2),
            confirmed: true,
            secondary: image(3),
            pending: Some(Pending::Permanent),
            swapping: None,
        };
        let power = PowerSwitch::default();
        power.cut_at(3, std::time::Duration::ZERO);
        assert!(flash.boot(&config, &power).is_err());
        assert!(flash.running(&config).is_none(), "torn");
        flash.boot(&config, &PowerSwitch::default()).unwrap();
        assert_eq!(flash.running(&config).unwrap().version, (1, 3, 0, 0));
    }
}
