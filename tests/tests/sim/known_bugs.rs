//! Mistakes that are made on purpose are caught, each by the invariant that is there for it.

use super::bug::Bug;
use super::explore::run;

/// Runs seeds until one fails: it has to fail by `invariant`.
fn is_caught(bug: Bug, invariant: &str) {
    let found = (0..200).map(|seed| run(seed, Some(bug))).find(|verdict| verdict.broken.is_some());
    let Some(verdict) = found else { panic!("{bug:?} is not caught within 200 seeds") };
    let caught = verdict.broken.as_ref().map(|broken| broken.invariant);
    assert_eq!(caught, Some(invariant), "{bug:?} is caught, but by another one:\n{}", verdict.shown(50));
    println!("{bug:?} is caught at seed {}: {:?}", verdict.seed, verdict.broken);
}

#[test]
fn an_ack_before_the_sync_is_caught() {
    is_caught(Bug::AckBeforeSync, "no ack before durable");
}

#[test]
fn a_cursor_that_is_stored_before_the_sink_has_prepared_is_caught() {
    is_caught(Bug::CursorBeforeSink, "no loss");
}

#[test]
fn a_segment_that_is_unlinked_before_the_commit_is_caught() {
    is_caught(Bug::SegmentUnlinkedBeforeCommit, "no loss");
}

#[test]
fn a_prepared_part_that_is_unlinked_before_the_commit_is_caught() {
    is_caught(Bug::PartUnlinkedBeforeCommit, "no loss");
}

#[test]
fn a_frame_that_is_believed_without_its_checksum_is_caught() {
    is_caught(Bug::NoChecksum, "no ack before durable");
}

#[test]
fn a_reject_that_counts_as_delivered_is_caught() {
    is_caught(Bug::RejectCountedAsDelivered, "no loss");
}

#[test]
fn a_dead_letter_that_is_not_synced_is_caught() {
    is_caught(Bug::LetterNotSynced, "no loss");
}

#[test]
fn a_token_that_is_not_repeated_after_a_restart_is_caught() {
    is_caught(Bug::TokenNotRepeated, "no loss");
}

#[test]
fn a_commit_before_the_checkpoint_is_committed_is_caught() {
    is_caught(Bug::CommitBeforeStored, "no ack before durable");
}

#[test]
fn a_barrier_that_is_overtaken_where_streams_meet_is_caught() {
    is_caught(Bug::BarrierOvertaken, "no duplicate");
}

#[test]
fn a_state_that_is_looked_at_after_the_barrier_was_passed_on_is_caught() {
    is_caught(Bug::StateAfterBarrier, "no duplicate");
}

#[test]
fn a_sync_that_does_nothing_is_caught() {
    is_caught(Bug::SyncDoesNothing, "no loss");
}

#[test]
fn a_letter_that_is_taken_for_one_whose_record_comes_again_is_caught() {
    is_caught(Bug::LettersIgnorePlaces, "no loss");
}

#[test]
fn a_stop_that_is_told_as_an_end_is_caught() {
    is_caught(Bug::StopToldAsEnd, "no end from a stop");
}
