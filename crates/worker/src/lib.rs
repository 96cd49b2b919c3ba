//! Runs jobs: claims, beats, self-fence, checkpoints, programs as handlers.
