//! What holds whatever is proposed.

use proptest::prelude::*;

use model::ids::CheckpointNumber;

use super::*;
use crate::sealed::Sealed;

/// Few of each, so that they meet.
fn names() -> impl Strategy<Value = PipelineName> {
    (0..2u8, 0..3u8).prop_map(|(space, name)| {
        let namespace = if space == 0 { "default" } else { "team" };
        format!("{namespace}/p{name}").parse().expect("a name")
    })
}

fn expects() -> impl Strategy<Value = Expects> {
    prop_oneof![
        6 => Just(Expects::Anything),
        1 => Just(Expects::Nothing),
        2 => (0..5u64).prop_map(|version| Expects::Version(Version(version))),
        1 => Just(Expects::Something),
    ]
}

fn deploys() -> impl Strategy<Value = Command> {
    let over = prop_oneof![9 => Just(None), 1 => (0..2000u64).prop_map(Some)];
    (names(), 0..4u8, expects(), prop::option::of(1..4u64), over).prop_map(
        |(pipeline, manifest, expects, node, over)| {
            let content = Content { manifest: format!("manifest {manifest}").into(), ..Content::default() };
            let taken_over =
                over.map(|epoch| TakenOver { epoch: Epoch(epoch), checkpoint: CheckpointNumber(epoch) });
            let node = node.map(NodeId);
            Command::Deploy(Box::new(Deploy { pipeline, content, expects, node, taken_over }))
        },
    )
}

fn wishes() -> impl Strategy<Value = Command> {
    (names(), expects(), 0..5u8, 1..6u64, any::<bool>()).prop_map(
        |(pipeline, expects, which, number, flag)| match which {
            0 => Command::Pause { pipeline, paused: flag, expects },
            1 => Command::Restart { pipeline, expects },
            2 => Command::Delete { pipeline, keeps_dead_letters: flag, expects },
            3 => Command::Assign { pipeline, node: NodeId(number) },
            _ => Command::UseRevision { pipeline, revision: RevisionNumber(number), expects, why: None },
        },
    )
}

fn reports() -> impl Strategy<Value = Command> {
    let how = prop_oneof![4 => Just(How::Asked), 1 => Just(How::Ended), 1 => Just(How::Failed)];
    let stopped = (1..8u64, 0..400u64, how, prop::option::of(0..9u64)).prop_map(
        |(pipeline, epoch, how, checkpoint)| Command::Stopped {
            pipeline: PipelineId(pipeline),
            epoch: Epoch(epoch),
            how,
            checkpoint: checkpoint.map(CheckpointNumber),
            why: None,
        },
    );
    let removed = (1..8u64, 1..4u64)
        .prop_map(|(pipeline, node)| Command::Removed { pipeline: PipelineId(pipeline), node: NodeId(node) });
    let boot = (1..4u64, 0..9u128).prop_map(|(node, boot)| {
        let (address, version) = ("a".into(), "v".into());
        Command::Boot(Boot { node: NodeId(node), boot: BootId(boot), address, version })
    });
    let remove = (1..4u64).prop_map(|node| Command::RemoveNode { node: NodeId(node) });
    prop_oneof![8 => stopped, 3 => removed, 6 => boot, 1 => remove]
}

fn others() -> impl Strategy<Value = Command> {
    let namespace = any::<bool>().prop_map(|made| {
        let name = Name::parse("team").expect("a name");
        if made { Command::CreateNamespace { name } } else { Command::DeleteNamespace { name } }
    });
    let secret = (0..2u8, any::<bool>(), 1..50usize).prop_map(|(name, is_set, bytes)| {
        let secret: SecretName = format!("team/S{name}").parse().expect("a name");
        let sealed = Sealed { key: "k".into(), mark: vec![name].into(), text: vec![1; bytes].into() };
        if is_set { Command::SetSecret { secret, sealed } } else { Command::DeleteSecret { secret } }
    });
    let tag = (0..3u8, any::<bool>()).prop_map(|(tag, is_set)| {
        let digest = Digest::of(&[tag]);
        let tag: TagName = format!("r:{tag}").parse().expect("a tag");
        if is_set { Command::SetTag { tag, digest } } else { Command::DeleteTag { tag } }
    });
    prop_oneof![namespace, secret, tag]
}

fn proposals() -> impl Strategy<Value = Vec<Proposal>> {
    let command = prop_oneof![4 => deploys(), 5 => wishes(), 6 => reports(), 2 => others()];
    let by = prop::option::of(prop_oneof![Just("ann".to_owned()), Just("bob".to_owned())]);
    let key = prop_oneof![4 => Just(None), 1 => (0..6u8).prop_map(Some)];
    let proposal = (command, by, key, 0..50u64).prop_map(|(command, by, key, at_us)| Proposal {
        at_us,
        by,
        key: key.map(|key| format!("k{key}").parse().expect("a key")),
        command,
    });
    prop::collection::vec(proposal, 1..120)
}

/// Several in one entry, as they are batched. What is stopped is what runs, most of the time: numbers that come out of
/// the air rarely meet one.
fn index_of(nth: usize) -> u64 {
    nth as u64 / 3 + 1
}

fn aim(state: &State, proposal: &mut Proposal) {
    let nth = |number: &PipelineId| state.pipelines.values().nth(number.0 as usize % 4);
    match &mut proposal.command {
        Command::Stopped { pipeline, epoch, .. } => {
            if let Some((known, run)) = nth(pipeline).and_then(|known| Some((known, known.run?))) {
                (*pipeline, *epoch) = (known.id, Epoch(run.epoch.0 - u64::from(epoch.0.is_multiple_of(5))));
            }
        }
        Command::Removed { pipeline, node } => {
            let leaving = state.pipelines.values().find(|known| known.is_removing);
            if let Some((known, from)) = leaving.and_then(|known| Some((known, known.node?))) {
                (*pipeline, *node) = (known.id, from);
            }
        }
        _ => {}
    }
}

fn aimed() -> impl Strategy<Value = Vec<Proposal>> {
    proposals().prop_map(|mut proposals| {
        let mut state = State::default();
        for (nth, proposal) in proposals.iter_mut().enumerate() {
            aim(&state, proposal);
            state.apply(index_of(nth), proposal);
        }
        proposals
    })
}

fn run(state: &mut State, proposals: &[Proposal], from: usize) -> Vec<Outcome> {
    let behind = proposals.iter().enumerate().skip(from);
    behind.map(|(nth, proposal)| state.apply(index_of(nth), proposal)).collect()
}

/// What a snapshot of a state becomes on another node.
fn carried(state: &State) -> State {
    serde_json::from_slice(&serde_json::to_vec(state).expect("JSON")).expect("a state")
}

/// What every state has to be like.
fn check(state: &State) {
    let mut bytes = state.secrets.values().map(|secret| secret.bytes()).sum::<u64>();
    let mut epochs = BTreeSet::new();
    for (name, pipeline) in &state.pipelines {
        assert_eq!(*name, *pipeline.name);
        assert!(state.namespaces.contains_key(&name.namespace), "{name} is nowhere");
        assert!(pipeline.current().is_some(), "{name} has nothing to run");
        assert!(pipeline.epoch <= state.epochs.last);
        bytes += pipeline.bytes();
        if let Some(run) = pipeline.run {
            assert_eq!(run.epoch, pipeline.epoch);
            assert!(epochs.insert(run.epoch), "two have epoch {}", run.epoch);
            assert!(pipeline.revisions.contains_key(&run.revision), "{name} runs what it has not");
            assert!(state.nodes.contains_key(&run.node), "{name} runs nowhere");
            let is_wanted = pipeline.desired == Desired::Running
                && !pipeline.rests
                && pipeline.node == Some(run.node)
                && pipeline.revision == run.revision;
            assert!(is_wanted || run.is_stopping, "{name} runs as nobody wants it");
        } else if pipeline.desired == Desired::Running && !pipeline.rests {
            assert_eq!(pipeline.node, None, "{name} does not run");
        } else if pipeline.is_being_deleted() {
            assert!(pipeline.is_removing, "{name} stays");
        }
    }
    assert_eq!(bytes, state.bytes);
}

/// A node that does what it is told, and knows of nothing else: at no time are two of one pipeline running.
#[derive(Default)]
struct Follower {
    runs: BTreeMap<PipelineId, (NodeId, Epoch)>,
    epochs: BTreeMap<PipelineName, Epoch>,
    number: u64,
}

impl Follower {
    fn follow(&mut self, event: &Event) {
        self.number += 1;
        assert_eq!(event.number, self.number, "effects are numbered without gaps");
        match &event.effect {
            Effect::Start { pipeline, id, node, epoch, .. } => {
                let before = self.epochs.insert(PipelineName::clone(pipeline), *epoch);
                assert!(before.is_none_or(|before| before < *epoch), "{pipeline}: {before:?}, then {epoch}");
                assert!(event.index <= epoch.0, "an epoch is not below the entry that made it");
                let running = self.runs.insert(*id, (*node, *epoch));
                assert_eq!(running, None, "{pipeline} runs already");
            }
            Effect::Stop { id, epoch, .. } => assert_eq!(self.runs[id].1, *epoch),
            Effect::Stopped { id, epoch, .. } => {
                assert_eq!(self.runs.remove(id).map(|run| run.1), Some(*epoch))
            }
            Effect::NodeStarted { node, .. } | Effect::NodeRemoved { node } => {
                self.runs.retain(|_, run| run.0 != *node);
            }
            Effect::Remove { id, .. } | Effect::Gone { id, .. } => assert!(!self.runs.contains_key(id)),
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_same_commands_make_the_same_state(proposals in aimed()) {
        let (mut one, mut other) = (State::default(), State::default());
        let outcomes = run(&mut one, &proposals, 0);
        prop_assert_eq!(outcomes, run(&mut other, &proposals, 0));
        prop_assert_eq!(serde_json::to_vec(&one).expect("JSON"), serde_json::to_vec(&other).expect("JSON"));
    }

    #[test]
    fn a_snapshot_and_what_came_behind_it_make_the_same_state(proposals in aimed(), cut in 0..120usize) {
        let mut all = State::default();
        let outcomes = run(&mut all, &proposals, 0);
        let cut = cut.min(proposals.len());
        let mut before = State::default();
        run(&mut before, &proposals[..cut], 0);
        let mut behind = carried(&before);
        prop_assert_eq!(&behind, &before);
        prop_assert_eq!(&run(&mut behind, &proposals, cut)[..], &outcomes[cut..]);
        prop_assert_eq!(behind, all);
    }

    #[test]
    fn no_epoch_goes_back_and_no_revision_is_changed(proposals in aimed()) {
        let mut state = State::default();
        let mut follower = Follower::default();
        let mut revisions: BTreeMap<(PipelineId, RevisionNumber), Revision> = BTreeMap::new();
        let mut versions: BTreeMap<PipelineId, Version> = BTreeMap::new();
        for (nth, proposal) in proposals.iter().enumerate() {
            let (epoch, before) = (state.last_epoch(), state.clone());
            let outcome = state.apply(index_of(nth), proposal);
            check(&state);
            outcome.events.iter().for_each(|event| follower.follow(event));
            prop_assert!(state.last_epoch() >= epoch);
            if outcome.result.is_err() {
                prop_assert_eq!(&state.pipelines, &before.pipelines, "a refused command changes nothing");
                prop_assert_eq!(outcome.events.len(), 0);
            }
            for pipeline in state.pipelines.values() {
                for revision in pipeline.revisions.values() {
                    let key = (pipeline.id, revision.number);
                    let known = revisions.entry(key).or_insert_with(|| Revision::clone(revision));
                    prop_assert_eq!(&*known, &**revision);
                }
                let version = versions.insert(pipeline.id, pipeline.version);
                prop_assert!(version.is_none_or(|version| version <= pipeline.version));
            }
            let runs = state.pipelines.values().filter_map(|pipeline| pipeline.run.map(|run| (pipeline.id, run)));
            let runs: BTreeMap<_, _> = runs.map(|(id, run)| (id, (run.node, run.epoch))).collect();
            prop_assert_eq!(&runs, &follower.runs, "who follows the effects knows what runs");
        }
    }
}

/// The three above would hold of a machine that refuses everything.
#[test]
fn what_is_proposed_at_random_is_done_often_enough() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let mut kinds: BTreeMap<&'static str, u32> = BTreeMap::new();
    for _ in 0..100 {
        let all = aimed().new_tree(&mut runner).expect("proposals").current();
        let mut state = State::default();
        let outcomes = run(&mut state, &all, 0);
        for (proposal, outcome) in all.iter().zip(outcomes) {
            *kinds.entry(proposal.command.verb()).or_default() += u32::from(outcome.result.is_ok());
        }
    }
    assert!(kinds.len() == 17 && kinds.values().all(|done| *done >= 5), "{kinds:?}");
}
