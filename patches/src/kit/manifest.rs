//! What a vendor says about one patch: the target `vendors/<vendor>/patches/<id>/patch.json`.

use aseptic_device::{FirmwareVersion, ImageHash, ImageId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The value of `schema` in a patch manifest.
pub const PATCH_SCHEMA: &str = "aseptic.patch/1";

/// One patch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PatchManifest {
    /// Always [`PATCH_SCHEMA`].
    pub schema: String,
    /// Patch id, the folder's name; unique in the kit.
    pub id: String,
    /// Vendor id, as in the path.
    pub vendor: String,
    /// One line for people.
    pub title: String,
    /// What it changes, for people.
    #[serde(default)]
    pub notes: String,
    /// Profiles of the models that it is for.
    pub profiles: Vec<String>,
    /// Hardware revisions that it is for; empty for any.
    #[serde(default)]
    pub hardware: Vec<String>,
    /// Versions that it may be installed over; empty for any older one.
    #[serde(default)]
    pub from: Vec<String>,
    /// Version that it installs.
    pub version: FirmwareVersion,
    /// The image.
    pub image: PatchImage,
    /// A signed rollback: it may go to an older version.
    #[serde(default)]
    pub rollback: bool,
    /// Advisories that it closes.
    #[serde(default)]
    pub advisories: Vec<String>,
    /// Minutes that it takes, as the vendor says.
    #[serde(default)]
    pub minutes: u32,
}

/// The image of a patch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PatchImage {
    /// File name in the patch's folder.
    pub file: String,
    /// Length in bytes.
    pub length: u64,
    /// SHA-256 of the file, hex.
    pub sha256: String,
    /// MCUboot hash of the image.
    pub hash: ImageHash,
    /// Image number on the device.
    #[serde(default)]
    pub number: ImageId,
}

impl PatchManifest {
    /// Returns what is wrong with the manifest itself, given where it was found.
    pub(super) fn problems(&self, vendor: &str, folder: &str) -> Vec<String> {
        let mut out = Vec::new();
        if self.schema != PATCH_SCHEMA {
            out.push(format!("schema must be \"{PATCH_SCHEMA}\""));
        }
        if self.vendor != vendor {
            out.push(format!("says vendor {} but lies under {vendor}", self.vendor));
        }
        if self.id != folder {
            out.push(format!("says id {} but lies in folder {folder}", self.id));
        }
        if self.profiles.is_empty() {
            out.push("is for no profile".into());
        }
        if self.version.compare(&self.version).is_none() {
            out.push(format!("version {} does not fit its scheme", self.version));
        }
        out
    }
}
