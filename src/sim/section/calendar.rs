//! Calendar events, as backup and replication jobs name the times at which they run; and dates.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// Seconds of a day.
const DAY: u64 = 86_400;

/// How many days ahead a next time is sought: any that exists comes within leap years' cycle of weekdays.
const HORIZON: u64 = 28 * 366;

const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// An event that may come again and again. An empty set stands for every value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Event {
    weekdays: BTreeSet<u64>,
    years: BTreeSet<u64>,
    months: BTreeSet<u64>,
    days: BTreeSet<u64>,
    hours: BTreeSet<u64>,
    minutes: BTreeSet<u64>,
    seconds: BTreeSet<u64>,
}

/// Values of one field: `*`, `5`, `1..5`, `*/15`, `8..17/3`, and several of them with commas.
fn field(text: &str, bounds: &RangeInclusive<u64>) -> Option<BTreeSet<u64>> {
    let mut values = BTreeSet::new();
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step.parse().ok().filter(|step| *step > 0)?)),
            None => (part, None),
        };
        let (from, to) = match range.split_once("..") {
            _ if range == "*" => (*bounds.start(), *bounds.end()),
            Some((from, to)) => (from.parse().ok()?, to.parse().ok()?),
            None => {
                let from = range.parse().ok()?;
                (from, if step.is_some() { *bounds.end() } else { from })
            }
        };
        if from > to || !bounds.contains(&from) || !bounds.contains(&to) {
            return None;
        }
        if range == "*" && step.is_none() {
            return Some(BTreeSet::new());
        }
        values.extend((from..=to).step_by(usize::try_from(step.unwrap_or(1)).ok()?));
    }
    Some(values)
}

fn weekdays(text: &str) -> Option<BTreeSet<u64>> {
    let day = |name: &str| {
        let name = name.to_ascii_lowercase();
        let position = WEEKDAYS.iter().position(|short| name.len() >= 3 && name.starts_with(short))?;
        u64::try_from(position).ok()
    };
    let mut days = BTreeSet::new();
    for part in text.split(',') {
        match part.split_once("..") {
            Some((from, to)) => days.extend(day(from)?..=day(to)?),
            None => days.extend([day(part)?]),
        }
    }
    Some(days)
}

impl Event {
    /// Reads an event; nothing for what is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let one = |value| BTreeSet::from([value]);
        let mut event = Self { hours: one(0), minutes: one(0), seconds: one(0), ..Self::default() };
        let text = text.trim();
        match text.to_ascii_lowercase().as_str() {
            "" => return None,
            "minutely" => (event.hours, event.minutes) = Default::default(),
            "hourly" => event.hours = BTreeSet::new(),
            "daily" => {}
            "weekly" => event.weekdays = one(0),
            "monthly" => event.days = one(1),
            "yearly" | "annually" => (event.months, event.days) = (one(1), one(1)),
            "quarterly" => (event.months, event.days) = (BTreeSet::from([1, 4, 7, 10]), one(1)),
            "semiannually" | "semi-annually" => (event.months, event.days) = (BTreeSet::from([1, 7]), one(1)),
            _ => {
                let mut parts = text.split_ascii_whitespace().peekable();
                if parts.peek().is_some_and(|part| part.starts_with(|c: char| c.is_ascii_alphabetic())) {
                    event.weekdays = weekdays(parts.next()?)?;
                }
                if let Some(date) = parts.next_if(|part| part.contains('-')) {
                    let mut fields = date.split('-').rev();
                    event.days = field(fields.next()?, &(1..=31))?;
                    event.months = field(fields.next()?, &(1..=12))?;
                    event.years = fields.next().map_or(Some(BTreeSet::new()), |year| field(year, &(1970..=2999)))?;
                    if fields.next().is_some() {
                        return None;
                    }
                }
                if let Some(time) = parts.next() {
                    let fields: Vec<&str> = time.split(':').collect();
                    let (hours, minutes, seconds) = match fields.as_slice() {
                        [minutes] => ("*", *minutes, "0"),
                        [hours, minutes] => (*hours, *minutes, "0"),
                        [hours, minutes, seconds] => (*hours, *minutes, *seconds),
                        _ => return None,
                    };
                    event.hours = field(hours, &(0..=23))?;
                    event.minutes = field(minutes, &(0..=59))?;
                    event.seconds = field(seconds, &(0..=59))?;
                }
                if parts.next().is_some() {
                    return None;
                }
            }
        }
        Some(event)
    }

    /// The first time after this one, both in seconds of Unix time; nothing for one that never comes.
    pub(super) fn next_after(&self, time: u64) -> Option<u64> {
        let fits = |set: &BTreeSet<u64>, value: u64| set.is_empty() || set.contains(&value);
        let today = (time + 1) / DAY;
        for day in today..today + HORIZON {
            let (year, month, of_month) = civil(day);
            // The first day of Unix time was a Thursday.
            let weekday = (day + 3) % 7;
            let on_day = fits(&self.weekdays, weekday)
                && fits(&self.years, year)
                && fits(&self.months, month)
                && fits(&self.days, of_month);
            if !on_day {
                continue;
            }
            let mut second = (time + 1).saturating_sub(day * DAY);
            while second < DAY {
                if !fits(&self.hours, second / 3600) {
                    second = (second / 3600 + 1) * 3600;
                } else if !fits(&self.minutes, second / 60 % 60) {
                    second = (second / 60 + 1) * 60;
                } else if !fits(&self.seconds, second % 60) {
                    second += 1;
                } else {
                    return Some(day * DAY + second);
                }
            }
        }
        None
    }
}

/// Year, month and day of a day of Unix time. The year begins in March in between, so that the leap day is last.
const fn civil(day: u64) -> (u64, u64, u64) {
    let shifted = day + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + (month <= 2) as u64, month, of_month)
}

/// A time as C's `ctime` writes it: `Sun Nov 22 11:30:10 2026`.
pub(in crate::sim) fn shown(time: u64) -> String {
    let (year, month, day) = civil(time / DAY);
    let weekday: String = WEEKDAYS[usize::try_from((time / DAY + 3) % 7).unwrap_or(0)].to_owned();
    let weekday = format!("{}{}", weekday[..1].to_ascii_uppercase(), &weekday[1..]);
    let month = MONTHS[usize::try_from(month - 1).unwrap_or(0)];
    let (hour, minute, second) = (time / 3600 % 24, time / 60 % 60, time % 60);
    format!("{weekday} {month} {day:2} {hour:02}:{minute:02}:{second:02} {year}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sunday.
    const NOW: u64 = 1_795_347_010;

    fn next(text: &str) -> String {
        shown(Event::parse(text).unwrap().next_after(NOW).unwrap())
    }

    #[test]
    fn the_next_time() {
        assert_eq!(shown(NOW), "Sun Nov 22 11:30:10 2026");
        for (text, when) in [
            ("daily", "Mon Nov 23 00:00:00 2026"),
            ("weekly", "Mon Nov 23 00:00:00 2026"),
            ("monthly", "Tue Dec  1 00:00:00 2026"),
            ("yearly", "Fri Jan  1 00:00:00 2027"),
            ("hourly", "Sun Nov 22 12:00:00 2026"),
            ("*/15", "Sun Nov 22 11:45:00 2026"),
            ("21:30", "Sun Nov 22 21:30:00 2026"),
            ("mon 02:00", "Mon Nov 23 02:00:00 2026"),
            ("mon..wed,sat 8..17/3:5", "Mon Nov 23 08:05:00 2026"),
            ("sat *-1..7 15:00", "Sat Dec  5 15:00:00 2026"),
            ("2-29 1:2:3", "Tue Feb 29 01:02:03 2028"),
            ("sun", "Sun Nov 29 00:00:00 2026"),
        ] {
            assert_eq!(next(text), when, "{text}");
        }
        assert_eq!(Event::parse("2-30").unwrap().next_after(NOW), None);
    }

    #[test]
    fn what_is_none() {
        for text in ["", "x", "25:00", "1:2:3:4", "mon tue", "5..1", "*/0", "13-1", "mo", "1:60"] {
            assert_eq!(Event::parse(text), None, "{text}");
        }
    }
}
