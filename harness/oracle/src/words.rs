//! Logs in words.

use crate::log::{Event, Log};
use crate::program::Step;

/// A step.
pub fn step(step: &Step) -> String {
    match step {
        Step::Op(op) => op.to_string(),
        Step::Background(work) => work.to_string(),
    }
}

/// What happened at the disk.
pub fn event(event: &Event, log: &Log) -> String {
    match event {
        Event::Begun(write) => {
            let about = &log.writes[*write];
            let letter = about.letter().map_or(String::new(), |letter| format!(", data {letter}"));
            format!("write {write} arrives: {} bytes at {}{letter}", about.data.len(), about.offset)
        }
        Event::Done(write) => format!("write {write} is answered"),
        Event::FlushBegun(flush) => format!("flush {flush} arrives"),
        Event::FlushDone(flush) => format!("flush {flush} is answered"),
        Event::StepBegun(step) => format!("step {step} begins"),
        Event::StepDone(step) => format!("step {step} has ended"),
    }
}
