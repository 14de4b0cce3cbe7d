//! Where the platform shows neither keys nor what went away: such things read as unreadable, and nothing is paired.

use aseptic_device::link::LinkErrorKind;
use futures::stream::{self, BoxStream, StreamExt as _};

use super::{Removed, Seen};

/// Services that the platform does not show.
pub(super) const HIDDEN: [u16; 2] = [0x1800, 0x1801];

/// A platform that tells no more than the radio library does.
#[derive(Clone)]
pub(super) struct Platform;

impl Platform {
    pub async fn connect() -> Result<Self, std::convert::Infallible> {
        Ok(Self)
    }

    pub async fn removals(&self) -> Result<BoxStream<'static, Removed>, std::convert::Infallible> {
        Ok(stream::pending().boxed())
    }

    pub async fn look(&self, _device: &str) -> Seen {
        Seen::default()
    }

    pub async fn pair(&self, _device: &str, _passkey: u32) -> Result<(), LinkErrorKind> {
        Err(LinkErrorKind::Unsupported("pairing"))
    }

    pub async fn forget(&self, _device: &str) -> bool {
        false
    }
}
