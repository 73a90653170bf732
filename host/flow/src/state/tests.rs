//! The state of a stage against a plain map, whatever is written, kept, taken back, frozen and stored.

use std::collections::BTreeMap;
use std::sync::Mutex;

use fastrand::Rng;
use model::limits::{STATE_CACHE_BYTES, STATE_KEY_BYTES_MAX};

use super::*;

type Map = BTreeMap<Box<[u8]>, Box<[u8]>>;

/// A base in memory.
#[derive(Debug, Default)]
struct Plain {
    entries: Mutex<Map>,
    gauge: StateGauge,
}

impl Plain {
    fn apply(&self, delta: &StateDelta) {
        let mut entries = self.entries.lock().expect("a lock");
        let applied = delta.each(|place, value| {
            match value {
                Some(value) => entries.insert(place.into(), value.into()),
                None => entries.remove(place),
            };
            Ok::<_, ()>(())
        });
        applied.expect("nothing fails");
        let bytes = entries.iter().map(|(place, value)| place.len() - 3 + value.len()).sum::<usize>() as u64;
        self.gauge.set(StateSize { keys: entries.len() as u64, bytes });
    }
}

impl StateBase for Plain {
    fn gauge(&self) -> &StateGauge {
        &self.gauge
    }

    fn get(&self, places: &Packed) -> Result<Vec<Option<Vec<u8>>>, CheckpointError> {
        let entries = self.entries.lock().expect("a lock");
        Ok(places.iter().map(|place| entries.get(place).map(|value| value.to_vec())).collect())
    }

    fn range(
        &self,
        from: &[u8],
        end: Option<&[u8]>,
        most: usize,
    ) -> Result<Vec<PlaceValue>, CheckpointError> {
        let entries = self.entries.lock().expect("a lock");
        let to = end.map_or(Bound::Unbounded, Bound::Excluded);
        let range = entries.range::<[u8], _>((Bound::Included(from), to));
        Ok(range.take(most).map(|(place, value)| (place.clone(), value.clone())).collect())
    }

    fn each(&self, see: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), CheckpointError> {
        self.entries.lock().expect("a lock").iter().for_each(|(place, value)| see(place, value));
        Ok(())
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
}

fn entries<K: AsRef<[u8]>, N: AsRef<[u8]>>(of: &[(K, N)]) -> Entries {
    let keys = of.iter().map(|(key, _)| key).collect();
    let names = of.iter().map(|(_, name)| name).collect();
    Entries::checked(keys, names).expect("entries")
}

fn values<V: AsRef<[u8]>>(of: &[Option<V>]) -> Values {
    let packed: Packed =
        of.iter().map(|value| value.as_ref().map_or(&[][..], |value| value.as_ref())).collect();
    Values::of(packed, of.iter().map(Option::is_some))
}

fn all(values: &Values) -> Vec<Option<Vec<u8>>> {
    (0..values.len()).map(|index| values.get(index).map(<[u8]>::to_vec)).collect()
}

type Model = BTreeMap<(Vec<u8>, Vec<u8>), Vec<u8>>;

/// One operation on both, whose answers have to be the same.
async fn operate(state: &StageState, model: &mut Model, random: &mut Rng, seed: u64) {
    let count = random.usize(0..8);
    let pick = |random: &mut Rng| {
        let key = vec![b'k'; random.usize(0..4)];
        let name: Vec<u8> = (0..random.usize(0..3)).map(|_| [0, b'a', 0xff][random.usize(0..3)]).collect();
        (key, name)
    };
    let picked: Vec<_> = (0..count).map(|_| pick(random)).collect();
    let new: Vec<Vec<u8>> = (0..count).map(|_| vec![random.u8(..); random.usize(0..20)]).collect();
    match random.u8(0..6) {
        0 => {
            let found = state.get(&entries(&picked)).await.expect("values");
            let expected: Vec<_> = picked.iter().map(|entry| model.get(entry).cloned()).collect();
            assert_eq!(all(&found), expected, "seed {seed}: get {picked:?}");
        }
        1 | 2 => {
            let new: Vec<_> = new.into_iter().map(|value| random.u8(..).gt(&60).then_some(value)).collect();
            state.set(&entries(&picked), &values(&new)).expect("set");
            for (entry, value) in picked.into_iter().zip(new) {
                match value {
                    Some(value) => model.insert(entry, value),
                    None => model.remove(&entry),
                };
            }
        }
        3 => {
            let inserted = state.insert(&entries(&picked), &new.iter().collect()).await.expect("inserted");
            for (index, (entry, value)) in picked.into_iter().zip(new).enumerate() {
                let is_new = !model.contains_key(&entry);
                assert_eq!(inserted[index / 8] >> (index % 8) & 1 == 1, is_new, "seed {seed}: {entry:?}");
                model.entry(entry).or_insert(value);
            }
        }
        4 => {
            state.delete(&entries(&picked)).expect("deleted");
            picked.iter().for_each(|entry| drop(model.remove(entry)));
        }
        _ => {
            let ((key, prefix), (_, after)) = (pick(random), pick(random));
            let after = random.bool().then_some(after);
            let entries_max = random.usize(1..5);
            let scan = Scan { key: key.clone(), prefix: prefix.clone(), after: after.clone(), entries_max };
            let page = state.scan(&scan).await.expect("a page");
            let fits = |(of, name): &(Vec<u8>, Vec<u8>)| {
                *of == key && name.starts_with(&prefix) && after.as_ref().is_none_or(|after| name > after)
            };
            let expected: Vec<_> = model.iter().filter(|(entry, _)| fits(entry)).collect();
            let found: Vec<_> = page.names.iter().zip(page.values.iter()).collect();
            let first: Vec<_> =
                expected.iter().take(entries_max).map(|((_, name), value)| (&name[..], &value[..])).collect();
            assert_eq!(found, first, "seed {seed}: {scan:?}");
            assert_eq!(page.more, expected.len() > entries_max, "seed {seed}: {scan:?}");
        }
    }
}

/// Calls that succeed or fail, barriers, checkpoints that are committed, and runs that begin again from one.
async fn live_through(seed: u64, has_base: bool) {
    let mut random = Rng::with_seed(seed);
    let base: Arc<Plain> = Arc::default();
    let open = || match has_base {
        true => StageState::over(base.clone(), StateLimits::default()).expect("a state"),
        false => StageState::in_memory(StateLimits::default()),
    };
    let (mut state, mut model, mut last_committed) = (open(), Model::new(), Model::new());
    let mut frozen: Option<(Option<StateDelta>, Model)> = None;
    for _ in 0..random.usize(1..80) {
        match random.u8(0..10) {
            // A barrier; it takes a while until the checkpoint is committed.
            0 | 1 if has_base && frozen.is_none() => frozen = Some((state.freeze(), model.clone())),
            2 | 3 if frozen.is_some() => {
                let (delta, at) = frozen.take().expect("it is there");
                delta.iter().for_each(|delta| base.apply(delta));
                state.stored();
                last_committed = at;
            }
            4 if has_base => {
                // It dies, maybe right after the checkpoint became durable.
                if let Some((delta, at)) = frozen.take()
                    && random.bool()
                {
                    delta.iter().for_each(|delta| base.apply(delta));
                    last_committed = at;
                }
                (state, model) = (open(), last_committed.clone());
            }
            _ => {
                let before = model.clone();
                state.begin();
                for _ in 0..random.usize(0..4) {
                    operate(&state, &mut model, &mut random, seed).await;
                }
                match random.u8(..) < 180 {
                    true => state.keep(),
                    false => model = before,
                }
            }
        }
    }
    let bytes =
        |model: &Model| model.iter().map(|((key, name), value)| key.len() + name.len() + value.len()).sum();
    let kept = if has_base { last_committed } else { model };
    let expected: usize = bytes(&kept);
    state.keep();
    if has_base {
        let size = base.gauge.get();
        assert_eq!((size.keys, size.bytes), (kept.len() as u64, expected as u64), "seed {seed}");
    }
}

#[test]
fn a_state_is_what_the_calls_that_succeeded_wrote_to_it_across_checkpoints_and_deaths() {
    let runtime = runtime();
    for seed in 0..400 {
        runtime.block_on(live_through(seed, seed % 2 == 0));
    }
}

#[test]
fn a_barrier_takes_what_was_written_before_it_and_nothing_behind_it() {
    let base: Arc<Plain> = Arc::default();
    let state = StageState::over(base.clone(), StateLimits::default()).expect("a state");
    let write = |value: &str, keeps: bool| {
        state.begin();
        state.set(&entries(&[("k", "")]), &values(&[Some(value)])).expect("set");
        if keeps {
            state.keep();
        }
    };
    write("before", true);
    write("of a call that failed", false);
    let delta = state.freeze().expect("something changed");
    write("behind", true);
    let mut seen = Vec::new();
    let see = |_: &[u8], value: Option<&[u8]>| {
        seen.push(value.map(<[u8]>::to_vec));
        Ok::<_, ()>(())
    };
    delta.each(see).expect("nothing fails");
    assert_eq!(seen, [Some(b"before".to_vec())]);
    base.apply(&delta);
    state.stored();
    let found = runtime().block_on(state.get(&entries(&[("k", "")]))).expect("values");
    assert_eq!(found.get(0), Some(&b"behind"[..]));
    assert!(state.freeze().is_some());
    state.stored();
    assert_eq!(state.freeze(), None, "nothing has changed since");
}

#[test]
fn keys_of_groups_that_the_replica_does_not_own_are_refused_by_every_operation() {
    let runtime = runtime();
    let halves: Vec<StageState> = (0..2)
        .map(|replica| {
            let owned = GroupRange::of_replica(replica, 2).expect("a half");
            StageState::in_memory(StateLimits { owned, ..StateLimits::default() })
        })
        .collect();
    for n in 0..100u32 {
        let of = entries(&[(n.to_le_bytes(), b"")]);
        let scan = Scan { key: n.to_le_bytes().to_vec(), prefix: vec![], after: None, entries_max: 1 };
        let answers: Vec<Vec<Result<(), StateError>>> = halves
            .iter()
            .map(|half| {
                vec![
                    half.set(&of, &values(&[Some("v")])),
                    half.delete(&of),
                    runtime.block_on(half.get(&of)).map(drop),
                    runtime.block_on(half.insert(&of, &Packed::default())).map(drop),
                    runtime.block_on(half.scan(&scan)).map(drop),
                ]
            })
            .collect();
        let owns = |answers: &[Result<(), StateError>]| answers.iter().all(Result::is_ok);
        let refuses = |answers: &[Result<(), StateError>]| {
            answers.iter().all(|answer| matches!(answer, Err(error) if error.code() == "state-key-not-owned"))
        };
        let [a, b] = &answers[..] else { panic!("two halves") };
        assert!((owns(a) && refuses(b)) || (refuses(a) && owns(b)), "key {n}: {answers:?}");
    }
}

#[test]
fn a_state_that_is_full_is_refused_with_what_to_do_and_can_be_emptied() {
    let limits = StateLimits { bytes_max: 1000, ..StateLimits::default() };
    let key = |n: u32| entries(&[(n.to_be_bytes(), b"")]);
    for in_memory in [true, false] {
        let base: Arc<Plain> = Arc::default();
        let state = match in_memory {
            true => StageState::in_memory(limits),
            false => StageState::over(base.clone(), limits).expect("a state"),
        };
        let mut kept = 0;
        let error = loop {
            state.begin();
            match state.set(&key(kept), &values(&[Some([7; 96])])) {
                Ok(()) => state.keep(),
                Err(error) => break error,
            }
            kept += 1;
        };
        assert_eq!((kept, error.code(), error.is_of_records()), (10, "state-too-large", false));
        let next = if in_memory { "run it with `--state DIR`" } else { "`limits.state-bytes`" };
        assert!(error.to_string().contains("1000 bytes") && error.to_string().contains(next), "{error}");
        state.begin();
        state.delete(&key(3)).expect("deleted");
        state.keep();
        if let Some(delta) = state.freeze() {
            base.apply(&delta);
            state.stored();
        }
        assert_eq!(state.gauge().get(), StateSize { keys: 9, bytes: 900 });
        state.begin();
        state.set(&key(11), &values(&[Some([7; 96])])).expect("there is room again");
    }
}

#[test]
fn what_one_call_writes_is_bounded() {
    let state = StageState::in_memory(StateLimits::default());
    let value = vec![0; 1 << 20];
    let error = (0..100u32).find_map(|_| state.set(&entries(&[("k", "")]), &values(&[Some(&value)])).err());
    assert_eq!(error.expect("it is too much").code(), "state-call-too-large");
    state.begin();
    state.set(&entries(&[("k", "")]), &values(&[Some(&value)])).expect("the next call has room");
    assert!(STATE_KEY_BYTES_MAX < usize::from(u16::MAX), "two bytes hold the length of a key");
}

#[test]
fn a_state_that_is_larger_than_its_cache_is_read_where_it_lies() {
    let base: Arc<Plain> = Arc::default();
    let runtime = runtime();
    let value = vec![1; 64 << 10];
    let many = 3 * STATE_CACHE_BYTES / value.len();
    let key = |n: usize| entries(&[(n.to_be_bytes(), b"")]);
    let write = |state: &StageState, range: std::ops::Range<usize>| {
        for n in range {
            state.begin();
            state.set(&key(n), &values(&[Some(&value)])).expect("set");
            state.keep();
            if n % 100 == 0 {
                state.freeze().iter().for_each(|delta| base.apply(delta));
                state.stored();
            }
        }
    };
    let state = StageState::over(base.clone(), StateLimits::default()).expect("a state");
    write(&state, 0..many);
    assert!(state.tables().cache.weight() < 2 * STATE_CACHE_BYTES);
    for n in [0, 1, many / 2, many - 1] {
        let found = runtime.block_on(state.get(&key(n))).expect("values");
        assert_eq!(found.get(0), Some(&value[..]), "entry {n}");
        let inserted = runtime.block_on(state.insert(&key(n), &Packed::default())).expect("an answer");
        assert_eq!(inserted, [0], "entry {n} is there");
    }
    let inserted = runtime.block_on(state.insert(&key(many), &Packed::default())).expect("an answer");
    assert_eq!(inserted, [1]);
}

#[test]
fn much_that_no_checkpoint_has_asks_for_one_and_then_waits_for_it() {
    let base: Arc<Plain> = Arc::default();
    let state = StageState::over(base.clone(), StateLimits::default()).expect("a state");
    let value = vec![0; 1 << 20];
    let mut next = 0..usize::MAX;
    let mut write = |bytes: usize| {
        for n in next.by_ref().take(bytes >> 20) {
            state.begin();
            state.set(&entries(&[(n.to_be_bytes(), b"")]), &values(&[Some(&value)])).expect("set");
            state.keep();
        }
    };
    write(STATE_DIRTY_BYTES / 2);
    assert!(!state.is_heavy());
    write(STATE_DIRTY_BYTES + (1 << 20));
    assert!(state.is_heavy() && !state.is_full());
    write(STATE_DIRTY_BYTES);
    assert!(state.is_full(), "whether a checkpoint is under way or has yet to begin");
    let delta = state.freeze().expect("something changed");
    assert!(!state.is_heavy());
    write(STATE_DIRTY_BYTES_MAX + (1 << 20));
    assert!(state.is_full());
    base.apply(&delta);
    state.stored();
    assert!(state.is_full(), "what was written behind the barrier has to wait for the next one");
    assert!(state.freeze().is_some() && !state.is_heavy());
}
