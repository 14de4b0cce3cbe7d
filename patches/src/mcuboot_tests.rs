use proptest::prelude::*;

use super::*;

struct Bytes(Vec<u8>);

impl ImageSource for Bytes {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn sha256(&self) -> [u8; 32] {
        [0; 32]
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let at = usize::try_from(offset).unwrap();
        let from = self.0.get(at..at + buf.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(from);
        Ok(())
    }
}

const IMAGES: [(&str, &[u8], &str); 5] = [
    ("ed25519", include_bytes!("../tests/images/ed25519.bin"), include_str!("../tests/images/ed25519.pub.pem")),
    (
        "ed25519 pure",
        include_bytes!("../tests/images/ed25519-pure.bin"),
        include_str!("../tests/images/ed25519.pub.pem"),
    ),
    (
        "ecdsa-p256",
        include_bytes!("../tests/images/ecdsa-p256.bin"),
        include_str!("../tests/images/ecdsa-p256.pub.pem"),
    ),
    ("rsa-2048", include_bytes!("../tests/images/rsa-2048.bin"), include_str!("../tests/images/rsa-2048.pub.pem")),
    ("rsa-3072", include_bytes!("../tests/images/rsa-3072.bin"), include_str!("../tests/images/rsa-3072.pub.pem")),
];

#[test]
fn images_of_imgtool_verify_with_their_key_and_no_other() {
    for (name, bytes, key) in IMAGES {
        let source = Bytes(bytes.to_vec());
        let image = McubootImage::read(&source).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(image.version.text.as_str(), "2.3.4.5");
        image.verify(&source, &[key.into()]).unwrap_or_else(|e| panic!("{name}: {e}"));
        for (other, _, foreign) in IMAGES.iter().filter(|(_, _, k)| *k != key) {
            let error = image.verify(&source, &[(*foreign).into()]).unwrap_err();
            assert!(matches!(error, McubootError::NotSigned), "{name} with {other}: {error}");
        }
    }
}

#[test]
fn a_flipped_byte_in_the_signed_region_is_never_accepted() {
    for (name, bytes, key) in IMAGES {
        let signed = McubootImage::read(&Bytes(bytes.to_vec())).unwrap().signed;
        for at in 0..usize::try_from(signed).unwrap() {
            let mut bad = bytes.to_vec();
            bad[at] ^= 0x40;
            let source = Bytes(bad);
            let accepted = McubootImage::read(&source).is_ok_and(|i| i.verify(&source, &[key.into()]).is_ok());
            assert!(!accepted, "{name}: byte {at}");
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_an_image_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..1_000, with_magic in any::<bool>()) {
        if with_magic && bytes.len() >= 4 {
            bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
        }
        let _ = McubootImage::read(&Bytes(bytes));
        let short = IMAGES[0].1.get(..cut).unwrap_or(IMAGES[0].1).to_vec();
        prop_assert!(cut >= IMAGES[0].1.len() || McubootImage::read(&Bytes(short)).is_err());
    }
}

#[test]
fn only_public_keys_of_a_known_kind_are_signing_keys() {
    for (name, _, key) in IMAGES {
        assert!(is_signing_key(key), "{name}");
    }
    let cut = IMAGES[0].2.replacen('M', "", 1);
    let private = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n-----END PRIVATE KEY-----";
    for text in ["", "no key", &cut, private] {
        assert!(!is_signing_key(text), "{text}");
    }
}
