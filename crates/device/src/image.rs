//! Firmware images as the device reports them, in MCUboot's words.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::text::DeviceText;

/// Number of an image on a device with several (MCUboot "image"); most have only 0.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct ImageId(pub u8);

/// The hash by which MCUboot names an image: the SHA-256 (or longer) TLV, not the hash of the file. Written in hex.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(into = "String", try_from = "String")]
pub struct ImageHash(Vec<u8>);

impl ImageHash {
    /// Takes 32, 48 or 64 bytes, the lengths that MCUboot knows.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        matches!(bytes.len(), 32 | 48 | 64).then(|| Self(bytes.to_vec()))
    }

    /// Returns the bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the first eight hex digits, for people.
    pub fn short(&self) -> String {
        self.to_string().chars().take(8).collect()
    }
}

impl fmt::Display for ImageHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for ImageHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ImageHash({self})")
    }
}

impl From<ImageHash> for String {
    fn from(hash: ImageHash) -> Self {
        hash.to_string()
    }
}

/// Text that is not an image hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an image hash: expected 64, 96 or 128 hex digits")]
pub struct NotAnImageHash;

impl FromStr for ImageHash {
    type Err = NotAnImageHash;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        if !s.is_ascii() || !s.len().is_multiple_of(2) {
            return Err(NotAnImageHash);
        }
        let bytes: Option<Vec<u8>> =
            (0..s.len() / 2).map(|i| s.get(2 * i..2 * i + 2).and_then(|h| u8::from_str_radix(h, 16).ok())).collect();
        bytes.as_deref().and_then(Self::new).ok_or(NotAnImageHash)
    }
}

impl TryFrom<String> for ImageHash {
    type Error = NotAnImageHash;

    fn try_from(s: String) -> Result<Self, Self::Error> {
        s.parse()
    }
}

/// How a firmware version is written and compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum VersionScheme {
    /// `major.minor.revision[.build]`, build counted (imgtool writes `+build`).
    Mcuboot,
    /// Semantic Versioning 2.0; build metadata is not compared.
    Semver,
    /// Dotted numbers of any length; missing ones count as zero.
    Dotted,
    /// Cannot be compared, only held equal.
    Opaque,
}

/// A firmware version in its scheme. Two versions that cannot be compared block a patch.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FirmwareVersion {
    /// How to read `text`.
    pub scheme: VersionScheme,
    /// The version as reported.
    pub text: DeviceText,
}

impl FirmwareVersion {
    /// Pairs a text with its scheme.
    pub fn new(scheme: VersionScheme, text: &str) -> Self {
        Self { scheme, text: DeviceText::new(text) }
    }

    /// Compares two versions; `None` where the schemes differ or either text does not fit its scheme.
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        if self.scheme != other.scheme {
            return None;
        }
        let (a, b) = (self.text.as_str(), other.text.as_str());
        match self.scheme {
            VersionScheme::Mcuboot => Some(mcuboot_parts(a)?.cmp(&mcuboot_parts(b)?)),
            VersionScheme::Semver => {
                Some(semver::Version::parse(a).ok()?.cmp_precedence(&semver::Version::parse(b).ok()?))
            }
            VersionScheme::Dotted => {
                let (mut a, mut b) = (dotted_parts(a)?, dotted_parts(b)?);
                let longest = a.len().max(b.len());
                a.resize(longest, 0);
                b.resize(longest, 0);
                Some(a.cmp(&b))
            }
            VersionScheme::Opaque => (a == b).then_some(Ordering::Equal),
        }
    }
}

impl fmt::Display for FirmwareVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

// The device prints "1.2.3.4" (build after a dot) where imgtool takes "1.2.3+4".
fn mcuboot_parts(text: &str) -> Option<[u64; 4]> {
    let mut parts = [0; 4];
    let pieces: Vec<&str> = text.split(['.', '+']).collect();
    if !(1..=4).contains(&pieces.len()) {
        return None;
    }
    for (part, piece) in parts.iter_mut().zip(pieces) {
        *part = number(piece)?;
    }
    Some(parts)
}

fn dotted_parts(text: &str) -> Option<Vec<u64>> {
    text.split('.').map(number).collect()
}

fn number(piece: &str) -> Option<u64> {
    piece.chars().all(|c| c.is_ascii_digit()).then(|| piece.parse().ok()).flatten()
}

/// One slot as the device's image list shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct SlotState {
    /// Image that the slot belongs to.
    pub image: ImageId,
    /// Slot number within the image: 0 runs, 1 is spare (swap bootloaders).
    pub slot: u8,
    /// Version as reported.
    pub version: DeviceText,
    /// Hash TLV; some devices report none for a broken image.
    pub hash: Option<ImageHash>,
    /// The bootloader may start it.
    pub bootable: bool,
    /// It is to be started at the next restart.
    pub pending: bool,
    /// It will keep running after further restarts.
    pub confirmed: bool,
    /// It runs now.
    pub active: bool,
    /// Pending for good, not only for a test.
    pub permanent: bool,
}

/// What the bootloader does with a new image. [`BootMode::has_revert`] decides whether a patch may be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BootMode {
    /// One slot only.
    SingleSlot,
    /// Swaps the slots with a scratch area; can revert.
    SwapUsingScratch,
    /// Swaps the slots by moving sectors; can revert.
    SwapUsingMove,
    /// Swaps the slots with an offset; can revert.
    SwapUsingOffset,
    /// Overwrites the running slot; no way back.
    OverwriteOnly,
    /// Runs either slot in place, highest version wins; no way back.
    DirectXip,
    /// Runs either slot in place and goes back when not confirmed.
    DirectXipWithRevert,
    /// Loads the image to RAM; no way back.
    RamLoad,
    /// The firmware loader decides; no way back known.
    FirmwareLoader,
    /// Not known; counts as no way back.
    Unknown,
}

impl BootMode {
    /// Returns whether an unconfirmed image is undone by a restart.
    pub fn has_revert(self) -> bool {
        match self {
            Self::SwapUsingScratch | Self::SwapUsingMove | Self::SwapUsingOffset | Self::DirectXipWithRevert => true,
            Self::SingleSlot
            | Self::OverwriteOnly
            | Self::DirectXip
            | Self::RamLoad
            | Self::FirmwareLoader
            | Self::Unknown => false,
        }
    }
}

/// What is known of the bootloader, asked from it or declared by the profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Bootloader {
    /// Name as reported, such as `MCUboot`.
    pub name: Option<DeviceText>,
    /// What it does with a new image.
    pub mode: BootMode,
    /// It refuses an older version; `None` when not known.
    pub downgrade_prevention: Option<bool>,
    /// `mode` was read from the device, not taken from the profile.
    pub measured: bool,
}

/// All slots and the bootloader, read together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Images {
    /// Slots in the order of the device's list.
    pub slots: Vec<SlotState>,
    /// The bootloader.
    pub bootloader: Bootloader,
}

impl Images {
    /// Returns the slot that runs.
    pub fn active(&self, image: ImageId) -> Option<&SlotState> {
        self.slots.iter().find(|s| s.image == image && s.active)
    }

    /// Returns the slot that does not run.
    pub fn spare(&self, image: ImageId) -> Option<&SlotState> {
        self.slots.iter().find(|s| s.image == image && !s.active)
    }

    /// Returns how many different images the device lists.
    pub fn count(&self) -> usize {
        self.slots.iter().map(|s| s.image).collect::<std::collections::BTreeSet<_>>().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn compare(scheme: VersionScheme, a: &str, b: &str) -> Option<Ordering> {
        FirmwareVersion::new(scheme, a).compare(&FirmwareVersion::new(scheme, b))
    }

    #[test]
    fn versions_compare_in_their_own_scheme() {
        use VersionScheme::{Dotted, Mcuboot, Opaque, Semver};
        assert_eq!(compare(Mcuboot, "1.2.3.4", "1.2.3+5"), Some(Ordering::Less));
        assert_eq!(compare(Mcuboot, "1.10.0", "1.9.0"), Some(Ordering::Greater));
        assert_eq!(compare(Mcuboot, "1.2.3-rc1", "1.2.3"), None);
        assert_eq!(compare(Semver, "1.2.3-rc1", "1.2.3"), Some(Ordering::Less));
        assert_eq!(compare(Semver, "1.2", "1.2.3"), None);
        assert_eq!(compare(Dotted, "2.3", "2.3.0.0"), Some(Ordering::Equal));
        assert_eq!(compare(Opaque, "A", "B"), None);
        assert_eq!(compare(Opaque, "A", "A"), Some(Ordering::Equal));
    }

    #[test]
    fn versions_of_different_schemes_do_not_compare() {
        let a = FirmwareVersion::new(VersionScheme::Semver, "1.2.3");
        assert_eq!(a.compare(&FirmwareVersion::new(VersionScheme::Dotted, "1.2.3")), None);
    }

    #[test]
    fn only_swap_and_reverting_xip_have_a_way_back() {
        assert!(BootMode::SwapUsingMove.has_revert() && BootMode::DirectXipWithRevert.has_revert());
        assert!(
            !BootMode::OverwriteOnly.has_revert()
                && !BootMode::DirectXip.has_revert()
                && !BootMode::Unknown.has_revert()
        );
    }

    proptest! {
        #[test]
        fn comparing_never_panics_and_is_antisymmetric(a in ".{0,20}", b in ".{0,20}") {
            for scheme in [VersionScheme::Mcuboot, VersionScheme::Semver, VersionScheme::Dotted, VersionScheme::Opaque] {
                prop_assert_eq!(compare(scheme, &a, &b), compare(scheme, &b, &a).map(Ordering::reverse));
            }
        }

        #[test]
        fn an_image_hash_survives_hex(bytes in proptest::collection::vec(any::<u8>(), 32)) {
            let hash = ImageHash::new(&bytes).unwrap();
            prop_assert_eq!(hash.to_string().parse::<ImageHash>().unwrap(), hash);
        }
    }
}
