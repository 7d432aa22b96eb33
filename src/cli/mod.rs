//! The command line: arguments, terminal, progress, exit codes.

mod apply;
mod arguments;
mod clusters;
mod connect;
pub mod demo;
mod environment;
mod explain;
mod failure;
mod guests;
mod init;
mod inputs;
mod journal;
mod output;
mod plan;
mod plan_show;
mod progress;
mod rehearse;
mod show;
mod sim;
mod snapshot;
mod tasks;
mod terminal;
mod validate;
mod yaml;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use arguments::{Arguments, Command};
use failure::{Failure, USAGE};
use terminal::Terminal;

/// Runs the program with the arguments of the process.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let wrong = error.use_stderr();
            // A reader that went away is no error.
            drop(error.print());
            return ExitCode::from(if wrong { USAGE } else { 0 });
        }
    };
    let terminal = Terminal::new(&arguments.global);
    match run(arguments, &terminal) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            terminal.say(&failure.text(terminal.err.color, terminal.err.width));
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(arguments: Arguments, terminal: &Terminal) -> Result<u8, Failure> {
    let env_files = arguments.global.env_file;
    match arguments.command {
        Command::Validate(command) => validate::validate(&command, &env_files, terminal),
        Command::Show(command) => show::show(&command, &env_files, terminal),
        Command::Init(command) => init::init(&command, terminal),
        Command::Plan(command) => block_on(plan::plan(&command, &env_files, terminal)),
        Command::Drift(command) => block_on(plan::drift(&command, &env_files, terminal)),
        Command::Rehearse(command) => block_on(rehearse::run(&command, &env_files, terminal)),
        Command::PlanShow(command) => plan_show::run(&command, terminal),
        Command::Apply(command) => block_on(apply::apply(&command, &env_files, terminal)),
        Command::Snapshot(command) => block_on(snapshot::snapshot(&command, &env_files, terminal)),
        Command::Explain(command) => explain::run(&command, terminal),
        Command::Clusters(command) => block_on(clusters::run(&command, &env_files, terminal)),
        Command::Guests(command) => block_on(guests::run(&command, &env_files, terminal)),
        Command::Tasks(command) => block_on(tasks::run(&command, &env_files, terminal)),
        Command::Journal(command) => journal::run(&command, terminal),
        Command::Sim(command) => block_on(sim::run(&command, terminal)),
        Command::Demo(command) => block_on(demo::run(&command, terminal)),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "pvefleet", &mut script);
            output::stdout(&String::from_utf8_lossy(&script))?;
            Ok(0)
        }
        Command::Man => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Arguments::command()).render(&mut page).map_err(anyhow::Error::from)?;
            output::stdout(&String::from_utf8_lossy(&page))?;
            Ok(0)
        }
    }
}

fn block_on(work: impl Future<Output = Result<u8, Failure>>) -> Result<u8, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(anyhow::Error::from)?;
    let result = runtime.block_on(work);
    // A thread that still waits for a line of the terminal must not hold the program.
    runtime.shutdown_background();
    result
}
