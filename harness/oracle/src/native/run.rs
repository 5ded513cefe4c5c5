//! Runs a program on a native mount whose disk logs, and holds writes back where the program says so.

use std::time::{Duration, Instant};

use super::performer::Performer;
use super::{LONGEST, NativeError, Workshop, fail};
use crate::disk::{Disk, FILE, Held};
use crate::fresh::{fresh, options_of_run};
use crate::image::Image;
use crate::log::{Event, Log};
use crate::perform::Order;
use crate::program::{Background, Program, Step};

/// How long a step is waited for while the disk holds writes: it may wait for them.
const WHILE_HELD: Duration = Duration::from_millis(60);

/// How long no request must have come to the disk for what was started to be there.
const QUIET: Duration = Duration::from_millis(5);

/// The same after background work. What follows the end of a write takes its time too: btrfs makes an extent known only
/// after it has called the pages clean (fs/btrfs/ordered-data.c).
const QUIET_BEHIND: Duration = Duration::from_millis(25);

/// What a disk saw of a program.
#[derive(Debug)]
pub struct Run {
    /// The disk in the beginning.
    pub start: Image,
    /// What it saw.
    pub log: Log,
    /// What the kernel says of the device.
    pub device: String,
    /// For each step whether it ended while writes were held: none of these had been answered before.
    pub passed: Vec<bool>,
}

/// A step that has begun and whose end has not been seen.
struct UnderWay {
    step: usize,
    order: usize,
    what: String,
}

/// Runs a program natively.
pub fn run(workshop: &Workshop, kind: &str, program: &Program) -> Result<Run, NativeError> {
    let made = fresh(kind, &program.start, workshop.directory.path());
    let image = made.map_err(fail(format!("make a fresh {kind} with the start state")))?;
    let disk = Disk::mount(image, &workshop.at("fuse")).map_err(fail("mount the logging disk (FUSE)"))?;
    let mut performer = Performer::start(&workshop.performer)?;
    let order = Order::Mount {
        disk: workshop.at("fuse").join(FILE),
        at: workshop.at("run"),
        kind: kind.into(),
        options: options_of_run(kind).into(),
        warm: !program.cold,
    };
    let device = performer.carry_out(&order, &format!("the mount of {kind}"))?;
    disk.settle(Duration::from_millis(20));
    let start = disk.begin();
    let mut passed = vec![false; program.steps.len()];
    let mut under_way: Vec<UnderWay> = Vec::new();
    let outcome = perform(&disk, &mut performer, program, &mut passed, &mut under_way);
    let log = disk.end();
    disk.release();
    outcome?;
    performer.carry_out(&Order::Unmount, "the unmount")?;
    Ok(Run { start, log, device, passed })
}

fn perform(
    disk: &Disk,
    performer: &mut Performer,
    program: &Program,
    passed: &mut [bool],
    under_way: &mut Vec<UnderWay>,
) -> Result<(), NativeError> {
    if program.fast {
        let ops = program.ops().cloned().collect();
        performer.carry_out(&Order::Ops(ops), "the program")?;
        (0..program.steps.len()).for_each(|step| disk.mark(Event::StepDone(step)));
        disk.settle(QUIET);
        return Ok(());
    }
    let mut op_under_way: Option<UnderWay> = None;
    for (index, step) in program.steps.iter().enumerate() {
        let (order, what) = match step {
            Step::Background(Background::Hold(letters)) => {
                disk.hold(letters.clone().map_or(Held::AllData, Held::Letters));
                continue;
            }
            Step::Background(Background::Release) => {
                disk.release();
                // All that waited goes on.
                for pending in under_way.drain(..).chain(op_under_way.take()) {
                    await_end(disk, performer, pending)?;
                }
                disk.settle(QUIET);
                continue;
            }
            Step::Background(work) => (Order::Background(work.clone()), work.to_string()),
            Step::Op(op) => {
                if let Some(pending) = op_under_way.take() {
                    await_end(disk, performer, pending)?;
                }
                (Order::Ops(vec![op.clone()]), op.to_string())
            }
        };
        disk.mark(Event::StepBegun(index));
        let number = performer.give(&order)?;
        let pending = UnderWay { step: index, order: number, what };
        let holds = disk.holds();
        match performer.answer(number, if holds { WHILE_HELD } else { LONGEST })? {
            Some(result) => {
                disk.mark(Event::StepDone(index));
                passed[index] = disk.waiting() > 0;
                result.map_err(|reason| NativeError::Failed { what: pending.what, reason })?;
            }
            None if !holds => return Err(NativeError::Hangs { what: pending.what }),
            None if matches!(step, Step::Op(_)) => op_under_way = Some(pending),
            None => under_way.push(pending),
        }
        match step {
            Step::Op(_) => disk.settle(QUIET),
            Step::Background(_) => {
                std::thread::sleep(QUIET_BEHIND);
                disk.settle(QUIET_BEHIND);
            }
        }
    }
    disk.settle(QUIET);
    // A crash may come before anything is answered; but then nothing new is begun.
    if op_under_way.is_some() || !under_way.is_empty() {
        disk.release();
        for pending in under_way.drain(..).chain(op_under_way.take()) {
            await_end(disk, performer, pending)?;
        }
    }
    Ok(())
}

/// Waits for the end of a step that waits for the disk: which answers what it holds, until the step has ended.
fn await_end(disk: &Disk, performer: &mut Performer, pending: UnderWay) -> Result<(), NativeError> {
    let end = Instant::now() + LONGEST;
    while Instant::now() < end {
        disk.answer_waiting();
        if let Some(result) = performer.answer(pending.order, QUIET)? {
            disk.mark(Event::StepDone(pending.step));
            return result.map(drop).map_err(|reason| NativeError::Failed { what: pending.what, reason });
        }
    }
    Err(NativeError::Hangs { what: pending.what })
}
