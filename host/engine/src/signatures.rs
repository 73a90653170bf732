//! The functions of the contract as types: their parameters and results.

use wasmtime::component::{ComponentNamedList, Lift, Lower};

use crate::contract::*;

/// An interface that a stage may have beside that of its kind, and its one function.
pub(crate) const FINGERPRINT: &str = "fingerprint";

/// What a call of the contract answers: a value, or the stage's own failure.
pub(crate) type Answer<R> = (Result<R, FailureOut>,);

/// The parameters and results of a function of the contract.
pub(crate) trait Signature {
    type Params: ComponentNamedList + Lower;
    type Results: ComponentNamedList + Lift;
}

impl<P: ComponentNamedList + Lower, R: ComponentNamedList + Lift> Signature for (P, R) {
    type Params = P;
    type Results = R;
}

pub(crate) type Describe = ((), (AboutOut,));
pub(crate) type Open<'a> = ((&'a str,), Answer<()>);
pub(crate) type OpenTable<'a> = ((&'a str, &'a [Field]), Answer<()>);
pub(crate) type Plan<'a> = ((&'a str,), Answer<RecordPlanOut>);
pub(crate) type PlanTable<'a> = ((&'a str, &'a [Field]), Answer<TablePlanOut>);
pub(crate) type Process<'a> = ((BatchIn<'a>,), Answer<OutcomeOut>);
pub(crate) type ProcessTable<'a> = ((TableIn<'a>,), Answer<TableOutcomeOut>);
pub(crate) type Schema<'a> = ((&'a str,), Answer<Vec<Field>>);
pub(crate) type Splits<'a> = ((&'a str,), Answer<Vec<String>>);
pub(crate) type OpenTableSource<'a> = ((&'a str, &'a [u32]), Answer<()>);
pub(crate) type Assign<'a> = ((&'a [Split],), Answer<()>);
pub(crate) type Pull = ((u32, u32, u32), Answer<Option<(BatchOut, PlaceOut)>>);
pub(crate) type PullTable = ((u32, u32, u32), Answer<Option<(TableOut, PlaceOut)>>);
pub(crate) type Committed<'a> = ((u32, &'a [u8]), Answer<()>);
pub(crate) type PlanSink<'a> = ((&'a str,), Answer<SinkPlanOut>);
pub(crate) type PlanTableSink<'a> = ((&'a str, &'a [Field]), Answer<TableSinkPlanOut>);
pub(crate) type OpenSink<'a> = ((&'a str, &'a Context), Answer<()>);
pub(crate) type OpenTableSink<'a> = ((&'a str, &'a [Field], &'a Context), Answer<()>);
pub(crate) type Write<'a> = ((BatchIn<'a>, Option<&'a [u8]>), Answer<Vec<RejectionOut>>);
pub(crate) type WriteTable<'a> = ((TableIn<'a>, Option<&'a [u8]>), Answer<Vec<RejectionOut>>);
pub(crate) type Prepare = ((u64,), Answer<Vec<u8>>);
pub(crate) type Commit<'a> = ((&'a [u8],), Answer<()>);
pub(crate) type Fingerprint<'a> = ((&'a str,), Answer<Option<Vec<PartOut>>>);
