//! The JSON Schema of `report.json`, made from the types that write it.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};

use crate::Report;

/// See [`program::Limit`].
#[derive(JsonSchema)]
#[expect(
    dead_code,
    reason = "it stands for a type of a crate that the guest's agent is built from, which needs no schemas"
)]
pub(crate) struct UnmodelledCall {
    /// The system call, or what happened.
    call: String,
    /// On what, and why it could not be followed.
    detail: String,
    /// How often.
    count: u64,
}

/// See [`checker::Output`].
#[derive(JsonSchema)]
#[expect(dead_code, reason = "as above")]
pub(crate) struct Output {
    /// The first lines; all of them, if they are few.
    first: Vec<String>,
    /// How many lines between these and the last ones are left out.
    left_out: usize,
    /// The last lines.
    last: Vec<String>,
}

/// The schema (draft 2020-12) of what this version writes. It is committed as `harness/report/schema/report.schema.json`.
pub fn schema() -> Schema {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    settings.into_generator().into_root_schema_for::<Report>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CellReport, testing};

    #[test]
    fn the_schema_is_committed() {
        testkit::schema_is_committed(concat!(env!("CARGO_MANIFEST_DIR"), "/schema/report.schema.json"), &schema());
    }

    #[test]
    fn reports_hold_to_it() {
        let conforms = |value: &serde_json::Value| testkit::conforms(schema().as_value(), value);
        let known = CellReport { violations: vec![testing::known_violation()], ..testing::cell("xfs") };
        let known = Report::new(vec![known]).with_ops(testing::ops);
        for report in [testing::report(), testing::with_process_crashes(), known] {
            let value = serde_json::to_value(&report).unwrap();
            assert_eq!(conforms(&value), Ok(()));
            let mut wrong = value.clone();
            wrong["cells"][0]["crash_states"]["mounts"] = "many".into();
            assert!(conforms(&wrong).is_err());
            let mut wrong = value;
            wrong["cells"][0].as_object_mut().unwrap().remove("verdict");
            assert!(conforms(&wrong).is_err());
        }
    }
}
