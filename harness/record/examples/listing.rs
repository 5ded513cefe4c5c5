//! Records a command in a directory and prints its calls: `listing DIRECTORY COMMAND…`.

use record::{RecordSpec, record};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let directory = arguments.next().unwrap_or_default();
    let trace = record(&RecordSpec::new(arguments, directory))?;
    for line in program::listing(&trace) {
        println!("{line}");
    }
    for limit in &trace.limits {
        println!("limit: {} ({} times): {}", limit.call, limit.count, limit.detail);
    }
    for path in &trace.outside {
        println!("outside: {path}");
    }
    Ok(())
}
