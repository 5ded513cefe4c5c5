//! Block writes.

use program::thousands;
use report::{BlockContent, BlockWrite, Ops, TornWrite, WriteCause, WriteReport};

use super::{op, work};

/// `4,096 bytes at sector 1,234: data of settings.json from byte 0 (op 2: write(…))`.
pub(crate) fn write(write: &WriteReport, ops: &Ops) -> String {
    let text = match write {
        WriteReport::Known(write) => block_write(write),
        WriteReport::Text { text, .. } => text.clone(),
    };
    match write.op() {
        Some(id) => format!("{text} ({})", op(id, ops)),
        None => text,
    }
}

/// `4,096 bytes at sector 1,234: data of settings.json from byte 0`.
pub fn block(sector: u64, bytes: u64, holds: Option<&BlockContent>) -> String {
    let holds = match holds {
        None => String::new(),
        Some(BlockContent::Data { path, byte }) => format!(": data of {path} from byte {}", thousands(*byte)),
        Some(BlockContent::Zeros) => ": zeros".to_owned(),
        Some(BlockContent::Metadata { label }) => format!(": {}", label.as_deref().unwrap_or("metadata")),
    };
    format!("{} bytes at sector {}{holds}", thousands(bytes), thousands(sector))
}

fn block_write(BlockWrite { sector, bytes, holds, cause, torn }: &BlockWrite) -> String {
    let cause = match cause {
        WriteCause::Op { .. } => String::new(),
        WriteCause::Background { work: by } => format!(" ({})", work(by)),
        WriteCause::AfterTheEnd => " (after the end)".to_owned(),
        WriteCause::Recovery => " (recovery)".to_owned(),
    };
    let torn = match torn {
        None => String::new(),
        Some(TornWrite::Head { kept }) => format!(", torn: only its first {} bytes survived", thousands(*kept)),
        Some(TornWrite::Tail { lost }) => format!(", torn: its first {} bytes were lost", thousands(*lost)),
        Some(TornWrite::Sectors { lost }) => format!(", torn: {} bytes of it lost", thousands(*lost)),
    };
    format!("{}{cause}{torn}", block(*sector, *bytes, holds.as_ref()))
}

#[cfg(test)]
mod tests {
    use report::{ViolationReport, testing};

    use super::*;

    #[test]
    fn what_writes_hold_and_what_became_of_them() {
        let violation = testing::known_violation();
        let ops = testing::ops("", violation.ops());
        let ViolationReport { lost, kept, .. } = violation;
        let told: Vec<String> = lost.iter().chain(&kept).map(|one| write(one, &ops)).collect();
        insta::assert_snapshot!(told.join("\n"), @r#"
        12,288 bytes at sector 1,040: data of config.tmp from byte 8,192 (op 2: write("config.tmp", 10,000 bytes))
        12,288 bytes at sector 1,040: data of config.tmp from byte 8,192 (writeback of config.tmp from byte 4,096 (still under way)), torn: only its first 512 bytes survived
        12,288 bytes at sector 1,040: superblock (after the end), torn: its first 1,024 bytes were lost
        12,288 bytes at sector 1,040: metadata (commit)
        12,288 bytes at sector 1,040: zeros (recovery), torn: 1,536 bytes of it lost
        "#);
    }
}
