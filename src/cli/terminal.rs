//! What the screen can show, and talking to the person before it.

use std::io::{IsTerminal, Write};

use super::arguments::{ColorChoice, Global};
use super::connect::Log;
use super::environment;
use crate::report::Layout;

/// Columns where nothing tells how many there are.
const WIDTH: usize = 100;

/// Standard output and standard error as they are.
#[derive(Debug, Clone)]
pub struct Terminal {
    /// Layout of documents on standard output.
    pub out: Layout,
    /// Layout of talk on standard error.
    pub err: Layout,
    /// Say less.
    pub quiet: bool,
    /// How requests are logged.
    pub log: Log,
}

impl Terminal {
    /// Looks at the streams and the options.
    pub fn new(global: &Global) -> Self {
        let color = |is_terminal: bool| match global.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => is_terminal && environment::color_wanted(),
        };
        let width = |is_terminal: bool| if is_terminal { columns() } else { WIDTH };
        let (out, err) = (std::io::stdout().is_terminal(), std::io::stderr().is_terminal());
        Self {
            out: Layout { color: color(out), width: width(out) },
            err: Layout { color: color(err), width: width(err) },
            quiet: global.quiet,
            log: Log::of(global),
        }
    }

    /// The layout of a document that goes to a file.
    pub fn file(&self) -> Layout {
        Layout { color: false, width: WIDTH }
    }

    /// Writes to standard error as it is; that nobody reads it is no reason to stop.
    pub fn say(&self, text: &str) {
        drop(std::io::stderr().lock().write_all(text.as_bytes()));
    }

    /// Writes a line to standard error, unless quiet.
    pub fn note(&self, line: &str) {
        if !self.quiet {
            self.say(&format!("{line}\n"));
        }
    }

    /// True when a question can be asked and answered.
    pub fn can_ask(&self) -> bool {
        std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }

    /// Asks; only `yes` is yes.
    pub fn ask(&self, question: &str) -> bool {
        self.say(&format!("{question} "));
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).is_ok() && answer.trim().eq_ignore_ascii_case("yes")
    }
}

fn columns() -> usize {
    // Below forty columns nothing reads well, above two hundred the eye loses the line.
    terminal_size::terminal_size().map_or(WIDTH, |(width, _)| usize::from(width.0).clamp(40, 200))
}
