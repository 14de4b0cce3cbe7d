//! What a barcode scanner typed: a GS1 element string, or a plain serial number or asset tag.
//!
//! Source: GS1 General Specifications, application identifiers 01, 10, 11, 17, 21.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A scanned code, read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Scan {
    /// What was scanned.
    pub code: String,
    /// GS1 device identifier (01), where it is one; its check digit is right.
    pub gtin: Option<String>,
    /// Serial number: (21), or the whole code when it is not GS1.
    pub serial: Option<String>,
}

/// A code that cannot be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// It is empty or holds characters that no barcode has.
    #[error("the scanned code is unreadable: scan it again")]
    Unreadable,
    /// The GTIN's check digit is wrong.
    #[error("the scanned code was misread (check digit): scan it again")]
    CheckDigit,
    /// An application identifier that is not known here.
    #[error("the scanned code has an unknown part ({0})")]
    UnknownPart(String),
}

const GROUP_SEPARATOR: char = '\u{1d}';

impl Scan {
    /// Reads a code. Parentheses around identifiers, a leading symbology identifier (`]d2`, `]C1`) and FNC1 are understood.
    pub fn parse(code: &str) -> Result<Self, ScanError> {
        let code = code.trim();
        let body = ["]d2", "]C1", "]Q3", "]e0"].iter().find_map(|p| code.strip_prefix(p)).unwrap_or(code);
        let printable = |c: char| c.is_ascii_graphic() || c == ' ' || c == GROUP_SEPARATOR;
        if body.is_empty() || body.len() > 200 || !body.chars().all(printable) {
            return Err(ScanError::Unreadable);
        }
        let is_gs1 = body.len() < code.len()
            || body.starts_with('(')
            || (body.starts_with("01") && body.len() >= 16 && gtin_ok(body.get(2..16)));
        if !is_gs1 {
            return Ok(Self { code: code.into(), gtin: None, serial: Some(body.into()) });
        }
        let mut scan = Self { code: code.into(), gtin: None, serial: None };
        let mut rest = body;
        while !rest.is_empty() {
            rest = scan.take_part(rest)?;
        }
        Ok(scan)
    }

    fn take_part<'a>(&mut self, rest: &'a str) -> Result<&'a str, ScanError> {
        let bare = rest.strip_prefix('(').and_then(|r| r.split_once(')'));
        let (identifier, value) = match bare {
            Some(parts) => parts,
            None => rest.split_at_checked(2).ok_or(ScanError::Unreadable)?,
        };
        let fixed = match identifier {
            "01" => Some(14),
            "11" | "17" => Some(6),
            "10" | "21" => None,
            other => return Err(ScanError::UnknownPart(other.into())),
        };
        let end = match fixed {
            Some(n) => n,
            None => value.find([GROUP_SEPARATOR, '(']).unwrap_or(value.len()),
        };
        let (value, after) = value.split_at_checked(end).ok_or(ScanError::Unreadable)?;
        match identifier {
            "01" if !gtin_ok(Some(value)) => return Err(ScanError::CheckDigit),
            "01" => self.gtin = Some(value.into()),
            "21" => self.serial = Some(value.into()),
            _ => {}
        }
        Ok(after.strip_prefix(GROUP_SEPARATOR).unwrap_or(after))
    }

    /// Returns whether the code is of the device with this serial number and UDI.
    pub fn agrees(&self, serial: Option<&str>, udi: Option<&str>) -> bool {
        let same_serial = self.serial.is_some() && self.serial.as_deref() == serial;
        same_serial || udi.is_some_and(|u| u == self.code)
    }
}

fn gtin_ok(gtin: Option<&str>) -> bool {
    let Some(gtin) = gtin.filter(|g| g.len() == 14 && g.bytes().all(|b| b.is_ascii_digit())) else { return false };
    let sum: u32 = gtin.bytes().enumerate().map(|(i, b)| u32::from(b - b'0') * if i % 2 == 0 { 3 } else { 1 }).sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn gs1_codes_give_their_serial_number_in_every_writing() {
        for code in [
            "(01)00860000000017(11)260115(21)SP1-2026-0042",
            "]d20100860000000017112601152\u{31}SP1-2026-0042",
            "0100860000000017112601151\u{30}LOT7\u{1d}21SP1-2026-0042",
        ] {
            let scan = Scan::parse(code).unwrap_or_else(|e| panic!("{code}: {e}"));
            assert_eq!(scan.serial.as_deref(), Some("SP1-2026-0042"), "{code}");
            assert!(scan.agrees(Some("SP1-2026-0042"), None));
            assert!(!scan.agrees(Some("SP1-2026-0043"), None));
        }
    }

    #[test]
    fn a_misread_or_unknown_code_is_told() {
        assert_eq!(Scan::parse("(01)00860000000018(21)X"), Err(ScanError::CheckDigit));
        assert_eq!(Scan::parse("(99)ABC"), Err(ScanError::UnknownPart("99".into())));
        assert_eq!(Scan::parse(""), Err(ScanError::Unreadable));
        assert_eq!(Scan::parse("TAG-17").unwrap().serial.as_deref(), Some("TAG-17"));
    }

    proptest! {
        #[test]
        fn any_text_is_a_code_or_refused(text in ".{0,60}", tail in "[0-9()]{0,40}") {
            let _ = Scan::parse(&text);
            let _ = Scan::parse(&format!("]d2{tail}"));
        }
    }
}
