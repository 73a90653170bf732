//! Places at which a test has the process die ([`disk::fault`]), and at which one of this crate holds a task.

pub use disk::fault::Point;

/// Says that this place has been reached.
#[inline]
pub fn hit(point: Point) {
    disk::fault::hit(point);
    #[cfg(test)]
    held::came(point);
}

/// As [`hit`], at a place where a test of this crate may hold the task that comes there.
pub async fn hold(point: Point) {
    hit(point);
    #[cfg(test)]
    held::wait(point).await;
}

/// Holds the task that comes to one place until another place was come to, on the thread of one test.
#[cfg(test)]
pub mod held {
    use std::cell::Cell;

    use super::Point;

    thread_local!(static HELD: Cell<Option<Held>> = const { Cell::new(None) });

    #[derive(Clone, Copy)]
    struct Held {
        at: Point,
        until: Point,
        has_come: bool,
        struck: u32,
    }

    /// Turns that all others get once the other place was come to: enough for any of them to end.
    const TURNS: u32 = 20;

    pub fn set(at: Point, until: Point) {
        HELD.set(Some(Held { at, until, has_come: false, struck: 0 }));
    }

    /// Holds nobody any more; says how often somebody was held.
    pub fn lift() -> u32 {
        HELD.take().map_or(0, |held| held.struck)
    }

    pub(super) fn came(point: Point) {
        HELD.set(HELD.get().map(|held| Held { has_come: held.has_come || held.until == point, ..held }));
    }

    pub(super) async fn wait(point: Point) {
        let Some(held) = HELD.get().filter(|held| held.at == point) else { return };
        HELD.set(Some(Held { struck: held.struck + 1, ..held }));
        while HELD.get().is_some_and(|held| !held.has_come) {
            tokio::task::yield_now().await;
        }
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
    }
}
