//! `aseptic apply`, `cancel`, `resume`, `revert`.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aseptic_operators::Attestation;
use aseptic_patches::{Plan, PlanId, RunEvent};
use aseptic_transports::host::laptop_power;
use aseptic_workflow::apply::Person;
use aseptic_workflow::{Applied, Code, DeviceRef, DeviceState, Laptop, Orders, Problem};

use crate::args::{Apply, AuthorityArgs, Cli};
use crate::console::{Console, Done, local};
use crate::context::laptop;
use crate::terminal::{INTERRUPTED, Terminal};

const POLL: Duration = Duration::from_millis(500);

/// Carries a plan out.
pub async fn apply(cli: &Cli, args: &Apply, console: &mut Console) -> Result<Done, Problem> {
    let (laptop, plan) = plan_of(cli, &args.plan)?;
    let hands = Hands::new(&laptop, &args.authority, Some(&plan.id))?;
    begin(console, &plan);
    let out = Mutex::new(console);
    let applied = aseptic_workflow::apply(&laptop, plan, &hands.orders(&|e| tell(&out, e))).await?;
    Ok(done(applied))
}

/// Carries on what was interrupted, or lists it.
pub async fn resume(
    cli: &Cli,
    plan: Option<&str>,
    all: bool,
    authority: &AuthorityArgs,
    console: &mut Console,
) -> Result<Done, Problem> {
    if let Some(plan) = plan {
        let (laptop, plan) = plan_of(cli, plan)?;
        return resume_one(&laptop, plan, authority, console).await;
    }
    let laptop = laptop(cli, None)?;
    let interrupted = laptop.store.interrupted()?;
    if !all {
        for i in &interrupted {
            let record = serde_json::json!({ "plan": i.plan.id, "device": i.plan.body.device, "last": i.last });
            let text = format!("{}  {}  last written {}", i.plan.id.short(), i.plan.body.device, local(i.last.at));
            console.record("interrupted", record, text);
        }
        let message = match interrupted.len() {
            0 => "nothing was interrupted".to_owned(),
            n => format!("{n} interrupted; carry on with aseptic resume PLAN"),
        };
        return Ok(Done::with(DeviceState::NotInvolved, message));
    }
    let mut ends: Vec<Done> = Vec::new();
    for i in interrupted {
        let end = match resume_one(&laptop, i.plan, authority, console).await {
            Ok(end) => end,
            Err(p) => Done { code: p.code, state: p.state, message: p.message, help: Some(p.help) },
        };
        console.say(format!("{}: {}", console.device.clone().unwrap_or_default(), end.message));
        ends.push(end);
    }
    let Some(first) = ends.first().cloned() else {
        return Ok(Done::with(DeviceState::NotInvolved, "nothing was interrupted"));
    };
    if ends.iter().all(|e| e.code == first.code) {
        return Ok(first);
    }
    let state = if ends.iter().any(|e| e.state == DeviceState::Unknown) { DeviceState::Unknown } else { first.state };
    Ok(Done {
        code: Code::Mixed,
        state,
        message: format!("{} carried on, with different results", ends.len()),
        help: None,
    })
}

async fn resume_one(
    laptop: &Laptop,
    plan: Plan,
    authority: &AuthorityArgs,
    console: &mut Console,
) -> Result<Done, Problem> {
    let hands = Hands::new(laptop, authority, Some(&plan.id))?;
    begin(console, &plan);
    let out = Mutex::new(console);
    let applied = aseptic_workflow::resume(laptop, plan, &hands.orders(&|e| tell(&out, e))).await?;
    Ok(done(applied))
}

/// Takes a device back.
pub async fn revert(
    cli: &Cli,
    device: &DeviceRef,
    authority: &AuthorityArgs,
    console: &mut Console,
) -> Result<Done, Problem> {
    let laptop = laptop(cli, Some(device))?;
    let hands = Hands::new(&laptop, authority, None)?;
    let out = Mutex::new(console);
    let applied = aseptic_workflow::revert(&laptop, device, &hands.orders(&|e| tell(&out, e))).await?;
    Ok(done(applied))
}

/// Asks whichever process runs a plan to stop.
pub fn cancel(cli: &Cli, plan: &str, _console: &mut Console) -> Result<Done, Problem> {
    let (laptop, plan) = plan_of(cli, plan)?;
    aseptic_workflow::apply::cancel(&laptop, &plan)?;
    let done = Done::with(DeviceState::NotInvolved, "asked to stop at the next safe point; the device then goes back");
    Ok(Done { help: Some("if no process runs it any more: aseptic resume carries it back".into()), ..done })
}

fn begin(console: &mut Console, plan: &Plan) {
    console.visit.clone_from(&plan.visit);
    console.device = Some(plan.body.device.to_string());
    console.say(format!("{}  plan {}", plan.body.device, plan.id.short()));
}

fn tell(out: &Mutex<&mut Console>, event: RunEvent) {
    if let Ok(mut console) = out.lock() {
        console.run(event);
    }
}

fn done(applied: Applied) -> Done {
    Done { code: applied.code, state: applied.state, message: applied.message, help: applied.help }
}

// A plan by file, id, or the beginning of its id.
fn plan_of(cli: &Cli, name: &str) -> Result<(Laptop, Plan), Problem> {
    let from_file = Path::new(name).is_file().then(|| read_plan(Path::new(name))).transpose()?;
    let device = from_file.as_ref().map(|p: &Plan| DeviceRef::Id(p.body.device.clone()));
    let opened = laptop(cli, device.as_ref())?;
    if let Some(plan) = from_file {
        return Ok((opened, plan));
    }
    let mut found = opened.store.plans(name)?;
    match (found.pop(), found.is_empty()) {
        (Some(plan), true) => Ok((laptop(cli, Some(&DeviceRef::Id(plan.body.device.clone())))?, plan)),
        (Some(_), false) => {
            Err(Problem::new(Code::Usage, format!("several plans begin with {name}"), "give more of the id"))
        }
        (None, _) => Err(Problem::new(Code::NotFound, format!("no plan {name}"), "make one with aseptic plan")),
    }
}

fn read_plan(file: &Path) -> Result<Plan, Problem> {
    let text = std::fs::read(file)
        .map_err(|e| Problem::new(Code::NotFound, format!("{}: {e}", file.display()), "check the path"))?;
    serde_json::from_slice(&text)
        .map_err(|e| Problem::new(Code::Untrusted, format!("{}: {e}", file.display()), "make the plan again"))
}

struct Hands {
    order: Option<Vec<u8>>,
    attestations: Vec<Attestation>,
    person: Option<Terminal>,
    cancelled: Box<dyn Fn() -> bool + Send + Sync>,
    // Ends the listening for Ctrl-C with the command.
    _listener: tokio::task::JoinHandle<()>,
}

impl Hands {
    fn new(laptop: &Laptop, args: &AuthorityArgs, plan: Option<&PlanId>) -> Result<Self, Problem> {
        let read = |file: &Path| {
            std::fs::read(file)
                .map_err(|e| Problem::new(Code::NotFound, format!("{}: {e}", file.display()), "check the path"))
        };
        let attestations = match &args.attestations {
            Some(file) => serde_json::from_slice(&read(file)?).map_err(|e| {
                Problem::new(Code::Usage, format!("{}: {e}", file.display()), "it must be a JSON list of attestations")
            })?,
            None => Vec::new(),
        };
        let stop = std::sync::Arc::new(AtomicBool::new(false));
        let flag = stop.clone();
        let listener = tokio::spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                flag.store(true, Ordering::SeqCst);
                INTERRUPTED.store(true, Ordering::SeqCst);
            }
        });
        let (store, plan) = (laptop.store.clone(), plan.cloned());
        let asked = Mutex::new((Instant::now(), false));
        let cancelled = move || {
            if stop.load(Ordering::SeqCst) {
                return true;
            }
            let (Some(plan), Ok(mut asked)) = (&plan, asked.lock()) else { return false };
            if asked.0.elapsed() >= POLL {
                *asked = (Instant::now(), store.cancel_requested(plan).unwrap_or(false));
            }
            asked.1
        };
        Ok(Self {
            order: args.order.as_deref().map(read).transpose()?,
            attestations,
            person: if args.order.is_some() { None } else { Terminal::here() },
            cancelled: Box::new(cancelled),
            _listener: listener,
        })
    }

    fn orders<'a>(&'a self, events: &'a (dyn Fn(RunEvent) + Send + Sync)) -> Orders<'a> {
        Orders {
            order: self.order.as_deref(),
            attestations: self.attestations.clone(),
            person: self.person.as_ref().map(|p| p as &dyn Person),
            cancelled: &*self.cancelled,
            events,
            laptop_power: &laptop_power,
        }
    }
}
