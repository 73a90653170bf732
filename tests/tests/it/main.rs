//! What only shows when the parts are together: one binary, one file for each part and property.

mod commits;
mod contract;
mod damage;
mod engine_bytes;
mod engine_ends;
mod engine_grants;
mod engine_http;
mod engine_limits;
mod engine_load;
mod engine_state;
mod engine_table;
mod growth;
mod guests;
mod older_stores;
mod state_runs;
mod state_store;
