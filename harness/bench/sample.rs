//! Figures taken in turns, and how they are shown.

use comfy_table::{Table, presets};

/// One figure, measured several times.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The one in the middle; of an even number the upper of the two.
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// The median, and how far the others lie from it.
    pub fn shown(&self, digits: usize) -> String {
        let least = self.0.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        format!("{:.digits$} ({least:.digits$} to {most:.digits$})", self.median())
    }
}

/// Prints a heading and a table below it.
pub fn print_table(heading: &str, header: &[&str], rows: Vec<Vec<String>>) {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header);
    table.add_rows(rows);
    println!("\n{heading}\n\n{table}");
}

/// What this is measured on, and how busy that is with other things.
pub fn machine() -> String {
    let line = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let processor = line("/proc/cpuinfo")
        .lines()
        .find_map(|line| {
            line.strip_prefix("model name").map(|name| name.trim_start_matches([' ', '\t', ':']).to_owned())
        })
        .unwrap_or_else(|| "unknown processor".to_owned());
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let load = line("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned();
    format!("{count} × {processor}, Linux {}, load before: {load}", line("/proc/sys/kernel/osrelease"))
}
