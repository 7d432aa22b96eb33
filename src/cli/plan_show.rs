//! `plan-show`: a saved plan in any format, one guest of it whole, or two plans compared.

use super::arguments::PlanShowCommand;
use super::failure::Failure;
use super::output;
use super::plan::{check_outputs, saved_plan, write_plan};
use super::terminal::Terminal;
use crate::plan::{Change, Plan};
use crate::pve::schema::nearest;
use crate::report::{plan_compare, plan_guest, plan_text};

/// Shows saved plans.
///
/// # Errors
///
/// A file that is no plan, or a guest that it does not hold.
pub fn run(command: &PlanShowCommand, terminal: &Terminal) -> Result<u8, Failure> {
    check_outputs(&command.document.output)?;
    let plan = saved_plan(&command.file)?;
    if let Some(other) = &command.other {
        let other = saved_plan(other)?;
        let lines = plan_compare::differences(&plan, &other);
        if lines.is_empty() {
            output::stdout("The plans are the same.\n")?;
            return Ok(0);
        }
        output::stdout(&format!("{}\n", lines.join("\n")))?;
        return Ok(2);
    }
    if let Some(target) = &command.target {
        let shown: Vec<String> =
            find(&plan, target)?.into_iter().map(|it| plan_guest::guest(it, terminal.out)).collect();
        output::stdout(&shown.join("\n"))?;
        return Ok(0);
    }
    write_plan(&command.document, &plan, terminal, plan_text::plan)?;
    Ok(0)
}

/// The changes of a guest; one name may be in several clusters.
fn find<'a>(plan: &'a Plan, target: &str) -> Result<Vec<&'a Change>, Failure> {
    let is_meant = |change: &&Change| {
        let address = &change.address;
        target == address.name
            || target == address.to_string()
            || address
                .vmid
                .is_some_and(|vmid| target == vmid.to_string() || target == format!("{}/{vmid}", address.cluster))
    };
    let found: Vec<&Change> = plan.changes().filter(is_meant).collect();
    if found.is_empty() {
        let near = nearest(target, plan.changes().map(|change| &change.address.name));
        let near = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        return Err(Failure::Usage(format!("the plan has no guest {target}{near}")));
    }
    Ok(found)
}
