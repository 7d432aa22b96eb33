//! How far a task has come with copying: lines of its log that appear as time passes.

use crate::pve::value::Size;

/// One copy in a task: what is said when it begins, and how much is copied from when to when.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Stage {
    pub(super) from: u64,
    pub(super) until: u64,
    /// Lines that stand before the first figure.
    pub(super) lines: Vec<String>,
    /// Bytes to copy; nothing where no figures are shown.
    pub(super) size: Option<u64>,
}

/// Bytes as the log shows them: `20.5 MiB`.
fn shown(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "for people to read")]
    let bytes_f = bytes as f64;
    let units = [(Size::TIB, "TiB"), (Size::GIB, "GiB"), (Size::MIB, "MiB"), (Size::KIB, "KiB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        #[expect(clippy::cast_precision_loss, reason = "units are small")]
        Some((unit, name)) => format!("{:.1} {name}", bytes_f / unit as f64),
        None => format!("{bytes_f:.1} B"),
    }
}

impl Stage {
    /// The lines that are there at this time.
    fn lines_at(&self, now: u64) -> Vec<String> {
        if now < self.from {
            return Vec::new();
        }
        let mut lines = self.lines.clone();
        if let Some(size) = self.size {
            let (gone, whole) = (now.min(self.until) - self.from, self.until.saturating_sub(self.from).max(1));
            let percent = if now >= self.until { 100 } else { gone * 100 / whole };
            // Every second percent is told.
            let line = |percent: u64| {
                let done = u64::try_from(u128::from(size) * u128::from(percent) / 100).unwrap_or(size);
                format!("transferred {} of {} ({percent}.00%)", shown(done), shown(size))
            };
            lines.extend((0..=percent).step_by(2).map(line));
        }
        lines
    }
}

/// The lines of all copies at this time.
pub(super) fn lines_at(stages: &[Stage], now: u64) -> Vec<String> {
    stages.iter().flat_map(|stage| stage.lines_at(now)).collect()
}

/// Lays copies one after the other over a time, by their sizes.
pub(super) fn spread(copies: Vec<(Vec<String>, Option<u64>)>, from: u64, duration: u64) -> Vec<Stage> {
    let total: u128 = copies.iter().filter_map(|(_, size)| *size).map(u128::from).sum();
    let mut done: u128 = 0;
    let mut stages = Vec::new();
    for (lines, size) in copies {
        let at = |bytes: u128| from + u64::try_from(u128::from(duration) * bytes / total.max(1)).unwrap_or(duration);
        let begin = at(done);
        done += u128::from(size.unwrap_or(0));
        stages.push(Stage { from: begin, until: at(done), lines, size });
    }
    stages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_come_as_time_passes() {
        let stages = spread(
            vec![(vec!["first".to_owned()], Some(Size::GIB)), (vec!["second".to_owned()], Some(Size::GIB))],
            1000,
            2000,
        );
        assert!(lines_at(&stages, 999).is_empty());
        let early = lines_at(&stages, 1045);
        assert_eq!(
            early[..3],
            ["first", "transferred 0.0 B of 1.0 GiB (0.00%)", "transferred 20.5 MiB of 1.0 GiB (2.00%)"]
        );
        assert_eq!(early.len(), 4);
        assert_eq!(early[3], "transferred 41.0 MiB of 1.0 GiB (4.00%)");
        let all = lines_at(&stages, 3000);
        assert_eq!(all.len(), 2 * 52);
        assert_eq!(all[51], "transferred 1.0 GiB of 1.0 GiB (100.00%)");
        assert_eq!(all[52], "second");
    }
}
