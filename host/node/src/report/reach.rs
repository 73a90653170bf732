//! How what the stages of a pipeline need and are granted differs from an older manifest: what somebody who
//! takes over a new version of a stage has to agree to.

use std::collections::BTreeSet;
use std::path::Path;

use model::grants::{Difference, Need};
use model::manifest::{Pipeline, Stage};
use serde_json::{Value, json};

use crate::words::Words;

/// How one stage differs; a stage that is new or gone is compared with one that reaches nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub stage: String,
    pub grants: Difference,
    pub needs: Difference,
}

/// One stage: what it is granted, and what it needs.
pub struct Reach {
    stage: String,
    grants: BTreeSet<String>,
    needs: BTreeSet<String>,
}

impl Reach {
    /// The stages of a pipeline, with the needs of those that are components.
    pub fn of(pipeline: &Pipeline, needs: &[Option<Vec<Need>>]) -> Vec<Self> {
        let one = |(stage, needs): (&Stage, &Option<Vec<Need>>)| Self {
            stage: stage.name.to_string(),
            grants: stage.grants.value.items(),
            needs: needs.iter().flatten().map(Need::to_string).collect(),
        };
        pipeline.stages.iter().zip(needs).map(one).collect()
    }
}

/// The stages that differ, those of the new manifest first.
pub fn changes(old: &[Reach], new: &[Reach]) -> Vec<Change> {
    let none = BTreeSet::new();
    let mut changes = Vec::new();
    let mut compare = |stage: &str, old: Option<&Reach>, new: Option<&Reach>| {
        let of = |side: Option<&Reach>, pick: fn(&Reach) -> &BTreeSet<String>| {
            side.map_or_else(|| none.clone(), |reach| pick(reach).clone())
        };
        let grants = Difference::between(&of(old, |reach| &reach.grants), &of(new, |reach| &reach.grants));
        let needs = Difference::between(&of(old, |reach| &reach.needs), &of(new, |reach| &reach.needs));
        if !grants.is_empty() || !needs.is_empty() {
            changes.push(Change { stage: stage.to_owned(), grants, needs });
        }
    };
    for stage in new {
        compare(&stage.stage, old.iter().find(|other| other.stage == stage.stage), Some(stage));
    }
    for stage in old.iter().filter(|stage| new.iter().all(|other| other.stage != stage.stage)) {
        compare(&stage.stage, Some(stage), None);
    }
    changes
}

/// `+` is what came, `-` what went.
pub fn text(changes: &[Change]) -> Words {
    if changes.is_empty() {
        return "no stage needs or is granted anything else than before".into();
    }
    let mut words = Words::default();
    for Change { stage, grants, needs } in changes {
        words.push(stage);
        for (verb, difference) in [("is granted", grants), ("needs", needs)] {
            let lines = difference.added.iter().map(|item| ('+', item));
            for (sign, item) in lines.chain(difference.removed.iter().map(|item| ('-', item))) {
                words.push(format!("  {sign} {verb} {item}"));
            }
        }
    }
    words
}

pub fn json(old: &Path, new: &Path, changes: &[Change]) -> Value {
    let side = |difference: &Difference| json!({ "added": difference.added, "removed": difference.removed });
    let one = |change: &Change| {
        json!({
            "stage": change.stage, "grants": side(&change.grants), "needs": side(&change.needs),
        })
    };
    let changes: Vec<Value> = changes.iter().map(one).collect();
    json!({ "file": new.display().to_string(), "against": old.display().to_string(), "changes": changes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(stage: &str, grants: &[&str], needs: &[&str]) -> Reach {
        let set = |list: &[&str]| list.iter().map(|item| (*item).to_owned()).collect();
        Reach { stage: stage.to_owned(), grants: set(grants), needs: set(needs) }
    }

    #[test]
    fn what_came_and_what_went_is_told_by_stage() {
        let old = [reach("a", &["clock"], &["clock"]), reach("b", &["env X=1"], &[]), reach("c", &[], &[])];
        let new = [
            reach("a", &["http x.com:443"], &["http x.com:443"]),
            reach("c", &[], &[]),
            reach("d", &["random"], &[]),
        ];
        let expected = "a\n  + is granted http x.com:443\n  - is granted clock\n  + needs http x.com:443\n  - needs \
                        clock\nd\n  + is granted random\nb\n  - is granted env X=1";
        assert_eq!(text(&changes(&old, &new)).to_string(), expected);
        assert!(text(&changes(&old, &old)).to_string().starts_with("no stage"));
    }
}
