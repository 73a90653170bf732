//! How often a simulated disk has struck, and how.

/// What happened to what was on its way to the disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct Struck {
    /// Processes that were killed: what they had written is there.
    pub kills: u64,
    pub power_cuts: u64,
    /// Within an operation of the disk, half of which may have been done.
    pub within_operations: u64,
    pub torn_writes: u64,
    pub lost_writes: u64,
    /// A later write is there, and an earlier one of the same file is not.
    pub out_of_order: u64,
    pub lost_names: u64,
    /// Syncs that had not come back when it struck.
    pub lost_syncs: u64,
}

impl Struck {
    pub fn add(&mut self, other: &Self) {
        self.kills += other.kills;
        self.power_cuts += other.power_cuts;
        self.within_operations += other.within_operations;
        self.torn_writes += other.torn_writes;
        self.lost_writes += other.lost_writes;
        self.out_of_order += other.out_of_order;
        self.lost_names += other.lost_names;
        self.lost_syncs += other.lost_syncs;
    }
}
