//! Tests of the parts together; they are in `tests/`. Its dependencies hold those of all crates' tests, so that
//! features are the same whatever is tested.
