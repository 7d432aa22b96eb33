//! Dates out of Unix time, in UTC, as logs and the names of backups show them.

/// Year, month and day of a day since 1970.
const fn date(days: u64) -> (u64, u64, u64) {
    // Years begin in March here, so a leap day is the last of its year.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (year + era * 400 + carry, month, day)
}

/// `2026-11-22`.
pub(super) fn day(unix: u64) -> String {
    let (year, month, day) = date(unix / 86_400);
    format!("{year:04}-{month:02}-{day:02}")
}

/// `2026-11-22 07:10:40`.
pub(super) fn time(unix: u64) -> String {
    let seconds = unix % 86_400;
    format!("{} {:02}:{:02}:{:02}", day(unix), seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// `00:01:05`.
pub(super) fn duration(seconds: u64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(time(0), "1970-01-01 00:00:00");
        assert_eq!(time(951_782_400), "2000-02-29 00:00:00");
        assert_eq!(time(1_795_331_440), "2026-11-22 07:10:40");
        assert_eq!(day(1_709_251_199), "2024-02-29");
        assert_eq!(duration(3725), "01:02:05");
    }
}
