//! Colour and width: what a renderer may use, decided by the caller.

use anstyle::{AnsiColor, Style};

/// How text is laid out.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// Colours may be used; they never carry meaning alone.
    pub color: bool,
    /// Columns of the screen.
    pub width: usize,
}

impl Default for Layout {
    fn default() -> Self {
        Self { color: false, width: 100 }
    }
}

/// What a piece of text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    /// Something comes.
    Add,
    /// Something changes.
    Change,
    /// Something goes.
    Remove,
    /// Something is refused or failed.
    Alarm,
    /// Less important.
    Faint,
    /// A heading.
    Strong,
}

impl Layout {
    /// The text in this ink, where colours may be used.
    pub fn paint(self, ink: Ink, text: &str) -> String {
        if !self.color || text.is_empty() {
            return text.to_owned();
        }
        let style = match ink {
            Ink::Add => AnsiColor::Green.on_default(),
            Ink::Change => AnsiColor::Yellow.on_default(),
            Ink::Remove => AnsiColor::Red.on_default().bold(),
            Ink::Alarm => AnsiColor::Magenta.on_default().bold(),
            Ink::Faint => Style::new().dimmed(),
            Ink::Strong => Style::new().bold(),
        };
        format!("{style}{text}{style:#}")
    }
}

/// Breaks text at spaces so that no line ends beyond `width` columns. The first line begins at column `start`, which
/// is not part of the text; the others are indented by `hang`.
pub fn wrap(text: &str, width: usize, start: usize, hang: usize) -> String {
    // Very narrow screens get long lines rather than one word a line.
    let width = width.max(hang + 20);
    let mut out = String::new();
    let mut column = start;
    for (position, word) in text.split(' ').enumerate() {
        let length = word.chars().count();
        if position == 0 {
            column += length;
        } else if column + 1 + length > width {
            out.push('\n');
            out.push_str(&" ".repeat(hang));
            column = hang + length;
        } else {
            out.push(' ');
            column += 1 + length;
        }
        out.push_str(word);
    }
    out
}

/// Rows in columns, each as wide as its widest cell, two blanks between them. The last one ends the line.
pub fn columns(rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        for (index, cell) in row.iter().enumerate() {
            let width = cell.chars().count();
            match widths.get_mut(index) {
                Some(known) => *known = width.max(*known),
                None => widths.push(width),
            }
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// `1 guest`, `2 guests`.
pub fn count(number: usize, word: &str) -> String {
    if number == 1 { format!("1 {word}") } else { format!("{number} {word}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_ends_beyond_the_width() {
        assert_eq!(wrap("aa bb cc", 40, 0, 0), "aa bb cc");
        let text = wrap("one two three four five six seven", 30, 15, 4);
        assert_eq!(text, "one two three\n    four five six seven");
        assert_eq!(wrap("spaces  are   kept", 40, 0, 0), "spaces  are   kept");
    }
}
