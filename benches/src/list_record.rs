//! The same stages behind an ABI that hands over `list<record>`, as most hosts do. It talks to wasmtime
//! directly, since the engine knows only the contract; everything else is set up as the engine does.

use arrow::array::{Array, BinaryArray};
use wasmtime::component::{Component, Linker};
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store, StoreLimits,
    StoreLimitsBuilder, UpdateDeadline,
};

use crate::workload::Checksum;

wasmtime::component::bindgen!({
    path: "wit-list",
    world: "list-record",
    exports: { default: async },
});

pub use exports::conveyor::bench::list_of_records::Message;

/// More than any batch needs; what is left is not looked at.
const FUEL: u64 = u64::MAX / 2;
const MEMORY_BYTES: usize = 256 << 20;

/// Anything that wasmtime says went wrong.
#[derive(thiserror::Error, Debug)]
#[error("the stages of lists of records: {0:#}")]
pub struct ListRecordError(wasmtime::Error);

impl From<wasmtime::Error> for ListRecordError {
    fn from(error: wasmtime::Error) -> Self {
        Self(error)
    }
}

/// The three stages, each in an instance of its own.
pub struct Stages {
    instances: Vec<(Store<StoreLimits>, ListRecord)>,
}

impl Stages {
    pub async fn start(component: &[u8]) -> Result<Self, ListRecordError> {
        let mut config = Config::new();
        config.consume_fuel(true).epoch_interruption(true).concurrency_support(false).memory_init_cow(true);
        let pool = PoolingAllocationConfig::new();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engine = Engine::new(&config)?;
        let component = Component::new(&engine, component)?;
        let linker = Linker::new(&engine);
        let mut instances = Vec::new();
        for _ in crate::stages::Stage::ALL {
            let limits = StoreLimitsBuilder::new().memory_size(MEMORY_BYTES).build();
            let mut store = Store::new(&engine, limits);
            store.limiter(|limits| limits);
            store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Yield(1)));
            store.set_hostcall_fuel(MEMORY_BYTES);
            arm(&mut store)?;
            let instance = ListRecord::instantiate_async(&mut store, &component, &linker).await?;
            instances.push((store, instance));
        }
        Ok(Self { instances })
    }

    /// Sends a batch through the three stages.
    pub async fn run(&mut self, batch: &[Message]) -> Result<Vec<Message>, ListRecordError> {
        let [half, wrap, most] = &mut self.instances[..] else { unreachable!("three stages were started") };
        arm(&mut half.0)?;
        let kept = half.1.conveyor_bench_list_of_records().call_half(&mut half.0, batch).await?;
        arm(&mut wrap.0)?;
        let wrapped = wrap.1.conveyor_bench_list_of_records().call_wrap(&mut wrap.0, &kept).await?;
        arm(&mut most.0)?;
        Ok(most.1.conveyor_bench_list_of_records().call_most(&mut most.0, &wrapped).await?)
    }

    /// Sends all batches through, adding up what comes out.
    pub async fn checksum(&mut self, batches: &[Vec<Message>]) -> Result<Checksum, ListRecordError> {
        let mut checksum = Checksum::default();
        for batch in batches {
            self.run(batch).await?.iter().for_each(|message| checksum.add(&message.value));
        }
        Ok(checksum)
    }
}

/// A prepared batch as this ABI wants it.
pub fn messages(batch: &BinaryArray) -> Vec<Message> {
    (0..batch.len()).map(|record| Message { value: batch.value(record).to_vec() }).collect()
}

fn arm(store: &mut Store<StoreLimits>) -> wasmtime::Result<()> {
    store.set_fuel(FUEL)?;
    store.set_epoch_deadline(1);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{guests, workload};

    #[tokio::test(flavor = "current_thread")]
    async fn records_one_by_one_give_the_same() {
        let component = guests::component("list-record").expect("built by `cargo xtask guests`");
        let mut stages = Stages::start(&component).await.expect("starts");
        let batches = workload::batches();
        let prepared: Vec<_> = batches.iter().take(3).map(messages).collect();
        let found = stages.checksum(&prepared).await.expect("three calls each");
        assert_eq!(found, workload::expected(&batches[..3]));
    }
}
