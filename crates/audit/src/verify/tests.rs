use std::{fs, path::Path};

use gatepost_config::{Config, SigningKey};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::{Log, Settings, log::tests::call};

/// A log of 3 segments whose last record is known to `head`.
struct Sample {
    _folder: TempDir,
    settings: Settings,
}

impl Sample {
    fn new(key: Option<SigningKey>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            signing_key: key,
            ..Settings::plain(folder.path())
        };
        let sample = Self {
            _folder: folder,
            settings,
        };
        sample.run(6);
        // Segments are cut by hand: what the gate does there is another test's.
        let lines = sample.lines();
        let path = |first: usize| segment::path(&sample.settings.folder, first as u64 + 1);
        for (from, to) in [(0, 5), (5, 9), (9, lines.len())] {
            fs::write(path(from), joined(&lines[from..to])).unwrap();
        }
        sample.head(9);
        sample
    }

    fn run(&self, calls: usize) {
        let log = Log::open(self.settings.clone()).unwrap();
        for _ in 0..calls {
            call(&log);
        }
        log.close();
    }

    /// `head` names the segment that begins with record `first + 1`.
    fn head(&self, first: usize) {
        let path = self.settings.folder.join(head::NAME);
        let mut place = head::read(&self.settings.folder).unwrap();
        place.segment = first as u64 + 1;
        place.bytes = segment::path(&self.settings.folder, place.segment)
            .metadata()
            .unwrap()
            .len();
        fs::write(path, serde_json::to_vec(&place).unwrap()).unwrap();
    }

    fn path(&self) -> &Path {
        &self.settings.folder
    }

    fn lines(&self) -> Vec<Vec<u8>> {
        let files = segment::list(self.path()).unwrap();
        let all: Vec<u8> = files
            .iter()
            .flat_map(|file| fs::read(&file.path).unwrap())
            .collect();
        all.strip_suffix(b"\n")
            .unwrap()
            .split(|&byte| byte == b'\n')
            .map(<[u8]>::to_vec)
            .collect()
    }

    /// Puts other lines in place of all, in one segment that is named for the first.
    fn put(&self, lines: &[Vec<u8>]) {
        let files = segment::list(self.path()).unwrap();
        for file in &files {
            fs::remove_file(&file.path).unwrap();
        }
        fs::write(&files[0].path, joined(lines)).unwrap();
    }

    fn fault(&self) -> Option<(FaultKind, u64)> {
        self.verify(&Known::default())
            .fault
            .map(|fault| (fault.kind, fault.seq))
    }

    fn verify(&self, known: &Known) -> Report {
        verify(self.path(), known).unwrap()
    }
}

fn joined(lines: &[Vec<u8>]) -> Vec<u8> {
    lines
        .iter()
        .flat_map(|line| line.iter().copied().chain([b'\n']))
        .collect()
}

fn key() -> SigningKey {
    let yaml = "audit: { signing_key: \"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\" }";
    let config = Config::parse_in(Path::new("/srv"), yaml, &|_| Some("/home/ann".into())).unwrap();
    config.audit.unwrap().signing_key.unwrap()
}

fn known() -> Known {
    Known {
        keys: vec![PublicKey::of(&key()).unwrap()],
        records: Vec::new(),
    }
}

#[test]
fn an_untouched_log_is_fine() {
    let sample = Sample::new(None);
    let report = sample.verify(&Known::default());
    assert_eq!(report.fault, None);
    assert_eq!((report.segments, report.records), (3, 15));
    assert_eq!(report.head, Some(15));
    assert_eq!(report.last.unwrap().seq, 15);
    // And so is one that was opened and closed again.
    sample.run(2);
    assert_eq!(sample.fault(), None);
}

/// One byte anywhere: the record it is in is named, and no other.
#[test]
fn a_changed_byte_names_its_record() {
    let sample = Sample::new(None);
    for file in segment::list(sample.path()).unwrap() {
        let original = fs::read(&file.path).unwrap();
        let mut record = file.first;
        for at in 0..original.len() {
            // Every line end and what is around it, and a few places between.
            let near_an_end = original[at.saturating_sub(1)..original.len().min(at + 2)].contains(&b'\n');
            if !near_an_end && at % 11 != 0 {
                continue;
            }
            let mut changed = original.clone();
            changed[at] ^= 1;
            fs::write(&file.path, &changed).unwrap();
            let (_, seq) = sample
                .fault()
                .unwrap_or_else(|| panic!("byte {at} of {:?}", file.path));
            assert_eq!(seq, record, "byte {at} of {:?}", file.path);
            if original[at] == b'\n' {
                record += 1;
            }
        }
        fs::write(&file.path, &original).unwrap();
    }
    assert_eq!(sample.fault(), None);
}

#[test]
fn what_was_done_to_the_lines_is_told() {
    let sample = Sample::new(None);
    let lines = sample.lines();
    let last = lines.len();
    let other = Sample::new(None).lines();
    let check = |name: &str, changed: Vec<Vec<u8>>, kind: FaultKind, seq: u64| {
        sample.put(&changed);
        assert_eq!(sample.fault(), Some((kind, seq)), "{name}");
    };
    for at in 1..last {
        let seq = at as u64 + 1;
        let mut dropped = lines.clone();
        dropped.remove(at);
        let gone = if at + 1 == last {
            FaultKind::CutOff { through: seq }
        } else {
            FaultKind::Removed { through: seq }
        };
        check("drop", dropped, gone, seq);
        let mut cut = lines.clone();
        cut.truncate(at);
        check("truncate", cut, FaultKind::CutOff { through: last as u64 }, seq);
        let mut doubled = lines.clone();
        doubled.insert(at, lines[at].clone());
        check("duplicate", doubled, FaultKind::Repeated, seq);
        let mut empty = lines.clone();
        empty.insert(at, Vec::new());
        check("an empty line", empty, FaultKind::Changed, seq);
        let mut garbled = lines.clone();
        garbled[at] = b"{}".to_vec();
        check("garbage", garbled, FaultKind::Changed, seq);
        if at + 1 < last {
            let mut swapped = lines.clone();
            swapped.swap(at, at + 1);
            check("swap", swapped, FaultKind::Moved, seq);
            let mut many = lines.clone();
            many.drain(at..last - 1);
            check(
                "drop several",
                many,
                FaultKind::Removed {
                    through: last as u64 - 1,
                },
                seq,
            );
        }
        if at > 1 {
            let spliced = [&lines[..at], &other[at..]].concat();
            check("splice", spliced, FaultKind::Foreign, seq);
        }
        if at + 2 < last {
            // The one behind is given the number of the one that is gone, and so on.
            let mut renumbered = lines.clone();
            renumbered.remove(at);
            for (index, line) in renumbered.iter_mut().enumerate().skip(at) {
                let text = String::from_utf8(line.clone()).unwrap();
                let (old, new) = (index + 2, index + 1);
                *line = text
                    .replacen(&format!("\"seq\":{old},"), &format!("\"seq\":{new},"), 1)
                    .replacen(&format!("-{old}\",\"prev\""), &format!("-{new}\",\"prev\""), 1)
                    .into_bytes();
            }
            check("renumber", renumbered, FaultKind::Removed { through: seq }, seq);
        }
    }
    sample.put(&lines);
    assert_eq!(sample.fault(), None);
}

#[test]
fn a_segment_that_is_gone_or_renamed_is_noticed() {
    let sample = Sample::new(None);
    let files = segment::list(sample.path()).unwrap();
    let gone = |at: usize| {
        let content = fs::read(&files[at].path).unwrap();
        fs::remove_file(&files[at].path).unwrap();
        let fault = sample.fault();
        fs::write(&files[at].path, content).unwrap();
        fault
    };
    assert_eq!(gone(0), Some((FaultKind::Removed { through: 5 }, 1)));
    assert_eq!(gone(1), Some((FaultKind::Removed { through: 9 }, 6)));
    assert_eq!(gone(2), Some((FaultKind::CutOff { through: 15 }, 10)));
    fs::rename(&files[1].path, segment::path(sample.path(), 7)).unwrap();
    assert_eq!(sample.fault(), Some((FaultKind::Moved, 6)));
}

#[test]
fn without_head_a_cut_end_needs_a_checkpoint_from_elsewhere() {
    let sample = Sample::new(None);
    let lines = sample.lines();
    fs::remove_file(sample.path().join(head::NAME)).unwrap();
    sample.put(&lines[..12]);
    let report = sample.verify(&Known::default());
    assert_eq!((report.fault, report.head), (None, None));
    let expected = |seq: usize| Known {
        keys: Vec::new(),
        records: vec![(seq as u64, Hash::of(&lines[seq - 1]))],
    };
    assert_eq!(sample.verify(&expected(12)).fault, None);
    let fault = sample.verify(&expected(14)).fault.unwrap();
    assert_eq!((fault.kind, fault.seq), (FaultKind::CutOff { through: 14 }, 13));
}

/// Everything from some record on written anew, so that the chain fits: only a signature, or a hash kept elsewhere, shows it.
#[test]
fn a_rewritten_chain_is_shown_by_signatures() {
    let sample = Sample::new(Some(key()));
    let report = sample.verify(&known());
    assert_eq!(report.fault, None);
    assert_eq!((report.signatures, report.signed_through), (3, Some(15)));
    let lines = sample.lines();
    let mut forged: Vec<Vec<u8>> = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let mut text = String::from_utf8(line.clone()).unwrap();
        if at == 6 {
            text = text.replace("ann@example.com", "bob@example.com");
        }
        let head = Head::of(line).unwrap();
        if at > 6 {
            let prev = Hash::of(&forged[at - 1]).to_string();
            text = text.replacen(&head.prev.to_string(), &prev, 1);
        }
        forged.push(text.into_bytes());
    }
    sample.put(&forged);
    let path = sample.path().join(head::NAME);
    let mut place = head::read(sample.path()).unwrap();
    place.hash = Hash::of(&forged[14]).to_string();
    fs::write(path, serde_json::to_vec(&place).unwrap()).unwrap();
    assert_eq!(sample.fault(), None, "without the key nothing shows it");
    let fault = sample.verify(&known()).fault.unwrap();
    assert_eq!((fault.kind, fault.seq), (FaultKind::Rewritten { through: 15 }, 3));
    let elsewhere = Known {
        keys: Vec::new(),
        records: vec![(10, Hash::of(&lines[9]))],
    };
    let fault = sample.verify(&elsewhere).fault.unwrap();
    assert_eq!((fault.kind, fault.seq), (FaultKind::Rewritten { through: 10 }, 1));
    // Another's key, and no signature at all.
    let mut stranger = known();
    stranger.keys = vec![PublicKey::parse("2VeKfq/dF1NrGMTW7ZbCZkB5BwMoiyb8tTGsoMrFtHo=").unwrap()];
    assert!(matches!(
        sample.verify(&stranger).fault.unwrap().kind,
        FaultKind::Rewritten { through: 1 }
    ));
    let unsigned = Sample::new(None);
    assert_eq!(unsigned.verify(&known()).fault.unwrap().kind, FaultKind::Unsigned);
}

/// A record that begins a run may name any; the next one shows that it is the same as before.
#[test]
fn an_opening_record_of_a_run_that_never_was_is_the_one_that_was_changed() {
    let sample = Sample::new(None);
    let mut lines = sample.lines();
    let line = String::from_utf8(lines[1].clone()).unwrap();
    let run = Head::of(line.as_bytes()).unwrap().run().to_owned();
    let another = line
        .replacen(&run, "another0run0", 1)
        .replacen("false", "true", 1);
    assert!(another.contains("\"opened\"") && another != line);
    lines[1] = another.into_bytes();
    sample.put(&lines);
    assert_eq!(sample.fault(), Some((FaultKind::Changed, 2)));
}

#[test]
fn a_signature_that_was_taken_off_is_missed() {
    let sample = Sample::new(Some(key()));
    let lines = sample.lines();
    let mut bare = lines.clone();
    let line = String::from_utf8(bare[14].clone()).unwrap();
    bare[14] = format!("{}}}", line.split_once(",\"signature\"").unwrap().0).into_bytes();
    sample.put(&bare);
    fs::remove_file(sample.path().join(head::NAME)).unwrap();
    let fault = sample.verify(&known()).fault.unwrap();
    assert_eq!((fault.kind, fault.seq), (FaultKind::Unsigned, 15));
}

#[test]
fn what_is_being_written_is_no_fault() {
    let sample = Sample::new(None);
    let files = segment::list(sample.path()).unwrap();
    let mut content = fs::read(&files[2].path).unwrap();
    content.extend_from_slice(b"{\"seq\":16,\"ti");
    fs::write(&files[2].path, content).unwrap();
    let report = sample.verify(&Known::default());
    assert_eq!((report.fault, report.torn), (None, 13));
}

#[test]
fn public_keys_are_read_in_both_forms() {
    let key = PublicKey::parse("11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=").unwrap();
    let pem = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";
    assert_eq!(PublicKey::parse(pem).unwrap(), key);
    assert!(PublicKey::parse("hello").is_err());
    assert!(PublicKey::parse("").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is done, the record named is never behind the first that was touched.
    #[test]
    fn nothing_before_the_named_record_was_touched(
        at in 1usize..15,
        bytes in prop::collection::vec((0usize..200, any::<u8>()), 1..4),
        drop in 0usize..3,
        swap in any::<bool>(),
    ) {
        let sample = Sample::new(None);
        let lines = sample.lines();
        let mut changed = lines.clone();
        for (place, byte) in bytes {
            let line = &mut changed[at];
            let place = place % line.len();
            line[place] = byte;
        }
        if swap && at + 3 < changed.len() {
            changed.swap(at + 1, at + 2);
        }
        for _ in 0..drop {
            if at + 4 < changed.len() {
                changed.remove(at + 3);
            }
        }
        prop_assume!(changed[..] != lines[..]);
        let first = lines.iter().zip(&changed).position(|(a, b)| a != b).unwrap() as u64 + 1;
        sample.put(&changed);
        let found = sample.fault();
        prop_assert!(found.is_some_and(|(_, seq)| seq <= first), "{found:?}, touched {first}");
        prop_assert!(found.is_some_and(|(_, seq)| seq + 1 >= first), "{found:?}, touched {first}");
    }
}
