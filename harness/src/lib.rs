//! Crash-consistency testing: every disk state that a crash may leave, on real file systems.
