//! Components that manifests name by paths and that were pushed to this node's own registry when they were deployed.

use std::sync::Arc;

use bytes::Bytes;
use model::ids::Digest;
use registry::name::Repository;
use registry::store::{Store, StoreError};

/// The repository of a store in this process that has the components of one pipeline.
#[derive(Clone)]
pub struct Pushed {
    pub store: Arc<Store>,
    pub repository: Repository,
}

impl Pushed {
    /// A component by its digest, as it was pushed.
    pub async fn component(&self, digest: Digest) -> Result<Bytes, StoreError> {
        let Self { store, repository } = self.clone();
        let read = move || store.read_content(&store.open_blob(&repository, &digest)?);
        let read = tokio::task::spawn_blocking(read).await;
        match read {
            Ok(read) => read.map(Bytes::from),
            Err(broke) => std::panic::resume_unwind(broke.into_panic()),
        }
    }
}

impl std::fmt::Debug for Pushed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Pushed").field(&self.repository).finish()
    }
}
