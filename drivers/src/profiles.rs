//! Profiles that are built in. A new model is one file in `drivers/profiles/` and one line here.

use aseptic_device::Profile;
use aseptic_device::profile::ProfileError;

const FILES: &[(&str, &str)] = &[
    ("generic-gatt.toml", include_str!("../profiles/generic-gatt.toml")),
    ("generic-mcumgr.toml", include_str!("../profiles/generic-mcumgr.toml")),
    ("sim-ip2.toml", include_str!("../profiles/sim-ip2.toml")),
    ("sim-lvp2.toml", include_str!("../profiles/sim-lvp2.toml")),
    ("sim-ox1.toml", include_str!("../profiles/sim-ox1.toml")),
    ("sim-pm3.toml", include_str!("../profiles/sim-pm3.toml")),
    ("sim-sp1.toml", include_str!("../profiles/sim-sp1.toml")),
];

/// The id of the profile that reads any MCUmgr device.
pub const GENERIC: &str = "generic-mcumgr";

/// The id of the profile that reads any other radio device.
pub const GENERIC_RADIO: &str = "generic-gatt";

/// Returns the built-in profiles.
pub fn built_in() -> Result<Vec<Profile>, ProfileError> {
    FILES.iter().map(|(_, text)| Profile::parse(text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_loads_and_has_an_id_of_its_own() {
        for (name, text) in FILES {
            let profile = Profile::parse(text).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(format!("{}.toml", profile.id), *name);
        }
    }

    #[test]
    fn every_file_in_the_folder_is_in_the_list() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles");
        let mut names: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, FILES.iter().map(|(n, _)| *n).collect::<Vec<_>>());
    }
}
