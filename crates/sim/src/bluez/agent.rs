//! `org.bluez.AgentManager1`, and who is asked when a device wants to pair.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use zbus::message::Header;
use zbus::{ObjectPath, OwnedObjectPath, interface};

use super::{Air, BluezError, Result};

/// What a person is told to type within.
const ASKED: std::time::Duration = std::time::Duration::from_secs(60);

/// Programs that answer for a person.
#[derive(Debug, Default)]
pub(super) struct Agents(Mutex<Registered>);

#[derive(Debug, Default)]
struct Registered {
    by: BTreeMap<String, Agent>,
    default: Option<String>,
}

#[derive(Debug, Clone)]
struct Agent {
    path: OwnedObjectPath,
    capability: String,
}

impl Agents {
    fn lock(&self) -> MutexGuard<'_, Registered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the agent of a program that left the bus.
    pub(super) fn left(&self, who: &str) {
        let mut agents = self.lock();
        agents.by.remove(who);
        agents.default.take_if(|default| default == who);
    }

    // The agent of the program that asked, else the default one.
    fn of(&self, who: &str) -> Option<(String, Agent)> {
        let agents = self.lock();
        let asked = agents.by.get_key_value(who);
        let agent = asked.or_else(|| agents.by.get_key_value(agents.default.as_ref()?));
        agent.map(|(who, agent)| (who.clone(), agent.clone()))
    }
}

impl Air {
    /// Asks the agent of a program for the passkey that a device shows.
    pub(super) async fn ask_passkey(&self, who: &str, device: &OwnedObjectPath) -> Result<u32> {
        let can_type = |agent: &Agent| matches!(agent.capability.as_str(), "" | "KeyboardOnly" | "KeyboardDisplay");
        let agent = self.agents.of(who).filter(|(_, agent)| can_type(agent));
        let (owner, agent) = agent.ok_or_else(|| BluezError::AuthenticationFailed("Authentication Failed".into()))?;
        let (body, interface) = ((device,), Some("org.bluez.Agent1"));
        let asked = self.bus.call_method(Some(owner.as_str()), &agent.path, interface, "RequestPasskey", &body);
        let answer = match tokio::time::timeout(ASKED, asked).await {
            Ok(answer) => answer,
            Err(_) => return Err(BluezError::AuthenticationFailed("Authentication Timeout".into())),
        };
        let passkey = answer.and_then(|m| m.body().deserialize::<u32>());
        passkey.map_err(|error| match error {
            zbus::Error::MethodError(name, ..) if name.as_str() == "org.bluez.Error.Canceled" => {
                BluezError::AuthenticationCanceled("Authentication Canceled".into())
            }
            zbus::Error::MethodError(..) => BluezError::AuthenticationRejected("Authentication Rejected".into()),
            _ => BluezError::AuthenticationFailed("Authentication Failed".into()),
        })
    }
}

pub(super) struct AgentManager(pub Weak<Air>);

impl AgentManager {
    // `change` gets the registered agents and the name of who asks.
    fn change(&self, header: &Header<'_>, change: impl FnOnce(&mut Registered, String) -> Result<()>) -> Result<()> {
        let air: Arc<Air> = self.0.upgrade().ok_or_else(|| BluezError::NotReady("Resource Not Ready".into()))?;
        change(&mut air.agents.lock(), header.sender().map(ToString::to_string).unwrap_or_default())
    }
}

fn none() -> BluezError {
    BluezError::DoesNotExist("Does Not Exist".into())
}

#[interface(name = "org.bluez.AgentManager1", introspection_docs = false)]
impl AgentManager {
    fn register_agent(
        &self,
        agent: ObjectPath<'_>,
        capability: &str,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<()> {
        let new = Agent { path: agent.into(), capability: capability.to_owned() };
        self.change(&header, |agents, who| match agents.by.insert(who.clone(), new) {
            Some(old) => {
                agents.by.insert(who, old);
                Err(BluezError::AlreadyExists("Already Exists".into()))
            }
            None => Ok(()),
        })
    }

    fn unregister_agent(&self, agent: ObjectPath<'_>, #[zbus(header)] header: Header<'_>) -> Result<()> {
        self.change(&header, |agents, who| {
            agents.by.get(&who).filter(|known| known.path.as_str() == agent.as_str()).ok_or_else(none)?;
            agents.by.remove(&who);
            agents.default.take_if(|default| *default == who);
            Ok(())
        })
    }

    fn request_default_agent(&self, agent: ObjectPath<'_>, #[zbus(header)] header: Header<'_>) -> Result<()> {
        self.change(&header, |agents, who| {
            agents.by.get(&who).filter(|known| known.path.as_str() == agent.as_str()).ok_or_else(none)?;
            agents.default = Some(who);
            Ok(())
        })
    }
}
