//! Recognises text that looks like a patient's data, so that it is masked before anyone shows, stores or exports it.
//!
//! It knows forms, not names: a family name with a given name behind a comma, a labelled name, record number or date of
//! birth. A bare "Anna Miller" cannot be told from a product's name and stays.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// Stands where a patient's data was. Not longer than the shortest text that it replaces.
pub(crate) const MASK: &str = "▮▮▮";

// Alone, each would be a programming error that the tests of this file show.
static FORMS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    const WORD: &str = r"\p{Lu}[\p{L}'’-]+";
    const DATE: &str = r"(?:\d{4}-\d{2}-\d{2}|\d{1,2}[./]\d{1,2}[./]\d{2,4}|\d{8})";
    [
        // Label and whatever it names. The label stays, so that a reader sees what was there.
        r"(?i)(\b(?:patient|pat|name)\s*[:=]\s*)()[^;|]{3,}".to_owned(),
        format!(r"()\b(?:Mrs?|Ms|Miss|Herr|Frau|Mme|Sr|Sra)\.?\s+({WORD})(?:\s+{WORD})?"),
        format!(r"()\b{WORD},\s?({WORD})(?:\s+{WORD})?(?:[\s,;*]+{DATE}\b)?"),
        r"(?i)(\b(?:MRN|PID|NHS|SSN|KVNR|case|fall-?nr)\s*[:#.=-]?\s*)()[\d\s-]*\d{3}[\d\s-]*\d".to_owned(),
        format!(r"(?i)(\b(?:DOB|born|geb)\s*[.:=]?\s*){DATE}()"),
    ]
    .iter()
    .filter_map(|form| Regex::new(form).ok())
    .collect()
});

// "Acme, Inc" is no person.
const COMPANIES: [&str; 14] =
    ["Inc", "Ltd", "LLC", "GmbH", "Corp", "Co", "AG", "NV", "BV", "SA", "SpA", "Limited", "Incorporated", "Healthcare"];

/// Returns the text with what looks like a patient's data masked.
pub(crate) fn mask(text: &str) -> String {
    FORMS.iter().fold(text.to_owned(), |text, form| {
        let masked = form.replace_all(&text, |found: &Captures<'_>| {
            let part = |i| found.get(i).map_or("", |m| m.as_str());
            if COMPANIES.contains(&part(2)) { part(0).to_owned() } else { format!("{}{MASK}", part(1)) }
        });
        masked.into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_a_valid_expression() {
        assert_eq!(FORMS.len(), 5);
    }

    #[test]
    fn names_record_numbers_and_dates_of_birth_are_masked() {
        for (raw, shown) in [
            ("MILLER, ANNA 1957-03-12", "▮▮▮"),
            ("Bed 4 O'Brien, Seán", "Bed 4 ▮▮▮"),
            ("PM-3 Müller,Jürgen *12.03.1957", "PM-3 ▮▮▮"),
            ("Mrs. Smith", "▮▮▮"),
            ("Herr Jan Kowalski", "▮▮▮"),
            ("MRN 0045-1234", "MRN ▮▮▮"),
            ("mrn:12345678", "mrn:▮▮▮"),
            ("DOB 12/03/1957", "DOB ▮▮▮"),
            ("patient: anna", "patient: ▮▮▮"),
        ] {
            assert_eq!(mask(raw), shown);
            assert_eq!(mask(shown), shown, "masked twice");
        }
    }

    #[test]
    fn what_makers_write_stays() {
        for text in [
            "Simulated PM-3",
            "Patient Monitor PM-3",
            "Acme, Inc.",
            "SP1-2026-0042",
            "(01)00860000000017(11)260115(21)SP1-2026-0042",
            "Tue Nov 24 03:00:00 2026",
            "Zephyr unknown aseptic-sim 4.3.0 arm simulated Zephyr",
            "1.3.0+7",
            "ICU-2026.3",
            "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        ] {
            assert_eq!(mask(text), text);
        }
    }
}
