//! Apply, resume and revert: the stages that change a device. All three end in the one runner.

use aseptic_device::driver::Sensed;
use aseptic_device::{Changing, ImageSource, Moment, Session};
use aseptic_operators::order::{OrderError, SignedOrder};
use aseptic_operators::{Attestation, Authority, AuthorityError, AuthoritySource};
use aseptic_patches::journal::is_over;
use aseptic_patches::{Attend, Ended, Hands, Objects, PatchRef, Plan, Progress, RunEvent, Step, run};
use aseptic_store::{Attempt, PlanJournal};

use crate::assess::{Against, judge};
use crate::enrol::{hospital, signers};
use crate::identify::Visit;
use crate::laptop::{Laptop, Purpose};
use crate::locate::{DeviceRef, open};
use crate::plan::{Wanted, check_image, make, plan};
use crate::problem::{Code, DeviceState, Problem, help_after, help_for, told};

/// On whose authority, and with what hands, a plan is carried out.
pub struct Orders<'a> {
    /// A signed work order, as bytes.
    pub order: Option<&'a [u8]>,
    /// Attestations from a file.
    pub attestations: Vec<Attestation>,
    /// A person at a terminal: gives name and last four for authority, and vouches for gates.
    pub person: Option<&'a dyn Person>,
    /// Says whether somebody asked to stop.
    pub cancelled: &'a (dyn Fn() -> bool + Send + Sync),
    /// Takes what happens.
    pub events: &'a (dyn Fn(RunEvent) + Send + Sync),
    /// Reads the laptop's own power.
    pub laptop_power: &'a (dyn Fn() -> Sensed + Send + Sync),
}

/// A person who can be asked.
pub trait Person: Attend {
    /// Asks for the name and the last four characters of the serial number, showing the plan.
    fn claim(&self, plan: &Plan) -> Option<(String, String)>;
    /// Returns the same person as the one who vouches.
    fn attend(&self) -> &dyn Attend;
}

/// How a plan's run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The plan.
    pub plan: Plan,
    /// How it ended.
    pub ended: Ended,
    /// Code for scripts.
    pub code: Code,
    /// The device's state.
    pub state: DeviceState,
    /// In one sentence.
    pub message: String,
    /// What to do next.
    pub help: Option<String>,
}

/// Carries a plan out. The plan is made again from what the device shows; any difference is refused.
pub async fn apply(laptop: &Laptop, plan: Plan, orders: &Orders<'_>) -> Result<Applied, Problem> {
    let plan = plan.check()?;
    let goes_on = attempts_at(laptop, &plan)?.last().is_some_and(|a| !is_over(&a.records));
    if !goes_on {
        same_again(laptop, &plan).await?;
    }
    carry_out(laptop, plan, orders, true).await
}

/// Carries on a plan that was interrupted.
pub async fn resume(laptop: &Laptop, plan: Plan, orders: &Orders<'_>) -> Result<Applied, Problem> {
    carry_out(laptop, plan.check()?, orders, false).await
}

/// Takes a device back: an unfinished plan is turned back; a finished one needs a plan of its own, with all gates.
pub async fn revert(laptop: &Laptop, device: &DeviceRef, orders: &Orders<'_>) -> Result<Applied, Problem> {
    let unfinished = laptop.store.interrupted()?.into_iter().find(|i| match device {
        DeviceRef::Id(id) => &i.plan.body.device == id,
        DeviceRef::Text(text) => i.plan.body.device.serial() == text,
        DeviceRef::Udi(_) | DeviceRef::At(_) => false,
    });
    if let Some(unfinished) = unfinished {
        laptop.store.request_cancel(&unfinished.plan.id, laptop.clock.now().wall, &laptop.actor)?;
        return resume(laptop, unfinished.plan, orders).await;
    }
    let plan = plan(laptop, device, &Wanted { back: true, ..Wanted::default() }).await?;
    carry_out(laptop, plan, orders, true).await
}

/// Asks whichever process runs a plan to stop. A plan that is over has nothing to stop.
pub fn cancel(laptop: &Laptop, plan: &Plan) -> Result<(), Problem> {
    if attempts_at(laptop, plan)?.last().is_some_and(|a| is_over(&a.records)) {
        return Err(Problem::new(Code::Refused, "this plan is already over", "aseptic report shows how it ended"));
    }
    Ok(laptop.store.request_cancel(&plan.id, laptop.clock.now().wall, &laptop.actor)?)
}

fn attempts_at(laptop: &Laptop, plan: &Plan) -> Result<Vec<Attempt>, Problem> {
    let mut attempts = laptop.store.attempts(Some(&plan.body.device.to_string()))?;
    attempts.retain(|a| a.plan.id == plan.id);
    Ok(attempts)
}

// An order is spent by an attempt that touched the device and is over; one that was refused before took nothing of it.
fn order_use(laptop: &Laptop, plan: &Plan) -> Result<String, Problem> {
    let spent = |a: &Attempt| is_over(&a.records) && Progress::of(plan, &a.records).touched(plan);
    Ok(match attempts_at(laptop, plan)?.iter().filter(|a| spent(a)).count() {
        0 => plan.id.to_string(),
        n => format!("{} after {n}", plan.id),
    })
}

async fn same_again(laptop: &Laptop, plan: &Plan) -> Result<(), Problem> {
    let changed = |what: &str| {
        Problem::new(
            Code::Refused,
            format!("refused, nothing was changed: {what}"),
            "make the plan again with aseptic plan",
        )
    };
    let visit = visit_of_plan(laptop, plan)?.ok_or_else(|| changed("the plan's visit is not on this laptop"))?;
    let mut session = open(laptop, &DeviceRef::Id(plan.body.device.clone()), Purpose::Change).await?;
    let mut wanted = Wanted { patch: plan.body.patch.as_ref().map(|p| p.id.clone()), ..Wanted::default() };
    if plan.body.patch.as_ref().is_some_and(|p| p.object.is_empty()) {
        wanted = Wanted { back: true, ..Wanted::default() };
    }
    let assessed = judge(laptop, &visit, &mut session, Against::EveryRule).await?;
    for step in &plan.body.steps {
        if let Step::Set { key, .. } = step {
            let rule = assessed.findings.iter().find(|f| f.fix.as_ref().is_some_and(|x| &x.key == key));
            wanted.fixes.push(rule.ok_or_else(|| changed(&format!("{key} needs no fix any more")))?.rule.clone());
        }
    }
    let again = make(laptop, &visit, &mut session, &wanted).await?;
    if again.id == plan.id {
        Ok(())
    } else {
        Err(changed("the device or the kit is no longer as it was when the plan was made"))
    }
}

fn visit_of_plan(laptop: &Laptop, plan: &Plan) -> Result<Option<Visit>, Problem> {
    let Some(id) = &plan.visit else { return Ok(None) };
    let row = laptop.store.visits()?.into_iter().find(|v| &v.id == id);
    Ok(row.and_then(|v| serde_json::from_str(&v.json).ok()))
}

async fn carry_out(laptop: &Laptop, plan: Plan, orders: &Orders<'_>, anew: bool) -> Result<Applied, Problem> {
    let begun = attempts_at(laptop, &plan)?.pop().filter(|a| !is_over(&a.records));
    let under_way = begun.is_some_and(|a| Progress::of(&plan, &a.records).touched(&plan));
    let carried = carry(laptop, plan, orders, anew).await;
    if under_way { carried.map_err(still_under_way) } else { carried }
}

// A device that was touched and not yet read back is never called untouched, and a refusal to go on wants a person.
fn still_under_way(problem: Problem) -> Problem {
    let code = if problem.code == Code::Refused { Code::NeedsPerson } else { problem.code };
    let help = format!("keep the device out of service, its plan is under way; {}", problem.help);
    Problem { code, help, state: DeviceState::Unknown, ..problem }
}

async fn carry(laptop: &Laptop, plan: Plan, orders: &Orders<'_>, anew: bool) -> Result<Applied, Problem> {
    let known = laptop.profile(&plan.body.profile.id).filter(|k| k.reference == plan.body.profile);
    let known = known.ok_or_else(|| {
        Problem::new(
            Code::Refused,
            "refused: the profile is no longer the one of the plan",
            "give the same --profile, or make the plan again",
        )
    })?;
    let _device_lock = laptop.store.hold(&plan.body.device.to_string())?;
    let authority = authority(laptop, &plan, orders)?;
    if let AuthoritySource::Order { digest, .. } = authority.source() {
        laptop.store.use_order(digest, &plan.body.device.to_string(), &order_use(laptop, &plan)?)?;
    }
    let found = open(laptop, &DeviceRef::Id(plan.body.device.clone()), Purpose::Change).await?;
    let at = found.sighting().clone();
    drop(found);
    let _port_lock = laptop.store.hold(&at.address.to_string())?;
    let mut session = Session::<Changing>::change(laptop.reach(known, Purpose::Change), at, &plan.body.device).await?;
    let mut journal = PlanJournal::new(laptop.store.clone(), &plan);
    let visit = visit_of_plan(laptop, &plan)?;
    let images = Images { laptop, profile: &known.profile };
    let hands = Hands {
        cancelled: orders.cancelled,
        person: orders.person.map(Person::attend),
        events: orders.events,
        laptop: orders.laptop_power,
        objects: &images,
        deadline: deadline(laptop, &authority),
        identity: Some(second_identifier(&plan, &authority, visit.as_ref())),
        attestations: orders.attestations.clone(),
        anew,
    };
    let ended = run(&plan, &authority, &mut session, &mut journal, laptop.clock.as_ref(), &hands).await?;
    let (code, state, message) = told(&ended);
    let help = match &ended {
        Ended::Halted(halt) => Some(help_for(halt).to_owned()),
        Ended::Over(outcome) => help_after(outcome).map(str::to_owned),
    };
    Ok(Applied { plan, ended, code, state, message, help })
}

fn authority(laptop: &Laptop, plan: &Plan, orders: &Orders<'_>) -> Result<Authority, Problem> {
    let scope = plan.body.scope();
    if let Some(order) = orders.order {
        let hospital = hospital(&laptop.store)?.ok_or(OrderError::OtherHospital)?;
        let signed = SignedOrder::verify(order, &signers(&laptop.store)?, &hospital)?;
        return Ok(Authority::from_order(&scope, &signed, laptop.clock.now().wall)?);
    }
    let person = orders.person.ok_or_else(|| {
        Problem::new(
            Code::Refused,
            "refused: there is no terminal and no work order, so nobody allows this change",
            "run it at a terminal or with --order FILE",
        )
    })?;
    let (name, last_four) = person.claim(plan).ok_or(AuthorityError::NoName)?;
    Ok(Authority::from_terminal(&scope, &name, &last_four)?)
}

// The end of the order's window, on both clocks.
fn deadline(laptop: &Laptop, authority: &Authority) -> Option<Moment> {
    let now = laptop.clock.now();
    authority.window().map(|w| {
        let left = std::time::Duration::try_from(w.until.duration_since(now.wall)).unwrap_or_default();
        Moment { wall: w.until, boot: now.boot.saturating_add(left) }
    })
}

fn second_identifier(plan: &Plan, authority: &Authority, visit: Option<&Visit>) -> String {
    let serial = plan.body.device.serial();
    match (visit.and_then(|v| v.scan_agreed), authority.source()) {
        (Some(true), _) => format!("serial number {serial} read, and the scanned label agrees"),
        (_, AuthoritySource::Order { id, .. }) => format!("serial number {serial} read, and work order {id} names it"),
        (_, AuthoritySource::Terminal { person, .. }) => {
            format!("serial number {serial} read, and {} typed its last four from the label", person.name)
        }
    }
}

struct Images<'a> {
    laptop: &'a Laptop,
    profile: &'a aseptic_device::Profile,
}

impl Objects for Images<'_> {
    fn open(&self, patch: &PatchRef) -> Result<Box<dyn ImageSource>, String> {
        check_image(self.laptop, self.profile, patch).map(|o| Box::new(o) as Box<dyn ImageSource>)
    }
}
