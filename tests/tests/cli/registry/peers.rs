//! Clients and registries that others wrote: what they push, list, copy and delete through ours, and what they print.
//! What one has pushed is what the others pull.

mod heavy;
mod programs;
mod through_ours;
