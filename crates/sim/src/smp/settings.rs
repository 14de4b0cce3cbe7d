//! The settings group of a simulated device (Zephyr `smp_group_3.rst`).

use super::body::{Body, Item};
use super::{Done, Trouble, rc};
use crate::machine::Machine;

const KEY_NOT_FOUND: Trouble = Trouble::Group { code: 3, v1: 5 };
const WRITE_NOT_SUPPORTED: Trouble = Trouble::Group { code: 6, v1: rc::NOT_SUPPORTED };

impl Machine {
    pub(super) fn setting_read(&self, body: &Body) -> Done {
        let name = body.text("name").ok_or(Trouble::Generic(rc::INVALID))?;
        let value = self.ram.settings.get(name).ok_or(KEY_NOT_FOUND)?;
        let most = body.int("max_size").and_then(|m| usize::try_from(m).ok()).unwrap_or(value.len());
        Ok(vec![("val", Item::Bytes(value.iter().copied().take(most).collect()))])
    }

    pub(super) fn setting_write(&mut self, body: &Body) -> Done {
        let name = body.text("name").ok_or(Trouble::Generic(rc::INVALID))?;
        let value = body.bytes("val").ok_or(Trouble::Generic(rc::INVALID))?.to_vec();
        if !self.ram.settings.contains_key(name) {
            return Err(KEY_NOT_FOUND);
        }
        if !Self::is_writable(name) || value.len() > 64 {
            return Err(WRITE_NOT_SUPPORTED);
        }
        self.ram.settings.insert(name.to_owned(), value);
        Ok(vec![])
    }

    // A setting that only lives in RAM, such as the result of the self-test, is not saved.
    pub(super) fn settings_load_or_save(&mut self, save: bool) -> Done {
        if !save {
            self.ram.settings = self.saved.clone();
            return Ok(vec![]);
        }
        let changed: Vec<(String, Vec<u8>)> = self
            .ram
            .settings
            .iter()
            .filter(|(k, v)| Self::is_writable(k) && self.saved.get(*k) != Some(v))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        for (name, value) in changed {
            self.flash.write(&self.power)?;
            self.saved.insert(name, value);
        }
        Ok(vec![])
    }
}
