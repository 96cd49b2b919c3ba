//! The suite that every store has to pass. Each case is a function over any store and asserts what must hold.
//!
//! ```ignore
//! macro_rules! case { ($($name:ident)*) => { $(#[test] fn $name() { on_each_store(conformance::$name) })* } }
//! palisade_jobs::conformance_cases!(case);
//! ```

mod claims;
mod deeds;
mod ends;
mod keys;
mod queues;
mod reaps;
mod stage;

pub use claims::*;
pub use deeds::*;
pub use ends::*;
pub use keys::*;
pub use queues::*;
pub use reaps::*;
pub use stage::{HOLDER, Stage};

/// Hands the name of every case to a macro of the caller.
#[macro_export]
macro_rules! conformance_cases {
    ($case:ident) => {
        $case! {
            a_job_is_made_claimed_and_done
            jobs_made_in_one_call_are_all_made_or_none
            many_jobs_of_one_call_are_each_as_they_were_asked_for
            callers_at_once_each_get_their_own_jobs
            a_payload_comes_back_as_it_was
            a_unique_key_makes_one_job_while_that_lives
            an_idempotency_key_makes_one_job_for_ever
            keys_belong_to_their_queue
            many_callers_with_one_key_make_one_job
            what_cannot_be_enqueued_is_refused
            smaller_priority_first_then_the_older
            no_job_is_given_to_two_workers
            tokens_grow_over_the_whole_store
            after_a_restore_tokens_are_far_above_those_before
            a_delayed_job_is_not_given_out_before_its_time
            a_stranger_gets_and_writes_nothing
            a_registration_may_be_repeated_by_its_own_worker_only
            a_client_lengthens_the_threshold_of_its_claim_only
            a_spent_token_writes_nothing
            a_lost_answer_is_repeated_without_a_second_effect
            a_failed_job_is_tried_again_and_dies_with_its_last_attempt
            a_drained_job_goes_back_uncharged
            a_goodbye_gives_back_what_is_held
            a_checkpoint_never_goes_back_and_three_are_kept
            progress_with_a_spent_token_is_told_to_the_worker
            trouble_is_shown_while_its_attempt_runs
            a_repeated_beat_counts_once
            a_cancelled_job_is_told_to_its_handler_and_ends
            a_cancel_of_a_waiting_job_takes_effect_at_once
            cancel_against_complete_has_one_winner
            a_job_cancelled_wrongly_goes_on_from_its_checkpoint
            a_held_job_runs_after_its_release_only
            a_dead_job_is_retried_with_its_attempts_anew
            a_resumed_job_waits_while_another_bears_its_key
            deeds_on_what_is_not_there_or_unfit_say_so
            jobs_are_counted_by_queue_and_state
            a_paused_queue_gives_out_nothing
            a_queue_runs_no_more_than_its_concurrency
            rules_of_a_queue_change_only_from_the_revision_that_was_read
            the_rules_of_a_queue_are_kept_as_they_were
            unsound_rules_are_refused
            what_ended_is_forgotten_after_its_retention_only
            jobs_are_listed_by_queue_and_state_page_by_page
            a_reap_hands_over_and_spends_the_token
            a_beat_refutes_a_reap
            a_reap_under_a_term_that_is_over_writes_nothing
            a_reap_does_what_the_queue_says
            many_are_reaped_at_once
            a_proven_death_hands_over_at_once
            a_reap_on_the_last_attempt_holds
            a_sweep_sees_beats_and_sums
            a_stuck_job_is_taken_only_while_it_makes_no_step
            silences_are_kept_for_the_next_term
            a_schedule_makes_one_job_for_each_tick_that_somebody_sees
            the_history_tells_everything_in_order
        }
    };
}
