//! Stages of bytes under test.

use crate::batch::Blobs;
use crate::bindings::types::{outcomes, records};
use crate::made::HeadersBuilder;
use crate::plan::Parts;
use crate::testing::{Rejection, TestState, Value, leaving, origins, port};
use crate::transform::OpenTransform;
use crate::varlen::BlobBuilder;
use crate::{Fingerprint, Result, Transform, fingerprint};

/// A record to feed to a stage, or one that came out of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TestRecord {
    /// None is a deletion.
    pub value: Option<Vec<u8>>,
    pub key: Option<Vec<u8>>,
    pub time: Option<i64>,
    pub headers: Vec<(String, Vec<u8>)>,
}

/// A record with this value and nothing else.
pub fn record(value: impl AsRef<[u8]>) -> TestRecord {
    TestRecord { value: Some(value.as_ref().to_vec()), ..TestRecord::default() }
}

/// A record without a value.
pub fn deletion() -> TestRecord {
    TestRecord::default()
}

impl TestRecord {
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.key = Some(key.as_ref().to_vec());
        self
    }

    /// In microseconds since the Unix epoch.
    pub fn time(mut self, micros: i64) -> Self {
        self.time = Some(micros);
        self
    }

    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// The value as text, with what is no UTF-8 replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.value.as_deref().unwrap_or_default()).into_owned()
    }
}

impl<T: AsRef<[u8]>> From<T> for TestRecord {
    fn from(value: T) -> Self {
        record(value)
    }
}

/// What left by a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutRecord {
    /// The input record that it is, or comes from.
    pub origin: u32,
    pub made: bool,
    pub record: TestRecord,
}

/// What a stage made of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordOutcome {
    rows: u32,
    outputs: Vec<String>,
    leaving: Vec<(u32, Vec<OutRecord>)>,
    pub rejections: Vec<Rejection>,
    pub held: u32,
}

impl RecordOutcome {
    /// What left by the port of this name, in order.
    ///
    /// # Panics
    /// Where the plan has no such output.
    pub fn port(&self, name: &str) -> &[OutRecord] {
        let port = port(&self.outputs, name);
        self.leaving.iter().find(|(of, _)| *of == port).map_or(&[], |(_, records)| records)
    }

    /// The values that left by the port of this name, as text.
    pub fn values(&self, name: &str) -> Vec<String> {
        self.port(name).iter().map(|out| out.record.text()).collect()
    }

    /// The codes of the rejections, with what they are of.
    pub fn codes(&self) -> Vec<(u32, &str)> {
        self.rejections.iter().map(|rejection| (rejection.of, rejection.code.as_str())).collect()
    }

    /// The input records that left by no port and were not rejected.
    pub fn filtered(&self) -> Vec<u32> {
        let leaves = |of: u32| self.leaving.iter().any(|(_, out)| out.iter().any(|out| out.origin == of));
        let rejected = |of: u32| self.rejections.iter().any(|rejection| rejection.of == of);
        (0..self.rows).filter(|of| !leaves(*of) && !rejected(*of)).collect()
    }
}

/// An open stage.
pub struct TransformTest<S> {
    open: OpenTransform<S>,
    config: String,
    state: TestState,
    parts: Parts,
    outputs: Vec<String>,
}

/// Opens a stage with this config.
pub fn transform<S: Transform>(config: Value) -> Result<TransformTest<S>> {
    let config = config.to_string();
    let plan = OpenTransform::<S>::plan(&config)?;
    let open = OpenTransform::open(&config)?;
    let state = TestState::default();
    Ok(TransformTest { open, config, state, parts: plan.parts(), outputs: plan.outputs() })
}

impl<S: Transform> TransformTest<S> {
    /// Processes one batch.
    pub fn run<R: Into<TestRecord>>(
        &mut self,
        records: impl IntoIterator<Item = R>,
    ) -> Result<RecordOutcome> {
        let records: Vec<TestRecord> = records.into_iter().map(Into::into).collect();
        let batch = batch(&records, self.parts);
        let wire = self.state.during(|| self.open.process(batch))?;
        let outcomes::Outcome { emissions, rejections, held } = wire;
        Ok(RecordOutcome {
            rows: records.len() as u32,
            outputs: self.outputs.clone(),
            leaving: emissions.iter().map(|emission| (emission.port, emitted(emission, &records))).collect(),
            rejections: rejections.into_iter().map(Rejection::from).collect(),
            held,
        })
    }

    /// The names of the outputs.
    pub fn outputs(&self) -> &[String] {
        &self.outputs
    }

    pub fn stage(&self) -> &S {
        self.open.stage()
    }

    /// What the stage remembers.
    pub fn state(&self) -> &TestState {
        &self.state
    }

    /// Goes on with another instance, as a host does at any time: all that stays is the state.
    pub fn recycle(&mut self) -> Result<()> {
        self.open = OpenTransform::open(&self.config)?;
        Ok(())
    }

    /// What the stage says that its state rests on, as the host asks it.
    pub fn fingerprint(&self) -> Result<Option<Fingerprint>> {
        fingerprint::asked::<OpenTransform<S>>(&self.config)
    }
}

/// The records as a host would hand them over to a stage that asked for `parts`.
pub(super) fn batch(records: &[TestRecord], parts: Parts) -> records::Batch {
    let (mut values, mut keys) = (BlobBuilder::default(), BlobBuilder::default());
    let mut headers = HeadersBuilder::default();
    for (of, record) in records.iter().enumerate() {
        values.push(record.value.as_deref());
        keys.push(record.key.as_deref());
        let own = if parts.headers { record.headers.as_slice() } else { &[] };
        own.iter().for_each(|(name, value)| headers.push(of as u32, name, value));
    }
    let has_times = parts.times && records.iter().any(|record| record.time.is_some());
    let has_keys = parts.keys && records.iter().any(|record| record.key.is_some());
    records::Batch {
        rows: records.len() as u32,
        times: has_times.then(|| records.iter().map(|record| record.time.unwrap_or_default()).collect()),
        keys: has_keys.then(|| keys.finish()),
        headers: headers.finish_any(),
        values: values.finish(),
    }
}

/// The records of a batch, as a host would take them from a source.
pub(super) fn unpack(batch: &records::Batch) -> Vec<TestRecord> {
    let (values, keys) = (Blobs::of_column(&batch.values), Blobs::of_part(&batch.keys));
    (0..batch.rows as usize)
        .map(|at| TestRecord {
            value: values.get(at).map(<[u8]>::to_vec),
            key: keys.get(at).map(<[u8]>::to_vec),
            time: batch.times.as_ref().map(|times| times[at]),
            headers: batch.headers.as_ref().map_or_else(Vec::new, |headers| headers_of(headers, at as u32)),
        })
        .collect()
}

fn emitted(emission: &outcomes::Emission, input: &[TestRecord]) -> Vec<OutRecord> {
    let made = emission.made.as_ref();
    let origins = made.map_or_else(Vec::new, |made| origins(&made.origins, input.len()));
    let values = made.map(|made| Blobs::of_column(&made.values));
    assert_eq!(values.map_or(0, Blobs::len), origins.len(), "a value for each made record");
    let out = |(origin, nth, _): (u32, Option<usize>, usize)| {
        let from = input.get(origin as usize).expect("an origin is one of the input records");
        let (Some(made), Some(values), Some(nth)) = (made, values, nth) else {
            return OutRecord { origin, made: false, record: from.clone() };
        };
        let record = TestRecord {
            value: values.get(nth).map(<[u8]>::to_vec),
            time: made.times.as_ref().map_or(from.time, |times| Some(times[nth])),
            key: match &made.keys {
                Some(keys) => Blobs::of_column(keys).get(nth).map(<[u8]>::to_vec),
                None => from.key.clone(),
            },
            headers: match &made.headers {
                Some(headers) => headers_of(headers, nth as u32),
                None => from.headers.clone(),
            },
        };
        OutRecord { origin, made: true, record }
    };
    leaving(&emission.forwarded, &origins, input.len() as u32).into_iter().map(out).collect()
}

fn headers_of(headers: &records::Headers, of: u32) -> Vec<(String, Vec<u8>)> {
    assert!(headers.of.is_sorted(), "headers come in the order of their records");
    let values = Blobs::of_varlen(&headers.values);
    (0..headers.of.len())
        .filter(|at| headers.of[*at] == of)
        .map(|at| {
            let name = headers.names[usize::from(headers.name[at])].clone();
            (name, values.get(at).unwrap_or_default().to_vec())
        })
        .collect()
}
