//! Holds files of ours to their JSON Schemas, and the committed schemas to the types that they are made from.

use std::fs;

use schemars::Schema;
use serde_json::Value;

/// Checks a value against a schema.
///
/// # Errors
/// The value does not conform: where, and why.
///
/// # Panics
/// If the schema is none.
pub fn conforms(schema: &Value, value: &Value) -> Result<(), String> {
    const NAME: &str = "schema.json";
    let mut schemas = boon::Schemas::new();
    let mut compiler = boon::Compiler::new();
    compiler.add_resource(NAME, schema.clone()).expect("a name that can be a URL");
    let index = compiler.compile(NAME, &mut schemas).unwrap_or_else(|error| panic!("the schema is none: {error:#}"));
    schemas.validate(value, index).map_err(|error| format!("{error:#}"))
}

/// Checks that the file at `path` holds this schema. With `HARNESS_UPDATE_SCHEMAS=1` in the environment, it is written.
///
/// # Panics
/// If it holds another, or cannot be read or written.
pub fn schema_is_committed(path: &str, schema: &Schema) {
    let made = serde_json::to_string_pretty(schema.as_value()).expect("a schema is JSON") + "\n";
    if std::env::var_os("HARNESS_UPDATE_SCHEMAS").is_some_and(|update| update == "1") {
        fs::write(path, &made).unwrap_or_else(|error| panic!("cannot write {path}: {error}"));
    }
    let committed = fs::read_to_string(path).unwrap_or_else(|error| panic!("cannot read {path}: {error}"));
    assert!(
        committed == made,
        "{path} is not the schema of what is written now: run the test with HARNESS_UPDATE_SCHEMAS=1, and look at the \
         difference; what readers of older files cannot read is a new version"
    );
}
