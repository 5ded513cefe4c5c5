//! Reads manifests of the version before.

use super::manifest::VERSION;

/// Makes what version 6 wrote what this one writes: its disk model was an object, as the crate `disk` has it.
pub(super) fn translate(kept: &mut serde_json::Value) {
    let model = kept["model"].take();
    let word = |key: &str| serde_json::Value::from(model[key].as_str().unwrap_or_default().to_lowercase());
    (kept["disk"], kept["tear"]) = (word("cache"), word("tear"));
    kept["sector"] = (model["unit"].as_u64().unwrap_or_default().saturating_mul(storage::SECTOR as u64)).into();
    kept["fua"] = model["fua"].clone();
    // The file systems stood with the cells alone.
    let mut filesystems: Vec<serde_json::Value> = Vec::new();
    for cell in kept["cells"].as_array().into_iter().flatten() {
        let filesystem = serde_json::json!({ "kind": cell["fs"], "options": cell["mount_options"] });
        if !filesystems.contains(&filesystem) {
            filesystems.push(filesystem);
        }
    }
    kept["filesystems"] = filesystems.into();
    kept["version"] = VERSION.into();
}
