//! Any JSON as the answers of a cluster that is read: what is not understood is unread, and nothing panics.
#![no_main]

use std::sync::Mutex;

use libfuzzer_sys::fuzz_target;
use pvefleet::client::{Reader, Reading};
use pvefleet::gather::{self, Wanted};
use pvefleet::pve::http::{ApiError, Request};
use serde_json::Value;

/// Gives its lines one after another, whatever it is asked.
struct Answers(Mutex<Vec<Value>>);

impl Reader for Answers {
    fn name(&self) -> &str {
        "production"
    }

    fn read<'a>(&'a self, _: &'a Request) -> Reading<'a> {
        let answer = self.0.lock().ok().and_then(|mut answers| answers.pop());
        Box::pin(async move { answer.ok_or_else(|| ApiError::Connection("no more answers".to_owned())) })
    }
}

fuzz_target!(|data: &[u8]| {
    let lines = data.split(|byte| *byte == b'\n').take(64);
    let answers = lines.filter_map(|line| serde_json::from_slice(line).ok()).collect();
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() else { return };
    let wanted = Wanted { preflight: true, ..Wanted::default() };
    drop(runtime.block_on(gather::snapshot(&Answers(Mutex::new(answers)), &wanted)));
});
