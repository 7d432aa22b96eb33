//! What holds of every plan, over arbitrary fleets that meet arbitrary worlds in the simulator, whose lists lag.
//!
//! - (a) applied, and planned again, nothing is left that could be done;
//! - (b) nothing without proven ownership is changed, nothing protected or locked is touched, nothing is destroyed that
//!   was not asked for: an observer judges that reads the simulator's own state;
//! - (c) the same answers in another order give the same bytes;
//! - (d) where something could not be read, nothing is made and nothing is deleted;
//! - (e) what the steps say they lead to is what the simulator then holds.
//!
//! `PVEFLEET_CASES=3000` makes more cases, `PVEFLEET_SEED=17` runs that one alone and says more about it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod case;
mod coverage;
mod defects;
mod dice;
mod judge;
mod observer;
#[path = "../support/parallel.rs"]
mod parallel;
mod reading;
mod run;
#[path = "../support/mod.rs"]
mod support;
mod wishes;

use case::Case;
use defects::Defect;
use parallel::all;
use run::{Stats, Violation};

/// Cases of the everyday run.
const CASES: u64 = 160;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Runs one case in virtual time.
fn check(seed: u64, defect: Option<Defect>) -> Result<Stats, Violation> {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(run::check(&Case::new(seed), defect))
    };
    std::panic::catch_unwind(run).unwrap_or_else(|_| run::violated("nothing panics", "see above"))
}

#[test]
fn plans_of_arbitrary_fleets_in_arbitrary_worlds() {
    if let Some(seed) = number("PVEFLEET_SEED") {
        let case = Case::new(seed);
        println!("{case:#?}\n{}", case.manifest(None));
        check(seed, None).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        return;
    }
    let first = number("PVEFLEET_FIRST").unwrap_or(1);
    let cases = number("PVEFLEET_CASES").unwrap_or(CASES);
    let results = all(first..first + cases, |seed| check(seed, None));
    let wrong: Vec<String> =
        results.iter().filter_map(|(seed, result)| Some(format!("seed {seed}: {}", result.as_ref().err()?))).collect();
    assert!(
        wrong.is_empty(),
        "{} of {cases} cases; `PVEFLEET_SEED=N` runs one alone:\n\n{}",
        wrong.len(),
        wrong.iter().take(12).cloned().collect::<Vec<_>>().join("\n\n")
    );
    let stats: Vec<&Stats> = results.iter().filter_map(|(_, result)| result.as_ref().ok()).collect();
    let large = stats.iter().filter(|stats| stats.guests >= 5 && stats.clusters >= 2 && stats.differing >= 3).count();
    let (table, missed) = coverage::table();
    println!(
        "plan_properties: {cases} cases from seed {first}, {large} with five guests or more, two clusters and three options that differ\n{table}"
    );
    assert!(large * 2 >= stats.len(), "only {large} of {} cases are large", stats.len());
    assert!(missed.is_empty(), "never met: {}\n{table}", missed.join(", "));
}

#[test]
fn every_planted_defect_is_caught() {
    let most = number("PVEFLEET_CASES").unwrap_or(CASES);
    let mut escaped = Vec::new();
    let caught = all(0..Defect::ALL.len() as u64, |index| {
        let defect = Defect::ALL[usize::try_from(index).unwrap()];
        (1..=most).find_map(|seed| Some((seed, check(seed, Some(defect)).err()?)))
    });
    for (defect, (_, caught)) in Defect::ALL.iter().zip(caught) {
        match caught {
            Some((seed, violation)) => println!("defect {defect:?}: caught by ({}) at seed {seed}", violation.property),
            None => escaped.push(format!("{defect:?}")),
        }
    }
    assert!(escaped.is_empty(), "not caught in {most} cases: {}", escaped.join(", "));
}
