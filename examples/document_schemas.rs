//! Makes the published schemas of saved plans and of the simulator's files: `cargo run --example document_schemas`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use pvefleet::ops::Envelope;
use pvefleet::sim::{FaultFile, World};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;

/// Writes the schemas.
pub fn main() -> Result<()> {
    for (path, text) in generate()? {
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// The schemas as they should be, by path.
pub fn generate() -> Result<[(PathBuf, String); 3]> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    Ok([
        (folder.join("plan.schema.json"), schema::<Envelope>("A plan of pvefleet, as `plan -o json` writes it")?),
        (folder.join("sim-world.schema.json"), schema::<World>("A world of pvefleet sim")?),
        (folder.join("sim-faults.schema.json"), schema::<FaultFile>("Faults of pvefleet sim")?),
    ])
}

fn schema<T: JsonSchema>(title: &str) -> Result<String> {
    // The draft that editors know best.
    let mut schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<T>();
    schema.insert("title".to_owned(), title.into());
    Ok(format!("{}\n", serde_json::to_string_pretty(&schema)?))
}
