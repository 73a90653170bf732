//! Bounds of artifacts, and of layouts on a disk.

/// The config of an artifact: names of what a component exports and imports.
pub const ARTIFACT_CONFIG_BYTES_MAX: u64 = 1 << 20;
/// Files of a layout in a tar.
pub const LAYOUT_FILES_MAX: usize = 100_000;
/// A name in a tar, or what is said of a file there.
pub const LAYOUT_NAME_BYTES_MAX: u64 = 64 << 10;
/// The `index.json` of a layout.
pub const LAYOUT_INDEX_BYTES_MAX: u64 = 16 << 20;
/// Indexes that lead to one another.
pub const LAYOUT_INDEX_DEPTH_MAX: usize = 8;
/// Images that are told one by one when a layout is loaded; more are counted.
pub const LOADED_SHOWN_MAX: usize = 1000;
