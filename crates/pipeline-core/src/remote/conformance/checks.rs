//! The checks. Each begins with an empty source, and leaves no request unanswered.

use super::*;

pub(super) const ALL: &[fn(&mut Subject)] = &[
    lists_every_name,
    an_empty_source_lists_nothing,
    reads_whole_files_in_order,
    goes_on_after_what_is_known,
    a_file_that_is_not_the_one_is_not_read,
    many_small_files,
    answers_come_in_the_order_of_the_requests,
    computes_deltas,
    removes_the_file_of_the_receipt_and_no_other,
    keeps_what_somebody_writes_to,
    prunes_what_is_empty_and_quiet,
    says_how_the_device_is,
];

fn lists_every_name(subject: &mut Subject) {
    let long = [b'l'; 255];
    let names: &[&[u8]] = &[
        b"plain.jpg",
        b"new\nline",
        b"-rf",
        b" spaces  ",
        b"quo'te \"$(x)\" `y` \\0 * ?",
        b"not utf-8 \xff\xfe",
        b"tab\t",
        b"deep/deeper/deepest",
        &long,
    ];
    for name in names {
        subject.write(name, name);
    }
    for dir in [&b"empty"[..], b"deep/new\nline", b"outer/inner"] {
        std::fs::create_dir_all(subject.at(dir)).unwrap();
    }
    std::os::unix::fs::symlink("/etc", subject.at(b"link to a directory")).unwrap();
    std::os::unix::fs::symlink("nowhere", subject.at(b"link to nothing")).unwrap();
    std::os::unix::net::UnixListener::bind(subject.at(b"socket")).unwrap();
    let mut expected: BTreeMap<Vec<u8>, _> =
        names.iter().map(|name| (name.to_vec(), ("file", Some(subject.entry(name).identity)))).collect();
    for (name, kind) in [
        (&b"empty"[..], "empty"),
        (b"deep/new\nline", "empty"),
        (b"outer/inner", "empty"),
        (b"link to a directory", "link"),
        (b"link to nothing", "link"),
        (b"socket", "special"),
    ] {
        expected.insert(name.to_vec(), (kind, None));
    }
    assert_eq!(by_path(subject.scan()), expected);
    // May be repeated, and what is listed can be read.
    let items = subject.scan();
    for item in &items {
        if let Scanned::File(entry) = item {
            let (content, end) = subject.fetch(entry, None);
            assert_eq!(content, entry.path.as_bytes());
            assert_eq!(end, FetchEnd::Complete(Digest::of(entry.path.as_bytes())));
        }
        if let Scanned::EmptyDir(_, mtime_ns) = item {
            let age = crate::clock::now_ns() - mtime_ns;
            assert!((-2_000_000_000..60_000_000_000).contains(&age), "{age}");
        }
    }
}

fn an_empty_source_lists_nothing(subject: &mut Subject) {
    assert_eq!(subject.scan(), []);
}

fn reads_whole_files_in_order(subject: &mut Subject) {
    let contents: Vec<Vec<u8>> = [0, 1, 100_000, 3_000_000, 32 * 1024, 5].map(noise).into();
    let mut asked = Vec::new();
    for (index, content) in contents.iter().enumerate() {
        let entry = subject.write(format!("{index}"), content);
        asked.push(subject.ask(&entry, None));
    }
    for (id, content) in asked.into_iter().zip(contents) {
        let digest = Digest::of(&content);
        assert!(subject.answer() == Answered::Fetched(id, content, FetchEnd::Complete(digest)));
    }
}

fn goes_on_after_what_is_known(subject: &mut Subject) {
    let content = noise(300_000);
    let entry = subject.write("log.csv", &content);
    let whole = FetchEnd::Complete(Digest::of(&content));
    let known = |bytes: &[u8]| Prefix { bytes: bytes.len() as u64, digest: Digest::of(bytes) };
    for held in [0, 1, 32 * 1024, 299_999, 300_000] {
        let (rest, end) = subject.fetch(&entry, Some(&known(&content[..held])));
        assert!(rest == content[held..] && end == whole, "{held}: {} bytes, {end:?}", rest.len());
    }
    let mut other = content.clone();
    other[0] ^= 1;
    let longer = [&content[..], b"more"].concat();
    for another in [&other[..], &other[..1000], &longer] {
        assert_eq!(subject.fetch(&entry, Some(&known(another))), (Vec::new(), FetchEnd::Differs));
    }
    // Shorter beginnings may come first.
    for beginnings in [[10, 40_000, 100_000], [10, 40_000, 300_000], [0, 1, 2]] {
        let mut all = beginnings.map(|bytes| known(&content[..bytes])).to_vec();
        let id = subject.id();
        subject.remote.fetch(id, &entry, &all).unwrap();
        assert!(
            subject.answer() == Answered::Fetched(id, content[beginnings[2]..].to_vec(), whole.clone()),
            "{beginnings:?}"
        );
        all[1].digest = Digest::of(b"other");
        let id = subject.id();
        subject.remote.fetch(id, &entry, &all).unwrap();
        assert_eq!(subject.answer(), Answered::Fetched(id, Vec::new(), FetchEnd::Differs));
    }
    // Grown since.
    let grown = subject.append("log.csv", b"one more line\n");
    let (rest, end) = subject.fetch(&grown, Some(&known(&content)));
    assert_eq!(
        (&rest[..], end),
        (&b"one more line\n"[..], FetchEnd::Complete(Digest::of(&[&content[..], &rest].concat())))
    );
}

fn a_file_that_is_not_the_one_is_not_read(subject: &mut Subject) {
    let entry = subject.write("a", b"first content");
    let gone = subject.write("gone", b"gone");
    let replaced = subject.write("replaced", b"replaced");
    let linked = subject.write("linked", b"linked");
    let below_link = subject.write("dir/file", b"file");
    subject.append("a", b", and more");
    std::fs::remove_file(subject.at(b"gone")).unwrap();
    std::fs::remove_file(subject.at(b"replaced")).unwrap();
    std::fs::create_dir(subject.at(b"replaced")).unwrap();
    std::fs::rename(subject.at(b"linked"), subject.at(b"target")).unwrap();
    std::os::unix::fs::symlink("target", subject.at(b"linked")).unwrap();
    let ends: Vec<FetchEnd> = [&entry, &gone, &replaced, &linked].map(|entry| subject.fetch(entry, None).1).into();
    assert_eq!(ends[0], FetchEnd::Changed);
    assert_eq!(ends[1], FetchEnd::Gone);
    // A server may not say more than that it can't.
    assert!(matches!(ends[2], FetchEnd::Changed | FetchEnd::Failed(_)), "{ends:?}");
    assert_eq!(ends[3], FetchEnd::Changed);
    // A directory on its way has become a link to somewhere else, where there is such a file.
    std::fs::rename(subject.at(b"dir"), subject.at(b"elsewhere")).unwrap();
    std::os::unix::fs::symlink("elsewhere", subject.at(b"dir")).unwrap();
    let end = subject.fetch(&below_link, None).1;
    // Where the identity is that of the file itself, what a path leads over does not matter.
    let same = FetchEnd::Complete(Digest::of(b"file"));
    assert!(end != same || subject.caps.identity && subject.caps.caveats > 0, "{end:?}");
    if !subject.caps.identity {
        return;
    }
    // Same size, same time, other content.
    let before = subject.write("b", b"one");
    subject.write("b", b"two");
    let restored = std::time::UNIX_EPOCH + Duration::from_nanos(before.identity.mtime_ns.unsigned_abs());
    std::fs::File::open(subject.at(b"b")).unwrap().set_modified(restored).unwrap();
    assert_eq!(subject.fetch(&before, None).1, FetchEnd::Changed);
}

fn many_small_files(subject: &mut Subject) {
    let mut asked = Vec::new();
    for index in 0..150 {
        let content = format!("content {index}").into_bytes();
        let entry = subject.write(format!("dir{}/{index}", index % 7), &content);
        asked.push((subject.ask(&entry, None), content));
    }
    for (id, content) in asked {
        let digest = Digest::of(&content);
        assert_eq!(subject.answer(), Answered::Fetched(id, content, FetchEnd::Complete(digest)));
    }
}

fn answers_come_in_the_order_of_the_requests(subject: &mut Subject) {
    let first = subject.write("first", b"first");
    let second = subject.write("second", b"second");
    let third = subject.write("third", b"third");
    let one = subject.ask(&first, None);
    let two = subject.ask_removal(&first, Digest::of(b"first"));
    let three = subject.ask(&first, None);
    let four = subject.ask(&second, Some(&Prefix { bytes: 3, digest: Digest::of(b"sec") }));
    let five = subject.ask_removal(&second, Digest::of(b"second"));
    let six = subject.ask(&third, None);
    let complete = |bytes: &[u8]| FetchEnd::Complete(Digest::of(bytes));
    assert_eq!(subject.answer(), Answered::Fetched(one, b"first".to_vec(), complete(b"first")));
    assert_eq!(subject.answer(), Answered::Removed(two, RemoveEnd::Removed));
    assert!(matches!(subject.answer(), Answered::Fetched(id, _, FetchEnd::Gone | FetchEnd::Changed) if id == three));
    assert_eq!(subject.answer(), Answered::Fetched(four, b"ond".to_vec(), complete(b"second")));
    assert_eq!(subject.answer(), Answered::Removed(five, RemoveEnd::Removed));
    assert_eq!(subject.answer(), Answered::Fetched(six, b"third".to_vec(), complete(b"third")));
    assert!(!subject.exists("first") && !subject.exists("second") && subject.exists("third"));
}

fn computes_deltas(subject: &mut Subject) {
    if !subject.caps.delta {
        return;
    }
    let basis = noise(500_000);
    let mut changed = basis.clone();
    changed.splice(200_000..200_000, b"inserted".iter().copied());
    let entry = subject.write("db", &changed);
    let signature = crate::delta::signature(&basis[..], basis.len() as u64).unwrap();
    let id = subject.ask_delta(&entry, &signature);
    let Answered::Fetched(answered, delta, end) = subject.answer() else { panic!("no delta") };
    assert_eq!((answered, end), (id, FetchEnd::Complete(Digest::of(&changed))));
    assert!(delta.len() < 20_000, "{}", delta.len());
    let mut patched = Vec::new();
    crate::delta::patch(std::io::Cursor::new(&basis), &delta[..], &mut patched, changed.len() as u64).unwrap();
    assert!(patched == changed);
    // Of another file it does not pay.
    let other: Vec<u8> = changed.iter().map(|byte| byte ^ 0x55).collect();
    let entry = subject.write("other", &other);
    let id = subject.ask_delta(&entry, &signature);
    assert!(matches!(subject.answer(), Answered::Fetched(answered, _, FetchEnd::Differs) if answered == id));
    // And one that has changed since is not what was asked for.
    subject.append("other", b"x");
    let id = subject.ask_delta(&entry, &signature);
    let Answered::Fetched(answered, _, end) = subject.answer() else { panic!("no delta") };
    assert!(answered == id && matches!(end, FetchEnd::Changed | FetchEnd::Differs), "{end:?}");
}

fn removes_the_file_of_the_receipt_and_no_other(subject: &mut Subject) {
    let same = subject.write("new\nline 'a'", b"same");
    assert_eq!(subject.remove(&same, b"same"), RemoveEnd::Removed);
    assert!(!subject.exists("new\nline 'a'"));
    assert_eq!(subject.remove(&same, b"same"), RemoveEnd::Gone);
    let in_a_directory = subject.write("dir/file", b"file");
    std::fs::remove_dir_all(subject.at(b"dir")).unwrap();
    assert_eq!(subject.remove(&in_a_directory, b"file"), RemoveEnd::Gone);

    let grown = subject.write("grown", b"one");
    subject.append("grown", b" and two");
    assert_eq!(subject.remove(&grown, b"one"), RemoveEnd::Changed);
    // Same size and same time: told by ctime, or by content.
    let rewritten = subject.write("rewritten", b"one");
    let modified = std::fs::metadata(subject.at(b"rewritten")).unwrap().modified().unwrap();
    std::fs::write(subject.at(b"rewritten"), b"two").unwrap();
    std::fs::File::open(subject.at(b"rewritten")).unwrap().set_modified(modified).unwrap();
    assert_eq!(subject.remove(&rewritten, b"one"), RemoveEnd::Changed);
    let linked = subject.write("linked", b"linked");
    std::fs::rename(subject.at(b"linked"), subject.at(b"target")).unwrap();
    std::os::unix::fs::symlink("target", subject.at(b"linked")).unwrap();
    assert_eq!(subject.remove(&linked, b"linked"), RemoveEnd::Changed);
    let replaced = subject.write("replaced", b"x");
    std::fs::remove_file(subject.at(b"replaced")).unwrap();
    std::fs::create_dir(subject.at(b"replaced")).unwrap();
    assert!(matches!(subject.remove(&replaced, b"x"), RemoveEnd::Changed | RemoveEnd::Failed(_)));
    for left in ["grown", "rewritten", "linked", "target", "replaced"] {
        assert!(subject.exists(left), "{left}");
    }
    // Many at once, one of them changed.
    let mut receipts = Vec::new();
    for index in 0..50 {
        let entry = subject.write(format!("many/{index}"), b"many");
        let id = subject.id();
        receipts.push((id, Receipt::unproven(entry.path, entry.identity, Digest::of(b"many"))));
    }
    subject.append("many/7", b"!");
    let ids: Vec<u32> = receipts.iter().map(|(id, _)| *id).collect();
    subject.remote.remove(receipts).unwrap();
    let mut ends = BTreeMap::new();
    for _ in &ids {
        let Answered::Removed(id, end) = subject.answer() else { panic!("no removal") };
        assert!(ends.insert(id, end).is_none());
    }
    let expected = ids
        .iter()
        .enumerate()
        .map(|(index, id)| (*id, if index == 7 { RemoveEnd::Changed } else { RemoveEnd::Removed }));
    assert_eq!(ends, expected.collect());
    assert_eq!(std::fs::read_dir(subject.at(b"many")).unwrap().count(), 1);
}

fn keeps_what_somebody_writes_to(subject: &mut Subject) {
    let entry = subject.write("busy", b"half");
    let writer = std::fs::File::options().append(true).open(subject.at(b"busy")).unwrap();
    if subject.caps.writers {
        assert_eq!(subject.remove(&entry, b"half"), RemoveEnd::Busy);
        drop(writer);
        assert_eq!(subject.remove(&entry, b"half"), RemoveEnd::Removed);
        return;
    }
    // Instead: whatever changed a moment ago is taken for such a file.
    drop(writer);
    std::fs::write(subject.at(b"busy"), b"half").unwrap();
    let entry = subject.entry("busy");
    assert_eq!(subject.remove(&entry, b"half"), RemoveEnd::Busy);
    assert!(subject.exists("busy"));
}

fn prunes_what_is_empty_and_quiet(subject: &mut Subject) {
    subject.write("full/file", b"file");
    for dir in ["quiet", "young", "new\nline"] {
        std::fs::create_dir(subject.at(dir.as_bytes())).unwrap();
    }
    let file = subject.write("file", b"file");
    for dir in ["quiet", "full", "new\nline"] {
        subject.age(&subject.at(dir.as_bytes()));
    }
    let dirs = ["quiet", "young", "full", "gone", "file", "new\nline"].map(|dir| RelPath::new(dir).unwrap());
    subject.remote.prune(dirs.to_vec(), Duration::from_secs(60)).unwrap();
    for (dir, removed) in dirs.iter().zip([true, false, false, true, false, true]) {
        assert_eq!(subject.answer(), Answered::Pruned(dir.clone(), removed));
    }
    assert!(
        subject.exists("young") && subject.exists("full/file") && subject.exists("file") && !subject.exists("quiet")
    );
    assert_eq!(subject.fetch(&file, None).0, b"file");
}

fn says_how_the_device_is(subject: &mut Subject) {
    let texts = subject.remote.health().unwrap();
    assert_eq!(subject.remote.agent().is_some(), subject.caps.caveats == 0);
    if !subject.caps.identity {
        assert_eq!(texts, Texts::default());
        return;
    }
    // Every way is to this computer.
    let kernel = |path: &str| std::fs::read(path).unwrap();
    let text = |piece: Piece| texts.0.iter().find(|(named, _)| *named == piece).map(|(_, text)| text.clone());
    let most = |mut text: Vec<u8>| {
        text.truncate(MAX_TEXT_BYTES);
        text
    };
    assert_eq!(text(Piece::Mounts), Some(most(kernel("/proc/self/mounts"))));
    let first_line = |text: Vec<u8>| text.split(|&b| b == b'\n').next().unwrap().to_vec();
    assert_eq!(text(Piece::Memory).map(first_line), Some(first_line(kernel("/proc/meminfo"))));
    let health = health::parse(&texts, &subject.source);
    let up: f64 = String::from_utf8(kernel("/proc/uptime")).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!((up - health.uptime_s.unwrap() as f64).abs() < 60.0 && health.load_milli.is_some());
    assert_eq!(health.source_read_only, Some(false));
    // May be repeated, and other requests go on.
    assert_eq!(subject.remote.health().unwrap().0.len(), texts.0.len());
    let entry = subject.write("after", b"after");
    assert_eq!(subject.fetch(&entry, None).0, b"after");
    subject.scan();
    assert_eq!(subject.remote.health().unwrap().0.len(), texts.0.len());
}
