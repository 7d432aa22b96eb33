//! Writes `schemas/fleet.schema.json`, the schema of manifests that editors read.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/fleet.schema.json");
    let text = serde_json::to_string_pretty(&pvefleet::report::json_schema::document())?;
    std::fs::write(&path, text + "\n")?;
    println!("{}", path.display());
    Ok(())
}
