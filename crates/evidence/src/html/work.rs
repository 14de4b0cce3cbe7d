//! One plan: what was read back, steps, gates, people, settings, journal.

use maud::{Markup, html};

use super::icon::{Icon, status};
use super::visit::checked;
use crate::when::When;
use crate::work::{ClassCount, GateState, ReadBack, SettingChange, StepState, Work};

pub(super) fn section(work: &Work) -> Markup {
    html! {
        section {
            h2 { "Work" }
            p.purpose { (work.purpose) }
            dl.wide {
                dt { "Ended" } dd { (work.ended.as_deref().unwrap_or("not over")) }
                dt { "Way back" } dd { (work.way_back) }
                dt { "Planned" } dd { (work.made) br; span.mono.small { "plan " (work.plan) } }
            }
            (read_back(work))
            (settings(work))
            (steps(work))
            (people(work))
            (gates(work))
            (timeline(work))
        }
    }
}

fn read_back(work: &Work) -> Markup {
    html! {
        h3 { "Read back from the device" }
        @if work.read_back.is_empty() {
            p { (status(Icon::Unknown, "Nothing was read back")) }
        } @else {
            table.readback {
                thead { tr { th { "" } th { "Before" } th { "Planned" } th { "Read back" } th { "" } } }
                tbody { @for row in &work.read_back { tr {
                    th scope="row" { (row.what) }
                    td { (row.before) } td { (row.planned) }
                    td { b { (row.read.as_deref().unwrap_or("not read")) } }
                    td.end { (equal(row)) }
                } } }
            }
        }
    }
}

fn equal(row: &ReadBack) -> Markup {
    match (&row.read, row.equal) {
        (None, _) => status(Icon::Unknown, "not read"),
        (Some(_), true) => status(Icon::Pass, "equal"),
        (Some(_), false) => status(Icon::Fail, "differs"),
    }
}

fn settings(work: &Work) -> Markup {
    html! {
        @if !work.classes.is_empty() {
            h3 { "Settings, before against after" }
            table {
                thead { tr { th { "Class" } th.num { "Equal" } th.num { "Changed" } th.num { "Not read" } th { "" } } }
                tbody { @for row in &work.classes { tr {
                    td { (row.class) @if row.must_stay { span.sub { "must stay" } } }
                    td.num { (row.equal) } td.num { (row.changed) } td.num { (row.not_read) }
                    td.end { (class(row)) }
                } } }
            }
        }
        @if !work.changes.is_empty() {
            table {
                thead { tr { th { "Setting" } th { "Class" } th { "Before" } th { "After" } th { "" } } }
                tbody { @for row in &work.changes { tr {
                    td.mono { (row.key) } td { (row.class) }
                    td { (row.before.as_deref().unwrap_or("not read")) }
                    td { b { (row.after.as_deref().unwrap_or("not read")) } }
                    td.end { (change(row)) }
                } } }
            }
        }
    }
}

fn class(row: &ClassCount) -> Markup {
    match (row.must_stay, row.changed, row.not_read) {
        (true, 1.., _) => status(Icon::Fail, "changed"),
        (_, _, 1..) => status(Icon::Unknown, "not all read"),
        (_, 0, 0) => status(Icon::Pass, "equal"),
        (false, _, 0) => status(Icon::None, "changed"),
    }
}

fn change(row: &SettingChange) -> Markup {
    match (row.planned, &row.after) {
        (_, None) => status(Icon::Unknown, "not read"),
        (true, Some(_)) => status(Icon::Pass, "as planned"),
        (false, Some(_)) => status(Icon::Fail, "not planned"),
    }
}

fn steps(work: &Work) -> Markup {
    html! {
        h3 { "Steps" }
        table.steps {
            thead { tr { th { "Step" } th { "" } th { "Began" } th { "Ended" } th { "" } } }
            tbody { @for step in &work.steps { tr {
                th scope="row" { (step.name) }
                td { (step.detail) @if step.attempts > 1 { span.sub { (step.attempts) " attempts" } } }
                td.time { (time(step.began.as_ref())) } td.time { (time(step.ended.as_ref())) }
                td.end { (state(step.state)) }
            } } }
        }
    }
}

fn time(at: Option<&When>) -> String {
    at.map(When::time).unwrap_or_default()
}

fn state(state: StepState) -> Markup {
    match state {
        StepState::Done => status(Icon::Pass, "done"),
        StepState::Failed => status(Icon::Fail, "failed"),
        StepState::Undone => status(Icon::Back, "undone"),
        StepState::InDoubt => status(Icon::Unknown, "in doubt"),
        StepState::NotReached => status(Icon::Waiting, "not reached"),
    }
}

fn people(work: &Work) -> Markup {
    html! {
        h3 { "Who allowed it, who vouched" }
        @if work.authority.is_empty() { p { "Nobody allowed it." } }
        table.people { tbody {
            @for row in &work.authority { tr {
                th scope="row" { (row.who) span.sub { (checked(row.authenticated)) } }
                td { "allowed it: " (row.how) } td.time { (row.at) }
            } }
            @for row in &work.attestations { tr {
                th scope="row" { (row.by) span.sub { (checked(row.authenticated)) } }
                td { "vouched: " (row.statement) @if let Some(note) = &row.note { span.sub { (note) } } }
                td.time { (row.at) }
            } }
        } }
    }
}

fn gates(work: &Work) -> Markup {
    html! {
        @if !work.gates.is_empty() {
            h3 { "Gates" }
            table.gates { tbody { @for gate in &work.gates { tr {
                th scope="row" { (gate.gate) } td { (gate_state(gate.state)) } td { (gate.evidence) }
            } } } }
        }
    }
}

fn gate_state(state: GateState) -> Markup {
    match state {
        GateState::Open => status(Icon::Pass, "open"),
        GateState::Attested => status(Icon::Person, "attested"),
        GateState::Closed => status(Icon::Paused, "closed"),
        GateState::Unknown => status(Icon::Unknown, "unknown blocks"),
    }
}

fn timeline(work: &Work) -> Markup {
    html! {
        @if !work.timeline.is_empty() {
            h3 { "Journal" }
            table.journal { tbody { @for event in &work.timeline { tr {
                td.time { (event.at) } td { (event.step.as_deref().unwrap_or("")) }
                td { (event.what) } td.quiet { (event.actor) }
            } } } }
        }
    }
}
