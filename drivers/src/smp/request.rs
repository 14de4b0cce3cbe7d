//! What may be asked of an SMP server, each request labelled with what it may do.

use aseptic_device::{ImageHash, ImageId, Intent};
use ciborium::Value;

use super::packet::{Op, map};

/// Group numbers (Zephyr `mgmt_group_id`).
pub mod group {
    /// Operating system.
    pub const OS: u16 = 0;
    /// Images.
    pub const IMAGE: u16 = 1;
    /// Statistics.
    pub const STAT: u16 = 2;
    /// Settings.
    pub const SETTINGS: u16 = 3;
}

/// One request. Only the constructors below make one, so that its label is always right.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    // What it is, for people.
    pub(super) name: String,
    pub(super) op: Op,
    pub(super) group: u16,
    pub(super) command: u8,
    pub(super) intent: Intent,
    // Sending it twice does what sending it once does.
    pub(super) repeatable: bool,
    // CBOR map.
    pub(super) body: Value,
}

impl Request {
    fn ask(name: impl Into<String>, group: u16, command: u8, body: Value) -> Self {
        Self { name: name.into(), op: Op::Read, group, command, intent: Intent::Read, repeatable: true, body }
    }

    fn tell(name: impl Into<String>, group: u16, command: u8, body: Value) -> Self {
        Self { name: name.into(), op: Op::Write, group, command, intent: Intent::Effect, repeatable: false, body }
    }

    /// Asks for text back. A write by its operation, without effect by its meaning.
    pub fn echo(text: &str) -> Self {
        Self { intent: Intent::Read, repeatable: true, ..Self::tell("echo", group::OS, 0, map([("d", text.into())])) }
    }

    pub(super) fn is_echo(&self) -> bool {
        (self.group, self.command) == (group::OS, 0)
    }

    /// Restarts the device.
    pub fn reset() -> Self {
        Self::tell("reset", group::OS, 5, map([]))
    }

    /// Asks for date and time.
    pub fn datetime() -> Self {
        Self::ask("date and time", group::OS, 4, map([]))
    }

    /// Asks for buffer size and count.
    pub fn parameters() -> Self {
        Self::ask("mcumgr parameters", group::OS, 6, map([]))
    }

    /// Asks for one field of the OS application info.
    pub fn os_info(format: char) -> Self {
        Self::ask(format!("os info {format:?}"), group::OS, 7, map([("format", format.to_string().into())]))
    }

    /// Asks which bootloader this is.
    pub fn bootloader() -> Self {
        Self::ask("bootloader info", group::OS, 8, map([]))
    }

    /// Asks what the bootloader does with a new image.
    pub fn bootloader_mode() -> Self {
        Self::ask("bootloader mode", group::OS, 8, map([("query", "mode".into())]))
    }

    /// Asks for the image list.
    pub fn image_list() -> Self {
        Self::ask("image list", group::IMAGE, 0, map([]))
    }

    /// Asks for the sizes of the slots.
    pub fn slot_info() -> Self {
        Self::ask("slot info", group::IMAGE, 6, map([]))
    }

    /// Marks an image for one test boot.
    pub fn image_test(hash: &ImageHash) -> Self {
        let body = map([("hash", Value::Bytes(hash.as_bytes().to_vec())), ("confirm", false.into())]);
        Self::tell("image test", group::IMAGE, 0, body)
    }

    /// Keeps the running image. Without a hash on purpose: with one, another slot's image is made permanent.
    pub fn image_confirm() -> Self {
        Self::tell("image confirm", group::IMAGE, 0, map([("confirm", true.into())]))
    }

    /// Sends a piece of an image. The first also names the length and SHA-256 of the whole.
    pub fn image_upload(image: ImageId, offset: u64, data: Vec<u8>, whole: Option<(u64, [u8; 32])>) -> Self {
        let mut entries: Vec<(Value, Value)> = Vec::new();
        if let Some((length, sha)) = whole {
            if image.0 != 0 {
                entries.push(("image".into(), image.0.into()));
            }
            entries.push(("len".into(), length.into()));
            entries.push(("sha".into(), Value::Bytes(sha.to_vec())));
        }
        entries.push(("off".into(), offset.into()));
        entries.push(("data".into(), Value::Bytes(data)));
        let name = format!("image upload at {offset}");
        // A piece at an offset that the device already has is answered with the right offset.
        Self { repeatable: true, ..Self::tell(name, group::IMAGE, 1, Value::Map(entries)) }
    }

    /// Erases a slot.
    pub fn image_erase(slot: u8) -> Self {
        Self::tell("image erase", group::IMAGE, 5, map([("slot", slot.into())]))
    }

    /// Asks for the names of the statistics groups.
    pub fn stat_list() -> Self {
        Self::ask("statistics list", group::STAT, 1, map([]))
    }

    /// Asks for one statistics group.
    pub fn stat(name: &str) -> Self {
        Self::ask(format!("statistics {name}"), group::STAT, 0, map([("name", name.into())]))
    }

    /// Asks for one setting, and for no more than `most` bytes of it.
    pub fn setting(name: &str, most: u16) -> Self {
        let body = map([("name", name.into()), ("max_size", most.into())]);
        Self::ask(format!("setting {name}"), group::SETTINGS, 0, body)
    }

    /// Writes one setting; it is lost at a restart until saved.
    pub fn setting_write(name: &str, value: Vec<u8>) -> Self {
        let body = map([("name", name.into()), ("val", Value::Bytes(value))]);
        Self { repeatable: true, ..Self::tell(format!("setting {name} write"), group::SETTINGS, 0, body) }
    }

    /// Saves all settings.
    pub fn settings_save() -> Self {
        Self { repeatable: true, ..Self::tell("settings save", group::SETTINGS, 3, map([])) }
    }
}

/// Returns what an error code means, in words. Sources: Zephyr `mgmt_defines.h`, `img_mgmt.h`, `settings_mgmt.h`.
pub fn meaning(group: Option<u16>, code: u64) -> String {
    let words = match (group, code) {
        (None, 2) => "out of memory",
        (None, 3) => "invalid value",
        (None, 4) => "timed out",
        (None, 5) => "no such entry",
        (None, 6) => "bad state",
        (None, 7) => "answer too large",
        (None, 8) => "not supported",
        (None, 9) => "corrupt",
        (None, 10) => "busy",
        (None, 11) => "access denied",
        (Some(group::IMAGE), 3) => "no image",
        (Some(group::IMAGE), 8) => "no image with this hash",
        (Some(group::IMAGE), 9) => "no free slot: an image is pending or in test",
        (Some(group::IMAGE), 12) => "flash write failed",
        (Some(group::IMAGE), 13) => "flash erase failed",
        (Some(group::IMAGE), 24) => "not a hash that this device knows",
        (Some(group::IMAGE), 27) => "running version is newer",
        (Some(group::IMAGE), 28) => "an image is already pending",
        (Some(group::IMAGE), 30) => "image too large for the slot",
        (Some(group::IMAGE), 32) => "confirmation denied by the application",
        (Some(group::IMAGE), 33) => "the running image cannot be tested",
        (Some(group::SETTINGS), 2) => "the setting's name is too long for the device",
        (Some(group::SETTINGS), 3 | 5) => "no such setting",
        (Some(group::SETTINGS), 4) => "setting cannot be read",
        (Some(group::SETTINGS), 6) => "setting cannot be written",
        _ => "unspecified error",
    };
    words.to_owned()
}
