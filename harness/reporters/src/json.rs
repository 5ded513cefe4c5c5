//! `--format json`: the report on stdout.

use std::io::{self, Write};

use report::{Event, Reporter, to_json};

/// Writes `report.json` to a writer when the run has finished.
pub struct Json<W> {
    out: W,
    result: io::Result<()>,
}

impl<W: Write> Json<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self { out, result: Ok(()) }
    }
}

impl<W: Write> Reporter for Json<W> {
    fn event(&mut self, event: &Event) {
        if let Event::RunFinished(report) = event {
            self.result = self.out.write_all(to_json(report).as_bytes()).and_then(|()| self.out.flush());
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        std::mem::replace(&mut self.result, Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use report::testing;

    use super::*;

    #[test]
    fn the_report_and_nothing_else() {
        let mut out = Vec::new();
        let mut json = Json::new(&mut out);
        for event in testing::events() {
            json.event(&event);
        }
        json.finish().unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), to_json(&testing::report()));
    }

    #[test]
    fn a_full_pipe_is_told() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut json = Json::new(Broken);
        json.event(&Event::RunFinished(testing::report()));
        assert!(json.finish().is_err());
    }
}
