//! The belt: loops that carry batches from sources through stages to sinks.

pub mod connector;
