//! A library that panics on what it reads is caught here, and what it said becomes an error of the file.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
    static SAID: RefCell<String> = const { RefCell::new(String::new()) };
}

/// What `read` gives; or what it said when it panicked, of which nothing is printed. It is dropped then with all that it
/// had in its hands, so that nobody sees what it left half done.
pub(super) fn guarded<T>(read: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            if GUARDED.get() {
                let payload = panic.payload_as_str().unwrap_or("it panicked");
                SAID.with_borrow_mut(|said| *said = payload.chars().take(SAID_CHARS_MAX).collect());
            } else {
                before(panic);
            }
        }));
    });
    let outer = GUARDED.replace(true);
    let read = catch_unwind(AssertUnwindSafe(read));
    GUARDED.set(outer);
    read.map_err(|_| SAID.take())
}

/// How much of a panic an error repeats.
const SAID_CHARS_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_what_it_said() {
        assert_eq!(guarded(|| 1), Ok(1));
        let inner = guarded(|| {
            let caught = guarded(|| -> () { panic!("within") });
            assert_eq!(caught, Err("within".to_owned()));
            panic!("at {}", 7)
        });
        assert_eq!(inner, Err::<(), _>("at 7".to_owned()));
    }
}
