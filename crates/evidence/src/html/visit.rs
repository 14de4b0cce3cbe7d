//! The visit as a whole: head, outcome, device, kit, foot.

use maud::{Markup, html};

use super::icon::{Icon, picture, status};
use crate::report::{Agreement, Freshness, OutcomeKind, Report, Service};

const NOT_READ: &str = "not read";

pub(super) fn head(report: &Report) -> Markup {
    html! {
        header {
            div.bar {
                span.mark aria-hidden="true" { i {} i {} i {} i {} i {} }
                span.name { "Aseptic" }
                span.kind { "Service report" }
                @if report.simulated { span.simulated { "SIMULATED WARD" } }
            }
            h1 { (report.title) }
            p.quiet {
                "Visit opened " (report.opened) ", "
                @match &report.closed { Some(at) => { "closed " (at) } None => { "not closed" } }
            }
        }
    }
}

pub(super) fn outcome(report: &Report) -> Markup {
    let (icon, tone) = match (report.outcome.kind, &report.service) {
        (OutcomeKind::Halted, _) => (Icon::Paused, "fail"),
        (OutcomeKind::Refused, _) => (Icon::Paused, "unknown"),
        (OutcomeKind::AsBefore, _) => (Icon::Back, "unknown"),
        (OutcomeKind::Installed, Service::Returned { .. }) => (Icon::Pass, "pass"),
        (OutcomeKind::Installed, _) => (Icon::Paused, "unknown"),
        (OutcomeKind::Assessed, _) => (Icon::None, "plain"),
    };
    html! {
        section class={ "banner " (tone) } {
            (picture(icon))
            div { h2 { (report.outcome.headline) } p { (service(report)) } }
        }
        section.three {
            div { h3 { "What happened" } p { (report.outcome.what_happened) } }
            div { h3 { "State now" } p { (report.outcome.state_now) } }
            div { h3 { "What to do" } p { (report.outcome.what_to_do) } }
        }
    }
}

fn service(report: &Report) -> Markup {
    match &report.service {
        Service::Unchanged => html! { "Nothing was changed: in or out of service as before this visit." },
        Service::NotReturned { since } if report.outcome.kind == OutcomeKind::Installed => {
            html! { strong { "Installed, not returned." } " Out of service since " (since) ", until a second person returns it." }
        }
        Service::NotReturned { since } => {
            html! { strong { "Out of service" } " since " (since) ", until a second person returns it." }
        }
        Service::Returned { by, authenticated, at, read_back } => html! {
            strong { "Returned to service" } " by " (by) " (" (checked(*authenticated)) ") at " (at) ", who saw: " (read_back) "."
        },
    }
}

pub(super) fn checked(authenticated: bool) -> &'static str {
    if authenticated { "name checked" } else { "name not checked" }
}

pub(super) fn cautions(cautions: &[String]) -> Markup {
    html! {
        @if !cautions.is_empty() {
            section.cautions {
                h2 { (picture(Icon::Unknown)) "Read with care" }
                ul { @for caution in cautions { li { (caution) } } }
            }
        }
    }
}

pub(super) fn device(report: &Report) -> Markup {
    let device = &report.device;
    let (icon, words) = match device.agreement {
        Agreement::Agree => (Icon::Pass, "Label and device agree"),
        Agreement::Differ => (Icon::Fail, "Label and device differ"),
        Agreement::OnlyOne => (Icon::Unknown, "Only one identifier is known"),
    };
    let serial = device.serial.as_deref().unwrap_or_default();
    let (front, last) = split_last_four(serial);
    html! {
        section.device {
            h2 { "Device" }
            div.card {
                div {
                    p.model { (device.vendor) " " (device.model) }
                    dl {
                        dt { "Scanned" } dd.mono { (device.scanned.as_deref().unwrap_or("nothing was scanned")) }
                        dt { "Serial, read" } dd.mono { @if serial.is_empty() { (NOT_READ) } @else { (front) b.last { (last) } } }
                        dt { "UDI, read" } dd.mono { (device.udi.as_deref().unwrap_or(NOT_READ)) }
                        dt { "Hardware" } dd { (device.hardware.as_deref().unwrap_or(NOT_READ)) }
                        dt { "Name" } dd.mono { (device.id.as_deref().unwrap_or("no usable name: it can be read, never changed")) }
                        dt { "Met at" } dd.mono { (device.address) }
                    }
                    p { (status(icon, words)) }
                }
                @if !last.is_empty() { p.four { (last) span { "last four" } } }
            }
            dl.wide {
                dt { "Profile" }
                dd { (report.profile.id) ", " (if report.profile.reviewed { "reviewed" } else { "NOT REVIEWED" }) br; span.mono.small { "sha256 " (report.profile.digest) } }
                dt { "Read with" } dd { (report.tool) " on " (report.laptop) }
            }
        }
    }
}

fn split_last_four(serial: &str) -> (&str, &str) {
    let start = serial.char_indices().rev().nth(3).map_or(0, |(i, _)| i);
    serial.split_at_checked(start).unwrap_or(("", serial))
}

pub(super) fn kit(report: &Report) -> Markup {
    html! {
        section {
            h2 { "Kit" }
            @match &report.kit {
                None => p { "No kit was on the laptop." },
                Some(kit) => {
                    p {
                        @match kit.freshness {
                            Freshness::Fresh => (status(Icon::Pass, "Fresh")),
                            Freshness::Stale => (status(Icon::Unknown, "Stale")),
                        }
                        " when imported " (kit.taken)
                        @if let Some(by) = &kit.accepted_by { ", accepted by " (by) }
                    }
                    table {
                        thead { tr { th { "TUF role" } th.num { "Version" } th { "Expires" } } }
                        tbody { @for role in &kit.roles { tr { td.mono { (role.role) } td.num { (role.version) } td { (role.expires) } } } }
                    }
                }
            }
        }
    }
}

pub(super) fn foot(report: &Report) -> Markup {
    html! {
        footer { p { "Written " (report.written) " by " (report.tool) " on " (report.laptop) ". Visit " span.mono { (report.visit) } } }
    }
}
