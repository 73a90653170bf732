//! How wasmtime is set up: the same for whoever compiles and whoever runs.

use model::limits;
use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, WasmBacktraceDetails,
};

/// The same for whoever compiles and whoever runs what was compiled; `instances` does not change the code.
pub(crate) fn config(instances: u32, metered: bool) -> Config {
    let mut config = Config::new();
    config
        .cranelift_opt_level(OptLevel::Speed)
        .consume_fuel(metered)
        .epoch_interruption(metered)
        // With it on, the async path costs twice as much per call.
        .concurrency_support(false)
        // `crate::symbols` looks up where a stage died, once and not at every trap.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .memory_init_cow(true)
        .async_stack_size(limits::FIBER_STACK_BYTES)
        .max_wasm_stack(limits::GUEST_STACK_BYTES)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool(instances)));
    config
}

fn pool(instances: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    // A component from an ordinary toolchain is one to four core modules, one memory and up to two tables;
    // those that bring an interpreter are up to thirty modules around one memory and one table.
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(4))
        .total_memories(instances)
        .total_tables(instances.saturating_mul(2))
        .total_stacks(instances)
        .max_core_instances_per_component(limits::CORE_INSTANCES_MAX)
        .max_memories_per_component(limits::CORE_MEMORIES_MAX)
        .max_tables_per_component(limits::CORE_TABLES_MAX)
        .max_memories_per_module(limits::CORE_MEMORIES_MAX)
        .max_tables_per_module(limits::CORE_TABLES_MAX)
        .table_elements(limits::TABLE_ELEMENTS_MAX)
        .max_memory_size(limits::STAGE_MEMORY_BYTES_MAX)
        .linear_memory_keep_resident(limits::SLOT_RESIDENT_BYTES)
        .table_keep_resident(limits::SLOT_TABLE_RESIDENT_BYTES)
        .max_unused_warm_slots(limits::WARM_SLOTS_MAX)
        // Where the kernel can say which pages were written, only those are wiped.
        .pagemap_scan(Enabled::Auto);
    pool
}
