//! Kits: what a hospital and a vendor make is taken whole; anything else is refused with a reason.

#![allow(clippy::allow_attributes, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use aseptic_device::{FirmwareVersion, ImageSource, VersionScheme};
use aseptic_patches::kit::author::{Draft, NewPatch, generate_key};
use aseptic_patches::kit::{Freshness, Imported, KitError, Ladder, ObjectSink, Source, TrustState, import};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use sha2::{Digest, Sha256};

#[derive(Default)]
struct Memory(BTreeMap<[u8; 32], Vec<u8>>);

struct Bytes(Vec<u8>);

impl ImageSource for Bytes {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn sha256(&self) -> [u8; 32] {
        Sha256::digest(&self.0).into()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let at = usize::try_from(offset).unwrap();
        buf.copy_from_slice(self.0.get(at..at + buf.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl ObjectSink for Memory {
    fn put(&mut self, sha256: &[u8; 32], length: u64, from: &mut dyn Read) -> io::Result<()> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes)?;
        if bytes.len() as u64 != length || Sha256::digest(&bytes).as_slice() != sha256 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "content does not match its hash"));
        }
        self.0.insert(*sha256, bytes);
        Ok(())
    }

    fn open(&self, sha256: &[u8; 32]) -> io::Result<Box<dyn ImageSource>> {
        Ok(Box::new(Bytes(self.0.get(sha256).cloned().ok_or(io::ErrorKind::NotFound)?)))
    }
}

const IMAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/images/ed25519.bin");

fn now() -> Timestamp {
    "2026-11-24T03:00:00Z".parse().unwrap()
}

fn days(n: i64) -> Timestamp {
    now().checked_add(SignedDuration::from_hours(24 * n)).unwrap()
}

struct Kit {
    dir: tempfile::TempDir,
    random: StdRng,
}

impl Kit {
    fn new() -> Self {
        let kit = Self { dir: tempfile::tempdir().unwrap(), random: StdRng::seed_from_u64(1) };
        Draft::create(&kit.work(), &[], 1, days(365), &mut kit.random.clone()).unwrap();
        generate_key(&kit.path("acme.pem"), &mut StdRng::seed_from_u64(2)).unwrap();
        generate_key(&kit.path("acme2.pem"), &mut StdRng::seed_from_u64(3)).unwrap();
        kit.draft().delegate("acme", &[kit.path("acme.pem")], 1, days(90)).unwrap();
        kit.add("sp1-2.3.4");
        kit.draft().sign("vendor-acme", &kit.path("acme.pem")).unwrap();
        kit
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn work(&self) -> PathBuf {
        self.path("work")
    }

    fn draft(&self) -> Draft {
        Draft::open(&self.work()).unwrap()
    }

    fn add(&self, id: &str) {
        let new = NewPatch {
            id: id.into(),
            vendor: "acme".into(),
            title: "Security update".into(),
            notes: String::new(),
            profiles: vec!["acme-sp1".into()],
            hardware: vec![],
            from: vec![],
            version: Some(FirmwareVersion::new(VersionScheme::Mcuboot, "2.3.4.5")),
            rollback: false,
            advisories: vec![],
            minutes: 4,
        };
        self.draft().add_patch(new, Path::new(IMAGE), days(90)).unwrap();
    }

    fn pack(&self, name: &str) -> PathBuf {
        let out = self.path(name);
        self.draft().pack(&out, days(14)).unwrap();
        out
    }

    fn root(&self) -> TrustState {
        let bytes = fs::read(self.work().join("metadata/1.root.json")).unwrap();
        TrustState { files: [("root.json".into(), bytes)].into(), newest: None }
    }
}

fn take_at(kit: &Path, trusted: &TrustState, at: Timestamp, accepted: bool) -> Result<Imported, KitError> {
    let mut source = Source::open(kit)?;
    import(&mut source, trusted, at, Ladder { accepted, ..Ladder::default() }, &mut Memory::default())
}

fn take(kit: &Path, trusted: &TrustState) -> Result<Imported, KitError> {
    take_at(kit, trusted, now(), false)
}

#[test]
fn a_sound_kit_is_taken_from_a_zip_and_from_a_folder() {
    let kit = Kit::new();
    for name in ["kit.zip", "kit"] {
        let out = kit.pack(name);
        let imported = take(&out, &kit.root()).unwrap();
        assert_eq!(imported.patches[0].id, "sp1-2.3.4");
        assert_eq!(imported.freshness, Freshness::Fresh);
        assert_eq!(imported.roles.len(), 5);
    }
}

#[test]
fn another_hospitals_root_takes_nothing() {
    let (kit, other) = (Kit::new(), Kit { random: StdRng::seed_from_u64(9), dir: tempfile::tempdir().unwrap() });
    Draft::create(&other.work(), &[], 1, days(365), &mut StdRng::seed_from_u64(9)).unwrap();
    other.draft().sign_with_own_keys().unwrap();
    fs::copy(other.work().join("metadata/root.json"), other.work().join("metadata/1.root.json")).unwrap();
    assert!(matches!(take(&kit.pack("kit.zip"), &other.root()), Err(KitError::Untrusted(_))));
    assert!(matches!(take(&kit.pack("kit.zip"), &TrustState::default()), Err(KitError::Untrusted(_))));
}

#[test]
fn a_vendor_below_its_threshold_is_refused_and_at_it_is_taken() {
    let kit = Kit::new();
    let keys = [kit.path("acme.pem"), kit.path("acme2.pem")];
    kit.draft().delegate("acme", &keys, 2, days(90)).unwrap();
    let error = take(&kit.pack("one.zip"), &kit.root()).unwrap_err();
    assert!(matches!(error, KitError::Untrusted(_)), "{error}");
    assert_eq!(kit.draft().sign("vendor-acme", &keys[1]).unwrap(), 2);
    take(&kit.pack("two.zip"), &kit.root()).unwrap();
}

#[test]
fn a_rotated_root_is_followed_from_the_old_pin_and_only_with_old_and_new_signatures() {
    let kit = Kit::new();
    let first = kit.pack("first.zip");
    let trusted = take(&first, &kit.root()).unwrap().state;
    generate_key(&kit.path("root2.pem"), &mut StdRng::seed_from_u64(4)).unwrap();
    kit.draft().rotate_root(&[kit.path("root2.pem")], 1, days(400)).unwrap();
    kit.draft().sign("root", &kit.path("root2.pem")).unwrap();
    let error = take(&kit.pack("new-only.zip"), &trusted).unwrap_err();
    assert!(matches!(error, KitError::Untrusted(_)), "{error}");
    kit.draft().sign("root", &kit.work().join("keys/root.pem")).unwrap();
    let imported = take(&kit.pack("both.zip"), &trusted).unwrap();
    assert_eq!(imported.roles[0].version, 2);
    // Who has followed the rotation no longer takes what only the old root signed.
    take(&kit.pack("again.zip"), &imported.state).unwrap();
}

#[test]
fn an_older_kit_is_refused_after_a_newer_one() {
    let kit = Kit::new();
    let old = kit.pack("old.zip");
    kit.add("sp1-2.3.4-b");
    kit.draft().sign("vendor-acme", &kit.path("acme.pem")).unwrap();
    let trusted = take(&kit.pack("new.zip"), &kit.root()).unwrap().state;
    let error = take(&old, &trusted).unwrap_err();
    assert!(error.to_string().to_lowercase().contains("rollback") || error.to_string().contains("version"), "{error}");
    // However long ago the newer one expired, it stays the floor.
    assert!(take_at(&old, &trusted, days(20), true).is_err());
}

#[test]
fn expiry_is_a_ladder_fresh_then_a_named_approver_then_refused() {
    let kit = Kit::new();
    let out = kit.pack("kit.zip");
    assert_eq!(take_at(&out, &kit.root(), days(13), false).unwrap().freshness, Freshness::Fresh);
    assert!(matches!(take_at(&out, &kit.root(), days(15), false), Err(KitError::Expired { .. })));
    assert_eq!(take_at(&out, &kit.root(), days(15), true).unwrap().freshness, Freshness::Stale);
    assert!(matches!(take_at(&out, &kit.root(), days(14 + 31), true), Err(KitError::Expired { .. })));
}

#[test]
fn a_clock_that_was_once_ahead_is_told_and_wedges_nothing() {
    let kit = Kit::new();
    let out = kit.pack("kit.zip");
    let mut trusted = kit.root();
    trusted.newest = Some(days(3_000));
    assert!(take(&out, &trusted).unwrap().clock_jumped_back);
}

fn rezip(from: &Path, to: &Path, change: impl Fn(&str, Vec<u8>) -> Vec<(String, Vec<u8>)>) {
    let mut archive = zip::ZipArchive::new(fs::File::open(from).unwrap()).unwrap();
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut out = zip::ZipWriter::new(fs::File::create(to).unwrap());
    for i in 0..archive.len() {
        let mut entry = archive.by_index(i).unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        let name = entry.name().to_owned();
        for (name, bytes) in change(&name, bytes) {
            out.start_file(name, stored).unwrap();
            out.write_all(&bytes).unwrap();
        }
    }
    out.finish().unwrap();
}

#[test]
fn changed_missing_and_smuggled_entries_are_refused() {
    let kit = Kit::new();
    let good = kit.pack("kit.zip");
    let bad = kit.path("bad.zip");
    type Change = fn(&str, Vec<u8>) -> Vec<(String, Vec<u8>)>;
    let changes: [(&str, Change); 5] = [
        ("target changed", |n, mut b| {
            if n.ends_with(".ed25519.bin") {
                b[100] ^= 1;
            }
            vec![(n.into(), b)]
        }),
        ("target missing", |n, b| if n.ends_with(".ed25519.bin") { vec![] } else { vec![(n.into(), b)] }),
        ("metadata changed", |n, b| {
            let text = String::from_utf8_lossy(&b).replace("\"length\": 876", "\"length\": 877");
            if n.ends_with("vendor-acme.json") { vec![(n.into(), text.into_bytes())] } else { vec![(n.into(), b)] }
        }),
        ("timestamp missing", |n, b| if n.ends_with("timestamp.json") { vec![] } else { vec![(n.into(), b)] }),
        ("outside", |n, b| {
            let mut out = vec![(n.to_owned(), b.clone())];
            if n.ends_with("timestamp.json") {
                out.push(("../../evil".into(), b));
            }
            out
        }),
    ];
    for (what, change) in changes {
        rezip(&good, &bad, change);
        assert!(take(&bad, &kit.root()).is_err(), "{what}");
    }
}

#[test]
fn a_zip_with_two_entries_of_one_name_is_refused() {
    let kit = Kit::new();
    let good = kit.pack("kit.zip");
    // Two names of equal length, then one renamed in place, in both the local header and the directory.
    rezip(&good, &kit.path("two.zip"), |n, b| {
        let mut out = vec![(n.to_owned(), b.clone())];
        if n == "metadata/timestamp.json" {
            out.push(("metadata/timestamp.jsoN".into(), b));
        }
        out
    });
    let mut bytes = fs::read(kit.path("two.zip")).unwrap();
    let name = b"metadata/timestamp.jsoN";
    for at in 0..bytes.len() - name.len() {
        if &bytes[at..at + name.len()] == name {
            bytes[at + name.len() - 1] = b'n';
        }
    }
    fs::write(kit.path("two.zip"), bytes).unwrap();
    let error = take(&kit.path("two.zip"), &kit.root()).unwrap_err();
    assert!(error.to_string().contains("twice"), "{error}");
}

fn edit_vendor(kit: &Kit, edit: impl FnOnce(&mut serde_json::Value)) {
    let path = kit.work().join("metadata/vendor-acme.json");
    let mut file: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    edit(&mut file["signed"]);
    fs::write(&path, serde_json::to_vec(&file).unwrap()).unwrap();
    kit.draft().sign("vendor-acme", &kit.path("acme.pem")).unwrap();
}

#[test]
fn a_vendor_can_sign_only_its_own_folder_and_only_what_is_true() {
    let kit = Kit::new();
    edit_vendor(&kit, |signed| {
        let targets = signed["targets"].as_object_mut().unwrap();
        let image = targets["vendors/acme/patches/sp1-2.3.4/ed25519.bin"].clone();
        targets.insert("vendors/other/patches/x/image.bin".into(), image.clone());
        targets.insert("hospital/profiles/acme-sp1.toml".into(), image);
    });
    for path in ["vendors/other/patches/x/image.bin", "hospital/profiles/acme-sp1.toml"] {
        let target = kit.work().join("targets").join(path);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(IMAGE, target).unwrap();
    }
    let error = take(&kit.pack("kit.zip"), &kit.root()).unwrap_err();
    let KitError::Content(problems) = error else { panic!("{error}") };
    assert_eq!(problems.len(), 2, "all at once: {problems:?}");
}

#[test]
fn a_manifest_that_lies_about_its_image_is_refused_with_every_lie() {
    let kit = Kit::new();
    let path = kit.work().join("targets/vendors/acme/patches/sp1-2.3.4/patch.json");
    let text = fs::read_to_string(&path).unwrap();
    let mut manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
    manifest["image"]["hash"] = "11".repeat(32).into();
    manifest["vendor"] = "other".into();
    manifest["id"] = "another".into();
    let text = serde_json::to_vec(&manifest).unwrap();
    fs::write(&path, &text).unwrap();
    edit_vendor(&kit, |signed| {
        let entry = &mut signed["targets"]["vendors/acme/patches/sp1-2.3.4/patch.json"];
        entry["length"] = text.len().into();
        entry["hashes"]["sha256"] = Sha256::digest(&text).iter().map(|b| format!("{b:02x}")).collect::<String>().into();
    });
    let KitError::Content(problems) = take(&kit.pack("kit.zip"), &kit.root()).unwrap_err() else { panic!() };
    assert_eq!(problems.len(), 3, "{problems:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_flipped_byte_changes_what_is_taken(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let kit = Kit::new();
        let good = kit.pack("kit.zip");
        let expected = take(&good, &kit.root()).unwrap();
        let mut bytes = fs::read(&good).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let bad = kit.path("bad.zip");
        fs::write(&bad, bytes).unwrap();
        if let Ok(taken) = take(&bad, &kit.root()) {
            prop_assert_eq!(taken.patches, expected.patches);
        }
    }
}
