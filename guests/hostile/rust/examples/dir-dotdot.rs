//! Looks for a file beside the directory that it is granted, by `..`.

use hostile::dir;

fn act(_: &str) -> String {
    let paths =
        ["../secret.txt", "deep/../../secret.txt", "./.././secret.txt", "deep/../deep/../../secret.txt"];
    dir::within(|dir| dir::read_any(dir, &paths))
}

hostile::stage!(act);
