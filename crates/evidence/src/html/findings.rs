//! Findings, before against after.

use maud::{Markup, html};

use super::icon::{Icon, status};
use crate::report::{Finding, Findings, Report, Verdict};

pub(super) fn section(report: &Report) -> Markup {
    let (first, last) = match (&report.before, &report.after) {
        (Some(before), Some(after)) => (Some(before), Some(after)),
        (Some(only), None) | (None, Some(only)) => (None, Some(only)),
        (None, None) => (None, None),
    };
    html! {
        section {
            h2 { "Findings" }
            @match last {
                None => p { "The device was not assessed." },
                Some(last) => {
                    @if let Some(first) = first { (counts("Before", first)) }
                    (counts(if first.is_some() { "After" } else { "Assessed" }, last))
                    @if report.after.is_none() && !report.works.is_empty() {
                        p { (status(Icon::Unknown, "Not assessed again after the work")) }
                    }
                    (table(first, last))
                    (open(last))
                }
            }
        }
    }
}

fn counts(name: &str, findings: &Findings) -> Markup {
    let count = |verdict| findings.rows.iter().filter(|r| r.verdict == verdict).count();
    let all = [Verdict::Fail, Verdict::Unknown, Verdict::Accepted, Verdict::Pass, Verdict::NotApplicable];
    html! {
        p.counts {
            b { (name) } " " (findings.at) ", " (findings.baseline) ": "
            @for (i, verdict) in all.into_iter().enumerate() {
                @if i > 0 { ", " }
                (count(verdict)) " " (word(verdict))
            }
        }
    }
}

// Rules of either assessment: one that is gone from the last was not judged again, which is worth a row.
fn table(first: Option<&Findings>, last: &Findings) -> Markup {
    let mut rows: Vec<&Finding> = last.rows.iter().collect();
    rows.sort_by_key(|r| r.verdict);
    let gone: Vec<&Finding> = first
        .map(|f| f.rows.iter().filter(|r| !last.rows.iter().any(|l| l.rule == r.rule)).collect())
        .unwrap_or_default();
    let before = |rule: &str| first.and_then(|f| f.rows.iter().find(|r| r.rule == rule));
    html! {
        table.findings {
            thead { tr {
                th { "Rule" } th { "What holds" }
                @if first.is_some() { th { "Before" } th { "After" } } @else { th { "Verdict" } }
            } }
            tbody {
                @for row in rows { tr {
                    td.mono { (row.rule) }
                    td { (row.title) span.sub { (row.severity) ", " (row.evidence) } }
                    @if first.is_some() {
                        td { @match before(&row.rule) { Some(b) => (cell(b)), None => (status(Icon::Waiting, "not judged")) } }
                    }
                    td { (cell(row)) }
                } }
                @for row in gone { tr {
                    td.mono { (row.rule) } td { (row.title) } td { (cell(row)) }
                    td { (status(Icon::Waiting, "not judged again")) }
                } }
            }
        }
    }
}

fn cell(row: &Finding) -> Markup {
    html! { (verdict(row.verdict)) span.sub { (row.observed) } }
}

fn open(last: &Findings) -> Markup {
    let mut rows: Vec<&Finding> = last
        .rows
        .iter()
        .filter(|r| matches!(r.verdict, Verdict::Fail | Verdict::Unknown | Verdict::Accepted))
        .collect();
    rows.sort_by_key(|r| r.verdict);
    html! {
        @for row in rows {
            article.finding {
                h3 { (verdict(row.verdict)) " " span.mono { (row.rule) } " " (row.title) }
                dl {
                    dt { "Observed" } dd { (row.observed) }
                    dt { "Expected" } dd { (row.expected) }
                    dt { "Why" } dd { (row.why) }
                    @for (i, step) in row.what_to_do.iter().enumerate() { dt { @if i == 0 { "What to do" } } dd { (step) } }
                    @if let Some(accepted) = &row.accepted { dt { "Accepted" } dd { (accepted) } }
                    @if !row.references.is_empty() { dt { "Standards" } dd.quiet { (row.references.join("; ")) } }
                }
            }
        }
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Fail => "fail",
        Verdict::Unknown => "unknown",
        Verdict::Accepted => "accepted",
        Verdict::Pass => "pass",
        Verdict::NotApplicable => "not applicable",
    }
}

fn verdict(verdict: Verdict) -> Markup {
    let icon = match verdict {
        Verdict::Fail => Icon::Fail,
        Verdict::Unknown => Icon::Unknown,
        Verdict::Accepted => Icon::Accepted,
        Verdict::Pass => Icon::Pass,
        Verdict::NotApplicable => Icon::None,
    };
    status(icon, word(verdict))
}
