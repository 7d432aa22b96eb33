//! Any bytes as a manifest, and as the settings that it is resolved with: problems are drawn, and nothing panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pvefleet::clusters::{Registry, Variables, load};
use pvefleet::report::findings::{self, Sources};
use pvefleet::{desired, manifest};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // What stands before a line of dashes is the file of settings.
    let (env, text) = text.split_once("\n-----\n").unwrap_or(("", text));
    let settings = load(&Variables::merge([], &[(".env".to_owned(), env.to_owned())]), &|_| Ok(String::new()));
    let registry = settings.unwrap_or_else(|_| Registry::of_names(["production".to_owned()]));
    let (fleet, mut problems) = manifest::read(&[("f".to_owned(), text.to_owned())]);
    if let Some(fleet) = fleet {
        problems.extend(desired::resolve(&fleet, &registry).1);
    }
    let sources: Sources = [("f", text)].into_iter().collect();
    findings::text(&problems, &sources, false, 80);
});
