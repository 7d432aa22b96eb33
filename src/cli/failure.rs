//! How a command fails: with which exit code, and what is printed.

use crate::diagnostics::Diagnostic;
use crate::plan::NOT_STABLE;
use crate::report::findings::{self, Sources};

/// Exit code for input that is wrong.
pub const USAGE: u8 = 64;

/// Why a command ended early.
#[derive(Debug)]
pub enum Failure {
    /// The input is wrong; every problem of it.
    Input {
        /// The problems.
        problems: Vec<Diagnostic>,
        /// The texts that they point into.
        sources: Sources,
    },
    /// The input is wrong, in one sentence.
    Usage(String),
    /// Anything else, with its causes.
    Error(anyhow::Error),
}

impl Failure {
    /// Problems that point into no text that may be shown.
    pub fn problems(problems: Vec<Diagnostic>) -> Self {
        Self::Input { problems, sources: Sources::default() }
    }

    /// The exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            // The input is not to blame.
            Self::Input { problems, .. } if problems.iter().any(|problem| problem.code == NOT_STABLE) => 1,
            Self::Input { .. } | Self::Usage(_) => USAGE,
            Self::Error(_) => 1,
        }
    }

    /// What is printed on standard error.
    pub fn text(&self, color: bool, width: usize) -> String {
        match self {
            Self::Input { problems, sources } => {
                let drawn = findings::text(problems, sources, color, width);
                format!("{drawn}{}\n", findings::summary(problems))
            }
            Self::Usage(words) => format!("error: {words}\n"),
            Self::Error(error) => {
                let mut text = format!("error: {error}\n");
                for cause in error.chain().skip(1) {
                    text.push_str(&format!("  because: {cause}\n"));
                }
                text
            }
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Error(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_that_does_not_come_to_an_end_is_no_fault_of_the_input() {
        let unstable = || Diagnostic::error(NOT_STABLE, "the plan for c/web does not come to an end").hint("report it");
        let wrong = || Diagnostic::error("unknown-option", "a VM has no option `x`");
        for (problems, code) in
            [(vec![unstable()], 1), (vec![wrong(), unstable()], 1), (vec![wrong()], USAGE), (vec![], USAGE)]
        {
            assert_eq!(Failure::problems(problems).exit_code(), code);
        }
        let text = Failure::problems(vec![unstable()]).text(false, 80);
        assert!(text.contains("error[plan-not-stable]: the plan for c/web") && text.contains("report it"), "{text}");
    }
}
