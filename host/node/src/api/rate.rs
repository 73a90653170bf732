//! How often one may ask: a bucket for each who does, in a table that is bounded.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use model::limits::API_ASKING_MAX;

/// How many requests one may have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// At once.
    pub burst: f64,
    /// That come to it again.
    pub per_second: f64,
}

/// Who is counted as one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Asking {
    Token(String),
    Address(IpAddr),
    /// Whose address nobody knows, and all for whom there is no room.
    Others,
}

#[derive(Debug)]
pub struct Rates {
    rate: Rate,
    buckets: HashMap<Asking, Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    fn left(&self, rate: Rate, now: Instant) -> f64 {
        let came = now.saturating_duration_since(self.at).as_secs_f64() * rate.per_second;
        (self.left + came).min(rate.burst)
    }
}

impl Asking {
    /// One who has an address of version 6 has a network of them.
    pub fn address(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
        })
    }
}

impl Rates {
    pub fn new(rate: Rate) -> Self {
        Self { rate, buckets: HashMap::new() }
    }

    /// Whether one more request may come now; else after how long it may.
    pub fn take(&mut self, who: Asking, now: Instant) -> Result<(), Duration> {
        let rate = self.rate;
        let who = self.counted_as(who, now);
        let bucket = self.buckets.entry(who).or_insert(Bucket { left: rate.burst, at: now });
        let left = bucket.left(rate, now);
        if left < 1.0 {
            let wait = (1.0 - left) / rate.per_second;
            return Err(Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX).min(WAIT_MAX));
        }
        *bucket = Bucket { left: left - 1.0, at: now };
        Ok(())
    }

    /// Those who might as well never have asked are forgotten where room is needed.
    fn counted_as(&mut self, who: Asking, now: Instant) -> Asking {
        if self.buckets.len() < API_ASKING_MAX || self.buckets.contains_key(&who) {
            return who;
        }
        let rate = self.rate;
        self.buckets.retain(|_, bucket| bucket.left(rate, now) < rate.burst);
        if self.buckets.len() < API_ASKING_MAX { who } else { Asking::Others }
    }
}

/// Longer waits are not asked for.
const WAIT_MAX: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> Asking {
        Asking::address(IpAddr::V4(n.into()))
    }

    #[test]
    fn one_who_asks_too_often_waits_and_others_do_not() {
        let mut rates = Rates::new(Rate { burst: 2.0, per_second: 4.0 });
        let now = Instant::now();
        let token = || Asking::Token("a".into());
        assert_eq!([rates.take(token(), now), rates.take(token(), now)], [Ok(()), Ok(())]);
        assert_eq!(rates.take(token(), now), Err(Duration::from_millis(250)));
        assert_eq!(rates.take(address(1), now), Ok(()));
        let later = now + Duration::from_millis(250);
        assert_eq!(rates.take(token(), later), Ok(()));
        assert!(rates.take(token(), later).is_err());
        // No more than the burst is saved up.
        let much_later = later + Duration::from_secs(100);
        let taken = (0..9).filter(|_| rates.take(token(), much_later).is_ok()).count();
        assert_eq!(taken, 2);
    }

    #[test]
    fn the_table_is_bounded_and_whoever_finds_no_room_is_one_of_the_others() {
        let mut rates = Rates::new(Rate { burst: 2.0, per_second: 1.0 });
        let now = Instant::now();
        for n in 0..API_ASKING_MAX as u32 {
            assert_eq!(rates.take(address(n), now), Ok(()));
        }
        let told: Vec<_> = (0..3).map(|n| rates.take(address(1_000_000 + n), now).is_ok()).collect();
        assert_eq!(told, [true, true, false], "the three share a bucket");
        assert_eq!(rates.buckets.len(), API_ASKING_MAX + 1);
        assert_eq!(rates.take(address(0), now), Ok(()), "those who were there have theirs");
        let later = now + Duration::from_secs(10);
        assert_eq!(rates.take(address(2_000_000), later), Ok(()));
        assert_eq!(rates.buckets.len(), 1, "all others are as they were at first");
    }

    #[test]
    fn an_address_of_version_6_is_its_network() {
        let of = |text: &str| Asking::address(text.parse().expect("an address"));
        assert_eq!(of("2001:db8::1"), of("2001:db8:0:0:ffff::9"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:1.2.3.4"), of("1.2.3.4"));
    }
}
