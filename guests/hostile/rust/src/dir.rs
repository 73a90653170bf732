//! Out of a granted directory.

use wasip2::filesystem::preopens;
use wasip2::filesystem::types::{Descriptor, DescriptorFlags, OpenFlags, PathFlags};

/// Does something with the first directory that is granted, and tells what came of it.
pub fn within(act: impl FnOnce(&Descriptor) -> Result<String, String>) -> String {
    match preopens::get_directories().into_iter().next() {
        Some((dir, _)) => act(&dir).unwrap_or_else(|error| format!("error: {error}")),
        None => "error: no directory".to_owned(),
    }
}

/// What stands in a file.
pub fn read(dir: &Descriptor, path: &str) -> Result<String, String> {
    let file = dir
        .open_at(PathFlags::SYMLINK_FOLLOW, path, OpenFlags::empty(), DescriptorFlags::READ)
        .map_err(|code| format!("{path}: {code:?}"))?;
    let (bytes, _) = file.read(1 << 16, 0).map_err(|code| format!("{path}: {code:?}"))?;
    Ok(format!("read: {}", String::from_utf8_lossy(&bytes)))
}

/// The first of these paths that can be read.
pub fn read_any(dir: &Descriptor, paths: &[&str]) -> Result<String, String> {
    let mut refused = Vec::new();
    for path in paths {
        match read(dir, path) {
            Ok(text) => return Ok(text),
            Err(why) => refused.push(why),
        }
    }
    Err(refused.join("; "))
}
