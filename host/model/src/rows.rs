//! A selection: which rows of what is there are meant. Columns and lineage share one.

use std::sync::Arc;

/// Which rows of an array are there, in which order. Indices may repeat.
#[derive(Clone, Debug, Default)]
pub enum Rows {
    #[default]
    All,
    At(Arc<[u32]>),
}

impl Rows {
    pub fn at(&self, row: usize) -> usize {
        match self {
            Self::All => row,
            Self::At(rows) => rows[row] as usize,
        }
    }

    /// The rows `picks` of these rows.
    pub fn pick(&self, picks: &Arc<[u32]>) -> Self {
        match self {
            Self::All => Self::At(picks.clone()),
            Self::At(rows) => Self::At(picks.iter().map(|&pick| rows[pick as usize]).collect()),
        }
    }

    /// Whether both are the same selection in memory.
    pub(crate) fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, Self::All) => true,
            (Self::At(a), Self::At(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}
