//! The event stream of a run, and everything that shows it to people and programs.
