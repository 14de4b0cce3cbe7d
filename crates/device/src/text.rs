//! Text that a device sent: bounded and made harmless before anyone shows, stores or exports it.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::privacy;

/// Text from a device, at most [`DeviceText::MAX_CHARS`] characters, with control, ANSI and
/// bidirectional characters escaped as `\u{…}`, and `▮▮▮` for what looks like a patient's data.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct DeviceText(String);

impl DeviceText {
    /// The most characters that are kept.
    pub const MAX_CHARS: usize = 256;

    /// Makes harmless text of what a device sent; too long text is cut and ends in `…`.
    pub fn new(raw: &str) -> Self {
        let mut out = String::with_capacity(raw.len().min(Self::MAX_CHARS));
        let mut count = 0;
        for c in raw.trim_end_matches('\0').chars() {
            let piece: String = if is_harmless(c) { c.into() } else { c.escape_unicode().collect() };
            count += piece.chars().count();
            if count > Self::MAX_CHARS - 1 {
                out.push('…');
                break;
            }
            out.push_str(&piece);
        }
        Self(privacy::mask(&out))
    }

    /// Returns whether it held what looks like a patient's data.
    pub fn is_masked(&self) -> bool {
        self.0.contains(privacy::MASK)
    }

    /// Makes harmless text of bytes that should be UTF-8.
    pub fn from_bytes(raw: &[u8]) -> Self {
        Self::new(&String::from_utf8_lossy(raw))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the text for a cell of a CSV file: what a spreadsheet would run as a formula gets a leading quote mark.
    pub fn for_csv(&self) -> String {
        match self.0.chars().next() {
            Some('=' | '+' | '-' | '@' | '\t' | '\r') => format!("'{}", self.0),
            _ => self.0.clone(),
        }
    }

    /// Returns whether nothing but blanks is left.
    pub fn is_blank(&self) -> bool {
        self.0.trim().is_empty()
    }
}

fn is_harmless(c: char) -> bool {
    let bidi = matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let invisible = matches!(c, '\u{200b}'..='\u{200d}' | '\u{2028}' | '\u{2029}' | '\u{2060}' | '\u{feff}');
    !(c.is_control() || bidi || invisible)
}

impl fmt::Display for DeviceText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for DeviceText {
    fn from(raw: &str) -> Self {
        Self::new(raw)
    }
}

// Text that was stored passes the same door again, so a hand-edited file cannot bring raw text in.
impl<'de> Deserialize<'de> for DeviceText {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Ok(Self::new(&String::deserialize(d)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escape_codes_and_bidi_marks_are_shown_not_obeyed() {
        assert_eq!(DeviceText::new("\u{1b}[2JOK").as_str(), "\\u{1b}[2JOK");
        assert_eq!(DeviceText::new("a\u{202e}b").as_str(), "a\\u{202e}b");
        assert_eq!(DeviceText::new("SN1\0\0").as_str(), "SN1");
    }

    #[test]
    fn a_formula_is_neutralised_for_spreadsheets() {
        assert_eq!(DeviceText::new("=1+1").for_csv(), "'=1+1");
    }

    proptest! {
        #[test]
        fn any_text_is_bounded_harmless_and_stable(raw in ".*") {
            let once = DeviceText::new(&raw);
            prop_assert!(once.as_str().chars().count() <= DeviceText::MAX_CHARS);
            prop_assert!(once.as_str().chars().all(is_harmless));
            prop_assert_eq!(DeviceText::new(once.as_str()), once);
        }
    }
}
