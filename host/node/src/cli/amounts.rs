//! Amounts and times as somebody types them behind an option.

use std::time::Duration;

use flow::clock::wall_clock;
use model::convert::times::{date, timestamp};
use model::manifest;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// `512MiB`.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    text.parse::<manifest::Bytes>().map(|bytes| bytes.0).map_err(|error| error.to_string())
}

/// `250ms`, `1h`, or a number of days: `30d`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    if let Some(days) = text.strip_suffix('d').and_then(|days| days.parse::<u32>().ok()) {
        return Ok(DAY * days);
    }
    let wrong = |_| "it is a number and a unit, such as 90s, 10m, 12h or 30d".to_owned();
    text.parse::<manifest::Duration>().map(|duration| duration.0).map_err(wrong)
}

/// A point in time, in microseconds since the Unix epoch: `2026-08-01T12:00:00Z`, `2026-08-01`, or how long ago:
/// `2h`, `3d`.
pub(super) fn time(text: &str) -> Result<i64, String> {
    let day = |days: i32| i64::from(days) * DAY.as_micros() as i64;
    if let Some(time) = timestamp(text.as_bytes()).or_else(|| date(text.as_bytes()).map(day)) {
        return Ok(time);
    }
    let ago = duration(text).map_err(|_| {
        "it is a time such as 2026-08-01T12:00:00Z or 2026-08-01, or how long ago: 90s, 10m, 12h, 30d"
            .to_owned()
    })?;
    Ok(wall_clock().saturating_sub(i64::try_from(ago.as_micros()).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_points_or_how_long_ago() {
        let noon = 1_785_585_600_000_000;
        assert_eq!(time("2026-08-01T12:00:00Z"), Ok(noon));
        assert_eq!(time("2026-08-01"), Ok(noon - 12 * 3_600_000_000));
        let ago = wall_clock() - time("2d").expect("a time");
        assert!((ago - 2 * DAY.as_micros() as i64).abs() < 60_000_000, "{ago}");
        for wrong in ["", "yesterday", "5", "d", "-1d"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
