//! The log as a whole: what is altered is found, and what crashes is not taken for it.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;

use super::*;
use crate::digest::Digest;

/// A data directory that goes with its value.
struct Scene {
    data: DataDir,
    _root: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        Self { data: DataDir::new(root.path().join("data")), _root: root }
    }

    /// A log of `count` records, one in a batch.
    fn with(count: usize, options: &AuditOptions) -> Self {
        let scene = Self::new();
        let mut chain = scene.chain(options);
        for number in 0..count {
            chain.append(&[record(number)]).unwrap();
        }
        scene
    }

    fn chain(&self, options: &AuditOptions) -> Chain {
        Chain::open(&self.data, options.clone()).unwrap()
    }

    fn verify(&self) -> Result<Verified, String> {
        verify(&self.data, None).map_err(|error| match error {
            AuditError::Damaged(damage) => damage.to_string(),
            other => panic!("{other:?}"),
        })
    }

    fn directory(&self) -> PathBuf {
        self.data.audit_dir()
    }

    /// The files of the log, in order.
    fn files(&self) -> Vec<PathBuf> {
        let numbers = lines::numbers(&self.directory()).unwrap();
        numbers.into_iter().map(|number| lines::path(&self.directory(), number)).collect()
    }

    /// Everything that the log consists of.
    fn contents(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let entries = fs::read_dir(self.directory()).unwrap();
        entries
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect()
    }

    fn restore(&self, contents: &[(PathBuf, Vec<u8>)]) {
        for entry in fs::read_dir(self.directory()).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        for (path, bytes) in contents {
            fs::write(path, bytes).unwrap();
        }
    }

    fn events(&self) -> Vec<AuditEvent> {
        let mut reader = AuditReader::new(&self.data);
        let mut events = Vec::new();
        while let Some(record) = reader.next_record().unwrap() {
            events.push(record.unwrap().event);
        }
        events
    }
}

/// Small files, of which none is dropped, and no waiting for the disk.
fn small() -> AuditOptions {
    AuditOptions {
        max_file_bytes: 1500,
        max_files: NonZeroU32::new(1000).unwrap(),
        durability: Durability::LeftToSystem,
        ..AuditOptions::default()
    }
}

fn keygen(name: impl ToString) -> AuditEvent {
    AuditEvent::Keygen { name: name.to_string(), key: "ed25519:00".to_owned() }
}

fn record(number: usize) -> (UtcTime, AuditEvent) {
    (UtcTime::from_millis(number as u64), keygen(number))
}

fn call(arguments: Arguments) -> CallRecord {
    CallRecord {
        tool: "add".to_owned(),
        method: "tools/call".into(),
        package: "dev.example.add".parse().unwrap(),
        version: semver::Version::new(1, 2, 3),
        digest: Digest::of(b"artifact"),
        client: Some("tests 1".to_owned()),
        identity: Some("token:ci".to_owned()),
        arguments,
        outcome: "ok".into(),
        micros: 18,
        fuel: None,
        denials: Vec::new(),
        denials_omitted: 0,
    }
}

/// A small generator of numbers that look random (xorshift), so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap()
    }
}

#[test]
fn every_kind_of_event_comes_back_as_it_was_recorded() {
    let scene = Scene::new();
    let package = || "dev.example.add".parse::<crate::name::PackageId>().unwrap();
    let version = || semver::Version::new(1, 0, 0);
    let mut denied = call(Arguments::Full(r#"{"a":1}"#.to_owned()));
    denied.denials = vec![DenialRecord { thing: "x:80".into(), rule: "not granted".into() }];
    denied.fuel = Some(7);
    let events = vec![
        AuditEvent::Install {
            package: package(),
            version: version(),
            digest: Digest::of(b"x"),
            replaced: Some(version()),
            signer: None,
            source: "a\nb".to_owned(),
            grant: json!({"net": ["*"]}),
        },
        AuditEvent::Grant { package: package(), before: json!({}), after: json!({"fs": "none"}) },
        keygen("default"),
        AuditEvent::Trust {
            action: TrustAction::Add,
            key: "ed25519:00".to_owned(),
            label: "\u{1b}[2J".to_owned(),
        },
        AuditEvent::Secret { action: SecretAction::Set, name: "TOKEN".to_owned() },
        AuditEvent::Policy { file: "kami-policy.toml".to_owned(), digest: None },
        AuditEvent::Call(Box::new(call(Arguments::of("{}", AuditArguments::Digest)))),
        AuditEvent::Call(Box::new(denied)),
        AuditEvent::Refusal {
            tool: "../add".to_owned(),
            package: None,
            code: "KAMI-UNKNOWN".into(),
            reason: "there is no tool".to_owned(),
            client: None,
            identity: None,
        },
        AuditEvent::Uninstall { package: package(), version: None },
    ];
    let log = AuditLog::open(&scene.data, AuditOptions::default()).unwrap();
    for event in &events {
        log.append(event.clone()).unwrap();
    }
    assert_eq!(scene.events(), events);
    let kinds: Vec<_> = scene.events().iter().map(AuditEvent::kind).collect();
    assert!(kinds.iter().all(|kind| AuditFilter::KINDS.contains(kind)), "{kinds:?}");
    assert_eq!(scene.verify().unwrap().records, events.len() as u64);
    for (path, _) in scene.contents() {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", path.display());
    }
    for path in scene.files() {
        let text = fs::read_to_string(path).unwrap();
        assert!(!text.contains('\u{1b}'), "control characters are escaped");
    }
}

#[test]
fn filters_find_calls_denials_packages_and_times() {
    let scene = Scene::new();
    let mut chain = scene.chain(&small());
    let mut denied = call(Arguments::of("{}", AuditArguments::Digest));
    denied.denials = vec![DenialRecord { thing: "x".into(), rule: "y".into() }];
    let plain = call(Arguments::of("{}", AuditArguments::Digest));
    for (millis, event) in [
        (1, keygen("a")),
        (2, AuditEvent::Call(Box::new(plain))),
        (3, AuditEvent::Call(Box::new(denied))),
        (4, keygen("b")),
    ] {
        chain.append(&[(UtcTime::from_millis(millis), event)]).unwrap();
    }
    let found = |tool: Option<&str>, kind: Option<&str>, since: u64, count: usize| {
        let filter = AuditFilter {
            tool: tool.map(str::to_owned),
            kind: kind.map(str::to_owned),
            since: Some(UtcTime::from_millis(since)),
        };
        let tail = AuditReader::new(&scene.data).tail(count, &filter).unwrap();
        tail.records.iter().map(|record| record.sequence).collect::<Vec<_>>()
    };
    assert_eq!(found(None, None, 0, 9), [1, 2, 3, 4]);
    assert_eq!(found(None, None, 0, 2), [3, 4]);
    assert_eq!(found(None, None, 0, 0), [] as [u64; 0]);
    assert_eq!(found(None, Some("call"), 0, 9), [2, 3]);
    assert_eq!(found(None, Some("denial"), 0, 9), [3]);
    assert_eq!(found(None, Some("keygen"), 2, 9), [4]);
    assert_eq!(found(Some("add"), None, 0, 9), [2, 3]);
    assert_eq!(found(Some("dev.example.add"), None, 3, 9), [3]);
    assert_eq!(found(Some("ad"), None, 0, 9), [] as [u64; 0]);
}

#[test]
fn a_reader_goes_on_across_files_with_what_is_written_later() {
    let scene = Scene::with(10, &small());
    let mut reader = AuditReader::new(&scene.data);
    let tail = reader.tail(3, &AuditFilter::default()).unwrap();
    assert_eq!(tail.records.iter().map(|r| r.sequence).collect::<Vec<_>>(), [8, 9, 10]);
    assert!(reader.next_record().unwrap().is_none());
    let mut chain = scene.chain(&small());
    for number in 10..40 {
        chain.append(&[record(number)]).unwrap();
        let read = reader.next_record().unwrap().unwrap().unwrap();
        assert_eq!(read.event, keygen(number));
        assert!(reader.next_record().unwrap().is_none());
    }
    assert!(scene.files().len() > 5, "the test is about several files");
}

/// One change that somebody makes to a log; `false` if it changes nothing.
fn alter(files: &[PathBuf], dice: &mut Dice) -> bool {
    let path = &files[dice.below(files.len())];
    let text = fs::read(path).unwrap();
    let mut lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let (one, other) = (dice.below(lines.len()), dice.below(lines.len()));
    let mut changed;
    match dice.below(9) {
        0 => {
            changed = text.clone();
            let at = dice.below(text.len());
            changed[at] ^= 1 << dice.below(8);
        }
        1 => {
            lines.remove(one);
            changed = lines.concat();
        }
        2 => {
            lines.swap(one, other);
            changed = lines.concat();
        }
        3 => {
            let copied = lines[one];
            lines.insert(other, copied);
            changed = lines.concat();
        }
        4 => {
            lines.truncate(one);
            changed = lines.concat();
        }
        5 => changed = text[..dice.below(text.len())].to_vec(),
        6 => {
            changed = text.clone();
            let at = dice.below(text.len());
            changed.insert(at, [b'\n', b' ', 0, b'x'][dice.below(4)]);
        }
        7 => {
            fs::remove_file(path).unwrap();
            return true;
        }
        _ => {
            let second = &files[dice.below(files.len())];
            let theirs = fs::read(second).unwrap();
            fs::write(second, &text).unwrap();
            changed = theirs;
        }
    }
    fs::write(path, &changed).unwrap();
    changed != text
}

#[test]
fn whatever_is_altered_is_found() {
    let scene = Scene::with(24, &small());
    let (whole, files) = (scene.contents(), scene.files());
    assert!(files.len() >= 4, "{files:?}");
    let mut altered = 0;
    for seed in 1..=3000 {
        let mut dice = Dice(u64::wrapping_mul(seed, 0x9e37_79b9_7f4a_7c15));
        (0..20).for_each(|_| _ = dice.below(2));
        let changed = alter(&files, &mut dice);
        let found = scene.verify();
        assert_eq!(found.is_err(), changed, "seed {seed}: {found:?}");
        altered += usize::from(changed);
        scene.restore(&whole);
    }
    assert!(altered > 2000, "only {altered} changes were made");
    scene.verify().unwrap();
}

#[test]
fn no_byte_of_a_log_can_be_changed() {
    let scene = Scene::with(7, &small());
    for path in scene.files().into_iter().chain([scene.directory().join("head")]) {
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1 << (at % 8);
            fs::write(&path, &changed).unwrap();
            assert!(scene.verify().is_err(), "{}, byte {at}", path.display());
        }
        fs::write(&path, &whole).unwrap();
    }
    scene.verify().unwrap();
}

#[test]
fn damage_is_named_by_file_and_line() {
    let scene = Scene::with(12, &small());
    let (whole, files) = (scene.contents(), scene.files());
    let name = |at: usize| files[at].display().to_string();
    let check = |told: &str, change: &dyn Fn()| {
        change();
        let found = scene.verify().unwrap_err();
        assert!(found.contains(told), "{told}: {found}");
        scene.restore(&whole);
    };
    let edit = |at: usize, change: &dyn Fn(&mut Vec<String>)| {
        let text = fs::read_to_string(&files[at]).unwrap();
        let mut lines = text.lines().map(|line| format!("{line}\n")).collect();
        change(&mut lines);
        fs::write(&files[at], lines.concat()).unwrap();
    };
    check(&format!("{}, line 2: it was changed", name(0)), &|| {
        edit(0, &|lines| lines[1] = lines[1].replace("keygen", "keygem"));
    });
    check(&format!("{}, line 1: it has sequence number 2 where 1 is due", name(0)), &|| {
        edit(0, &|lines| _ = lines.remove(0));
    });
    check(&format!("{} is missing", name(1)), &|| fs::remove_file(&files[1]).unwrap());
    check(&format!("{} is missing", name(0)), &|| fs::remove_file(&files[0]).unwrap());
    let last = files.len() - 1;
    check(&format!("{} is missing", name(last)), &|| fs::remove_file(&files[last]).unwrap());
    check("ends before record 12", &|| edit(last, &|lines| _ = lines.pop()));
    check("head: it is missing", &|| fs::remove_file(scene.directory().join("head")).unwrap());
    check("head: its key is missing", &|| fs::remove_file(scene.directory().join("key")).unwrap());
    check("key: its key is missing or damaged", &|| {
        fs::write(scene.directory().join("key"), b"short").unwrap();
    });
}

/// Who has no key can make a chain, and no head for it.
#[test]
fn a_chain_that_was_written_anew_does_not_fit_its_head() {
    let scene = Scene::with(3, &AuditOptions::default());
    let path = &scene.files()[0];
    let mut place = ChainHead::start();
    let mut forged = Vec::new();
    for (time, event) in [record(0), record(7), record(2)] {
        place = line::write(place, time, &event, &mut forged).unwrap();
    }
    fs::write(path, &forged).unwrap();
    let found = scene.verify().unwrap_err();
    assert!(found.contains("record 3 is not the one that was written last"), "{found}");
    assert!(matches!(
        Chain::open(&scene.data, AuditOptions::default()).map(|_| ()),
        Err(AuditError::Damaged(AuditDamage::Replaced { sequence: 3, .. }))
    ));
}

#[test]
fn a_place_that_was_noted_elsewhere_finds_another_log() {
    let scene = Scene::with(5, &small());
    let noted = head(&scene.data).unwrap();
    let expect = |place| match verify(&scene.data, Some(place)) {
        Ok(_) => Ok(()),
        Err(AuditError::Damaged(damage)) => Err(damage),
        Err(other) => panic!("{other:?}"),
    };
    assert_eq!(expect(noted), Ok(()));
    scene.chain(&small()).append(&[record(5)]).unwrap();
    assert_eq!(expect(noted), Ok(()), "the log has grown since");
    let later = head(&scene.data).unwrap();

    fs::remove_dir_all(scene.directory()).unwrap();
    assert_eq!(expect(noted), Err(AuditDamage::NotReached { expect: noted }));
    let mut chain = scene.chain(&small());
    chain.append(&[record(99)]).unwrap();
    assert!(scene.verify().is_ok(), "the log alone does not tell");
    assert_eq!(expect(later), Err(AuditDamage::NotReached { expect: later }));
    for number in 0..5 {
        chain.append(&[record(number)]).unwrap();
    }
    assert!(matches!(expect(noted), Err(AuditDamage::Unexpected { .. })));
}

/// Every state that a writer can leave behind which ends at any moment of a batch.
#[test]
fn a_crash_at_any_moment_leaves_a_log_that_verifies_and_goes_on() {
    let scene = Scene::with(2, &small());
    let before = scene.contents();
    scene.chain(&small()).append(&(2..18).map(record).collect::<Vec<_>>()).unwrap();
    let after = scene.contents();
    let log_file = |path: &Path| path.extension().is_some_and(|end| end == "jsonl");
    let mut new: Vec<_> = after.iter().filter(|(path, _)| log_file(path)).collect();
    new.sort();
    assert!(new.len() >= 3, "the batch reaches over several files");
    let mut whole_files = Vec::new();
    let mut states = 0;
    for (path, bytes) in new {
        let old = before.iter().find(|(old, _)| old == path).map_or(0, |(_, bytes)| bytes.len());
        for length in old..=bytes.len() {
            let mut state = before.clone();
            state.retain(|(old, _)| old != path && !whole_files.iter().any(|(p, _)| p == old));
            state.extend(whole_files.iter().cloned());
            state.push((path.clone(), bytes[..length].to_vec()));
            scene.restore(&state);
            let found = scene.verify().unwrap_or_else(|damage| panic!("{length}: {damage}"));
            let torn = found.torn_bytes;
            let mut chain = scene.chain(&small());
            chain.append(&[record(77)]).unwrap();
            let events = scene.events();
            let adopted = usize::try_from(found.beyond_head).unwrap();
            let mut expected: Vec<_> = (0..2 + adopted).map(keygen).collect();
            if adopted > 0 || torn > 0 {
                let adopted = found.beyond_head;
                expected.push(AuditEvent::Recovery { adopted, discarded_bytes: torn });
            }
            expected.push(keygen(77));
            assert_eq!(events, expected, "{}, {length} bytes", path.display());
            let found = scene.verify().unwrap();
            assert_eq!((found.beyond_head, found.torn_bytes), (0, 0));
            states += 1;
        }
        whole_files.push((path.clone(), bytes.clone()));
    }
    assert!(states > 2000, "{states} states");
}

#[test]
fn what_a_power_cut_leaves_in_a_file_is_cut_off_and_what_somebody_adds_is_not() {
    let scene = Scene::with(2, &small());
    let path = &scene.files()[0];
    let whole = scene.contents();
    let add = |bytes: &[u8]| {
        scene.restore(&whole);
        let mut file = OpenOptions::new().append(true).open(path).unwrap();
        io::Write::write_all(&mut file, bytes).unwrap();
    };
    add(b"\0\0\0\0\n\0\0{\"v\":1}\n");
    assert_eq!(scene.verify().unwrap().torn_bytes, 15);
    scene.chain(&small());
    let recovery = AuditEvent::Recovery { adopted: 0, discarded_bytes: 15 };
    assert_eq!(scene.events(), [keygen(0), keygen(1), recovery]);
    for noise in ["\n", "{}\n", "noise\n", "{\"v\":2,\"seq\":3}\n"] {
        add(noise.as_bytes());
        scene.verify().unwrap_err();
        let refused = Chain::open(&scene.data, small()).map(|_| ());
        assert!(matches!(refused, Err(AuditError::Damaged(_))), "{noise:?}");
        assert_eq!(fs::read(path).unwrap().len(), whole_length(&whole, path) + noise.len());
    }
}

fn whole_length(contents: &[(PathBuf, Vec<u8>)], path: &Path) -> usize {
    contents.iter().find(|(found, _)| found == path).unwrap().1.len()
}

#[test]
fn old_files_go_and_the_rest_verifies() {
    let options = AuditOptions { max_files: NonZeroU32::new(3).unwrap(), ..small() };
    for max_files in [1, 2, 3] {
        let options =
            AuditOptions { max_files: NonZeroU32::new(max_files).unwrap(), ..options.clone() };
        let scene = Scene::new();
        let mut chain = scene.chain(&options);
        let mut dropped = None;
        for number in 0..60 {
            let before = scene.contents();
            chain.append(&[record(number)]).unwrap();
            let found = scene.verify().unwrap();
            assert!(scene.files().len() <= max_files as usize, "{number}");
            let now = found.dropped.sequence;
            if dropped.replace(now).is_some_and(|then| then != now) {
                // A crash between the new head and the removal leaves a file that is kept no more.
                for (path, bytes) in before.iter().filter(|(path, _)| !path.exists()) {
                    fs::write(path, bytes).unwrap();
                }
                assert_eq!(scene.verify().unwrap().records, found.records);
                drop(chain);
                chain = scene.chain(&options);
                assert!(scene.files().len() <= max_files as usize, "leftovers go");
            }
        }
        let found = scene.verify().unwrap();
        assert!(found.dropped.sequence > 30, "{found:?}");
        let first = AuditReader::new(&scene.data).next_record().unwrap().unwrap().unwrap();
        assert_eq!(first.sequence, found.dropped.sequence + 1);
        let gone = ChainHead { sequence: 1, hash: Digest::of(b"") };
        let error = verify(&scene.data, Some(gone)).unwrap_err();
        let AuditError::Damaged(AuditDamage::Dropped { dropped, .. }) = error else {
            panic!("{error:?}")
        };
        assert_eq!(dropped, found.dropped);
        let retained = scene.events().into_iter().any(|event| {
            let AuditEvent::Retention { through } = event else { return false };
            through == found.dropped
        });
        assert!(retained, "what was dropped is told");
        fs::remove_file(&scene.files()[0]).unwrap();
        scene.verify().unwrap_err();
    }
}

#[test]
fn many_writers_make_one_chain() {
    let scene = Scene::new();
    let written = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let (data, written) = (&scene.data, &written);
            scope.spawn(move || {
                // Each has a log of its own, as processes do.
                let log = AuditLog::open(data, small()).unwrap();
                for number in 0..50 {
                    log.append(keygen(format!("{writer}/{number}"))).unwrap();
                    written.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        scope.spawn(|| {
            while written.load(Ordering::Relaxed) < 200 {
                let found = scene.verify().unwrap();
                assert_eq!((found.beyond_head, found.torn_bytes), (0, 0), "writers hold the lock");
                std::thread::sleep(Duration::from_millis(1));
            }
        });
    });
    assert_eq!(scene.verify().unwrap().records, 200);
    let events = scene.events();
    for writer in 0..4 {
        let prefix = format!("{writer}/");
        let own: Vec<&AuditEvent> = events
            .iter()
            .filter(|e| matches!(e, AuditEvent::Keygen { name, .. } if name.starts_with(&prefix)))
            .collect();
        let expected: Vec<_> = (0..50).map(|n| keygen(format!("{writer}/{n}"))).collect();
        assert_eq!(own, expected.iter().collect::<Vec<_>>(), "each writer's records are in order");
    }
}

#[test]
fn no_record_is_longer_than_readers_take_and_what_is_cut_says_so() {
    let scene = Scene::new();
    // Each of these takes six bytes in JSON.
    let long = "\u{1}".repeat(1 << 20);
    let mut worst = call(Arguments::Full(long.clone()));
    worst.client = Some(long.clone());
    worst.identity = Some(long.clone());
    worst.denials = vec![DenialRecord { thing: long.clone(), rule: long.clone() }; 1000];
    let log = AuditLog::open(&scene.data, AuditOptions::default()).unwrap();
    log.append(AuditEvent::Call(Box::new(worst))).unwrap();
    log.append(AuditEvent::Grant {
        package: "dev.example.add".parse().unwrap(),
        before: json!({ "net": long }),
        after: json!({}),
    })
    .unwrap();
    assert_eq!(scene.verify().unwrap().records, 2);
    let length = fs::metadata(&scene.files()[0]).unwrap().len();
    assert!(length < line::MAX_LINE as u64, "{length}");
    let events = scene.events();
    let AuditEvent::Call(kept) = &events[0] else { panic!("{events:?}") };
    assert_eq!((kept.denials.len(), kept.denials_omitted), (16, 984));
    let Arguments::Full(arguments) = &kept.arguments else { panic!("{kept:?}") };
    assert!(arguments.ends_with(&format!("… ({} more bytes)", (1 << 20) - (16 << 10))));
}

#[test]
fn secrets_are_taken_out_before_anything_is_cut() {
    let scene = Scene::new();
    let scrub = Scrub::new(|text| match text.contains("hunter2") {
        true => text.replace("hunter2", "[secret]").into(),
        false => text.into(),
    });
    let options = AuditOptions { scrub, arguments: AuditArguments::Full, ..small() };
    let log = AuditLog::open(&scene.data, options).unwrap();
    // Half of the secret is before the place where the text is cut.
    let text = format!("{}hunter2", "x".repeat(508));
    let mut record = call(Arguments::of(r#"{"password":"hunter2"}"#, AuditArguments::Full));
    record.client = Some(text.clone());
    record.denials = vec![DenialRecord { thing: text.clone(), rule: "hunter2".into() }];
    log.append(AuditEvent::Call(Box::new(record))).unwrap();
    log.append(AuditEvent::Grant {
        package: "dev.example.add".parse().unwrap(),
        before: json!({"a": "hunter2"}),
        after: json!({"b": ["hunter2"]}),
    })
    .unwrap();
    let written = fs::read_to_string(&scene.files()[0]).unwrap();
    assert!(!written.contains("hunt"), "{written}");
    assert!(written.contains(r#"{\"password\":\"[secret]\"}"#), "{written}");
}

#[tokio::test]
async fn nothing_is_called_while_the_log_cannot_be_written_and_nothing_is_lost() {
    let scene = Scene::new();
    let log = AuditLog::open(&scene.data, small()).unwrap();
    log.record(keygen("before")).await.unwrap();
    log.flush().await.unwrap();
    // A directory in the place of the head, as good as a disk that fails.
    let (head, aside) = (scene.directory().join("head"), scene.directory().join("aside"));
    fs::rename(&head, &aside).unwrap();
    fs::create_dir(&head).unwrap();
    let place = log.reserve().await.unwrap();
    log.record(keygen("meanwhile")).await.unwrap();
    let failed = log.flush().await;
    assert!(matches!(failed, Err(AuditError::Failed(_))), "{failed:?}");
    let refused = log.reserve().await.map(|_| ());
    assert!(matches!(refused, Err(AuditError::Failed(_))), "{refused:?}");
    // A call that began before keeps its place.
    place.record(keygen("late"));
    fs::remove_dir(&head).unwrap();
    fs::rename(&aside, &head).unwrap();
    let started = Instant::now();
    while log.reserve().await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(30), "the writer tries again");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(log);
    assert_eq!(scene.events(), [keygen("before"), keygen("meanwhile"), keygen("late")]);
    assert_eq!(scene.verify().unwrap().records, 3);
}

#[tokio::test]
async fn callers_wait_for_a_slow_writer_and_nothing_is_lost() {
    let scene = Scene::new();
    let log = AuditLog::open(&scene.data, small()).unwrap();
    let lock = File::open(scene.directory().join("lock")).unwrap();
    lock.lock().unwrap();
    for number in 0..QUEUE {
        log.record(keygen(number)).await.unwrap();
    }
    let mut waiting = Box::pin(log.record(keygen(QUEUE)));
    let patience = Duration::from_millis(50);
    assert!(tokio::time::timeout(patience, &mut waiting).await.is_err(), "there is no room");
    lock.unlock().unwrap();
    (&mut waiting).await.unwrap();
    drop(waiting);
    drop(log);
    assert_eq!(scene.events(), (0..=QUEUE).map(keygen).collect::<Vec<_>>());
}

#[test]
fn a_log_of_another_version_is_refused_and_left() {
    let scene = Scene::with(1, &small());
    let key = chain::read_key(&scene.directory()).unwrap().unwrap();
    let head = scene.directory().join("head");
    let text = fs::read_to_string(&head).unwrap().replace("\"v\":1", "\"v\":2");
    let newer = line::sign_for_tests(&text, &key);
    fs::write(&head, &newer).unwrap();
    let told = "version 2, and this program knows version 1: update cargo-kami";
    let found = scene.verify().unwrap_err();
    assert!(found.contains(told), "{found}");
    assert!(Chain::open(&scene.data, small()).is_err());
    assert_eq!(fs::read(&head).unwrap(), newer);
}
