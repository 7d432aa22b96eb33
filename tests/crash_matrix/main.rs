//! An apply that is stopped, disturbed and crossed at every request that it makes.
//!
//! For each scenario of `scenarios.rs`:
//!
//! - **crashes**: at every request, before it is sent, when its answer is lost, and when it was read, the process is
//!   stopped; then the plan or the manifest is applied again at once, later, or after a second stop. The end is that of
//!   an undisturbed run, but for the numbers of volumes and for a cloud-init drive that Proxmox makes at the next start;
//! - **faults**: every kind of fault at every request, and mixtures of them: nothing is lost or doubled, what is told
//!   is true, one fault is the matter of one guest or cluster, and once faults stop the same command comes to the end;
//! - **two writers**: a person's edit, and a second apply of the same plan, before every request: no edit is silently
//!   overwritten, and no guest is made twice.
//!
//! Every day a fixed part of all that is run, enough to meet every word of the coverage table; `PVEFLEET_MATRIX=all` runs
//! all of it, as `--release` does by itself. A text among the arguments runs the scenarios whose names hold it, and
//! `PVEFLEET_TRIAL='Crash { at: 7,'` the trials that are written so; `PVEFLEET_TRACE=1` shows their requests.
//! `PVEFLEET_MIXTURES=1000` sets how many mixtures there are and `PVEFLEET_FIRST` the first seed.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on ends")]

mod coverage;
mod defects;
#[path = "../plan_properties/dice.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of it")]
mod dice;
mod mishap;
#[path = "../plan_properties/observer.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of it")]
mod observer;
#[path = "../support/parallel.rs"]
mod parallel;
mod runs;
mod scenarios;
mod stage;
#[path = "../support/mod.rs"]
mod support;
mod writers;

use std::process::ExitCode;

use defects::Defect;
use dice::Dice;
use mishap::Moment;
use runs::{EDITS, Then, Trial, With, fault_kinds};
use stage::Stage;

/// Trials for each planted defect.
const ATTEMPTS: usize = 600;
/// Failures that are shown whole.
const SHOWN: usize = 12;

fn number(variable: &str) -> Option<usize> {
    std::env::var(variable).ok()?.parse().ok()
}

/// The everyday run takes every so-manieth trial of each kind.
struct Share {
    all: bool,
}

impl Share {
    const fn takes(&self, number: usize, of: usize) -> bool {
        self.all || number.is_multiple_of(of)
    }
}

fn trials(index: usize, stage: &Stage, share: &Share) -> Vec<Trial> {
    let mut trials = Vec::new();
    // Another part of each scenario.
    let mut count = index * 7;
    let mut add = |trial: Trial, of: usize| {
        count += 1;
        if share.takes(count, of) {
            trials.push(trial);
        }
    };
    for at in 0..stage.requests {
        for moment in Moment::ALL {
            for then in [Then::AtOnce, Then::Later, Then::StoppedAgain] {
                for with in [With::ThePlan, With::TheManifest] {
                    add(Trial::Crash { at, moment, then, with }, 31);
                }
            }
        }
        for kind in fault_kinds() {
            add(Trial::Fault { at, kind }, 37);
        }
        for edit in 0..EDITS.len() {
            add(Trial::Edit { at, edit }, 17);
        }
        add(Trial::SecondApply { at }, 3);
    }
    trials
}

/// Does it for every number below this one on all processors.
fn on_all<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let results = parallel::all(0..count as u64, |number| work(usize::try_from(number).unwrap()));
    results.into_iter().map(|(_, result)| result).collect()
}

/// Runs a trial; a panic is a failure.
fn attempt(stage: &Stage, trial: &Trial, defect: Option<Defect>) -> Result<(), String> {
    let run = std::panic::AssertUnwindSafe(|| runs::run(stage, trial, defect));
    std::panic::catch_unwind(run).unwrap_or_else(|_| Err("it panicked".to_owned()))
}

/// Each defect is noticed by some trial.
fn unnoticed(stages: &[Stage]) -> Vec<Defect> {
    let share = Share { all: true };
    let trials: Vec<(usize, Trial)> = stages
        .iter()
        .enumerate()
        .flat_map(|(index, stage)| trials(index, stage, &share).into_iter().map(move |trial| (index, trial)))
        .collect();
    let noticed = on_all(Defect::ALL.len(), |number| {
        let defect = Defect::ALL[number];
        let mut dice = Dice::new(number as u64);
        let trials: Vec<_> = trials.iter().filter(|(_, trial)| defect.may_show_in(trial)).collect();
        (0..ATTEMPTS).any(|_| {
            let (index, trial) = dice.pick(&trials);
            attempt(&stages[*index], trial, Some(defect)).is_err()
        })
    });
    let all = Defect::ALL.iter().zip(noticed);
    all.filter(|(_, noticed)| !noticed).map(|(defect, _)| *defect).collect()
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |option: &str| arguments.iter().any(|argument| argument == option);
    if has("--list") {
        // For runners that ask for the names of the tests first.
        if !has("--ignored") {
            println!("crash_matrix: test");
        }
        return ExitCode::SUCCESS;
    }
    let is_filter = |text: &&String| !text.starts_with('-') && *text != "crash_matrix";
    let filter = arguments.iter().find(is_filter).cloned().unwrap_or_default();
    let share =
        Share { all: !cfg!(debug_assertions) || std::env::var("PVEFLEET_MATRIX").is_ok_and(|all| all == "all") };
    let scenarios: Vec<_> = scenarios::all().into_iter().filter(|scenario| scenario.name.contains(&filter)).collect();
    let stages = on_all(scenarios.len(), |index| Stage::new(&scenarios[index]));
    stages.iter().for_each(|stage| coverage::planned(&stage.plan));
    let mut work: Vec<(usize, Trial)> = Vec::new();
    for (index, stage) in stages.iter().enumerate() {
        work.extend(trials(index, stage, &share).into_iter().map(|trial| (index, trial)));
    }
    let only = std::env::var("PVEFLEET_TRIAL").unwrap_or_default();
    let first = number("PVEFLEET_FIRST").unwrap_or(0);
    let mixtures = number("PVEFLEET_MIXTURES").unwrap_or(if share.all { 1000 } else { 50 });
    for seed in first..first + mixtures {
        work.push((seed % stages.len().max(1), Trial::Mixture { seed: seed as u64 }));
    }
    work.retain(|(_, trial)| format!("{trial:?}").contains(&only));
    let results = on_all(work.len(), |number| {
        let (index, trial) = &work[number];
        attempt(&stages[*index], trial, None)
    });
    let failures: Vec<_> =
        work.iter().zip(&results).filter_map(|(trial, result)| Some((trial, result.as_ref().err()?))).collect();
    for ((index, trial), words) in failures.iter().take(number("PVEFLEET_SHOWN").unwrap_or(SHOWN)) {
        println!("--- {}: {trial:?}\n{words}\n", stages[*index].name);
    }
    for ((index, trial), words) in &failures {
        let line = words.lines().next().unwrap_or_default();
        println!("FAILED {}: {trial:?}: {line}", stages[*index].name);
    }
    let mut bad = !failures.is_empty();
    if filter.is_empty() && only.is_empty() {
        let (table, missed) = coverage::table();
        println!("{table}");
        if !missed.is_empty() {
            println!("never met: {}", missed.join(", "));
            bad = true;
        }
        if failures.is_empty() {
            let unnoticed = unnoticed(&stages);
            println!("planted defects, each noticed: {:?}", Defect::ALL);
            if !unnoticed.is_empty() {
                println!("not noticed: {unnoticed:?}");
                bad = true;
            }
        }
    }
    println!("crash_matrix: {} scenarios, {} runs, {} failures", stages.len(), work.len(), failures.len());
    if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
