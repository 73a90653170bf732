//! Makes symbolic links that lead out of its directory, and follows those that are there already.

use hostile::dir;

fn act(path: &str) -> String {
    dir::within(|dir| {
        for (to, name) in [(path, "absolute"), ("../secret.txt", "beside"), ("..", "above")] {
            // Whether they can be made does not matter: what is behind them does.
            let _ = dir.symlink_at(to, name);
        }
        dir::read_any(dir, &["absolute", "beside", "above/secret.txt", "planted", "planted-dir/secret.txt"])
    })
}

hostile::stage!(act);
