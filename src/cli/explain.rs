//! `explain`.

use super::arguments::{ExplainCommand, GuestWord};
use super::failure::Failure;
use super::output::{self, Format};
use super::plan::check_outputs;
use super::terminal::Terminal;
use crate::pve::value::GuestKind;
use crate::report::{explain, explain_text};

/// Says what an option is.
///
/// # Errors
///
/// A name that stands for nothing.
pub fn run(command: &ExplainCommand, terminal: &Terminal) -> Result<u8, Failure> {
    check_outputs(&command.document.output)?;
    let kind = match command.kind {
        GuestWord::Vm => GuestKind::Qemu,
        GuestWord::Container => GuestKind::Lxc,
    };
    let found = explain::find(kind, command.option.as_deref()).map_err(Failure::Usage)?;
    output::write(&command.document.output, |format, to_screen| match format {
        Format::Json => Ok(serde_json::to_string_pretty(&explain::document(found))?),
        Format::Text => Ok(explain_text::text(found, if to_screen { terminal.out } else { terminal.file() })),
    })?;
    Ok(0)
}
