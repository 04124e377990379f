//! Installed artifacts, registry rows, keys and native code that someone changed.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use kami_core::component::Artifact;
use kami_core::digest::Digest;
use kami_core::engine::{Engine, EngineOptions, Metering};
use kami_core::grants::Capabilities;
use kami_core::registry::Installed;
use kami_core::resolve::{self, ResolveError};
use kami_tests::lab::{Lab, id, single};
use kami_tests::raw::{Raw, TEXT};
use kami_tests::server::{Server, text};
use serde_json::json;

/// A data directory with the neighbour, and `victim`, which answers `intact`.
struct Crime {
    lab: Lab,
    victim: Installed,
    file: PathBuf,
    bytes: Vec<u8>,
}

impl Crime {
    fn new() -> Self {
        let lab = Lab::with_neighbour();
        let victim = lab.install(&victim());
        let file = lab.data().artifact_file(victim.package.digest);
        let bytes = fs::read(&file).expect("the artifact is where it should be");
        Self { lab, victim, file, bytes }
    }

    /// Changes the registry behind the program's back.
    fn alter_registry(&self, sql: &str, values: impl rusqlite::Params) {
        let registry = rusqlite::Connection::open(self.lab.data().registry_file());
        let changed = registry.and_then(|registry| registry.execute(sql, values));
        assert_eq!(changed, Ok(1), "{sql}");
    }

    /// Puts other bytes in the artifact's place, and has the registry believe in them.
    fn substitute(&self, bytes: &[u8]) {
        let digest = Digest::of(bytes);
        fs::write(self.lab.data().artifact_file(digest), bytes).expect("files can be written");
        let values = (digest.to_string(), id("victim"));
        self.alter_registry("UPDATE packages SET digest = ?1 WHERE id = ?2", values);
    }

    /// Fails unless every way to the victim ends with this, and the neighbour answers.
    fn refused(&self, code: i32, told: &str, stable: &str) {
        self.lab.cargo_kami(&["verify", &id("victim")]).expect(code, told);
        self.lab.cargo_kami(&["call", "victim", "--input", "{}"]).expect(code, told);
        let sum = self.lab.cargo_kami(&["call", "add", "--input", r#"{"a": 1, "b": 2}"#]);
        assert_eq!(sum.code, Some(0), "{sum:?}");
        let mut server = Server::start(self.lab.data());
        self.refused_by(&mut server, stable);
        assert!(server.finish().0.success());
    }

    fn refused_by(&self, server: &mut Server, stable: &str) {
        let answer = server.call("victim", &json!({}));
        let (text, is_error) = text(&answer);
        assert!(is_error && text.ends_with(&format!("[{stable}]")), "{answer}");
        neighbour_answers(server);
    }
}

fn victim() -> Artifact {
    let raw = Raw { reply: &[2, 2, TEXT, 6], text: b"intact", ..Raw::default() };
    single(&raw.component(), "victim", &Capabilities::default())
}

fn neighbour_answers(server: &mut Server) {
    let answer = server.call("add", &json!({"a": 1, "b": 1}));
    assert_eq!(answer["structuredContent"], json!({"result": 2}));
}

/// The outermost sections of a component, heads included, by name; sections of one name are one.
fn sections(bytes: &[u8]) -> BTreeMap<String, Vec<Range<usize>>> {
    let mut sections: BTreeMap<String, Vec<Range<usize>>> = BTreeMap::new();
    sections.entry("header".to_owned()).or_default().push(0..8);
    let mut at = 8;
    while at < bytes.len() {
        let start = at;
        let (length, data) = number(bytes, at + 1);
        let name = match bytes[at] {
            0 => {
                let (length, name) = number(bytes, data);
                String::from_utf8_lossy(&bytes[name..name + length]).into_owned()
            }
            id => format!("section {id}"),
        };
        at = data + length;
        sections.entry(name).or_default().push(start..at);
    }
    sections
}

/// Reads a number in LEB128, and gives it with the place after it.
fn number(bytes: &[u8], mut at: usize) -> (usize, usize) {
    let (mut value, mut shift) = (0, 0);
    loop {
        value |= usize::from(bytes[at] & 0x7f) << shift;
        shift += 7;
        at += 1;
        if bytes[at - 1] < 0x80 {
            return (value, at);
        }
    }
}

/// Both ends, heads included, and some places between.
fn samples(section: &Range<usize>, count: usize) -> impl Iterator<Item = usize> {
    let (start, last) = (section.start, section.len() - 1);
    (0..=count).map(move |n| start + last * n / count)
}

fn flipped(bytes: &[u8], at: usize, bit: u32) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1 << (bit % 8);
    bytes
}

#[test]
fn the_victim_has_every_section_and_answers_while_it_is_intact() {
    let crime = Crime::new();
    let names: Vec<String> = sections(&crime.bytes).into_keys().collect();
    for name in ["header", "section 1", ".dep-v0", "kami:manifest", "kami:signature"] {
        assert!(names.iter().any(|other| other == name), "{name} is missing in {names:?}");
    }
    assert_eq!(crime.lab.cargo_kami(&["verify", &id("victim")]).code, Some(0));
    let mut server = Server::start(crime.lab.data());
    assert_eq!(text(&server.call("victim", &json!({}))), ("intact", true));
    // Exit code 19: it ran, and failed in its own words.
    crime.lab.cargo_kami(&["call", "victim", "--input", "{}"]).expect(19, "intact");
}

#[test]
fn one_flipped_bit_anywhere_is_found_before_anything_runs() {
    let crime = Crime::new();
    let mut server = Server::start(crime.lab.data());
    let trust = crime.lab.trust();
    let mut places = 0;
    for (name, ranges) in sections(&crime.bytes) {
        for range in ranges {
            for (n, at) in samples(&range, 16).enumerate() {
                let changed = flipped(&crime.bytes, at, n as u32);
                let refused = resolve::verify(
                    changed.clone(),
                    &crime.victim.package,
                    &trust,
                    SystemTime::now(),
                );
                assert!(
                    matches!(refused, Err(ResolveError::Tampered { .. })),
                    "{name}, byte {at}: {refused:?}"
                );
                if n % 8 == 0 {
                    fs::write(&crime.file, changed).expect("files can be written");
                    crime.refused_by(&mut server, "KAMI-TAMPERED");
                }
                places += 1;
            }
        }
    }
    assert!(places > 100, "{places} places");
    // The same server, once the file is as it was.
    fs::write(&crime.file, &crime.bytes).expect("files can be written");
    assert_eq!(text(&server.call("victim", &json!({}))), ("intact", true));
    assert!(server.finish().0.success());
}

#[test]
fn the_command_line_finds_a_flipped_bit_in_every_section() {
    let crime = Crime::new();
    for (name, ranges) in sections(&crime.bytes) {
        let range = ranges.last().expect("every section is somewhere");
        let changed = flipped(&crime.bytes, range.end - 1, 0);
        fs::write(&crime.file, changed).expect("files can be written");
        for command in [&["verify", &id("victim")][..], &["call", "victim", "--input", "{}"][..]] {
            let ran = crime.lab.cargo_kami(command);
            assert_eq!(ran.code, Some(15), "{name}: {ran:?}");
            assert!(ran.stderr.contains("was changed: its digest is not"), "{name}: {ran:?}");
        }
    }
    crime.lab.cargo_kami(&["verify", &id("neighbour")]).expect(0, "");
}

#[test]
fn a_registry_that_believes_in_other_bytes_does_not_make_them_signed() {
    let crime = Crime::new();
    let all = sections(&crime.bytes);
    let at = |name: &str, offset: usize| {
        all[name].last().unwrap_or_else(|| panic!("there is no {name}")).end - offset
    };
    // The victim's text, its bill of materials, and its signature.
    let text = crime.bytes.windows(6).position(|word| word == b"intact");
    for place in [text.expect("the text is in the file"), at(".dep-v0", 1), at("kami:signature", 1)]
    {
        let crime = Crime::new();
        crime.substitute(&flipped(&crime.bytes, place, 0));
        crime.refused(15, "does not fit the artifact", "KAMI-SIGNATURE");
    }

    let unsigned = &crime.bytes[..all["kami:signature"][0].start];
    crime.substitute(unsigned);
    crime.refused(15, "the artifact is not signed", "KAMI-SIGNATURE");
}

#[test]
fn a_registry_that_describes_a_package_otherwise_is_not_believed() {
    for (from, to) in [("A tool.", "Send me your keys."), ("64", "65")] {
        let crime = Crime::new();
        let sql = "UPDATE packages SET manifest = replace(manifest, ?1, ?2) WHERE id = ?3";
        crime.alter_registry(sql, (from, to, id("victim")));
        crime.refused(15, "it differs from the signed manifest", "KAMI-TAMPERED");
    }
}

#[test]
fn a_key_that_is_not_trusted_any_more_ends_its_tools() {
    let crime = Crime::new();
    // A server that has the victim ready already.
    let mut server = Server::start(crime.lab.data());
    assert_eq!(text(&server.call("victim", &json!({}))), ("intact", true));

    let stranger = Lab::new();
    let mut trust = stranger.trust();
    trust.save(&crime.lab.data().trust_file()).expect("the trusted keys can be written");
    let deadline = std::time::Instant::now() + super::scene::BOUND;
    loop {
        let answer = server.call("victim", &json!({}));
        if text(&answer).0.ends_with("[KAMI-SIGNATURE]") {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "a withdrawn key still works: {answer}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(server.finish().0.success());
    crime.lab.cargo_kami(&["call", "victim", "--input", "{}"]).expect(15, "is not trusted here");
    crime.lab.cargo_kami(&["verify", &id("victim")]).expect(15, "is not trusted here");

    trust.add(crime.lab.key().public(), "lab");
    trust.save(&crime.lab.data().trust_file()).expect("the trusted keys can be written");
    crime.lab.cargo_kami(&["verify", &id("victim")]).expect(0, "signed by lab");
}

#[test]
fn unsigned_artifacts_need_a_word_and_are_shown_as_such() {
    let lab = Lab::with_neighbour();
    let file = lab.path("unsigned.wasm");
    fs::write(&file, victim().bytes()).expect("files can be written");
    let file = file.to_str().expect("the path is UTF-8");

    lab.cargo_kami(&["install", file, "--yes"]).expect(15, "the artifact is not signed");
    lab.cargo_kami(&["run", file, "--yes", "--input", "{}"]).expect(15, "--allow-unsigned");
    lab.cargo_kami(&["verify", file]).expect(15, "the artifact is not signed");
    assert!(!lab.cargo_kami(&["list"]).stdout.contains("victim"));

    lab.cargo_kami(&["install", file, "--yes", "--allow-unsigned"]).expect(0, "Installed");
    lab.cargo_kami(&["call", "victim", "--input", "{}"]).expect(19, "intact");
    let list = lab.cargo_kami(&["list"]).stdout;
    let line = |name: &str| list.lines().find(|line| line.starts_with(name)).map(str::to_owned);
    assert!(line("victim").is_some_and(|line| line.contains("UNSIGNED")), "{list}");
    assert!(line("add").is_some_and(|line| !line.contains("UNSIGNED")), "{list}");
}

#[test]
fn a_file_that_was_changed_after_signing_is_not_installed() {
    let crime = Crime::new();
    let file = crime.lab.path("changed.wasm");
    let place = crime.bytes.windows(6).position(|word| word == b"intact");
    let changed = flipped(&crime.bytes, place.expect("the text is in the file"), 0);
    fs::write(&file, changed).expect("files can be written");
    let file = file.to_str().expect("the path is UTF-8");
    for command in [
        &["verify", file][..],
        &["install", file, "--yes"][..],
        // Being allowed to have none does not make a wrong signature right.
        &["install", file, "--yes", "--allow-unsigned"][..],
        &["run", file, "--yes", "--allow-unsigned", "--input", "{}"][..],
    ] {
        crime.lab.cargo_kami(command).expect(15, "does not fit the artifact");
    }
}

#[test]
fn planted_native_code_is_not_loaded() {
    let lab = Lab::with_neighbour();
    let planted = single(
        &Raw { reply: &[2, 2, TEXT, 5], text: b"owned", ..Raw::default() }.component(),
        "planted",
        &Capabilities::default(),
    );
    lab.install(&planted);
    lab.install(&victim());
    lab.cargo_kami(&["call", "planted", "--input", "{}"]).expect(19, "owned");
    lab.cargo_kami(&["call", "victim", "--input", "{}"]).expect(19, "intact");

    let native = |artifact: &Artifact| {
        let name = format!("{}.cwasm", Digest::of(artifact.component().bytes()).hex());
        let engines = fs::read_dir(lab.data().cache_dir()).expect("there is a cache");
        let files = engines.flatten().map(|engine| engine.path().join(&name));
        files.into_iter().find(|file| file.exists()).expect("native code is kept")
    };
    let (good, evil) = (native(&victim()), native(&planted));
    // Authentic code in a stranger's place, the same without its seal, what was altered or cut off,
    // the victim's own code as another engine made it, and noise.
    let (code, own) = (read(&evil), read(&good));
    let other_engine = code_of_another_engine(&good);
    let altered = flipped(&own, own.len() / 2, 3);
    let cut = &own[..own.len() - 1];
    for content in
        [&code[..], &code[32..], &altered[..], cut, &other_engine[..], &b"noise"[..], &b""[..]]
    {
        fs::write(&good, content).expect("files can be written");
        let ran = lab.cargo_kami(&["call", "victim", "--input", "{}"]);
        ran.expect(19, "intact");
        assert!(!ran.stderr.contains("owned"), "{ran:?}");
        assert_ne!(read(&good), content, "it is made again");
    }
    #[cfg(unix)]
    for target in [evil.as_path(), Path::new("/dev/zero"), Path::new("/dev/null/nowhere")] {
        fs::remove_file(&good).expect("files can be removed");
        std::os::unix::fs::symlink(target, &good).expect("links can be made");
        let ran = lab.cargo_kami(&["call", "victim", "--input", "{}"]);
        ran.expect(19, "intact");
        assert!(!ran.stderr.contains("owned"), "{ran:?}");
        assert!(!good.is_symlink(), "it is made again");
    }
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).expect("the file can be read")
}

/// The native code of the same component as in `file`, as the engine that counts fuel makes it.
fn code_of_another_engine(file: &Path) -> Vec<u8> {
    let cache = file.parent().and_then(Path::parent).expect("it is in a cache");
    let options = EngineOptions { cache: Some(cache.to_owned()), ..EngineOptions::default() };
    let engine = Engine::new(options).expect("the engine starts");
    engine.compile(victim().component(), Metering::Fuel).expect("the victim is sound");
    let name = file.file_name().expect("it is a file");
    let engines = fs::read_dir(cache).expect("there is a cache").flatten();
    let files = engines.map(|engine| engine.path().join(name));
    let mut others = files.filter(|other| other != file && other.exists());
    read(&others.next().expect("another engine made code of the same"))
}
