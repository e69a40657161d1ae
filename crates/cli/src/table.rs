//! Rows under headings, for people.

use std::fmt::Write;

use crate::output::{harmless, style};

/// Columns as wide as their longest cell, two blanks apart. A cell is one line whoever wrote it, and one that is empty shows
/// as a dash.
pub(crate) fn table<const COLUMNS: usize>(headings: [&str; COLUMNS], rows: &[[String; COLUMNS]]) -> String {
    let rows: Vec<[String; COLUMNS]> = rows
        .iter()
        .map(|row| row.each_ref().map(|cell| shown(cell)))
        .collect();
    let mut widths = headings.map(|heading| heading.chars().count());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let heading = style::HEADING;
    let _ = write!(text, "{heading}");
    line(&mut text, headings, &widths);
    let _ = writeln!(text, "{heading:#}");
    for row in &rows {
        line(&mut text, row.each_ref().map(String::as_str), &widths);
        text.push('\n');
    }
    text
}

fn line<const COLUMNS: usize>(text: &mut String, cells: [&str; COLUMNS], widths: &[usize; COLUMNS]) {
    let from = text.len();
    for (cell, width) in cells.iter().zip(widths) {
        let _ = write!(text, "{cell:<width$}  ");
    }
    let end = text[from..].trim_end().len();
    text.truncate(from + end);
}

fn shown(cell: &str) -> String {
    if cell.is_empty() {
        "-".to_owned()
    } else {
        harmless(cell).replace(['\n', '\t'], " ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [
            ["é".to_owned(), "long cell".to_owned(), String::new()],
            ["two\nlines".to_owned(), "\u{1b}[2J".to_owned(), "x".to_owned()],
        ];
        let text = table(["a", "b", "c"], &rows);
        assert_eq!(
            anstream::adapter::strip_str(&text).to_string(),
            "a          b          c\n\
             é          long cell  -\n\
             two lines  \\u{1b}[2J  x\n"
        );
    }
}
