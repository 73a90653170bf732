//! Idempotency keys with the answers that were given, so that whoever asks again gets the same one and nothing is done
//! twice.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use model::limits::{IDEMPOTENCY_KEY_AGE, IDEMPOTENCY_KEYS_MAX};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::command::{Answer, Command, Content, Deploy};
use super::ids::IdempotencyKey;
use super::refusal::Refusal;

/// By whom, and under which key.
type Whose = (Option<String>, IdempotencyKey);

/// Bounded; the oldest go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "VecDeque<Arc<Answered>>", into = "VecDeque<Arc<Answered>>")]
pub struct Seen {
    order: VecDeque<Arc<Answered>>,
    by_key: BTreeMap<Whose, Arc<Answered>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    pub by: Option<String>,
    pub key: IdempotencyKey,
    /// Of what was asked for.
    pub fingerprint: String,
    pub at_us: u64,
    pub index: u64,
    pub result: Result<Answer, Refusal>,
}

impl From<VecDeque<Arc<Answered>>> for Seen {
    fn from(order: VecDeque<Arc<Answered>>) -> Self {
        let whose = |answered: &Arc<Answered>| (answered.by.clone(), answered.key.clone());
        let by_key = order.iter().map(|answered| (whose(answered), answered.clone())).collect();
        Self { order, by_key }
    }
}

impl From<Seen> for VecDeque<Arc<Answered>> {
    fn from(seen: Seen) -> Self {
        seen.order
    }
}

impl Seen {
    /// What was answered under this key, as long as it is remembered at `now_us`.
    pub fn find(&self, by: Option<&str>, key: &IdempotencyKey, now_us: u64) -> Option<&Arc<Answered>> {
        let whose = (by.map(str::to_owned), key.clone());
        self.by_key.get(&whose).filter(|answered| !is_old(answered, now_us))
    }

    pub fn remember(&mut self, answered: Answered) {
        let now_us = answered.at_us;
        let answered = Arc::new(answered);
        // One under the same key is there only where it is too old to be found.
        let whose = (answered.by.clone(), answered.key.clone());
        if self.by_key.insert(whose, answered.clone()).is_some() {
            self.order.retain(|other| (&other.by, &other.key) != (&answered.by, &answered.key));
        }
        self.order.push_back(answered);
        while self.order.len() > IDEMPOTENCY_KEYS_MAX
            || self.order.front().is_some_and(|oldest| is_old(oldest, now_us))
        {
            let Some(oldest) = self.order.pop_front() else { break };
            self.by_key.remove(&(oldest.by.clone(), oldest.key.clone()));
        }
    }

    pub fn len(&self) -> usize {
        self.order.len()
    }
}

fn is_old(answered: &Answered, now_us: u64) -> bool {
    now_us.saturating_sub(answered.at_us) > IDEMPOTENCY_KEY_AGE.as_micros() as u64
}

/// Tells commands apart. A secret is sealed with other random bits each time: its mark stands for it. What a node finds out
/// about a deploy may be something else each time: what was deployed stands for it.
pub fn fingerprint(command: &Command) -> String {
    let bytes = match command {
        Command::Deploy(deploy) => {
            let Deploy { pipeline, content, expects, node, taken_over } = &**deploy;
            let Content { manifest, variables, lock, dir, answers: _, grants: _ } = content;
            let content = (manifest, variables, lock, dir);
            serde_json::to_vec(&("deploy", pipeline, content, expects, node, taken_over))
        }
        Command::SetSecret { secret, sealed } => serde_json::to_vec(&("set-secret", secret, &sealed.mark)),
        command => serde_json::to_vec(command),
    };
    // Texts, numbers, and maps with texts as keys: there is nothing in it that JSON cannot have.
    format!("{:032x}", xxh3_128(&bytes.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(key: &str, at_us: u64) -> Answered {
        let key = key.parse().expect("a key");
        Answered { by: None, key, fingerprint: String::new(), at_us, index: 1, result: Ok(Answer::Done) }
    }

    #[test]
    fn keys_are_bounded_in_number_and_in_time() {
        let mut seen = Seen::default();
        for number in 0..IDEMPOTENCY_KEYS_MAX + 10 {
            seen.remember(answered(&format!("k{number}"), number as u64));
        }
        let find =
            |seen: &Seen, key: &str, now_us| seen.find(None, &key.parse().expect("a key"), now_us).is_some();
        assert_eq!(seen.len(), IDEMPOTENCY_KEYS_MAX);
        assert!(!find(&seen, "k9", 0) && find(&seen, "k10", 0));
        assert!(seen.find(Some("somebody else"), &"k10".parse().expect("a key"), 0).is_none());
        let later = IDEMPOTENCY_KEY_AGE.as_micros() as u64 + 100;
        assert!(!find(&seen, "k10", later) && find(&seen, "k200", later));
        seen.remember(answered("k50", later));
        assert!(find(&seen, "k50", later));
        assert!(seen.len() < IDEMPOTENCY_KEYS_MAX, "those that are too old are gone");
        let json = serde_json::to_string(&seen).expect("JSON");
        assert_eq!(serde_json::from_str::<Seen>(&json).expect("the same"), seen);
    }
}
