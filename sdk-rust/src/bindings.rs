//! What wit-bindgen makes of `wit/`: the types of the contract once, and one module of export glue per
//! kind of stage. A stage exports `about`, `fingerprint` and the interface of its kind; each is a world of its own here,
//! so that a stage takes those that it needs, and the tool that makes the component joins them.
//!
//! Nothing in here is part of the public interface of this crate, apart from the types that the crate root
//! names again.

pub mod types {
    wit_bindgen::generate!({
        path: "wit",
        inline: "package conveyor:sdk;
            world types {
                import conveyor:stage/log@0.1.0;
                import conveyor:stage/secrets@0.1.0;
                import conveyor:stage/state@0.1.0;
                import conveyor:stage/columns@0.1.0;
                import conveyor:stage/records@0.1.0;
                import conveyor:stage/tables@0.1.0;
                import conveyor:stage/outcomes@0.1.0;
                import conveyor:stage/splits@0.1.0;
                import conveyor:stage/commits@0.1.0;
            }",
        world: "conveyor:sdk/types",
        additional_derives: [PartialEq],
        generate_all,
    });
    pub use conveyor::stage::{columns, commits, log, outcomes, records, secrets, splits, state, tables};
}

/// One interface that a stage exports, on the types of [`types`].
macro_rules! exported {
    ($module:ident, $inline:literal, $world:literal, $bindings:literal, { $($interface:literal: $types:ident),* }) => {
        pub mod $module {
            wit_bindgen::generate!({
                path: "wit",
                inline: $inline,
                world: $world,
                with: { $($interface: crate::bindings::types::$types),* },
                pub_export_macro: true,
                default_bindings_module: $bindings,
                generate_all,
            });
        }
    };
}

exported!(
    about,
    "package conveyor:sdk; world describe { export conveyor:stage/about@0.1.0; }",
    "conveyor:sdk/describe",
    "conveyor_sdk::bindings::about",
    {}
);
exported!(
    fingerprint,
    "package conveyor:sdk; world fingerprints { export conveyor:stage/fingerprint@0.1.0; }",
    "conveyor:sdk/fingerprints",
    "conveyor_sdk::bindings::fingerprint",
    {
        "conveyor:stage/columns@0.1.0": columns,
        "conveyor:stage/records@0.1.0": records,
        "conveyor:stage/outcomes@0.1.0": outcomes
    }
);
exported!(
    transform,
    "package conveyor:sdk; world transforms { export conveyor:stage/transform@0.1.0; }",
    "conveyor:sdk/transforms",
    "conveyor_sdk::bindings::transform",
    {
        "conveyor:stage/columns@0.1.0": columns,
        "conveyor:stage/records@0.1.0": records,
        "conveyor:stage/outcomes@0.1.0": outcomes
    }
);
exported!(
    table_transform,
    "package conveyor:sdk; world table-transforms { export conveyor:stage/table-transform@0.1.0; }",
    "conveyor:sdk/table-transforms",
    "conveyor_sdk::bindings::table_transform",
    {
        "conveyor:stage/columns@0.1.0": columns,
        "conveyor:stage/records@0.1.0": records,
        "conveyor:stage/tables@0.1.0": tables,
        "conveyor:stage/outcomes@0.1.0": outcomes
    }
);
exported!(
    source,
    "package conveyor:sdk; world sources { export conveyor:stage/source@0.1.0; }",
    "conveyor:sdk/sources",
    "conveyor_sdk::bindings::source",
    {
        "conveyor:stage/columns@0.1.0": columns,
        "conveyor:stage/records@0.1.0": records,
        "conveyor:stage/outcomes@0.1.0": outcomes,
        "conveyor:stage/splits@0.1.0": splits
    }
);
exported!(
    table_source,
    "package conveyor:sdk; world table-sources { export conveyor:stage/table-source@0.1.0; }",
    "conveyor:sdk/table-sources",
    "conveyor_sdk::bindings::table_source",
    {
        "conveyor:stage/columns@0.1.0": columns,
        "conveyor:stage/records@0.1.0": records,
        "conveyor:stage/tables@0.1.0": tables,
        "conveyor:stage/outcomes@0.1.0": outcomes,
        "conveyor:stage/splits@0.1.0": splits
    }
);
exported!(
    sink,
    "package conveyor:sdk; world sinks { export conveyor:stage/sink@0.1.0; }",
    "conveyor:sdk/sinks",
    "conveyor_sdk::bindings::sink",
    {
        "conveyor:stage/columns@0.1.0": columns,
        "conveyor:stage/records@0.1.0": records,
        "conveyor:stage/outcomes@0.1.0": outcomes,
        "conveyor:stage/commits@0.1.0": commits
    }
);
exported!(
    table_sink,
    "package conveyor:sdk; world table-sinks { export conveyor:stage/table-sink@0.1.0; }",
    "conveyor:sdk/table-sinks",
    "conveyor_sdk::bindings::table_sink",
    {
        "conveyor:stage/columns@0.1.0": columns,
        "conveyor:stage/records@0.1.0": records,
        "conveyor:stage/tables@0.1.0": tables,
        "conveyor:stage/outcomes@0.1.0": outcomes,
        "conveyor:stage/commits@0.1.0": commits
    }
);
