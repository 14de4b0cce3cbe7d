//! The documents are true: their examples load, and what they tell a newcomer to do works on a device never seen before.
#![cfg(unix)]
#![allow(clippy::allow_attributes, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod night;

use std::process::Command;

use aseptic_tests::oracle::root;
use night::ASEPTIC;
use serde_json::Value;

// The code blocks of a document, by language.
fn blocks(document: &str, language: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join(document)).unwrap();
    let opening = format!("```{language}\n");
    text.split(&opening).skip(1).map(|rest| rest.split("\n```").next().unwrap().to_owned()).collect()
}

fn schema(kind: &str) -> jsonschema::Validator {
    let text = std::fs::read_to_string(root().join(format!("docs/schemas/{kind}.json"))).unwrap();
    jsonschema::validator_for(&serde_json::from_str::<Value>(&text).unwrap()).unwrap()
}

#[test]
fn every_example_in_the_documents_loads() {
    for profile in blocks("docs/adding-a-device.md", "toml") {
        aseptic_device::Profile::parse(&profile).unwrap();
    }
    let ward = &blocks("docs/simulated-ward.md", "toml")[0];
    aseptic_sim::Ward::parse(ward).unwrap();
    let rules = &blocks("docs/kit-format.md", "toml")[0];
    aseptic_baselines::rule::RulesFile::parse(rules).unwrap();
    let whole =
        |text: &str| text.replace("…", &"a".repeat(64)).replace("ee65acd1a", "a").replace("df02053fa0d011dea", "a");
    for (document, kind) in [("docs/kit-format.md", "patch"), ("docs/order-format.md", "order")] {
        let example: Value = serde_json::from_str(&whole(&blocks(document, "json")[0])).unwrap();
        let wrong: Vec<String> =
            schema(kind).iter_errors(&example).map(|e| format!("{e} at {}", e.instance_path())).collect();
        assert!(wrong.is_empty(), "{document}: {wrong:?}");
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    let docs = std::fs::read_dir(root().join("docs")).unwrap().flatten().map(|e| e.path());
    for file in docs.chain([root().join("README.md")]).filter(|p| p.extension().is_some_and(|e| e == "md")) {
        let text = std::fs::read_to_string(&file).unwrap();
        for link in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            let path = link.split('#').next().unwrap();
            if !path.is_empty() && !path.contains("://") {
                assert!(file.parent().unwrap().join(path).exists(), "{}: {link}", file.display());
            }
        }
    }
}

#[test]
fn a_device_never_seen_is_patched_with_a_profile_and_a_kit_of_ones_own() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let data = at("laptop");
    let ward_dir = std::sync::Mutex::new(String::new());
    let run = |args: &[&str]| {
        let mut command = Command::new(ASEPTIC);
        command.env_clear().args(args).args(["--json", "--data-dir", &data]);
        let ward = ward_dir.lock().unwrap();
        if !ward.is_empty() {
            command.args(["--sim", &ward]);
        }
        let done = command.output().unwrap();
        let out = String::from_utf8(done.stdout).unwrap();
        let events: Vec<Value> = out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        (done.status.code().unwrap(), events)
    };
    let ok = |args: &[&str]| {
        let (code, events) = run(args);
        assert_eq!(code, 0, "{args:?}: {:#}", events.last().unwrap());
        events
    };

    ok(&["kit", "key", &at("maker.pem")]);
    ok(&["sim", "firmware", "--of-version", "2.1.0", "--key", &at("maker.pem"), "-o", &at("lamp-2.1.0.signed.bin")]);
    let key = std::fs::read_to_string(at("maker.pub.pem")).unwrap();
    let ward = aseptic_tests::pty_ward::PtyWard::serve(&format!(
        "schema = \"aseptic.ward/1\"\n[[device]]\nport = \"ttySIM0\"\nserial = \"L2-77-0815\"\nproduct = \"Acme L2\"\nkeys = ['''{key}''']\n"
    ));
    *ward_dir.lock().unwrap() = ward.dir().to_str().unwrap().to_owned();

    // The example of the document, with the names that this device has and a short soak.
    let example = &blocks("docs/adding-a-device.md", "toml")[1];
    let own_key = example.split("signing-keys = [\"\"\"\n").nth(1).unwrap().split("\"\"\"").next().unwrap().to_owned();
    let profile = example
        .replace(&own_key, &key)
        .replace("vid = 0x2fe3\npid = 0x0100", "vid = 0x1209\npid = 0x0001")
        .replace("state/self-test", "check/self-test")
        .replace("lamp/brightness-limit", "alarm/high")
        .replace("{ os-info = \"m\" }", "{ setting = \"id/serial\" }")
        .replace("protocol = \"smp\"", "protocol = \"smp\"\nsimulated = true")
        .replace("soak-s = 60 ", "gate-span-s = 1\nsoak-s = 3 ");
    std::fs::write(at("acme-lamp.toml"), &profile).unwrap();
    ok(&["profile", "check", &at("acme-lamp.toml")]);
    let seen = ok(&["identify", "L2-77-0815", "--profile", &at("acme-lamp.toml")]);
    assert_eq!(seen.last().unwrap()["device"], "id:acme-lamp/L2-77-0815");

    let kit = at("kit");
    ok(&["kit", "key", &at("vendor.pem")]);
    ok(&["kit", "new", &kit]);
    ok(&["kit", "delegate", &kit, "acme", "--key", &at("vendor.pub.pem")]);
    let image = at("lamp-2.1.0.signed.bin");
    ok(&[
        "kit",
        "add",
        &kit,
        "--vendor",
        "acme",
        "--image",
        &image,
        "--id",
        "lamp-2.1.0",
        "--for-profile",
        "acme-lamp",
    ]);
    ok(&["kit", "add", &kit, "--hospital-profile", &at("acme-lamp.toml")]);
    ok(&["kit", "sign", &kit, "vendor-acme", "--key", &at("vendor.pem")]);
    ok(&["kit", "pack", &kit, "-o", &at("kit.zip")]);
    ok(&["kit", "key", &at("approver.pem")]);
    let enrolled = ok(&[
        "enrol",
        "--root",
        &format!("{kit}/metadata/1.root.json"),
        "--signer",
        &format!("A={}", at("approver.pub.pem")),
    ]);
    let hospital = enrolled.iter().find_map(|e| e["record"]["hospital"].as_str()).unwrap().to_owned();
    ok(&["kit", "import", &at("kit.zip")]);
    let device = "id:acme-lamp/L2-77-0815";
    ok(&["identify", device, "--scan", "L2-77-0815"]);
    ok(&["plan", device, "--patch", "lamp-2.1.0", "-o", &at("plan.json")]);
    let plan: Value = serde_json::from_str(&std::fs::read_to_string(at("plan.json")).unwrap()).unwrap();
    assert_eq!(plan["body"]["profile"]["unreviewed"], false, "a profile that came in the kit is reviewed");

    // Therapy is not named in this profile, so two people vouch for it as for the rest.
    let now = jiff::Timestamp::now();
    let hours = |h: i64| (now + jiff::SignedDuration::from_hours(h)).to_string();
    let people = [("T. Technician", "technician"), ("N. Nurse", "clinical-owner")];
    let gates = ["not-on-patient", "therapy-idle", "laptop", "loaner", "decontaminated"];
    let vouched: Vec<Value> = gates
        .iter()
        .flat_map(|gate| people.map(|(name, role)| serde_json::json!({ "gate": gate, "by": { "name": name, "role": role }, "at": hours(-1) })))
        .collect();
    let order = serde_json::json!({
        "schema": "aseptic.order/1", "id": "WO-1", "hospital": hospital, "issued": hours(-1),
        "window": { "from": hours(-1), "until": hours(3) }, "approvers": [{ "name": "A. Approver", "role": "approver" }],
        "devices": [{ "id": device, "image": plan["body"]["patch"]["hash"], "attestations": vouched }],
    });
    std::fs::write(at("order.json"), order.to_string()).unwrap();
    ok(&["order", "sign", &at("order.json"), "--key", &at("approver.pem"), "-o", &at("order")]);
    ok(&["order", "check", &at("order")]);
    let events = ok(&["apply", &at("plan.json"), "--order", &at("order")]);
    assert_eq!(events.last().unwrap()["device-state"], "installed-not-returned");
    assert_eq!(ward.truth("L2-77-0815")["version"], "2.1.0");
    ok(&["report", device, "--format", "html", "-o", &at("report.html")]);
}
