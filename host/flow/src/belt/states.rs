//! The states of the stages on one belt.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{Belt, Station};
use crate::state::{StageState, StateDelta};

/// What stages remember, with their indices.
pub(super) fn of_stations(stations: &HashMap<usize, Station>) -> Vec<(usize, Arc<StageState>)> {
    let state = |(stage, station): (&usize, &Station)| match station {
        Station::Transform { transform, .. } => Some((*stage, transform.state.clone()?)),
        _ => None,
    };
    stations.iter().filter_map(state).collect()
}

impl Station {
    /// The call that was answered last has succeeded: what it wrote counts.
    pub fn keep_state(&self) {
        if let Station::Transform { transform, .. } = self
            && let Some(state) = &transform.state
        {
            state.keep();
        }
    }
}

impl Belt {
    /// What changed in the states of this belt's stages since the barrier before.
    pub fn freeze_states(&self) -> BTreeMap<Arc<str>, StateDelta> {
        let stages = &self.context.plan.stages;
        let frozen = self.states.iter();
        frozen.filter_map(|(stage, state)| Some((stages[*stage].name.clone(), state.freeze()?))).collect()
    }

    /// The checkpoint is committed that has what was frozen last.
    pub fn states_stored(&self) {
        self.states.iter().for_each(|(_, state)| state.stored());
    }

    /// Whether a stage has written so much that it is time for a checkpoint.
    pub fn is_state_heavy(&self) -> bool {
        self.states.iter().any(|(_, state)| state.is_heavy())
    }

    /// Whether a stage should write no more before a checkpoint has what it wrote.
    pub fn is_state_full(&self) -> bool {
        self.states.iter().any(|(_, state)| state.is_full())
    }
}
