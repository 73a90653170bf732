//! What the three stages do with one value. Every row of the table does exactly this; the guests say it
//! again in `guests/bench/`, and the checksums tell if they ever differ.

/// What the map puts in front of a value.
pub const BEFORE: &[u8] = b"<<";
/// What the map puts behind a value.
pub const AFTER: &[u8] = b">>";

/// The first filter: half of all first bytes.
pub fn keeps_half(value: &[u8]) -> bool {
    value.first().is_some_and(|byte| byte & 1 == 0)
}

/// The last filter: nine in ten of all third bytes, behind the two that the map put there.
pub fn keeps_most(value: &[u8]) -> bool {
    value.get(2).is_some_and(|&byte| byte < 230)
}

/// The three stages, as the yardsticks that run one at a time name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Half,
    Wrap,
    Most,
}

impl Stage {
    pub const ALL: [Self; 3] = [Self::Half, Self::Wrap, Self::Most];

    pub fn name(self) -> &'static str {
        match self {
            Self::Half => "half",
            Self::Wrap => "wrap",
            Self::Most => "most",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.name() == name)
    }
}
