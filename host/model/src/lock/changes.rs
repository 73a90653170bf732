//! How two locks differ: what somebody agrees to who takes over new versions.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::{Facts, Lock, Pinned};
use crate::grants::Difference;
use crate::ids::Digest;

/// What became of one reference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum Change {
    Added {
        reference: String,
        version: String,
        component: Digest,
    },
    Removed {
        reference: String,
        version: String,
    },
    /// It stands for something else, or another version of the same component has its place.
    Moved {
        reference: String,
        was: Option<String>,
        facets: Vec<Facet>,
    },
}

/// One thing in which two versions of a component differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "what", content = "value", rename_all = "kebab-case")]
pub enum Facet {
    Component {
        was: Digest,
        is: Digest,
    },
    /// The component is the same, and what describes it is not: annotations, or an index.
    Image {
        was: Digest,
        is: Digest,
    },
    Name {
        was: String,
        is: String,
    },
    Version {
        was: String,
        is: String,
    },
    Kind {
        was: &'static str,
        is: &'static str,
    },
    Ports(Difference),
    Needs(Difference),
    ConfigKeys(Difference),
    /// Keys of the config that are there in both, and of which the schema says something else.
    ConfigChanged(Vec<String>),
    /// Keys of the config that have to be there now, or need not any more.
    ConfigRequired(Difference),
}

/// What is in `new` and was not in `old`, by reference.
pub fn changes(old: &Lock, new: &Lock) -> Vec<Change> {
    let mut gone: BTreeMap<&str, &Pinned> = BTreeMap::new();
    for (reference, pinned) in &old.components {
        if !new.components.contains_key(reference) {
            gone.insert(reference, pinned);
        }
    }
    let mut changes = Vec::new();
    for (reference, pinned) in &new.components {
        if let Some(was) = old.components.get(reference) {
            let facets = facets(was, pinned);
            if !facets.is_empty() {
                changes.push(Change::Moved { reference: reference.clone(), was: None, facets });
            }
            continue;
        }
        // Where the manifest names another version, it is compared with the one before.
        let before: Vec<&str> =
            gone.keys().copied().filter(|gone| repository(gone) == repository(reference)).collect();
        match (before.as_slice(), before.first().and_then(|before| gone.remove(before))) {
            ([before], Some(was)) => {
                let (was, facets) = (Some((*before).to_owned()), facets(was, pinned));
                changes.push(Change::Moved { reference: reference.clone(), was, facets });
            }
            (_, taken) => {
                if let (Some(before), Some(taken)) = (before.first(), taken) {
                    gone.insert(before, taken);
                }
                let (version, component) = (pinned.is.version.clone(), pinned.component);
                changes.push(Change::Added { reference: reference.clone(), version, component });
            }
        }
    }
    let removed = gone.into_iter().map(|(reference, pinned)| Change::Removed {
        reference: reference.to_owned(),
        version: pinned.is.version.clone(),
    });
    changes.extend(removed);
    changes
}

/// A reference without its tag and its digest; a path is all of it.
fn repository(reference: &str) -> &str {
    let name = reference.split_once('@').map_or(reference, |(name, _)| name);
    let last = name.rfind('/').map_or(0, |slash| slash + 1);
    name[last..].find(':').map_or(name, |colon| &name[..last + colon])
}

fn facets(was: &Pinned, is: &Pinned) -> Vec<Facet> {
    let mut facets = Vec::new();
    if was.component != is.component {
        facets.push(Facet::Component { was: was.component, is: is.component });
    }
    match (was.image, is.image) {
        (Some(old), Some(new)) if old != new && was.component == is.component => {
            facets.push(Facet::Image { was: old.resolved(), is: new.resolved() });
        }
        _ => {}
    }
    let (old, new) = (&was.is, &is.is);
    if old.name != new.name {
        facets.push(Facet::Name { was: old.name.clone(), is: new.name.clone() });
    }
    if old.version != new.version {
        facets.push(Facet::Version { was: old.version.clone(), is: new.version.clone() });
    }
    if old.kind != new.kind {
        facets.push(Facet::Kind { was: old.kind.interface(), is: new.kind.interface() });
    }
    if let (Some(old), Some(new)) = (&old.ports, &new.ports) {
        push_difference(&mut facets, Facet::Ports, &set(old), &set(new));
    }
    push_difference(&mut facets, Facet::Needs, &set(&old.needs), &set(&new.needs));
    config(&mut facets, old, new);
    facets
}

fn config(facets: &mut Vec<Facet>, old: &Facts, new: &Facts) {
    let (was, is) = (properties(old), properties(new));
    let keys = |of: &BTreeMap<&str, &Value>| of.keys().map(|key| (*key).to_owned()).collect::<BTreeSet<_>>();
    push_difference(facets, Facet::ConfigKeys, &keys(&was), &keys(&is));
    let changed: Vec<String> = was
        .iter()
        .filter(|(key, was)| is.get(*key).is_some_and(|is| is != *was))
        .map(|(key, _)| (*key).to_owned())
        .collect();
    if !changed.is_empty() {
        facets.push(Facet::ConfigChanged(changed));
    }
    push_difference(facets, Facet::ConfigRequired, &required(old), &required(new));
    let told = facets.iter().any(|facet| {
        matches!(facet, Facet::ConfigKeys(_) | Facet::ConfigChanged(_) | Facet::ConfigRequired(_))
    });
    // What is not said of a key, such as a definition that several use.
    if !told && old.config_schema != new.config_schema {
        facets.push(Facet::ConfigChanged(Vec::new()));
    }
}

fn properties(facts: &Facts) -> BTreeMap<&str, &Value> {
    let properties = facts.config_schema.as_ref().and_then(|schema| schema.get("properties"));
    let properties = properties.and_then(Value::as_object).into_iter().flatten();
    properties.map(|(key, value)| (key.as_str(), value)).collect()
}

fn required(facts: &Facts) -> BTreeSet<String> {
    let required = facts.config_schema.as_ref().and_then(|schema| schema.get("required"));
    let required = required.and_then(Value::as_array).into_iter().flatten();
    required.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn set(list: &[String]) -> BTreeSet<String> {
    list.iter().cloned().collect()
}

fn push_difference(
    facets: &mut Vec<Facet>,
    make: fn(Difference) -> Facet,
    old: &BTreeSet<String>,
    new: &BTreeSet<String>,
) {
    let difference = Difference::between(old, new);
    if !difference.is_empty() {
        facets.push(make(difference));
    }
}

impl Change {
    /// The reference that the new lock has; of one that is gone, the one that it had.
    pub fn reference(&self) -> &str {
        match self {
            Self::Added { reference, .. }
            | Self::Removed { reference, .. }
            | Self::Moved { reference, .. } => reference,
        }
    }

    /// As people read it, a line each; what belongs to a reference is indented below it.
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Added { reference, version, component } => {
                vec![format!("+ {reference}  {}component {component}", spaced(version))]
            }
            Self::Removed { reference, version } => {
                vec![format!("- {reference}  {version}").trim_end().to_owned()]
            }
            Self::Moved { reference, was, facets } => {
                let head = match was {
                    Some(was) => format!("~ {was} -> {reference}"),
                    None => format!("~ {reference}"),
                };
                let facets = facets.iter().flat_map(Facet::lines).map(|line| format!("    {line}"));
                std::iter::once(head).chain(facets).collect()
            }
        }
    }
}

fn spaced(version: &str) -> String {
    if version.is_empty() { String::new() } else { format!("{version}  ") }
}

impl Facet {
    fn lines(&self) -> Vec<String> {
        let moved =
            |what: &str, was: &dyn fmt::Display, is: &dyn fmt::Display| vec![format!("{what} {was} -> {is}")];
        match self {
            Self::Component { was, is } => moved("component", was, is),
            Self::Image { was, is } => moved("image, of the same component,", was, is),
            Self::Name { was, is } => moved("name", was, is),
            Self::Version { was, is } => moved("version", was, is),
            Self::Kind { was, is } => moved("kind", was, is),
            Self::Ports(difference) => listed("port", difference),
            Self::Needs(difference) => listed("needs", difference),
            Self::ConfigKeys(difference) => listed("config", difference),
            Self::ConfigRequired(difference) => {
                let now = difference.added.iter().map(|key| format!("config {key} has to be given now"));
                let no_more =
                    difference.removed.iter().map(|key| format!("config {key} may be left out now"));
                now.chain(no_more).collect()
            }
            Self::ConfigChanged(keys) if keys.is_empty() => vec!["config has another schema".to_owned()],
            Self::ConfigChanged(keys) => {
                keys.iter().map(|key| format!("config {key} has another schema")).collect()
            }
        }
    }
}

fn listed(what: &str, difference: &Difference) -> Vec<String> {
    let added = difference.added.iter().map(|item| format!("+ {what} {item}"));
    added.chain(difference.removed.iter().map(|item| format!("- {what} {item}"))).collect()
}
