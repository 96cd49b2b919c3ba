//! The incidents replayed on real parts: unguarded they must do their harm, guarded they must be refused.
