//! What becomes of commands, one after the other.

use model::limits::{
    CONTROL_AUDIT_MAX, CONTROL_LOCK_BYTES_MAX, CONTROL_REVISIONS_KEPT, CONTROL_STATE_BYTES_MAX,
    CONTROL_TEXT_BYTES_MAX, EPOCH_TAKEN_OVER_MAX, MANIFEST_BYTES_MAX,
};

use model::ids::CheckpointNumber;

use super::*;
use crate::bytes::{Opaque, kept_bytes};
use crate::sealed::Sealed;

const NODE: NodeId = NodeId(1);

/// A state with what it was last told, each command in an entry of its own.
#[derive(Default)]
struct Cluster {
    state: State,
    index: u64,
}

impl Cluster {
    fn with_node() -> Self {
        let mut cluster = Self::default();
        cluster.done(boot(1));
        cluster
    }

    fn propose(&mut self, command: Command) -> Outcome {
        self.index += 1;
        let proposal = Proposal { at_us: self.index * 1000, by: Some("ann".into()), key: None, command };
        self.state.apply(self.index, &proposal)
    }

    fn done(&mut self, command: Command) -> Vec<Effect> {
        let outcome = self.propose(command.clone());
        outcome.result.unwrap_or_else(|refusal| panic!("{command:?}: {refusal}"));
        outcome.events.into_iter().map(|event| event.effect).collect()
    }

    fn refused(&mut self, command: Command) -> Refusal {
        let before = self.state.clone();
        let outcome = self.propose(command);
        assert_eq!(self.state, before, "a refused command changes nothing");
        outcome.result.expect_err("it is refused")
    }

    fn pipeline(&self) -> &Pipeline {
        &self.state.pipelines[&orders()]
    }

    /// What runs stops where it is.
    fn stopped(&mut self, checkpoint: u64) -> Vec<Effect> {
        let (pipeline, run) = (self.pipeline().id, self.pipeline().run.expect("it runs"));
        self.done(stopped(pipeline, run.epoch, How::Asked, Some(checkpoint)))
    }
}

fn stopped(pipeline: PipelineId, epoch: Epoch, how: How, checkpoint: Option<u64>) -> Command {
    Command::Stopped { pipeline, epoch, how, checkpoint: checkpoint.map(CheckpointNumber), why: None }
}

fn boot(number: u128) -> Command {
    let (address, version) = ("127.0.0.1:7".into(), "0.1.0".into());
    Command::Boot(Boot { node: NODE, boot: BootId(number), address, version })
}

fn orders() -> PipelineName {
    "default/orders".parse().expect("a name")
}

fn content(manifest: &str) -> Content {
    Content { manifest: manifest.into(), ..Content::default() }
}

fn deploy_with(manifest: &str, expects: Expects) -> Command {
    let content = content(manifest);
    let deploy = Deploy { pipeline: orders(), content, expects, node: Some(NODE), taken_over: None };
    Command::Deploy(Box::new(deploy))
}

fn deploy(manifest: &str) -> Command {
    deploy_with(manifest, Expects::Anything)
}

fn pause(paused: bool) -> Command {
    Command::Pause { pipeline: orders(), paused, expects: Expects::Anything }
}

fn delete() -> Command {
    Command::Delete { pipeline: orders(), keeps_dead_letters: true, expects: Expects::Anything }
}

fn sealed(mark: u8, bytes: usize) -> Sealed {
    Sealed { key: "k".into(), mark: vec![mark].into(), text: vec![7; bytes].into() }
}

/// In short: what is started and stopped.
fn moves(effects: &[Effect]) -> Vec<String> {
    let told = |effect: &Effect| match effect {
        Effect::Start { revision, epoch, checkpoint, .. } => {
            let at = checkpoint.map_or("last".to_owned(), |checkpoint| checkpoint.to_string());
            Some(format!("start {revision} under {epoch} at {at}"))
        }
        Effect::Stop { epoch, .. } => Some(format!("stop {epoch}")),
        Effect::Remove { .. } => Some("remove".to_owned()),
        Effect::Gone { .. } => Some("gone".to_owned()),
        _ => None,
    };
    effects.iter().filter_map(told).collect()
}

#[test]
fn a_new_revision_starts_at_the_checkpoint_at_which_the_old_one_stopped() {
    let mut cluster = Cluster::with_node();
    assert_eq!(moves(&cluster.done(deploy("a"))), ["start 1 under 2 at last"]);
    assert_eq!(moves(&cluster.done(deploy("b"))), ["stop 2"]);
    assert_eq!(moves(&cluster.done(deploy("c"))), [""; 0], "it was told to stop");
    assert_eq!(moves(&cluster.stopped(41)), ["start 3 under 5 at 41"]);
    let refusal = cluster.refused(stopped(PipelineId(1), Epoch(2), How::Asked, Some(42)));
    assert_eq!(refusal, Refusal::OldEpoch { pipeline: PipelineId(1), epoch: Epoch(2), current: Epoch(5) });
    // And back, as a health gate does.
    let rollback = Command::UseRevision {
        pipeline: orders(),
        revision: RevisionNumber(1),
        expects: Expects::Anything,
        why: Some("it rejects too much".into()),
    };
    let effects = cluster.done(rollback);
    assert_eq!(moves(&effects), ["stop 5"]);
    let is_told =
        |effect: &Effect| matches!(effect, Effect::Wanted { why: Some(why), .. } if why.contains("rejects"));
    assert!(effects.iter().any(is_told), "{effects:?}");
    let entry = cluster.state.audit_log().next_back().expect("an entry");
    assert_eq!(entry.why.as_deref(), Some("it rejects too much"));
    assert_eq!(moves(&cluster.stopped(50)), ["start 1 under 8 at 50"]);
    assert_eq!(cluster.pipeline().version, Version(4));
}

#[test]
fn what_is_deployed_again_unchanged_is_no_new_revision() {
    let mut cluster = Cluster::with_node();
    cluster.done(deploy("a"));
    let outcome = cluster.propose(deploy("a"));
    let answer = Answer::Deployed { revision: RevisionNumber(1), version: Version(1), is_new: false };
    assert_eq!((outcome.result, outcome.events), (Ok(answer), vec![]));
    let others = [
        Content { answers: Opaque::from(vec![1]), ..content("a") },
        Content { lock: "b".into(), ..content("a") },
        Content { dir: Some("/srv".into()), ..content("a") },
    ];
    for (revision, content) in (2..).zip(others) {
        let expects = Expects::Anything;
        let deploy = Deploy { pipeline: orders(), content, expects, node: Some(NODE), taken_over: None };
        let deployed = cluster.propose(Command::Deploy(Box::new(deploy))).result;
        let (revision, version) = (RevisionNumber(revision), Version(revision));
        let answer = Answer::Deployed { revision, version, is_new: true };
        assert_eq!(deployed, Ok(answer), "whatever of it differs");
    }
}

#[test]
fn a_pause_keeps_the_checkpoint_and_a_deploy_does_not_end_it() {
    let mut cluster = Cluster::with_node();
    cluster.done(deploy("a"));
    assert_eq!(moves(&cluster.done(pause(true))), ["stop 2"]);
    assert_eq!(cluster.done(pause(true)), []);
    assert_eq!(moves(&cluster.stopped(9)), [""; 0]);
    assert_eq!(moves(&cluster.done(deploy("b"))), [""; 0]);
    assert_eq!(moves(&cluster.done(pause(false))), ["start 2 under 7 at 9"]);
    // Asked for while it stops, it starts when it has stopped.
    cluster.done(pause(true));
    assert_eq!(moves(&cluster.done(pause(false))), [""; 0]);
    assert_eq!(moves(&cluster.stopped(10)), ["start 2 under 10 at 10"]);
    let restart = Command::Restart { pipeline: orders(), expects: Expects::Anything };
    assert_eq!(moves(&cluster.done(restart)), ["stop 10"]);
    assert_eq!(moves(&cluster.stopped(11)), ["start 2 under 12 at 11"]);
}

#[test]
fn a_start_of_the_node_gives_a_new_epoch_and_no_old_checkpoint() {
    let mut cluster = Cluster::with_node();
    cluster.done(deploy("a"));
    cluster.done(deploy("b"));
    cluster.stopped(41);
    assert_eq!(moves(&cluster.done(boot(2))), ["start 2 under 5 at last"]);
    assert_eq!(cluster.done(boot(2)), [], "it is the same start");
    let refusal = cluster.refused(stopped(PipelineId(1), Epoch(4), How::Asked, Some(60)));
    assert!(matches!(refusal, Refusal::OldEpoch { .. }), "{refusal}");
    // It was told to stop, and died instead.
    cluster.done(deploy("c"));
    assert_eq!(moves(&cluster.done(boot(3))), ["start 3 under 9 at last"]);
}

#[test]
fn what_has_ended_or_failed_runs_again_when_somebody_wants_it() {
    for (how, after_boot) in [(How::Ended, vec![]), (How::Failed, vec!["start 1 under 4 at last"])] {
        let mut cluster = Cluster::with_node();
        cluster.done(deploy("a"));
        let ended = stopped(PipelineId(1), Epoch(2), how, Some(7));
        assert_eq!(moves(&cluster.done(ended)), [""; 0]);
        let mut again = Cluster { state: cluster.state.clone(), index: cluster.index };
        assert_eq!(moves(&again.done(boot(2))).len(), after_boot.len(), "{how:?}");
        for command in [
            deploy("a"),
            deploy("b"),
            pause(false),
            Command::Restart { pipeline: orders(), expects: Expects::Anything },
        ] {
            let mut again = Cluster { state: cluster.state.clone(), index: cluster.index };
            let moved = moves(&again.done(command));
            assert!(moved.len() == 1 && moved[0].ends_with("under 4 at 7"), "{how:?}: {moved:?}");
        }
    }
}

#[test]
fn a_pipeline_goes_when_it_has_stopped_and_its_node_has_removed_it() {
    let mut cluster = Cluster::with_node();
    cluster.done(deploy("a"));
    assert_eq!(moves(&cluster.done(delete())), ["stop 2"]);
    for command in [deploy("b"), pause(true), delete()] {
        assert_eq!(cluster.refused(command), Refusal::BeingDeleted { pipeline: orders() });
    }
    let removed = Command::Removed { pipeline: PipelineId(1), node: NODE };
    assert_eq!(cluster.refused(removed.clone()), Refusal::NotBeingDeleted { pipeline: PipelineId(1) });
    assert_eq!(moves(&cluster.stopped(9)), ["remove"]);
    assert_eq!(moves(&cluster.done(boot(2))), ["remove"], "it is told again, since it may have died");
    assert_eq!(moves(&cluster.done(removed)), ["gone"]);
    assert_eq!((cluster.state.pipelines.len(), cluster.state.bytes), (0, 0));
    let epoch = cluster.state.last_epoch();
    cluster.done(deploy("a"));
    assert_eq!(cluster.pipeline().id, PipelineId(2), "another one of the same name");
    assert!(cluster.pipeline().epoch > epoch);
}

#[test]
fn what_is_stale_is_refused_with_what_there_is() {
    let mut cluster = Cluster::with_node();
    let expects = Expects::Version(Version(1));
    assert_eq!(cluster.refused(deploy_with("a", expects)), Refusal::NoPipeline { pipeline: orders() });
    let may = |cluster: &Cluster, expects| cluster.state.may_deploy(&orders(), expects);
    assert_eq!(may(&cluster, Expects::Nothing).and(may(&cluster, Expects::Anything)), Ok(()));
    let there = Expects::Something;
    assert_eq!(cluster.refused(deploy_with("a", there)), Refusal::NoPipeline { pipeline: orders() });
    cluster.done(deploy_with("a", Expects::Nothing));
    assert_eq!(may(&cluster, expects).and(may(&cluster, Expects::Anything)), Ok(()));
    cluster.done(deploy_with("a", there));
    assert_eq!(
        cluster.refused(deploy_with("b", Expects::Nothing)),
        Refusal::Taken { pipeline: orders(), version: Version(1) }
    );
    cluster.done(deploy_with("b", expects));
    let stale = Refusal::Stale { pipeline: orders(), expected: Version(1), found: Version(2) };
    let commands = [
        deploy_with("c", expects),
        Command::Pause { pipeline: orders(), paused: true, expects },
        Command::Restart { pipeline: orders(), expects },
        Command::Delete { pipeline: orders(), keeps_dead_letters: false, expects },
        Command::UseRevision { pipeline: orders(), revision: RevisionNumber(1), expects, why: None },
    ];
    for command in commands {
        assert_eq!(cluster.refused(command), stale);
    }
    let text = stale.to_string();
    assert!(text.contains("`default/orders` is at version 2") && text.contains("again"), "{text}");
}

#[test]
fn a_deploy_is_the_same_whatever_was_found_out_about_it() {
    let mut cluster = Cluster::with_node();
    let proposal = |manifest: &str, answers: &[u8]| {
        let content = Content { answers: Opaque::from(answers.to_vec()), ..content(manifest) };
        let expects = Expects::Nothing;
        let deploy = Deploy { pipeline: orders(), content, expects, node: Some(NODE), taken_over: None };
        let key = Some("k".parse().expect("a key"));
        Proposal { at_us: 1, by: None, key, command: Command::Deploy(Box::new(deploy)) }
    };
    assert_eq!(cluster.state.answered(&proposal("a", b"")), None);
    let first = cluster.state.apply(9, &proposal("a", b"one"));
    assert!(first.result.is_ok());
    for answers in [&b"one"[..], b"two", b""] {
        assert_eq!(cluster.state.answered(&proposal("a", answers)), Some((first.result.clone(), 9)));
    }
    let again = cluster.state.apply(10, &proposal("a", b"two"));
    assert_eq!((again.result, again.index, again.events), (first.result, 9, vec![]));
    let other = cluster.state.answered(&proposal("b", b"one"));
    assert!(matches!(other, Some((Err(Refusal::KeyUsed { .. }), 9))), "{other:?}");
}

#[test]
fn the_last_revisions_are_kept_and_those_that_run() {
    let mut cluster = Cluster::with_node();
    cluster.done(deploy("first, which runs on"));
    for number in 0..CONTROL_REVISIONS_KEPT + 5 {
        cluster.done(deploy(&format!("later {number}")));
    }
    let kept: Vec<u64> = cluster.pipeline().revisions.keys().map(|number| number.0).collect();
    assert_eq!((kept.len(), kept[0], kept[1]), (CONTROL_REVISIONS_KEPT, 1, 8));
    let gone = RevisionNumber(3);
    let back = |revision| Command::UseRevision {
        pipeline: orders(),
        revision,
        expects: Expects::Anything,
        why: None,
    };
    let most = RevisionNumber(CONTROL_REVISIONS_KEPT as u64 + 6);
    assert_eq!(
        cluster.refused(back(gone)),
        Refusal::NoRevision { pipeline: orders(), revision: gone, least: RevisionNumber(1), most }
    );
    assert_eq!(cluster.state.bytes, cluster.pipeline().bytes());
}

#[test]
fn what_was_taken_over_goes_on_above_its_epoch_and_at_its_checkpoint() {
    let mut cluster = Cluster::with_node();
    let take = |epoch| {
        let taken_over = Some(TakenOver { epoch: Epoch(epoch), checkpoint: CheckpointNumber(12) });
        let (pipeline, content) = (orders(), content("a"));
        let deploy = Deploy { pipeline, content, expects: Expects::Anything, node: Some(NODE), taken_over };
        Command::Deploy(Box::new(deploy))
    };
    let too_high = EPOCH_TAKEN_OVER_MAX + 1;
    assert_eq!(cluster.refused(take(too_high)), Refusal::EpochTooHigh { epoch: Epoch(too_high) });
    let now_us = 1_700_000_000_000_000;
    let started = format!("start 1 under {} at 12", now_us + 1);
    assert_eq!(moves(&cluster.done(take(now_us))), [started]);
    assert_eq!(cluster.refused(take(5)), Refusal::CannotTakeOver { pipeline: orders() });
}

#[test]
fn a_key_that_was_seen_gives_the_answer_that_it_had() {
    let mut cluster = Cluster::with_node();
    let propose = |cluster: &mut Cluster, by: &str, key: &str, command: Command| {
        cluster.index += 1;
        let (by, key) = (Some(by.to_owned()), Some(key.parse().expect("a key")));
        cluster.state.apply(cluster.index, &Proposal { at_us: cluster.index, by, key, command })
    };
    let first = propose(&mut cluster, "ann", "k", deploy("a"));
    assert!(!first.events.is_empty());
    cluster.done(deploy("b"));
    let again = propose(&mut cluster, "ann", "k", deploy("a"));
    assert_eq!((again.result, again.index, again.events), (first.result, first.index, vec![]));
    assert_eq!(cluster.pipeline().revision, RevisionNumber(2), "it was not done again");
    let other = propose(&mut cluster, "ann", "k", deploy("c"));
    assert_eq!(other.result, Err(Refusal::KeyUsed { key: "k".parse().expect("a key") }));
    assert!(propose(&mut cluster, "bob", "k", pause(true)).result.is_ok(), "keys are each one's own");
    // Sealed anew it is the same secret; another one is not.
    let secret: SecretName = "default/A".parse().expect("a name");
    let set = |sealed| Command::SetSecret { secret: secret.clone(), sealed };
    for (sealed, is_same) in [(sealed(1, 30), true), (sealed(1, 31), true), (sealed(2, 30), false)] {
        let outcome = propose(&mut cluster, "ann", "s", set(sealed));
        assert_eq!(outcome.result == Ok(Answer::SecretSet { version: 1 }), is_same);
    }
}

#[test]
fn nodes_namespaces_tags_and_secrets_come_and_go() {
    let mut cluster = Cluster::with_node();
    let (team, secret): (Name, SecretName) =
        (Name::parse("team").expect("a name"), "team/A".parse().expect("a name"));
    let (create, drop) =
        (Command::CreateNamespace { name: team.clone() }, Command::DeleteNamespace { name: team.clone() });
    let set = Command::SetSecret { secret: secret.clone(), sealed: sealed(1, 40) };
    assert_eq!(cluster.refused(set.clone()), Refusal::NoNamespace { name: team.clone() });
    assert_eq!(cluster.refused(drop.clone()), Refusal::NoNamespace { name: team.clone() });
    cluster.done(create.clone());
    assert_eq!(cluster.refused(create), Refusal::NamespaceTaken { name: team.clone() });
    cluster.done(set.clone());
    assert_eq!(cluster.done(set), [Effect::SecretSet { secret: secret.clone(), version: 2 }]);
    assert_eq!(cluster.state.bytes, cluster.state.secrets[&secret].bytes());
    let in_use = Refusal::NamespaceInUse { name: team.clone(), pipelines: 0, secrets: 1 };
    assert_eq!(cluster.refused(drop.clone()), in_use);
    cluster.done(Command::DeleteSecret { secret: secret.clone() });
    assert_eq!(cluster.state.bytes, 0);
    let delete = Command::DeleteSecret { secret: secret.clone() };
    assert_eq!(cluster.refused(delete), Refusal::NoSecret { secret });
    cluster.done(drop);
    let default = Command::DeleteNamespace { name: Name::parse(DEFAULT_NAMESPACE).expect("a name") };
    assert_eq!(cluster.refused(default), Refusal::DefaultNamespace);

    let tag: TagName = "team/filter:1".parse().expect("a tag");
    let digest = Digest::of(b"x");
    assert_eq!(cluster.done(Command::SetTag { tag: tag.clone(), digest }).len(), 1);
    assert_eq!(cluster.done(Command::SetTag { tag: tag.clone(), digest }), []);
    cluster.done(Command::DeleteTag { tag: tag.clone() });
    assert_eq!(cluster.refused(Command::DeleteTag { tag: tag.clone() }), Refusal::NoTag { tag });

    cluster.done(deploy("a"));
    cluster.done(Command::RemoveNode { node: NODE });
    assert_eq!((cluster.pipeline().node, cluster.pipeline().run), (None, None));
    assert_eq!(cluster.refused(boot(9)), Refusal::NodeGone { node: NODE });
    let assign = |node| Command::Assign { pipeline: orders(), node: NodeId(node) };
    assert_eq!(cluster.refused(assign(2)), Refusal::NoNode { node: NodeId(2) });
    let (address, version) = (String::new(), String::new());
    cluster.done(Command::Boot(Boot { node: NodeId(2), boot: BootId(1), address, version }));
    assert_eq!(moves(&cluster.done(assign(2))).len(), 1);
}

#[test]
fn what_is_too_large_is_refused_by_name() {
    let mut cluster = Cluster::with_node();
    let large = deploy(&"x".repeat(MANIFEST_BYTES_MAX + 1));
    let error = cluster.refused(large).to_string();
    assert!(error.contains("the manifest has 1048577 bytes") && error.contains("1048576"), "{error}");
    let lock = Content { lock: "x".repeat(CONTROL_LOCK_BYTES_MAX + 1).into(), ..content("a") };
    let dir = Content { dir: Some("/".repeat(CONTROL_TEXT_BYTES_MAX + 1).into()), ..content("a") };
    for (content, kind) in [(lock, Kind::Lock), (dir, Kind::Text)] {
        let expects = Expects::Anything;
        let deploy = Deploy { pipeline: orders(), content, expects, node: Some(NODE), taken_over: None };
        let refused = cluster.refused(Command::Deploy(Box::new(deploy)));
        assert!(matches!(refused, Refusal::TooLarge { what, .. } if what == kind), "{refused}");
    }
    let why = Some("x".repeat(5000));
    let command = Command::UseRevision {
        pipeline: orders(),
        revision: RevisionNumber(1),
        expects: Expects::Anything,
        why,
    };
    assert!(matches!(cluster.refused(command), Refusal::TooLarge { what: Kind::Text, .. }));
}

/// What counts is what a snapshot has of it, in which some characters take six bytes.
#[test]
fn what_is_kept_is_counted_as_it_is_kept_and_is_bounded() {
    let mut cluster = Cluster::with_node();
    cluster.done(deploy("a"));
    let kept = |cluster: &Cluster| kept_bytes(&cluster.state);
    let (before, before_kept) = (cluster.state.bytes, kept(&cluster));
    cluster.done(deploy(&"\u{1}".repeat(10_000)));
    let (more, more_kept) = (cluster.state.bytes - before, kept(&cluster) - before_kept);
    assert!(more > 60_000 && more_kept.abs_diff(more) < 1000, "{more}, of {more_kept}");
    // As if many others had taken the rest.
    cluster.state.bytes = CONTROL_STATE_BYTES_MAX - 1000;
    let refused = cluster.refused(deploy(&"x".repeat(1000)));
    assert!(matches!(refused, Refusal::NoRoom { .. }), "{refused}");
    let text = refused.to_string();
    assert!(text.contains("268435456 are the most; delete pipelines"), "{text}");
    cluster.done(pause(true));
}

#[test]
fn the_audit_log_has_what_somebody_had_done_and_is_bounded() {
    let mut cluster = Cluster::with_node();
    cluster.done(deploy("a"));
    cluster.propose(Command::DeleteNamespace { name: Name::parse("none").expect("a name") });
    let told: Vec<_> =
        cluster.state.audit_log().map(|entry| (entry.number, &*entry.verb, &*entry.object)).collect();
    assert_eq!(told, [(1, "boot", "node 1"), (2, "deploy", "pipeline default/orders")]);
    for number in 0..CONTROL_AUDIT_MAX {
        cluster.done(pause(number.is_multiple_of(2)));
    }
    let log: Vec<u64> = cluster.state.audit_log().map(|entry| entry.number).collect();
    assert_eq!((log.len(), log[0]), (CONTROL_AUDIT_MAX, 3));
    let proposal = Proposal { at_us: 0, by: None, key: None, command: pause(true) };
    cluster.state.apply(cluster.index, &proposal).result.expect("done");
    assert_eq!(cluster.state.audit_log().len(), CONTROL_AUDIT_MAX, "nodes themselves are not told");
}

/// What is read back of a snapshot, and of the log.
#[test]
fn a_state_and_its_commands_are_read_as_they_were_written() {
    let mut cluster = Cluster::with_node();
    let mut content = content("a\u{0}\"\n");
    content.lock = "{\n}\n".into();
    content.dir = Some("/srv/a b".into());
    content.answers = vec![0, 255, 7].into();
    content.grants.insert(Name::parse("f").expect("a name"), ["http a:1".to_owned()].into());
    let deploy =
        Deploy { pipeline: orders(), content, expects: Expects::Nothing, node: Some(NODE), taken_over: None };
    for command in [
        Command::Deploy(Box::new(deploy)),
        Command::SetTag { tag: "a/b:c".parse().expect("a tag"), digest: Digest::of(b"x") },
        Command::SetSecret { secret: "default/A".parse().expect("a name"), sealed: sealed(1, 9) },
        pause(true),
        stopped(PipelineId(1), Epoch(2), How::Asked, Some(3)),
        delete(),
    ] {
        let json = serde_json::to_string(&command).expect("JSON");
        assert_eq!(serde_json::from_str::<Command>(&json).expect("a command"), command, "{json}");
        cluster.done(command);
        let json = serde_json::to_string(&cluster.state).expect("JSON");
        assert_eq!(serde_json::from_str::<State>(&json).expect("a state"), cluster.state);
    }
}
