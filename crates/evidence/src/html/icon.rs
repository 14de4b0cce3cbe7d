//! Small drawings beside words. Their outlines differ, so they read without colour.

use maud::{Markup, html};

/// A drawing with the class that colours it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Icon {
    Pass,
    Fail,
    Unknown,
    Accepted,
    None,
    Person,
    Paused,
    Back,
    Waiting,
}

impl Icon {
    fn class(self) -> &'static str {
        match self {
            Self::Pass | Self::Person => "pass",
            Self::Fail => "fail",
            Self::Unknown | Self::Accepted | Self::Paused => "unknown",
            Self::None | Self::Waiting => "quiet",
            Self::Back => "fail",
        }
    }

    fn draw(self) -> Markup {
        match self {
            Self::Pass => html! { circle cx="12" cy="12" r="9.5"; path d="M7.5 12.5 10.5 15.5 16.5 9"; },
            Self::Fail => html! { path d="M8 2.5H16L21.5 8V16L16 21.5H8L2.5 16V8Z"; path d="M9 9 15 15M15 9 9 15"; },
            Self::Unknown => html! {
                circle cx="12" cy="12" r="9.5"; path d="M9.2 9.3A2.9 2.9 0 1 1 12 12.8V14"; path d="M12 17V17.1";
            },
            Self::Accepted => html! { path d="M3.5 5.5H20.5V20.5H3.5ZM3.5 10H20.5M8 2.5V6M16 2.5V6M12 13V16H15"; },
            Self::None => html! { circle cx="12" cy="12" r="9.5"; path d="M8 12H16"; },
            Self::Person => {
                html! { circle cx="9" cy="7.5" r="4"; path d="M2.5 20.5C2.5 16 5 14 9 14 10.5 14 11.8 14.3 12.8 15M15 18 17.5 20.5 22 15.5"; }
            }
            Self::Paused => {
                html! { path d="M8 2.5H16L21.5 8V16L16 21.5H8L2.5 16V8Z"; path d="M10 8.5V15.5M14 8.5V15.5"; }
            }
            Self::Back => html! { path d="M8.5 4 3.5 9 8.5 14M3.5 9H14A6 6 0 0 1 14 20.5H10"; },
            Self::Waiting => html! { circle cx="12" cy="12" r="9.5" stroke-dasharray="3.6 3.6"; },
        }
    }
}

/// Renders a drawing with its word, never one without the other.
pub(super) fn status(icon: Icon, word: &str) -> Markup {
    html! { span class={ "status " (icon.class()) } { (picture(icon)) (word) } }
}

/// Renders a drawing for a place that has its own words.
pub(super) fn picture(icon: Icon) -> Markup {
    html! { svg class={ "icon " (icon.class()) } viewBox="0 0 24 24" aria-hidden="true" { (icon.draw()) } }
}
