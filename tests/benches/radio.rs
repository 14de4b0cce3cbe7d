//! Upload speed over the air: Aseptic beside smpclient, which sends a piece and waits, on the same simulated device in one run.

#[cfg(target_os = "linux")]
fn main() {
    linux::main();
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("over the air: radios are simulated on Linux only");
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io::Write as _;

    use aseptic_drivers::profiles;
    use aseptic_sim::TRAINING_KEY_PRIVATE;
    use aseptic_sim::firmware::{Behaviour, build};
    use aseptic_tests::air::Laptop;
    use aseptic_tests::oracle::python;
    use aseptic_tests::pty_ward::PtyWard;
    use aseptic_tests::upload::{Image, through};

    const CASES: [(&str, &str); 2] =
        [("260 writes/s + 30 ms, 384 x 4", "writes-per-s = 260"), ("unpaced + 30 ms, 384 x 4", "writes-per-s = 0")];
    const SIZE: usize = 96_000;

    pub fn main() {
        if let Some(laptop) = Laptop::here() {
            return compare(&laptop);
        }
        let wanted = std::env::args().skip(1).find(|a| !a.starts_with('-')).unwrap_or_default();
        for (name, pace) in CASES.iter().filter(|(name, _)| name.contains(&wanted)) {
            let ward = PtyWard::serve(&format!(
                "schema = \"aseptic.ward/1\"\n[[device]]\nserial = \"PM-1\"\nproduct = \"Monitor\"\n\
                 radio = {{ name = \"PM-1\", mtu = 247, {pace} }}\n\
                 wire = {{ delay-ms = 30, buffer-size = 384, buffer-count = 4 }}\npace = {{ erase-ms = 0 }}\n"
            ));
            print!("over the air, {name}: ");
            std::io::stdout().flush().unwrap();
            assert!(Laptop::child(&ward).status().unwrap().success());
        }
    }

    fn compare(laptop: &Laptop) {
        let image = Image(build((1, 3, 0, 0), Behaviour::Runs, SIZE, TRAINING_KEY_PRIVATE).unwrap());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &image.0).unwrap();
        let rate = |seconds: f64| image.0.len() as f64 / 1024.0 / seconds;
        // Ours comes last: it goes on scanning.
        let said = python("smpclient_radio.py", &["PM-1", file.path().to_str().unwrap()]);
        let ours = rate(aseptic(laptop, &image));
        let Some(said) = said else { return println!("aseptic {ours:.1} KiB/s, smpclient not run") };
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        let theirs = rate(said["seconds"].as_f64().unwrap());
        println!("aseptic {ours:.1} KiB/s, smpclient {theirs:.1} KiB/s, ratio {:.2}x", ours / theirs);
    }

    fn aseptic(laptop: &Laptop, image: &Image) -> f64 {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let at = laptop.finds("PM-1").await;
            let profile = profiles::built_in().unwrap().into_iter().find(|p| p.id == "generic-mcumgr").unwrap();
            let link = laptop.opens(&at).await.unwrap();
            through(link, &profile, &at, image).await.as_secs_f64()
        })
    }
}
