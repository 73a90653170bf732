//! The hostile corpus, `guests/hostile/`: each of its stages runs in one process with a healthy pipeline, on two worker
//! threads. It is stopped by the limit that is there for it and says so; the healthy pipeline loses nothing, hardly
//! waits, and goes on.

mod answers;
mod beside;
mod case_tests;
mod cases;
mod ends;
mod generated;
mod loading;
mod measure;
#[path = "../cli/places.rs"]
mod places;
mod reach;
#[path = "../cli/scene.rs"]
#[allow(dead_code, reason = "the tests of the command line need more of it")]
mod scene;
mod whole;
