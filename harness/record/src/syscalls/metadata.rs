//! Modes, owners and times.

use std::io;

use libc::pid_t;
use program::{Call, Target, Time};

use super::arguments::PathArgument;
use super::{AtEntry, PERMISSIONS};
use crate::recorder::Recorder;
use crate::remote;
use crate::stop::Asked;

pub(super) fn chmod(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    changing_mode(recorder, call.tid, call.path(0), call.u32(1), 0)
}

pub(super) fn fchmodat(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    changing_mode(recorder, call.tid, call.path_at(0, 1), call.u32(2), 0)
}

pub(super) fn fchmodat2(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    changing_mode(recorder, call.tid, call.path_at(0, 1), call.u32(2), call.flags(3))
}

pub(super) fn fchmod(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    let mode = call.u32(1) & PERMISSIONS;
    Ok(recorder.on_handle(call, |handle| AtEntry::record(Call::Chmod { target: Target::Handle(handle), mode })))
}

pub(super) fn chown(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    changing_owner(recorder, call.tid, call.path(0), [call.u32(1), call.u32(2)], 0)
}

pub(super) fn lchown(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    let owner = [call.u32(1), call.u32(2)];
    changing_owner(recorder, call.tid, call.path(0), owner, libc::AT_SYMLINK_NOFOLLOW)
}

pub(super) fn fchownat(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    changing_owner(recorder, call.tid, call.path_at(0, 1), [call.u32(2), call.u32(3)], call.flags(4))
}

pub(super) fn fchown(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    let (uid, gid) = (call.u32(1), call.u32(2));
    Ok(recorder.on_handle(call, |handle| AtEntry::record(Call::Chown { target: Target::Handle(handle), uid, gid })))
}

pub(super) fn utime(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    setting_times(recorder, call.tid, call.path(0), 0, utimbuf(call.tid, call.args[1])?)
}

pub(super) fn utimes(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    setting_times(recorder, call.tid, call.path(0), 0, timevals(call.tid, call.args[1])?)
}

pub(super) fn futimesat(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    setting_times(recorder, call.tid, call.path_at(0, 1), 0, timevals(call.tid, call.args[2])?)
}

pub(super) fn utimensat(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    setting_times(recorder, call.tid, call.path_at(0, 1), call.flags(3), timespecs(call.tid, call.args[2])?)
}

pub(super) fn file_setattr(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    recorder.on_target(call.tid, call.path_at(0, 1), call.flags(4), |_| {
        AtEntry::unmodelled("changed file attributes below the directory")
    })
}

fn changing_mode(
    recorder: &mut Recorder<'_>,
    tid: pid_t,
    path: PathArgument,
    mode: u32,
    flags: i32,
) -> io::Result<AtEntry> {
    recorder.on_target(tid, path, flags, |target| {
        AtEntry::record(Call::Chmod { target: target_of_chmod(target), mode: mode & PERMISSIONS })
    })
}

/// A symbolic link has no mode to change, so what is left is none; and kernels before 6.6 know no other way.
pub(super) fn target_of_chmod(target: Target) -> Target {
    match target {
        Target::NoFollow(path) => Target::Path(path),
        target => target,
    }
}

fn changing_owner(
    recorder: &mut Recorder<'_>,
    tid: pid_t,
    path: PathArgument,
    [uid, gid]: [u32; 2],
    flags: i32,
) -> io::Result<AtEntry> {
    recorder.on_target(tid, path, flags, |target| AtEntry::record(Call::Chown { target, uid, gid }))
}

fn setting_times(
    recorder: &mut Recorder<'_>,
    tid: pid_t,
    path: PathArgument,
    flags: i32,
    [access, modification]: [Time; 2],
) -> io::Result<AtEntry> {
    recorder.on_target(tid, path, flags, |target| AtEntry::record(Call::SetTimes { target, access, modification }))
}

fn utimbuf(tid: pid_t, address: u64) -> io::Result<[Time; 2]> {
    if address == 0 {
        return Ok([Time::Now; 2]);
    }
    let [access, modification] = remote::words(tid, address)?;
    Ok([Time::At(access as i64, 0), Time::At(modification as i64, 0)])
}

fn timevals(tid: pid_t, address: u64) -> io::Result<[Time; 2]> {
    if address == 0 {
        return Ok([Time::Now; 2]);
    }
    let [seconds, micros, more_seconds, more_micros] = remote::words(tid, address)?;
    let time = |seconds: u64, micros: u64| Time::At(seconds as i64, micros.saturating_mul(1000) as u32);
    Ok([time(seconds, micros), time(more_seconds, more_micros)])
}

fn timespecs(tid: pid_t, address: u64) -> io::Result<[Time; 2]> {
    if address == 0 {
        return Ok([Time::Now; 2]);
    }
    let [seconds, nanos, more_seconds, more_nanos] = remote::words(tid, address)?;
    let time = |seconds: u64, nanos: u64| match nanos as i64 {
        libc::UTIME_NOW => Time::Now,
        libc::UTIME_OMIT => Time::Keep,
        nanos => Time::At(seconds as i64, nanos as u32),
    };
    Ok([time(seconds, nanos), time(more_seconds, more_nanos)])
}
