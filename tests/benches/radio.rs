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
    use aseptic_drivers::profiles;
    use aseptic_sim::TRAINING_KEY_PRIVATE;
    use aseptic_sim::firmware::{Behaviour, build};
    use aseptic_tests::air::Laptop;
    use aseptic_tests::oracle::python;
    use aseptic_tests::pty_ward::PtyWard;
    use aseptic_tests::upload::{Image, through};

    const NAME: &str = "over the air + 30 ms, 384 x 4";
    const WARD: &str = "schema = \"aseptic.ward/1\"
[[device]]
serial = \"PM-1\"
product = \"Monitor\"
radio = { name = \"PM-1\", mtu = 247, writes-per-s = 260 }
wire = { delay-ms = 30, buffer-size = 384, buffer-count = 4 }
pace = { erase-ms = 0 }
";
    const SIZE: usize = 96_000;

    pub fn main() {
        if let Some(laptop) = Laptop::here() {
            return compare(&laptop);
        }
        if std::env::args().skip(1).any(|a| !a.starts_with('-') && !NAME.contains(&a)) {
            return;
        }
        let ward = PtyWard::serve(WARD);
        assert!(Laptop::child(&ward).status().unwrap().success());
    }

    fn compare(laptop: &Laptop) {
        let image = Image(build((1, 3, 0, 0), Behaviour::Runs, SIZE, TRAINING_KEY_PRIVATE).unwrap());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &image.0).unwrap();
        let rate = |seconds: f64| image.0.len() as f64 / 1024.0 / seconds;
        // Ours comes last: it goes on scanning.
        let said = python("smpclient_upload_radio.py", &["PM-1", file.path().to_str().unwrap()]);
        let ours = rate(aseptic(laptop, &image));
        match said.map(|s| rate(s.trim().parse().unwrap())) {
            Some(theirs) => {
                println!("{NAME}: aseptic {ours:.1} KiB/s, smpclient {theirs:.1} KiB/s, ratio {:.2}x", ours / theirs);
            }
            None => println!("{NAME}: aseptic {ours:.1} KiB/s, smpclient not run"),
        }
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
