//! Any sequence of contents at one path.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::archive::commit::Step;

/// What the device has next.
#[derive(Clone, Debug)]
enum Next {
    Appended(u8),
    Rewritten(Vec<u8>),
    /// What it had so many contents ago.
    Again(usize),
    Truncated,
}

/// How it comes.
#[derive(Clone, Copy, Debug)]
enum Way {
    Whole,
    Onto,
    Examined,
}

fn next() -> impl Strategy<Value = Next> {
    prop_oneof![
        4 => any::<u8>().prop_map(Next::Appended),
        3 => prop::collection::vec(0..3_u8, 0..4).prop_map(Next::Rewritten),
        2 => (1..4_usize).prop_map(Next::Again),
        1 => Just(Next::Truncated),
    ]
}

fn way() -> impl Strategy<Value = Way> {
    prop_oneof![Just(Way::Whole), Just(Way::Onto), Just(Way::Examined)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// At every instant each row of the catalog is true, and so every content that was ever stored lies where its row says:
    /// whole, or as the beginning of what lies there. Nothing is dropped but by the user's word.
    #[test]
    fn every_content_is_found_where_the_catalog_says(
        steps in prop::collection::vec((next(), way(), prop::bool::weighted(0.1)), 1..12),
        links in any::<bool>(),
    ) {
        let memory = Path::new("/dev/shm");
        let storage = if memory.is_dir() { Storage::within(memory) } else { Storage::new() };
        if !links {
            storage.say("\"hard_links\": true", "\"hard_links\": false");
        }
        let archive = storage.open();
        let staging = archive.staging(&device()).unwrap();
        let target = target(&archive, "a");
        let (rows, mut contents, mut dropped) = (RefCell::new(Rows::default()), vec![Vec::new()], 0);
        for (next, way, replace) in steps {
            let last = contents.last().unwrap();
            let content: Vec<u8> = match next {
                Next::Appended(byte) => last.iter().copied().chain([byte]).collect(),
                Next::Rewritten(content) => content,
                Next::Again(n) => contents[contents.len().saturating_sub(n)..][0].clone(),
                Next::Truncated => last[..last.len() / 2].to_vec(),
            };
            let yields = if replace { Yields::Replace } else { Yields::Version };
            let lies = storage.content(&target);
            let held = lies.as_ref().map(|lies| {
                let whole = Prefix { bytes: lies.len() as u64, digest: Digest::of(lies) };
                match way {
                    Way::Examined => archive.examine(&target),
                    Way::Whole | Way::Onto => archive.held(&target, whole),
                }.unwrap().unwrap()
            });
            let arrived = match (&held, way) {
                (Some(held), Way::Onto) if content.starts_with(lies.as_ref().unwrap()) => {
                    let mut incoming = staging.onto(held, yields, rel("a"), identity(&content)).unwrap();
                    incoming.write(&content[lies.as_ref().unwrap().len()..]).unwrap();
                    Arrived::Staged(incoming.finish(&Digest::of(&content)).unwrap())
                }
                (Some(held), _) => arrive(&staging, "a", &content, Target::Over(held.clone(), yields)),
                (None, _) => arrive(&staging, "a", &content, Target::New(target.clone())),
            };
            let instants = Cell::new(0);
            let passed = |_: Step| {
                rows.borrow().check(&storage);
                instants.set(instants.get() + 1);
            };
            let prepared = prepare::prepare(&archive.store, &device(), vec![arrived], &passed).unwrap();
            let drops = prepared.superseded().iter().any(|superseded| superseded.became == Became::Dropped);
            prop_assert!(!drops || replace);
            dropped += if drops { rows.borrow().0.iter().filter(|row| row.path == target).count() } else { 0 };
            let noted = rows.borrow_mut().note(prepared.superseded());
            rows.borrow().check(&storage);
            let commits = commit::commit(&archive.store, "2026-11-22", prepared, noted, &passed).unwrap();
            stored(&commits[0]);
            prop_assert_eq!(instants.get(), 5);
            rows.borrow_mut().record(&target, &content);
            rows.borrow().check(&storage);
            contents.push(content);
        }
        storage.sha256sum();
        prop_assert_eq!(rows.borrow().0.len() + dropped, contents.len() - 1);
        prop_assert_eq!(storage.staged(), 0);
        // No more is kept than is needed, and all of it is listed.
        let manifest = storage.manifest("raspberry31");
        let lines: HashSet<&[u8]> = manifest.split_inclusive(|&byte| byte == b'\n').collect();
        prop_assert_eq!(lines.len(), 1 + storage.versions().len());
    }
}
