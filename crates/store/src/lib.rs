//! Stores of jobs: one module per database, behind the one trait [`palisade_jobs::JobStore`].
