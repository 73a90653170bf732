//! What each stage did, one row a stage.

use std::time::Duration;

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, Table};
use flow::meters::StageReport;
use model::plain;

use crate::words::Words;

const HEADER: [&str; 9] =
    ["stage", "in", "forwarded", "made", "filtered", "rejected", "fuel/record", "batch p50", "batch p99"];

/// The table at the end of a run. What a kind of stage cannot have is a dash.
pub fn stage_table(stages: &[StageReport]) -> Words {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_header(HEADER);
    for stage in stages {
        let is_transform = stage.role == "transform";
        let of_transform = |count: u64| if is_transform { number(count) } else { "-".to_owned() };
        let time = |us: u64| if stage.batches == 0 { "-".to_owned() } else { duration(us) };
        table.add_row([
            stage.stage.clone(),
            number(stage.records_in),
            of_transform(stage.forwarded),
            of_transform(stage.made),
            of_transform(stage.filtered),
            number(stage.rejected),
            stage.fuel_per_record.map_or_else(|| "-".to_owned(), |fuel| number(fuel.round() as u64)),
            time(stage.batch_p50_us),
            time(stage.batch_p99_us),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let first: Vec<Cell> = HEADER.iter().map(Cell::new).collect();
    table.set_header(first);
    words(&table)
}

/// Rows under a header; numbers stand to the right. A cell is one line, whatever it has.
pub fn plain_table(header: &[&str], rows: impl Iterator<Item = Vec<String>>, numbers: &[usize]) -> Words {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_header(header);
    rows.for_each(|row| {
        table.add_row(row.iter().map(|cell| plain::line(cell)));
    });
    for (at, column) in table.column_iter_mut().enumerate() {
        if numbers.contains(&at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    words(&table)
}

fn words(table: &Table) -> Words {
    table.to_string().lines().map(str::trim_end).collect()
}

/// Digits in groups of three.
pub fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// In the unit that fits.
pub fn duration(us: u64) -> String {
    match us {
        0..1000 => format!("{us} us"),
        1000..1_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        _ => format!("{:.1} s", us as f64 / 1e6),
    }
}

/// Records in a second.
pub fn rate(records: u64, took: Duration) -> String {
    let per_second = records as f64 / took.as_secs_f64().max(1e-9);
    match per_second {
        ..1e4 => format!("{per_second:.0}/s"),
        ..1e6 => format!("{:.1}k/s", per_second / 1e3),
        _ => format!("{:.1}M/s", per_second / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_a_row_and_what_it_cannot_have_is_a_dash() {
        let source = StageReport {
            stage: "in".into(),
            role: "source".into(),
            batches: 2,
            records_in: 1_234_567,
            batch_p50_us: 12,
            batch_p99_us: 3400,
            ..StageReport::default()
        };
        let filter = StageReport {
            stage: "large".into(),
            role: "transform".into(),
            records_in: 10,
            forwarded: 4,
            filtered: 6,
            fuel_per_record: Some(21.4),
            ..StageReport::default()
        };
        let text = stage_table(&[source, filter]).to_string();
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[1], ["in", "1,234,567", "-", "-", "-", "0", "-", "12", "us", "3.4", "ms"]);
        assert_eq!(rows[2], ["large", "10", "4", "0", "6", "0", "21", "-", "-"]);
    }

    #[test]
    fn rates_are_in_the_unit_that_fits() {
        let second = Duration::from_secs(1);
        assert_eq!(
            [rate(12, second), rate(12_345, second), rate(4_000_000, second)],
            ["12/s", "12.3k/s", "4.0M/s"]
        );
        assert_eq!([number(0), number(999), number(1000)], ["0", "999", "1,000"]);
    }
}
