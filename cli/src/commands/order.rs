//! `aseptic order`.

use std::path::Path;

use aseptic_operators::order::{PAYLOAD_TYPE, SignedOrder};
use aseptic_operators::{Envelope, Order as WorkOrder};
use aseptic_patches::kit::author::private_key;
use aseptic_workflow::{Code, DeviceState, Problem, enrol};

use crate::args::{Cli, Order};
use crate::console::{Console, Done, local};
use crate::context::laptop;

/// Signs or checks an order.
pub fn run(cli: &Cli, verb: &Order, console: &mut Console) -> Result<Done, Problem> {
    match verb {
        Order::Sign { order, key, output } => {
            let text = read(order)?;
            let parsed: WorkOrder = serde_json::from_slice(&text).map_err(|e| {
                Problem::new(Code::Usage, format!("{}: {e}", order.display()), "see docs/order-format.md")
            })?;
            let payload = serde_json::to_vec(&parsed)
                .map_err(|e| Problem::new(Code::Internal, e, "report this as a fault of Aseptic"))?;
            let envelope = Envelope::sign(PAYLOAD_TYPE, &payload, &private_key(key)?);
            let text = serde_json::to_vec_pretty(&envelope)
                .map_err(|e| Problem::new(Code::Internal, e, "report this as a fault of Aseptic"))?;
            std::fs::write(output, text)
                .map_err(|e| Problem::new(Code::NotFound, format!("{}: {e}", output.display()), "check the path"))?;
            Ok(Done::with(DeviceState::NotInvolved, format!("order {} signed", parsed.id)))
        }
        Order::Check { order } => {
            let laptop = laptop(cli, None)?;
            let hospital = enrol::hospital(&laptop.store)?.unwrap_or_default();
            let signed = SignedOrder::verify(&read(order)?, &enrol::signers(&laptop.store)?, &hospital)?;
            let window = signed.order().window;
            let text = format!(
                "{} signed by {}, {} to {}",
                signed.order().id,
                signed.signers().join(", "),
                local(window.from),
                local(window.until)
            );
            console.record("order", serde_json::to_value(signed.order()).unwrap_or_default(), text);
            Ok(Done::with(DeviceState::NotInvolved, "the order is signed by an enrolled key"))
        }
    }
}

fn read(file: &Path) -> Result<Vec<u8>, Problem> {
    std::fs::read(file).map_err(|e| Problem::new(Code::NotFound, format!("{}: {e}", file.display()), "check the path"))
}
