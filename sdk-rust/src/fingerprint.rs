//! What the state of a stage, or its place, rests on.

use crate::bindings::fingerprint::exports::conveyor::stage::fingerprint as wit;
use crate::bindings::types::outcomes;
use crate::glue::{self, Described, Exported, Slot};
use crate::{Result, config};
use serde::Serialize;

/// Which parts of its config a stage's state rests on, or the place up to which it has read or written. A run that goes
/// on from a checkpoint is refused where one of them is another, rather than mix what is there with what comes.
///
/// ```
/// # use conveyor_sdk::Fingerprint;
/// # let (by, window_ms) = (vec!["customer"], 1000);
/// let fingerprint = Fingerprint::new().part("by", &by).part("window", &window_ms);
/// assert_eq!(fingerprint.get("by"), Some(r#"["customer"]"#));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fingerprint(Vec<(String, String)>);

impl Fingerprint {
    /// Nothing rests on the config.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a part: what users know it by, mostly the key of the config, and its value, which is compared as JSON text.
    /// The host keeps a hash of it.
    ///
    /// # Panics
    /// Where the value has no JSON, such as a map whose keys are no texts.
    pub fn part(mut self, name: &str, value: &(impl Serialize + ?Sized)) -> Self {
        let mut value =
            serde_json::to_value(value).unwrap_or_else(|why| panic!("`{name}` has no JSON: {why}"));
        // A map of another order is the same map.
        value.sort_all_objects();
        self.0.push((name.to_owned(), value.to_string()));
        self
    }

    /// The JSON text of a part.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(part, _)| part == name).map(|(_, value)| value.as_str())
    }
}

/// What the stage `S` says for this config, as the host asks it.
pub(crate) fn asked<S: Described>(config: &str) -> Result<Option<Fingerprint>> {
    Ok(S::fingerprint(&config::parse(config)?))
}

impl<G> wit::Guest for Exported<G>
where
    G: Slot,
    G::Open: Described,
{
    fn fingerprint(config: String) -> Result<Option<Vec<wit::Part>>, outcomes::Failure> {
        glue::enter();
        let part = |(name, value)| wit::Part { name, value };
        Ok(asked::<G::Open>(&config)?.map(|said| said.0.into_iter().map(part).collect()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::testing::{self, json};
    use crate::{Context, Emitter, Ids, NoConfig, Pull, Rejected, Sink, Source, Split, Transform};

    #[test]
    fn a_map_has_one_text_whatever_its_order() {
        let map = |keys: [&str; 4]| keys.map(|key| (key.to_owned(), HashMap::from([("b", 1), ("a", 2)])));
        let said = |keys| Fingerprint::new().part("map", &HashMap::from(map(keys)));
        assert_eq!(said(["d", "a", "c", "b"]), said(["a", "b", "c", "d"]));
        assert!(
            said(["d", "a", "c", "b"])
                .get("map")
                .is_some_and(|text| text.starts_with(r#"{"a":{"a":2,"b":1}"#))
        );
    }

    struct Ends;

    impl Source for Ends {
        type Config = NoConfig;

        fn splits(_: &NoConfig) -> Result<Vec<String>> {
            Ok(Vec::new())
        }

        fn fingerprint(_: &NoConfig) -> Option<Fingerprint> {
            Some(Fingerprint::new())
        }

        fn open(_: NoConfig) -> Result<Self> {
            Ok(Ends)
        }

        fn assign(&mut self, _: Vec<Split>) -> Result {
            Ok(())
        }

        fn pull(&mut self, _: &mut Pull) -> Result {
            Ok(())
        }
    }

    impl Sink for Ends {
        type Config = NoConfig;

        fn open(_: NoConfig, _: Context) -> Result<Self> {
            Ok(Ends)
        }

        fn write(&mut self, _: &crate::Batch, _: Ids<'_>, _: &mut Rejected) -> Result {
            Ok(())
        }
    }

    impl Transform for Ends {
        type Config = NoConfig;

        fn open(_: NoConfig) -> Result<Self> {
            Ok(Ends)
        }

        fn process(&mut self, _: &crate::Batch, _: &mut Emitter) -> Result {
            Ok(())
        }
    }

    #[test]
    fn a_stage_that_says_nothing_is_told_from_one_that_says_that_nothing_counts() {
        let source = testing::source::<Ends>(json!({})).unwrap();
        assert_eq!(source.fingerprint().unwrap(), Some(Fingerprint::new()));
        let sink = testing::sink::<Ends>(json!({})).unwrap();
        assert_eq!(sink.fingerprint().unwrap(), None);
        let transform = testing::transform::<Ends>(json!({})).unwrap();
        assert_eq!(transform.fingerprint().unwrap(), None);
    }
}
