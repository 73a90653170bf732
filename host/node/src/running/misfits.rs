//! Why a manifest cannot go on from a checkpoint: what it has of each stage is held against what the stage is now.

use connect::{SINKS, has_file};
use flow::checkpoint::{Change, LastCommitted, MarkPart, StageMark};
use model::manifest::{Role, Stage, StageRef};

use crate::wiring::Wired;

/// What does not fit, each with what to do about it. `renewed`: sinks that begin a new file.
pub(super) fn misfits(last_committed: &LastCommitted, wired: &Wired, renewed: &[String]) -> Vec<String> {
    let sources = last_committed.checkpoint.places.keys();
    let mut misfits: Vec<String> =
        sources.filter_map(|name| source_misfit(last_committed, wired, name)).collect();
    misfits.extend(misfits_behind(last_committed, wired, renewed, |_| true));
    misfits
}

/// Those of sinks and of stages with state, where `is_meant` says so by their names.
pub(crate) fn misfits_behind(
    last_committed: &LastCommitted,
    wired: &Wired,
    renewed: &[String],
    is_meant: impl Fn(&str) -> bool,
) -> Vec<String> {
    let sinks = last_committed.checkpoint.tokens.iter().filter(|(name, _)| is_meant(name));
    let mut misfits: Vec<String> = sinks
        .filter_map(|(name, token)| {
            let is_renewed = renewed.iter().any(|renewed| **renewed == **name);
            sink_misfit(last_committed, wired, name, token, is_renewed)
        })
        .collect();
    let states = last_committed.states.iter().filter(|(name, size)| size.keys > 0 && is_meant(name));
    misfits.extend(states.filter_map(|(name, size)| state_misfit(last_committed, wired, name, size.keys)));
    misfits
}

/// Sinks that are another connector than the one that committed what the checkpoint has, with what that was. What one
/// has committed says nothing to another.
pub(super) fn other_connectors(
    last_committed: &LastCommitted,
    wired: &Wired,
    is_meant: impl Fn(&str) -> bool,
) -> Vec<(String, String)> {
    let names = last_committed.checkpoint.tokens.keys().filter(|name| is_meant(name));
    let other = |name: &std::sync::Arc<str>| {
        let (_, stage) = find(wired, name, Role::Sink)?;
        let was = last_committed.stages.get(&**name)?;
        is_other(stage, was).then(|| (name.to_string(), was.uses.clone()))
    };
    names.filter_map(other).collect()
}

/// A component has the name of its file, and may be another version of itself.
fn is_other(stage: &Stage, was: &StageMark) -> bool {
    let uses = stage.reference.value.to_string();
    uses != was.uses && (is_built_in(stage) || SINKS.contains(&was.uses.as_str()))
}

/// The stage of this name and role, by its index.
fn find<'a>(wired: &'a Wired, name: &str, role: Role) -> Option<(usize, &'a Stage)> {
    let index = wired.pipeline.index_of(name)?;
    let stage = &wired.pipeline.stages[index];
    (*stage.role == role).then_some((index, stage))
}

fn is_built_in(stage: &Stage) -> bool {
    matches!(stage.reference.value, StageRef::BuiltIn(_))
}

/// With another format other options come and go, which says nothing more.
fn listed(changes: &[Change]) -> String {
    let has_format = changes.iter().any(|change| change.name() == "format");
    let told = changes.iter().filter(|change| change.is_of_value() || !has_format);
    told.map(Change::to_string).collect::<Vec<_>>().join(", ")
}

/// A source has to read what it read before. A component may be another version of itself: what is in its cursors is
/// its own.
fn source_misfit(last_committed: &LastCommitted, wired: &Wired, name: &str) -> Option<String> {
    let Some((index, stage)) = find(wired, name, Role::Source) else {
        return Some(format!(
            "there is no source `{name}` any more; if it has another name now, say `--rename {name}=NEW`"
        ));
    };
    let was = last_committed.stages.get(name)?;
    let uses = stage.reference.value.to_string();
    let what = if is_built_in(stage) && uses != was.uses {
        format!("source `{name}` was `{}` and is `{uses}`", was.uses)
    } else {
        let changes = wired.changes_since(index, was);
        if changes.is_empty() {
            return None;
        }
        format!("source `{name}` reads in another way: {}", listed(&changes))
    };
    Some(format!("{what}; to read all that it has from the beginning, say `--forget {name}`"))
}

/// A sink may change once all that it prepared is committed, but for what its output so far rests on.
fn sink_misfit(
    last_committed: &LastCommitted,
    wired: &Wired,
    name: &str,
    token: &[u8],
    is_renewed: bool,
) -> Option<String> {
    let found = find(wired, name, Role::Sink);
    let Some((index, stage)) = found else { return gone_sink_misfit(last_committed, wired, name, token) };
    let was = last_committed.stages.get(name)?;
    if is_other(stage, was) {
        let uses = stage.reference.value.to_string();
        return (!last_committed.sinks_committed && !token.is_empty()).then(|| {
            format!(
                "sink `{name}` was `{}` and is `{uses}`, and what it has prepared is not committed yet",
                was.uses
            )
        });
    }
    let changes = if is_renewed { Vec::new() } else { wired.changes_since(index, was) };
    if changes.is_empty() || begins_anew(last_committed, wired, name, was) {
        return None;
    }
    let what = format!("sink `{name}` writes in another way: {}", listed(&changes));
    Some(if is_built_in(stage) {
        format!(
            "{what}; to begin a new file, say `--new-file {name}`, which keeps the one that is there under a name \
             of its own"
        )
    } else if last_committed.sinks_committed {
        format!("{what}; to write as if it had written nothing yet, say `--forget {name}`")
    } else {
        format!("{what}, and what it has prepared is not committed yet")
    })
}

/// A sink that is gone, and has something to commit yet, or may go on under another name: that one would begin where
/// the output of this one is.
fn gone_sink_misfit(
    last_committed: &LastCommitted,
    wired: &Wired,
    name: &str,
    token: &[u8],
) -> Option<String> {
    if !last_committed.sinks_committed {
        return Some(format!(
            "there is no sink `{name}` any more, and what it has prepared is not committed yet; if it has another \
             name now, say `--rename {name}=NEW`"
        ));
    }
    if token.is_empty() {
        return None;
    }
    let new = heir(last_committed, wired, name)?;
    Some(format!(
        "there is no sink `{name}` any more, and sink `{new}` is new; if that is its name now, say `--rename \
         {name}={new}`; to go on without what `{name}` has committed, `--forget {name}`"
    ))
}

/// The sink that one that is gone most likely has become: it is new, and of the same kind.
fn heir<'a>(last_committed: &LastCommitted, wired: &'a Wired, gone: &str) -> Option<&'a str> {
    let was = last_committed.stages.get(gone)?;
    let is_new = |stage: &&Stage| {
        *stage.role == Role::Sink && !last_committed.checkpoint.tokens.contains_key(stage.name.as_str())
    };
    let is_alike = |stage: &&Stage| match is_built_in(stage) {
        true => stage.reference.value.to_string() == was.uses,
        false => !SINKS.contains(&was.uses.as_str()),
    };
    let marks = wired.marks();
    let heirs: Vec<&Stage> = wired.pipeline.stages.iter().filter(is_new).filter(is_alike).collect();
    let same =
        heirs.iter().find(|stage| marks.get(stage.name.as_str()).is_some_and(|mark| mark.said == was.said));
    same.or(heirs.first()).map(|stage| stage.name.as_str())
}

/// The new sink `file` that would replace what one that is gone has committed, and was not told to.
pub(super) fn replacing(last_committed: &LastCommitted, wired: &Wired, gone: &str) -> Option<String> {
    let was = last_committed.stages.get(gone).filter(|was| was.uses == "file")?;
    let marks = wired.marks();
    let path = |mark: &StageMark| {
        let of_old = || mark.with.as_ref()?.get("path")?.as_str().map(MarkPart::shown);
        match mark.said.as_ref().and_then(|said| said.get("path").cloned()).or_else(of_old)? {
            MarkPart::Value(path) => Some(MarkPart::Value(path.trim_start_matches("./").to_owned())),
            hash => Some(hash),
        }
    };
    let replaces = |stage: &&Stage| {
        let is_same = |mark: &StageMark| mark.uses == was.uses && path(mark) == path(was);
        *stage.role == Role::Sink
            && marks.get(stage.name.as_str()).is_some_and(is_same)
            && !["if-exists", "rotate"].iter().any(|option| stage.with.value.contains_key(*option))
    };
    wired.pipeline.stages.iter().find(replaces).map(|stage| stage.name.to_string())
}

/// Whether a sink `file` writes in another way, and has no file yet.
pub(super) fn begins_anew(
    last_committed: &LastCommitted,
    wired: &Wired,
    name: &str,
    was: &StageMark,
) -> bool {
    let Some((index, stage)) = find(wired, name, Role::Sink) else { return false };
    let token = last_committed.checkpoint.tokens.get(name);
    is_built_in(stage)
        && was.uses == "file"
        && token.is_some_and(|token| !has_file(token))
        && !wired.changes_since(index, was).is_empty()
}

/// State that nobody is left for, or that is somebody else's, or of another config. Another version of a component has
/// what the one before had; which it is, its own name says, and not that of its file.
fn state_misfit(last_committed: &LastCommitted, wired: &Wired, name: &str, keys: u64) -> Option<String> {
    let index = wired.pipeline.index_of(name);
    let has = format!("the checkpoint has state of `{name}` ({keys} keys)");
    let Some((index, component)) = index
        .filter(|&index| wired.keeps_state(index))
        .and_then(|index| Some((index, wired.component(index)?)))
    else {
        let why =
            if index.is_some() { "which keeps none now" } else { "and there is no such stage any more" };
        return Some(format!(
            "{has}, {why}; if the stage has another name now, say `--rename {name}=NEW`; to throw its state away, \
             `--forget {name}`"
        ));
    };
    let (is, was) = (&component.about().name, last_committed.stages.get(name)?);
    let why = if was.uses == *is {
        let changes = wired.changes_since(index, was);
        if changes.is_empty() {
            return None;
        }
        format!("which rests on another config: {}", listed(&changes))
    } else {
        format!("which was a `{}` and is a `{is}`", was.uses)
    };
    Some(format!("{has}, {why}; to throw its state away, say `--forget {name}`"))
}
