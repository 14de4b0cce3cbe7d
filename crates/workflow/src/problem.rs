//! What a person is told when something does not work: what happened, the device's state now, and what to do.

use std::fmt;
use std::io::ErrorKind;

use aseptic_device::{DriverError, DriverErrorKind, LinkErrorKind, SessionError};
use aseptic_operators::AuthorityError;
use aseptic_operators::order::OrderError;
use aseptic_patches::kit::KitError;
use aseptic_patches::{Ended, Halt, Outcome, PlanError, RunError};
use aseptic_store::{StoreError, StoreErrorKind};
use schemars::JsonSchema;
use serde::Serialize;

/// How a command ended. Scripts key on the number, the screen on the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// Done.
    Done,
    /// A fault of Aseptic itself.
    Internal,
    /// The command was not understood.
    Usage,
    /// Not found or not reachable.
    NotFound,
    /// Refused by a gate or a policy, before any effect.
    Refused,
    /// Not trusted or tampered with.
    Untrusted,
    /// Failed; the device is as before.
    FailedAsBefore,
    /// A person must look: the device's state is not known to be good.
    NeedsPerson,
    /// The assessment found failures.
    FindingsFailed,
    /// Locked by another process.
    Locked,
    /// Stopped or cancelled; the device is as before.
    Stopped,
    /// Tried and reverted; the device is as before.
    Reverted,
    /// The assessment found no failure but could not read everything.
    Incomplete,
    /// Several devices, with different results.
    Mixed,
}

impl Code {
    /// Returns the exit code.
    pub fn exit(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Internal => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Refused => 4,
            Self::Untrusted => 5,
            Self::FailedAsBefore => 6,
            Self::NeedsPerson => 7,
            Self::FindingsFailed => 8,
            Self::Locked => 9,
            Self::Stopped => 10,
            Self::Reverted => 11,
            Self::Incomplete => 12,
            Self::Mixed => 13,
        }
    }

    /// Returns the stable name, such as `aseptic::refused`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "aseptic::done",
            Self::Internal => "aseptic::internal",
            Self::Usage => "aseptic::usage",
            Self::NotFound => "aseptic::not-found",
            Self::Refused => "aseptic::refused",
            Self::Untrusted => "aseptic::untrusted",
            Self::FailedAsBefore => "aseptic::failed-as-before",
            Self::NeedsPerson => "aseptic::needs-person",
            Self::FindingsFailed => "aseptic::findings-failed",
            Self::Locked => "aseptic::locked",
            Self::Stopped => "aseptic::stopped",
            Self::Reverted => "aseptic::reverted",
            Self::Incomplete => "aseptic::incomplete",
            Self::Mixed => "aseptic::mixed",
        }
    }
}

/// What is known of the device when a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceState {
    /// No device was involved.
    NotInvolved,
    /// It was only asked, or not reached; nothing was changed.
    Untouched,
    /// The running image and every setting equal the backup; read back.
    AsBefore,
    /// The new state runs, is kept and was read back; not yet returned to service.
    InstalledNotReturned,
    /// Returned to service by a second person.
    InService,
    /// Not known to be good: keep it out of service.
    Unknown,
}

impl fmt::Display for DeviceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotInvolved => "no device involved",
            Self::Untouched => "untouched",
            Self::AsBefore => "as before, read back",
            Self::InstalledNotReturned => "installed and read back; not yet returned to service",
            Self::InService => "in service",
            Self::Unknown => "not known to be good; keep it out of service",
        })
    }
}

/// Something that did not work, told to a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// How the command ends.
    pub code: Code,
    /// What happened.
    pub message: String,
    /// The device's state now.
    pub state: DeviceState,
    /// What to do.
    pub help: String,
}

impl Problem {
    /// Tells a problem that left every device alone.
    pub fn new(code: Code, message: impl fmt::Display, help: impl Into<String>) -> Self {
        Self { code, message: message.to_string(), state: DeviceState::Untouched, help: help.into() }
    }

    /// Says what is known of the device.
    #[must_use]
    pub fn with_state(mut self, state: DeviceState) -> Self {
        self.state = state;
        self
    }
}

impl From<SessionError> for Problem {
    fn from(error: SessionError) -> Self {
        match &error {
            SessionError::Link(link) => match link.kind {
                LinkErrorKind::Busy => Self::new(
                    Code::Locked,
                    &error,
                    "another program holds the port: close it (a terminal program, ModemManager, a second Aseptic) and try again",
                ),
                LinkErrorKind::NoPermission => Self::new(
                    Code::NotFound,
                    &error,
                    "this user may not open serial ports: add the user to the group dialout and sign in again",
                ),
                LinkErrorKind::NotPaired => Self::new(
                    Code::Refused,
                    &error,
                    "nothing was changed; a profile with pairing = \"passkey\" lets aseptic plan and apply ask for the passkey",
                ),
                _ => Self::new(Code::NotFound, &error, "check cable, port and power, then run aseptic discover"),
            },
            SessionError::Driver(driver) => driver.clone().into(),
            SessionError::SimulatedProfile(_) | SessionError::NotNamed(_) => {
                Self::new(Code::Refused, &error, "name the port with --port, and the right profile with --profile")
            }
            SessionError::NoPasskey(_) => {
                Self::new(Code::Refused, &error, "nothing was changed; run it at a terminal, with the device in sight")
            }
            SessionError::OtherDevice { .. } => {
                Self::new(Code::Refused, &error, "check the label: the cable may be in another device")
            }
            SessionError::NoIdentity(_) => Self::new(
                Code::Refused,
                &error,
                "without its own serial number a device can be assessed but not changed; ask the maker to set one",
            ),
            SessionError::NotBack { .. } => Self::new(
                Code::NeedsPerson,
                &error,
                "switch the device off and on, wait a minute, then run aseptic resume",
            )
            .with_state(DeviceState::Unknown),
            SessionError::Closed => Self::new(Code::Internal, &error, "report this as a fault of Aseptic"),
        }
    }
}

impl From<DriverError> for Problem {
    fn from(error: DriverError) -> Self {
        let help = match &error.kind {
            DriverErrorKind::Link(link) if link.kind == LinkErrorKind::NotPaired => {
                "the device was only asked, without pairing; to change it, its profile must say how it is paired ([radio] pairing)"
            }
            DriverErrorKind::Link(_) | DriverErrorKind::NoAnswer { .. } => {
                "check cable and power, and that the profile fits the device, then try again"
            }
            DriverErrorKind::Malformed(_) => {
                "the device does not speak as its profile says; record the conversation with aseptic record and send it in"
            }
            _ => "the device refused; see docs/adding-a-device.md for what a profile must declare",
        };
        Self::new(Code::NotFound, error, help)
    }
}

impl From<AuthorityError> for Problem {
    fn from(error: AuthorityError) -> Self {
        Self::new(Code::Refused, error, "nothing was changed; get a work order that names this device, image and time")
    }
}

impl From<OrderError> for Problem {
    fn from(error: OrderError) -> Self {
        Self::new(
            Code::Untrusted,
            error,
            "nothing was changed; the order must be signed by a key enrolled with aseptic enrol --signer",
        )
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let (code, help) = match &error.kind {
            StoreErrorKind::Locked(_) => {
                (Code::Locked, "another Aseptic works on this; wait for it, or stop it with aseptic cancel")
            }
            StoreErrorKind::WrongKey => {
                (Code::Untrusted, "the key file and the database do not belong together; put back the one or the other")
            }
            StoreErrorKind::Tampered(_) | StoreErrorKind::WrongHash => {
                (Code::Untrusted, "keep the data directory as it is and call whoever answers for the records")
            }
            StoreErrorKind::OrderUsed(_) => (Code::Refused, "nothing was changed; ask for a new work order"),
            StoreErrorKind::Io(_) | StoreErrorKind::Database(_) | StoreErrorKind::Unreadable(_) => {
                (Code::Internal, "check the disk and the rights of the data directory (aseptic doctor)")
            }
        };
        Self::new(code, error, help)
    }
}

impl From<KitError> for Problem {
    fn from(error: KitError) -> Self {
        let (code, help) = match &error {
            KitError::Untrusted(_) | KitError::Content(_) => {
                (Code::Untrusted, "nothing of the kit was kept; get it again from its publisher")
            }
            KitError::Expired { .. } => (Code::Refused, "nothing of the kit was kept"),
            // A damaged ZIP cannot be told from a tampered one.
            KitError::Io(e)
                if matches!(e.kind(), ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::UnexpectedEof) =>
            {
                (Code::Untrusted, "the kit is damaged, nothing of it was kept; get it again from its publisher")
            }
            KitError::Io(_) => (Code::NotFound, "check the path and the medium"),
            KitError::Authoring(_) => (Code::Usage, "see docs/kit-format.md"),
        };
        Self::new(code, error, help).with_state(DeviceState::NotInvolved)
    }
}

impl From<PlanError> for Problem {
    fn from(error: PlanError) -> Self {
        Self::new(Code::Untrusted, error, "nothing was changed; make the plan again with aseptic plan")
    }
}

impl From<RunError> for Problem {
    fn from(error: RunError) -> Self {
        Self::new(
            Code::NeedsPerson,
            error,
            "nothing more is done to a device when it cannot be written down; make room on the disk, then run aseptic resume",
        )
        .with_state(DeviceState::Unknown)
    }
}

/// Returns the code, the device's state and a sentence for how a run ended.
pub fn told(ended: &Ended) -> (Code, DeviceState, String) {
    match ended {
        Ended::Over(outcome) => told_outcome(outcome),
        Ended::Halted(halt) => {
            (Code::NeedsPerson, DeviceState::Unknown, format!("stopped, a person must look: {halt}"))
        }
    }
}

fn told_outcome(outcome: &Outcome) -> (Code, DeviceState, String) {
    match outcome {
        Outcome::Installed => (
            Code::Done,
            DeviceState::InstalledNotReturned,
            "installed, kept and read back; a second person must return it to service".into(),
        ),
        Outcome::Refused { gates } => {
            (Code::Refused, DeviceState::Untouched, format!("refused, nothing was changed: {}", gates.join("; ")))
        }
        Outcome::Untrusted { detail } => {
            (Code::Untrusted, DeviceState::AsBefore, format!("the image on this laptop is not to be trusted: {detail}"))
        }
        Outcome::FailedAsBefore { failure } => {
            (Code::FailedAsBefore, DeviceState::AsBefore, format!("failed, the device is as before: {failure}"))
        }
        Outcome::Stopped { cause } => {
            (Code::Stopped, DeviceState::AsBefore, format!("stopped, the device is as before: {cause}"))
        }
        Outcome::Reverted { cause } => {
            (Code::Reverted, DeviceState::AsBefore, format!("tried and reverted, the device is as before: {cause}"))
        }
    }
}

/// Returns what to do after a plan that is over; nothing more where the message says it all.
pub fn help_after(outcome: &Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Installed => None,
        Outcome::Refused { .. } => Some("clear what closed the gate, then apply the plan again"),
        Outcome::Untrusted { .. } => Some("import the kit again and plan anew; keep this laptop's records"),
        Outcome::FailedAsBefore { .. } => {
            Some("find the cause before a second try; aseptic status shows whether it must be returned to service")
        }
        Outcome::Stopped { .. } => {
            Some("plan again in the next window; aseptic status shows whether it must be returned to service")
        }
        Outcome::Reverted { .. } => Some(
            "do not try this patch on this device again before its maker has looked at it; a second person must return it to service",
        ),
    }
}

/// Returns what to do about a halt.
pub fn help_for(halt: &Halt) -> &'static str {
    match halt {
        Halt::Unreachable { .. } => {
            "keep the device out of service; check cable and power, switch it off and on, wait a minute, then run aseptic resume"
        }
        Halt::OtherDevice { .. } => "the cable is in another device: put it back, then run aseptic resume",
        Halt::Foreign { .. } => {
            "somebody else worked on this device: find out who, keep it out of service, then plan again"
        }
        Halt::Blocked { .. } => "keep the device out of service; when the gate is open again, run aseptic resume",
        Halt::Unattested { .. } => "run aseptic resume at a terminal, with somebody who can vouch",
        Halt::NotAsBefore { .. } => {
            "do not return it to service; compare with the backup in aseptic report, and call the maker if it cannot be restored"
        }
        Halt::NotProved { .. } => {
            "do not return it to service; run aseptic identify and aseptic assess, then plan again"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_the_documented_ones() {
        let all = [
            Code::Done,
            Code::Internal,
            Code::Usage,
            Code::NotFound,
            Code::Refused,
            Code::Untrusted,
            Code::FailedAsBefore,
            Code::NeedsPerson,
            Code::FindingsFailed,
            Code::Locked,
            Code::Stopped,
            Code::Reverted,
            Code::Incomplete,
            Code::Mixed,
        ];
        assert_eq!(all.map(Code::exit), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]);
    }

    #[test]
    fn only_a_refusal_leaves_a_device_untouched_and_a_halt_never_claims_to_know() {
        let (code, state, _) = told(&Ended::Over(Outcome::Refused { gates: vec![] }));
        assert_eq!((code, state), (Code::Refused, DeviceState::Untouched));
        let (code, state, _) = told(&Ended::Halted(Halt::Unreachable { detail: String::new() }));
        assert_eq!((code, state), (Code::NeedsPerson, DeviceState::Unknown));
    }
}
