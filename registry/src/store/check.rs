//! `fsck`: whether all that the index has is there and is what it says.

use model::ids::Digest;
use model::limits::{REGISTRY_PROBLEMS_MAX, REGISTRY_WALKED_AT_ONCE};
use serde::{Deserialize, Serialize};

use super::collect::content_of;
use super::{Refused, Result, Store, StoreError};
use crate::name::Repository;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    pub repositories: u64,
    pub contents: u64,
    pub bytes: u64,
    /// Contents that are not what their names say. They are put aside; whoever pushes one again mends it.
    pub damaged: u64,
    /// Contents that are not there.
    pub missing: u64,
    /// Files of contents that nothing in the index has: collected the next time.
    pub unheld: u64,
    /// What is wrong, a line each; the first of them.
    pub problems: Vec<String>,
}

impl Checked {
    fn tell(&mut self, problem: String) {
        if self.problems.len() < REGISTRY_PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }
}

impl Store {
    /// Reads everything. Pushes may go on meanwhile.
    pub fn check(&self) -> Result<Checked> {
        let mut checked = Checked::default();
        let mut last: Option<Digest> = None;
        loop {
            let contents = self.index.contents(last.as_ref(), REGISTRY_WALKED_AT_ONCE)?;
            let Some((end, _)) = contents.last().copied() else { break };
            for (digest, bytes) in contents {
                self.check_content(&digest, bytes, &mut checked)?;
            }
            last = Some(end);
        }
        self.each_repository(|repository| {
            checked.repositories += 1;
            self.index.dangling(&repository)?.into_iter().for_each(|problem| checked.tell(problem));
            Ok(())
        })?;
        let names = self.disk.list(&self.contents).map_err(|error| StoreError::io(&self.contents, error))?;
        for digest in names.iter().filter_map(|name| content_of(name.to_str()?)) {
            checked.unheld += u64::from(self.index.holders(&digest, 1)?.is_empty());
        }
        Ok(checked)
    }

    fn check_content(&self, digest: &Digest, bytes: u64, checked: &mut Checked) -> Result<()> {
        checked.contents += 1;
        checked.bytes += bytes;
        let verified = self.open_content(digest, bytes).and_then(|content| self.recheck(content));
        match verified {
            Ok(()) => {}
            // It may have been removed since.
            Err(StoreError::Refused(Refused::BlobUnknown { .. }))
                if self.index.holders(digest, 1)?.is_empty() => {}
            Err(StoreError::Refused(Refused::BlobUnknown { .. })) => {
                checked.missing += 1;
                checked.tell(format!("{digest} is not there: push it again{}", self.told_of(digest)?));
            }
            Err(StoreError::Content { why, .. }) => {
                checked.damaged += 1;
                let by = self.told_of(digest)?;
                checked.tell(format!("{digest} is damaged: {why}; it is put aside: push it again{by}"));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn told_of(&self, digest: &Digest) -> Result<String> {
        let holders = self.index.holders(digest, 3)?;
        let names: Vec<&str> = holders.iter().map(Repository::as_str).collect();
        Ok(if names.is_empty() { String::new() } else { format!(" to {}", names.join(", ")) })
    }
}
