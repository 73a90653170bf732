//! Where the rows of a batch come from, in compact form.
//!
//! A batch that only lost rows shares its selection with its columns; a batch in which a stage made rows
//! gets one node more. Nothing is computed per record until somebody asks for a record's id or its origin:
//! dead letters, and sinks that cannot commit.

use std::sync::Arc;

use crate::ids::RecordId;
use crate::rows::Rows;

/// The lineage of every row of one batch.
#[derive(Clone, Debug)]
pub struct Lineage {
    node: Arc<Node>,
    rows: Rows,
}

#[derive(Debug)]
enum Node {
    Source(SourceRows),
    Made(MadeRows),
    Edge { parent: Lineage, edge: Arc<str> },
    Kept(KeptRows),
}

/// Rows as they came out of a source.
#[derive(Debug)]
pub struct SourceRows {
    pub pipeline: Arc<str>,
    pub source: Arc<str>,
    pub split: Arc<str>,
    pub offsets: Offsets,
}

/// Rows that were written down and come in again, as dead letters do: what they were is known, how they came to be is not.
#[derive(Debug)]
pub struct KeptRows {
    /// By row, as all of these.
    pub ids: Vec<RecordId>,
    pub origins: Vec<Origin>,
    /// The entries in the dead-letter store, of those that come from there.
    pub letters: Vec<Option<u64>>,
}

/// Places of records within their split, strictly ascending.
#[derive(Clone, Debug)]
pub enum Offsets {
    /// The first offset; the rest follows without gaps.
    From(u64),
    These(Arc<[u64]>),
}

/// Rows that went through a stage that made records.
#[derive(Debug)]
struct MadeRows {
    parent: Lineage,
    descent: Descent,
    stage: Arc<str>,
    port: u32,
}

/// How the rows that left a stage by one port descend from those that came in. `origins` has, for each of
/// them, the row that it is or comes from, ascending.
#[derive(Clone, Debug)]
pub enum Descent {
    /// One was made from each that came in, in their order.
    Each,
    /// All were made.
    Made { origins: Arc<[u32]> },
    /// Some were made, the others are their origin, passed on.
    Mixed { origins: Arc<[u32]>, made: Arc<[bool]> },
}

/// The source record to which a row goes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub source: Arc<str>,
    pub split: Arc<str>,
    pub offset: u64,
}

impl Lineage {
    pub fn of_source(rows: SourceRows) -> Self {
        Self { node: Arc::new(Node::Source(rows)), rows: Rows::All }
    }

    /// The lineage of rows that come in again, each with the id and the origin that it had.
    pub fn of_kept(rows: KeptRows) -> Self {
        Self { node: Arc::new(Node::Kept(rows)), rows: Rows::All }
    }

    /// The lineage of the rows that `stage` sent out by `port`.
    pub fn through(&self, stage: &Arc<str>, port: u32, descent: Descent) -> Self {
        let made = MadeRows { parent: self.clone(), descent, stage: stage.clone(), port };
        Self { node: Arc::new(Node::Made(made)), rows: Rows::All }
    }

    /// The lineage of rows that came by `edge` into a stage at which branches of one origin meet.
    pub fn by_edge(&self, edge: &Arc<str>) -> Self {
        let node = Node::Edge { parent: self.clone(), edge: edge.clone() };
        Self { node: Arc::new(node), rows: Rows::All }
    }

    pub(crate) fn rows(&self) -> &Rows {
        &self.rows
    }

    pub(crate) fn with_rows(&self, rows: Rows) -> Self {
        Self { node: self.node.clone(), rows }
    }

    /// The source record to which row `row` goes back.
    pub fn origin(&self, row: usize) -> Origin {
        let row = self.rows.at(row);
        match &*self.node {
            Node::Source(rows) => Origin {
                source: rows.source.clone(),
                split: rows.split.clone(),
                offset: rows.offsets.at(row),
            },
            Node::Made(made) => made.parent.origin(made.descent.origin(row)),
            Node::Edge { parent, .. } => parent.origin(row),
            Node::Kept(kept) => kept.origins[row].clone(),
        }
    }

    /// The dead letter to which row `row` goes back, where it comes from one.
    pub fn letter(&self, row: usize) -> Option<u64> {
        let row = self.rows.at(row);
        match &*self.node {
            Node::Source(_) => None,
            Node::Made(made) => made.parent.letter(made.descent.origin(row)),
            Node::Edge { parent, .. } => parent.letter(row),
            Node::Kept(kept) => kept.letters[row],
        }
    }

    /// The id of row `row`, as the delivery contract defines it.
    pub fn id(&self, row: usize) -> RecordId {
        let row = self.rows.at(row);
        match &*self.node {
            Node::Source(rows) => {
                RecordId::of_source(&rows.pipeline, &rows.source, &rows.split, rows.offsets.at(row))
            }
            Node::Edge { parent, edge } => parent.id(row).by_edge(edge),
            Node::Kept(kept) => kept.ids[row],
            Node::Made(made) => {
                let parent = made.parent.id(made.descent.origin(row));
                match made.descent.nth(row) {
                    Some(nth) => parent.made(&made.stage, made.port, nth),
                    None => parent,
                }
            }
        }
    }
}

impl Descent {
    fn origin(&self, row: usize) -> usize {
        match self {
            Self::Each => row,
            Self::Made { origins } | Self::Mixed { origins, .. } => origins[row] as usize,
        }
    }

    /// The index of a made row among those that this port made from the same origin; none where the row was
    /// passed on. Rows of one origin stand side by side, the one that was passed on first.
    fn nth(&self, row: usize) -> Option<u32> {
        let first_of = |origins: &[u32]| origins[..row].partition_point(|&origin| origin < origins[row]);
        match self {
            Self::Each => Some(0),
            Self::Made { origins } => Some((row - first_of(origins)) as u32),
            Self::Mixed { origins, made } => made[row].then(|| {
                let first = first_of(origins);
                (row - first - usize::from(!made[first])) as u32
            }),
        }
    }
}

impl Offsets {
    pub fn at(&self, row: usize) -> u64 {
        match self {
            Self::From(first) => first + row as u64,
            Self::These(offsets) => offsets[row],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(offsets: Offsets) -> Lineage {
        Lineage::of_source(SourceRows {
            pipeline: "p".into(),
            source: "in".into(),
            split: "a.csv".into(),
            offsets,
        })
    }

    #[test]
    fn a_source_row_is_named_by_its_split_and_offset() {
        let lineage = source(Offsets::These([3, 9].into()));
        assert_eq!(lineage.id(1), RecordId::of_source("p", "in", "a.csv", 9));
        assert_eq!(lineage.origin(1).offset, 9);
    }

    #[test]
    fn a_passed_on_row_keeps_its_id_and_a_made_one_gets_its_own() {
        let root = source(Offsets::From(10));
        let stage: Arc<str> = "split".into();
        // Row 0 passed on, then two made from it, then one made from row 1.
        let made = [false, true, true, true].into();
        let out = root.through(&stage, 1, Descent::Mixed { origins: [0, 0, 0, 1].into(), made });
        assert_eq!(out.id(0), root.id(0));
        assert_eq!(out.id(1), root.id(0).made("split", 1, 0));
        assert_eq!(out.id(2), root.id(0).made("split", 1, 1));
        assert_eq!(out.id(3), root.id(1).made("split", 1, 0));
        assert_eq!(out.origin(3).offset, 11);
    }

    #[test]
    fn every_form_of_one_descent_gives_the_same_ids_and_origins() {
        let root = source(Offsets::These([5, 8, 13].into())).with_rows(Rows::At([0, 2].into()));
        let stage: Arc<str> = "map".into();
        let through = |descent| root.through(&stage, 2, descent);
        let each = through(Descent::Each);
        let listed = through(Descent::Made { origins: [0, 1].into() });
        let flagged = through(Descent::Mixed { origins: [0, 1].into(), made: [true, true].into() });
        for row in 0..2 {
            assert_eq!(each.id(row), root.id(row).made("map", 2, 0), "row {row}");
            assert_eq!((each.id(row), each.origin(row)), (listed.id(row), listed.origin(row)), "row {row}");
            assert_eq!((each.id(row), each.origin(row)), (flagged.id(row), flagged.origin(row)), "row {row}");
        }
        let several = [0, 0, 1, 1, 1];
        let listed = through(Descent::Made { origins: several.into() });
        let flagged = through(Descent::Mixed { origins: several.into(), made: [true; 5].into() });
        for (row, (origin, nth)) in [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)].into_iter().enumerate() {
            assert_eq!(listed.id(row), root.id(origin).made("map", 2, nth), "row {row}");
            assert_eq!(listed.id(row), flagged.id(row), "row {row}");
        }
    }

    #[test]
    fn a_record_that_comes_in_again_is_the_record_that_it_was() {
        let first = source(Offsets::From(7));
        let stage: Arc<str> = "split".into();
        let made = first.through(&stage, 0, Descent::Made { origins: [0, 0].into() });
        let kept = Lineage::of_kept(KeptRows {
            ids: vec![made.id(0), made.id(1)],
            origins: vec![made.origin(0), made.origin(1)],
            letters: vec![Some(40), Some(41)],
        });
        let (next, again) = (stage.clone(), kept.through(&stage, 0, Descent::Made { origins: [1].into() }));
        assert_eq!((kept.id(1), kept.origin(1)), (made.id(1), made.origin(1)));
        assert_eq!(again.id(0), made.through(&next, 0, Descent::Made { origins: [1].into() }).id(0));
        assert_eq!((again.letter(0), made.letter(0)), (Some(41), None));
    }

    #[test]
    fn two_arms_of_a_diamond_are_two_records() {
        let root = source(Offsets::From(0));
        let left = root.by_edge(&"left".into());
        let right = root.by_edge(&"right".into());
        assert_ne!(left.id(0), right.id(0));
        assert_eq!(left.origin(0), right.origin(0));
    }
}
