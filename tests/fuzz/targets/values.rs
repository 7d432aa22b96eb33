//! Any text as the value of any option, and as an id of a task: what is read prints and reads as the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pvefleet::pve::schema::{Spelling, catalog};
use pvefleet::pve::value::{GuestKind, Upid};
use pvefleet::pve::{compare, property};

fuzz_target!(|input: (u16, String)| {
    let (which, text) = input;
    if let Ok(upid) = text.parse::<Upid>() {
        assert_eq!(upid.to_string().parse::<Upid>().ok(), Some(upid));
    }
    for kind in GuestKind::ALL {
        let options: Vec<_> = catalog(kind).iter().collect();
        let Some((name, spec)) = options.get(usize::from(which) % options.len().max(1)) else { continue };
        drop(spec.value.check(&text, Spelling::Parameter));
        compare::same_value(kind, name, &text, &text);
        let Some(format) = &spec.value.properties else { continue };
        if let Ok(keys) = property::split(&text, format) {
            let printed = property::print(&keys, format);
            assert_eq!(property::split(&printed, format).ok(), Some(keys), "{name}: {text} as {printed}");
        }
    }
});
