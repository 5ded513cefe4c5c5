//! The process that performs, as the one that gives it orders sees it.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::{LONGEST, NativeError, fail};
use crate::perform::{Answer, Order};

/// The process that performs.
pub(super) struct Performer {
    process: Child,
    orders: ChildStdin,
    answers: Receiver<Answer>,
    given: usize,
    /// Answers that nobody has waited for yet.
    early: HashMap<usize, Result<String, String>>,
}

impl Performer {
    pub(super) fn start(program: &Path) -> Result<Self, NativeError> {
        let start = || {
            let mut process =
                Command::new(program).arg("perform").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
            let (Some(orders), Some(out)) = (process.stdin.take(), process.stdout.take()) else {
                return Err(io::Error::other("no pipes"));
            };
            Ok((process, orders, out))
        };
        let (process, orders, out) = start().map_err(fail(format!("start {}", program.display())))?;
        let (sender, answers) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines() {
                let Ok(line) = line else { break };
                let Ok(answer) = serde_json::from_str(&line) else { break };
                if sender.send(answer).is_err() {
                    break;
                }
            }
        });
        Ok(Self { process, orders, answers, given: 0, early: HashMap::new() })
    }

    pub(super) fn give(&mut self, order: &Order) -> Result<usize, NativeError> {
        let mut line = serde_json::to_vec(order).map_err(io::Error::other).map_err(fail("write an order"))?;
        line.push(b'\n');
        self.orders.write_all(&line).map_err(fail("give an order"))?;
        self.given += 1;
        Ok(self.given - 1)
    }

    /// Waits for the answer to an order; `None` if it does not come in time.
    pub(super) fn answer(
        &mut self,
        order: usize,
        time: Duration,
    ) -> Result<Option<Result<String, String>>, NativeError> {
        let end = Instant::now() + time;
        loop {
            if let Some(result) = self.early.remove(&order) {
                return Ok(Some(result));
            }
            match self.answers.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(answer) => drop(self.early.insert(answer.order, answer.result)),
                Err(RecvTimeoutError::Timeout) => return Ok(None),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(NativeError::Failed {
                        what: "the performing process".into(),
                        reason: "it ended".into(),
                    });
                }
            }
        }
    }

    /// Gives an order and waits for its end.
    pub(super) fn carry_out(&mut self, order: &Order, what: &str) -> Result<String, NativeError> {
        let number = self.give(order)?;
        let result = self.answer(number, LONGEST)?.ok_or_else(|| NativeError::Hangs { what: what.into() })?;
        result.map_err(|reason| NativeError::Failed { what: what.into(), reason })
    }
}

impl Drop for Performer {
    fn drop(&mut self) {
        // What it waits for has been answered by now, or is when the disk goes.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
