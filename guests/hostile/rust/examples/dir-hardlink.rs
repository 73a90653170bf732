//! Makes hard links in its directory to what lies outside of it.

use hostile::dir;
use wasip2::filesystem::types::PathFlags;

fn act(path: &str) -> String {
    dir::within(|dir| {
        for (from, name) in [(path, "absolute"), ("../secret.txt", "beside"), ("planted", "through")] {
            for flags in [PathFlags::empty(), PathFlags::SYMLINK_FOLLOW] {
                let _ = dir.link_at(flags, from, dir, name);
            }
        }
        dir::read_any(dir, &["absolute", "beside", "through"])
    })
}

hostile::stage!(act);
