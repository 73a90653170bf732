//! What `secret` answers in a test.

use std::cell::RefCell;
use std::collections::BTreeMap;

thread_local! {
    /// Of this thread alone, as each test has one.
    static SECRETS: RefCell<BTreeMap<String, String>> = const { RefCell::new(BTreeMap::new()) };
}

/// From here on, in this thread, [`secret`](crate::secret) answers `value` for `name`.
pub fn set_secret(name: impl Into<String>, value: impl Into<String>) {
    SECRETS.with_borrow_mut(|secrets| secrets.insert(name.into(), value.into()));
}

pub(crate) fn secret_of(name: &str) -> Option<String> {
    SECRETS.with_borrow(|secrets| secrets.get(name).cloned())
}
