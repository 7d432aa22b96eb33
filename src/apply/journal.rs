//! The journal: a line of JSON before each write and one after, and what came of each guest. Evidence for people;
//! nothing is decided by it.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::events::Event;
use crate::plan::Address;
use crate::pve::http::Method;

/// Where journal lines go. Clones write to the same place.
#[derive(Clone, Default)]
pub struct Journal(Option<Arc<Mutex<Box<dyn Write + Send>>>>);

impl Journal {
    /// A journal that writes here. Each line is flushed before the call it tells of is sent, so a writer that
    /// must survive a crash of the machine syncs in its `flush`.
    pub fn new(writer: impl Write + Send + 'static) -> Self {
        Self(Some(Arc::new(Mutex::new(Box::new(writer)))))
    }

    /// No journal.
    pub fn none() -> Self {
        Self(None)
    }

    /// Writes a line and flushes it.
    ///
    /// # Errors
    ///
    /// What the writer says.
    pub fn line(&self, entry: &Entry) -> std::io::Result<()> {
        self.write(entry)
    }

    /// Writes an event and flushes it.
    ///
    /// # Errors
    ///
    /// What the writer says.
    pub fn event(&self, event: &Event) -> std::io::Result<()> {
        if self.0.is_none() {
            return Ok(());
        }
        self.write(&Told { at: now(), event: event.clone() })
    }

    fn write(&self, line: &impl Serialize) -> std::io::Result<()> {
        let Some(writer) = &self.0 else { return Ok(()) };
        let mut line = serde_json::to_vec(line)?;
        line.push(b'\n');
        let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.write_all(&line)?;
        writer.flush()
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Journal" } else { "Journal(none)" })
    }
}

/// One line of a journal.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Line {
    /// Of a write.
    Write(Entry),
    /// Of the run.
    Told(Told),
}

/// Something that happened to the run, or its end for a guest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// When, in UTC.
    pub at: String,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// Reads a journal: its lines, and what is left of one that was cut off while it was written.
///
/// # Errors
///
/// The number of the first line that is none of a journal's, which begins with 1.
pub fn read(text: &str) -> Result<(Vec<Line>, Option<&str>), usize> {
    let (whole, rest) = text.rsplit_once('\n').map_or(("", text), |(whole, rest)| (whole, rest));
    let lines = whole.lines().enumerate().map(|(index, line)| serde_json::from_str(line).map_err(|_| index + 1));
    Ok((lines.collect::<Result<_, _>>()?, Some(rest).filter(|rest| !rest.is_empty())))
}

/// A line about one write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When, in UTC.
    pub at: String,
    /// Before or after the write.
    pub moment: Moment,
    /// The plan that is applied.
    pub plan_id: String,
    /// Which guest.
    pub guest: Address,
    /// The step's number, from 1.
    pub step: usize,
    /// What it does.
    pub words: String,
    /// The call, with secrets out.
    pub call: CallRecord,
    /// Proxmox's task, once it is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub upid: Option<String>,
    /// What came of it; before the write nothing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub outcome: Option<String>,
}

/// Before or after the write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Moment {
    /// About to be sent.
    Before,
    /// Proxmox took it, and works on it.
    Task,
    /// Ended.
    After,
}

/// A call as it was sent, with names in place of secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRecord {
    /// How.
    pub method: Method,
    /// Where.
    pub path: String,
    /// Parameters by name.
    pub params: BTreeMap<String, String>,
}

/// This moment as journal lines have it.
pub fn now() -> String {
    timestamp(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_secs()))
}

/// Unix seconds as `2026-11-22T08:45:00Z`.
pub fn timestamp(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days since 1 March of the year 0, so that the leap day is the last of its year.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// Unix seconds of `2026-11-22T08:45:00Z`; nothing where it is no such text.
pub fn seconds(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let number = |part: &str| part.parse::<u64>().ok();
    let [year, month, day] = date.splitn(3, '-').map(number).collect::<Option<Vec<_>>>()?.try_into().ok()?;
    let [hour, minute, second] = time.splitn(3, ':').map(number).collect::<Option<Vec<_>>>()?.try_into().ok()?;
    let in_range = (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !in_range || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Years that begin with March, as above.
    let (year, month_from_march) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month_from_march + 2) / 5 + day - 1;
    Some((days - 719_468) * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_dates() {
        for text in
            ["", "2026-11-22", "2026-13-01T00:00:00Z", "2026-11-22T24:00:00Z", "1969-12-31T23:59:59Z", "x-y-zTa:b:cZ"]
        {
            assert_eq!(super::seconds(text), None, "{text}");
        }
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_337_100, "2026-11-22T08:45:00Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
        ] {
            assert_eq!(timestamp(seconds), text);
            assert_eq!(super::seconds(text), Some(seconds));
        }
    }
}
