//! The image group of a simulated device (Zephyr `smp_group_1.rst`).

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::body::{Body, Item};
use super::{Done, Trouble, rc};
use crate::bootloader::{Image, Mode, Pending};
use crate::machine::{Machine, Upload};

/// Size of the spare slot.
const SLOT: usize = 1024 * 1024;

// Errors of the group (Zephyr `img_mgmt.h`), with what version 1 says instead.
const NO_FREE_SLOT: Trouble = Trouble::Group { code: 9, v1: 6 };
const INVALID_LENGTH: Trouble = Trouble::Group { code: 21, v1: 3 };
const INVALID_HEADER: Trouble = Trouble::Group { code: 23, v1: 3 };
const INVALID_HASH: Trouble = Trouble::Group { code: 24, v1: 3 };
const RUNNING_IS_NEWER: Trouble = Trouble::Group { code: 27, v1: 6 };
const ALREADY_PENDING: Trouble = Trouble::Group { code: 28, v1: 6 };
const TOO_LARGE: Trouble = Trouble::Group { code: 30, v1: 3 };
const ACTIVE_DENIED: Trouble = Trouble::Group { code: 33, v1: 6 };

impl Machine {
    // During a test the old image, in slot 1, shows as confirmed.
    pub(super) fn image_list(&self) -> Vec<(&'static str, Item)> {
        let pending = self.flash.pending;
        let mut slots = Vec::new();
        for (slot, bytes) in [(0, &self.flash.primary), (1, &self.flash.secondary)] {
            let Some(image) = Image::read(bytes) else { continue };
            let active = slot == 0;
            let confirmed = if active { self.flash.confirmed } else { !self.flash.confirmed };
            slots.push(Item::Map(Body(vec![
                ("slot".into(), Item::Int(slot)),
                ("version".into(), Item::Text(image.version_text())),
                ("hash".into(), Item::Bytes(image.hash)),
                ("bootable".into(), Item::Bool(true)),
                ("pending".into(), Item::Bool(!active && pending.is_some())),
                ("confirmed".into(), Item::Bool(confirmed)),
                ("active".into(), Item::Bool(active)),
                ("permanent".into(), Item::Bool(!active && pending == Some(Pending::Permanent))),
            ])));
        }
        vec![("images", Item::List(slots)), ("splitStatus", Item::Int(0))]
    }

    pub(super) fn image_state(&mut self, body: &Body) -> Done {
        let confirm = body.flag("confirm");
        let running = Image::read(&self.flash.primary).map(|i| i.hash);
        let spare = Image::read(&self.flash.secondary).map(|i| i.hash);
        match body.bytes("hash").map(<[u8]>::to_vec) {
            None if confirm => self.confirm()?,
            None => return Err(INVALID_HASH),
            hash if hash == running && confirm => self.confirm()?,
            hash if hash == running => return Err(ACTIVE_DENIED),
            hash if hash == spare => {
                // In test, only making another slot's image permanent is possible, and it is a trap.
                if !self.flash.confirmed && !confirm {
                    return Err(ALREADY_PENDING);
                }
                self.flash.write(&self.power)?;
                self.flash.pending = Some(if confirm { Pending::Permanent } else { Pending::Test });
            }
            Some(_) => return Err(INVALID_HASH),
        }
        Ok(self.image_list())
    }

    fn confirm(&mut self) -> Result<(), Trouble> {
        if !self.flash.confirmed {
            self.flash.write(&self.power)?;
            self.flash.confirmed = true;
        }
        Ok(())
    }

    fn spare_is_taken(&self) -> bool {
        self.flash.pending.is_some() || !self.flash.confirmed && self.bootloader.mode != Mode::OverwriteOnly
    }

    pub(super) fn image_erase(&mut self, body: &Body, after: &mut Duration) -> Done {
        if body.int("slot").unwrap_or(1) != 1 {
            return Err(Trouble::Group { code: 14, v1: 3 });
        }
        if self.spare_is_taken() {
            return Err(NO_FREE_SLOT);
        }
        self.flash.write(&self.power)?;
        self.flash.secondary.clear();
        self.ram.upload = None;
        *after += Duration::from_millis(self.spec.pace.erase_ms);
        Ok(vec![])
    }

    pub(super) fn image_upload(&mut self, body: &Body, after: &mut Duration) -> Done {
        let offset = body.int("off").and_then(|o| usize::try_from(o).ok()).ok_or(Trouble::Generic(rc::INVALID))?;
        let data = body.bytes("data").unwrap_or_default();
        if offset == 0
            && let Some(resumed) = self.begin_upload(body, data, after)?
        {
            return Ok(vec![("off", Item::Int(resumed as u64))]);
        }
        // A device that restarted in between expects the first piece again, and says so.
        let Some(upload) = self.ram.upload.clone() else { return Ok(vec![("off", Item::Int(0))]) };
        let have = self.flash.secondary.len();
        if offset != have {
            return Ok(vec![("off", Item::Int(have as u64))]);
        }
        if have + data.len() > upload.length {
            return Err(INVALID_LENGTH);
        }
        self.flash.write(&self.power)?;
        self.flash.secondary.extend_from_slice(data);
        let have = self.flash.secondary.len();
        let mut answer = vec![("off", Item::Int(have as u64))];
        if have == upload.length {
            self.ram.upload = None;
            if !upload.sha.is_empty() {
                let same = Sha256::digest(&self.flash.secondary).as_slice() == upload.sha;
                answer.push(("match", Item::Bool(same)));
            }
        }
        Ok(answer)
    }

    // Some: the device already holds so many bytes of this very image.
    fn begin_upload(&mut self, body: &Body, data: &[u8], after: &mut Duration) -> Result<Option<usize>, Trouble> {
        let length = body.int("len").and_then(|l| usize::try_from(l).ok()).ok_or(INVALID_LENGTH)?;
        let sha = body.bytes("sha").unwrap_or_default().to_vec();
        if length > SLOT {
            return Err(TOO_LARGE);
        }
        let same = |u: &Upload| !sha.is_empty() && u.sha == sha && u.length == length;
        if self.ram.upload.as_ref().is_some_and(same) {
            return Ok(Some(self.flash.secondary.len()));
        }
        if data.get(..4) != Some(&0x96f3_b83d_u32.to_le_bytes()[..]) {
            return Err(INVALID_HEADER);
        }
        if self.spare_is_taken() {
            return Err(NO_FREE_SLOT);
        }
        if body.has("upgrade") && body.flag("upgrade") && !self.is_newer(data) {
            return Err(RUNNING_IS_NEWER);
        }
        self.flash.write(&self.power)?;
        self.flash.secondary.clear();
        self.ram.upload = Some(Upload { sha, length });
        *after += Duration::from_millis(self.spec.pace.erase_ms);
        Ok(None)
    }

    fn is_newer(&self, header: &[u8]) -> bool {
        let version = |b: &[u8]| Some((*b.get(20)?, *b.get(21)?, u16::from_le_bytes([*b.get(22)?, *b.get(23)?])));
        version(header) > version(&self.flash.primary)
    }
}
