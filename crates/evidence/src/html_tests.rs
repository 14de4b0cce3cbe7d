use html5gum::{Token, Tokenizer};
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::report::{Agreement, OutcomeKind, Report, Service};
use crate::sample::{at, installed};

#[test]
fn the_page_of_an_installed_patch_is_as_reviewed() {
    insta::assert_snapshot!("installed_html", render(&installed()).unwrap());
}

#[test]
fn the_json_of_an_installed_patch_is_as_reviewed() {
    insta::assert_snapshot!("installed_json", installed().to_json().unwrap());
}

#[test]
fn a_page_gives_its_report_back() {
    let report = installed();
    assert_eq!(embedded(&render(&report).unwrap()).unwrap(), report);
    assert_eq!(Report::from_json(&report.to_json().unwrap()).unwrap(), report);
}

#[test]
fn a_page_without_a_report_or_with_two_or_of_another_schema_is_refused() {
    let page = render(&installed()).unwrap();
    assert!(embedded("<p>nothing</p>").is_err());
    assert!(embedded(&format!("{page}{page}")).unwrap_err().to_string().contains("it holds 2"));
    assert!(embedded(&page.replace("aseptic.report/1", "aseptic.report/2")).is_err());
    let mut other = installed();
    other.schema = "aseptic.report/9".into();
    assert!(render(&other).is_err() && other.to_json().is_err());
}

#[test]
fn an_unknown_field_is_refused() {
    let json = installed().to_json().unwrap().replacen("\"title\"", "\"titel\"", 1);
    assert!(Report::from_json(&json).is_err());
}

#[test]
fn the_style_sheet_is_the_one_that_the_policy_names() {
    let page = render(&installed()).unwrap();
    let style = page.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
    let hash = STANDARD.encode(Sha256::digest(style.as_bytes()));
    assert!(page.contains(&format!("style-src 'sha256-{hash}'")) && page.contains("default-src 'none'"));
    assert!(!page.contains(" style=") && !page.contains("http://") && !page.contains("https://"));
}

#[test]
fn an_installed_device_is_never_shown_as_returned_until_somebody_returned_it() {
    let mut report = installed();
    let page = render(&report).unwrap();
    assert!(
        page.contains("Installed, not returned.")
            && page.contains("banner unknown")
            && !page.contains("Returned to service")
    );
    let by = "Mara Weiss (approver)".to_owned();
    report.service = Service::Returned { by, authenticated: false, at: at("03:10:00"), read_back: "1.3.0 runs".into() };
    let page = render(&report).unwrap();
    assert!(page.contains("Returned to service") && page.contains("name not checked") && page.contains("banner pass"));
}

#[test]
fn a_halted_or_mismatched_visit_never_looks_good() {
    let mut report = installed();
    report.outcome.kind = OutcomeKind::Halted;
    report.device.agreement = Agreement::Differ;
    let page = render(&report).unwrap();
    assert!(page.contains("banner fail") && page.contains("Label and device differ") && !page.contains("banner pass"));
}

#[test]
fn every_status_has_a_word_beside_its_drawing() {
    let page = render(&installed()).unwrap();
    for piece in page.split("<span class=\"status ").skip(1) {
        let word = piece.split_once("</svg>").unwrap().1.split_once("</span>").unwrap().0;
        assert!(!word.trim().is_empty(), "{piece:.200}");
    }
}

// What a browser would build: tags with their attributes, and the text of the data block. Other text is left out.
fn shape(page: &str) -> Vec<String> {
    Tokenizer::new(page)
        .filter_map(|token| match token.unwrap() {
            Token::StartTag(tag) => Some(format!("<{:?} {:?}>", tag.name, tag.attributes)),
            Token::EndTag(tag) => Some(format!("</{:?}>", tag.name)),
            Token::Comment(_) => Some("comment".into()),
            Token::String(_) | Token::Doctype(_) | Token::Error(_) => None,
        })
        .collect()
}

// Puts text into every field that holds free text, so that no field is forgotten when one is added.
fn poison(value: &mut Value, text: &str) {
    match value {
        Value::String(s) => *s = text.to_owned(),
        Value::Array(all) => all.iter_mut().for_each(|v| poison(v, text)),
        Value::Object(fields) => {
            let closed = ["schema", "at", "kind", "state", "verdict", "agreement", "freshness"];
            fields
                .iter_mut()
                .filter(|(k, v)| !(closed.contains(&k.as_str()) && v.is_string()))
                .for_each(|(_, v)| poison(v, text));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn poisoned(text: &str) -> Report {
    let mut value = serde_json::to_value(installed()).unwrap();
    poison(&mut value, text);
    serde_json::from_value(value).unwrap()
}

fn nasty() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        Just("</script>"),
        Just("<script>"),
        Just("<!--"),
        Just("-->"),
        Just("<img src=x onerror=alert(1)>"),
        Just("</style>"),
        Just("</title>"),
        Just("</pre>"),
        Just("\""),
        Just("'"),
        Just("&lt;"),
        Just("]]>"),
        Just("\u{2028}"),
        Just("\u{202e}"),
        Just("\\u003c"),
        Just("<"),
        Just(">"),
        Just("&"),
    ]
    .prop_map(str::to_owned);
    proptest::collection::vec(prop_oneof![pieces, ".{0,12}"], 1..6).prop_map(|p| p.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn no_text_in_any_field_changes_what_the_page_is_built_of(text in nasty()) {
        // A tame text of the same length class, so that parts which show only filled fields are shown in both.
        let tame = if text.trim().is_empty() { text.clone() } else { "tame".to_owned() };
        let report = poisoned(&text);
        let page = render(&report).unwrap();
        prop_assert_eq!(shape(&page), shape(&render(&poisoned(&tame)).unwrap()));
        prop_assert_eq!(embedded(&page).unwrap(), report);
    }

    #[test]
    fn any_text_is_read_as_a_report_or_refused(text in ".{0,200}") {
        prop_assert!(Report::from_json(&text).is_err());
        prop_assert!(embedded(&text).is_err());
    }
}
