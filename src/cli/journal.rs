//! `journal show`.

use serde_json::json;

use super::arguments::JournalCommand;
use super::failure::Failure;
use super::output::{self, Format};
use super::plan::check_outputs;
use super::terminal::Terminal;
use crate::apply::journal;
use crate::report::journal_text;

/// Shows the journal of a run.
///
/// # Errors
///
/// A file that is none.
pub fn run(command: &JournalCommand, terminal: &Terminal) -> Result<u8, Failure> {
    let JournalCommand::Show { file, document } = command;
    check_outputs(&document.output)?;
    let shown = file.display();
    let text =
        std::fs::read_to_string(file).map_err(|error| Failure::Usage(format!("{shown} cannot be read: {error}")))?;
    let (lines, cut_off) = journal::read(&text).map_err(|line| {
        Failure::Usage(format!("{shown} is no journal of an apply: line {line} is none of its lines"))
    })?;
    output::write(&document.output, |format, to_screen| match format {
        Format::Json => Ok(serde_json::to_string_pretty(&json!({
            "complete": cut_off.is_none(),
            "lines": text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()).collect::<Vec<_>>(),
            "outcome": journal_text::outcome(&lines),
        }))?),
        Format::Text => {
            let layout = if to_screen { terminal.out } else { terminal.file() };
            Ok(journal_text::text(&lines, cut_off, layout))
        }
    })?;
    Ok(0)
}
