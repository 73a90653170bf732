//! Tables as Markdown, so that what is printed can be put into `docs/performance.md` as it is.

use std::fmt;

/// A table whose columns are as wide as their widest cell.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new<const N: usize>(head: [&str; N]) -> Self {
        Self { rows: vec![head.map(str::to_owned).into()] }
    }

    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows[0].len();
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (number, row) in self.rows.iter().enumerate() {
            for (cell, &width) in row.iter().zip(&widths) {
                write!(f, "| {cell:width$} ")?;
            }
            writeln!(f, "|")?;
            if number == 0 {
                widths.iter().try_for_each(|&width| write!(f, "|{}", "-".repeat(width + 2)))?;
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}

/// Something that must be reached, and what was found.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    pub fn reached(self, found: f64) -> bool {
        match self {
            Self::AtLeast(bound) => found >= bound,
            Self::AtMost(bound) => found <= bound,
        }
    }

    pub fn verdict(self, found: f64) -> &'static str {
        if self.reached(found) { "reached" } else { "MISSED" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_lines_up() {
        let mut table = Table::new(["row", "µs"]);
        table.row(["a longer one".into(), "1".into()]);
        assert_eq!(
            table.to_string(),
            "| row          | µs |\n|--------------|----|\n| a longer one | 1  |\n"
        );
    }

    #[test]
    fn goals_are_met_at_their_bound() {
        let cases = [(Goal::AtLeast(0.2), 0.2, true), (Goal::AtLeast(0.2), 0.19, false)];
        let most = [(Goal::AtMost(10.0), 10.0, true), (Goal::AtMost(10.0), 10.1, false)];
        for (goal, found, reached) in cases.into_iter().chain(most) {
            assert_eq!(goal.reached(found), reached, "{goal:?} {found}");
        }
    }
}
