//! Runs jobs: claims, beats, self-fence, checkpoints, programs as handlers.

pub mod checkpoint;
