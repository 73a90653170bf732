//! Compiled code on disk, so that a component is compiled once per digest and engine.
//!
//! `<digest>-<engine>.cwasm` holds the code, `.dwarf` beside it what is looked up after a death, and a JSON file of
//! the same name what the component said of itself, behind a line with its own hash. It names the length and the hash of
//! the first: what was cut short or damaged is compiled again, never run or believed. The hash is XXH3 with 128 bits, because it reads ten gigabytes a second and cold
//! starts wait for it; it finds damage, not an attacker. Against those the directory is its owner's alone:
//! who can write there can run code as this user anyway.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use model::ids::Digest;
use model::stage::About;
use serde::{Deserialize, Serialize};
use wasmtime::component::Component;

use super::child;
use super::fit::Names;
use super::translate::Translated;
use crate::symbols::{Index, Kept, Symbols, hash_text};

/// The shape of the JSON file; another one is as good as none.
const FORMAT: u32 = 3;

/// What is kept beside the code.
#[derive(Serialize, Deserialize)]
struct Sidecar {
    format: u32,
    code_bytes: u64,
    /// XXH3-128 of the code, in hex.
    code_xxh3: String,
    debug: Index,
    /// XXH3-128 of the DWARF, in hex.
    debug_xxh3: String,
    exports: Vec<String>,
    imports: Vec<String>,
    about: AboutText,
}

#[derive(Serialize, Deserialize)]
struct AboutText {
    name: String,
    version: String,
    summary: String,
    config_schema: String,
    needs: Vec<String>,
    hints: Vec<(String, String)>,
}

/// What a cache gave back.
pub(crate) struct Hit {
    pub wasm: Component,
    pub names: Names,
    pub about: About,
    pub symbols: Symbols,
}

/// Where the code of one component is, or would be.
pub(crate) struct Entry {
    dir: PathBuf,
    stem: String,
}

impl Entry {
    pub(crate) fn of(dir: &Path, engine: &wasmtime::Engine, digest: &Digest) -> Self {
        let stem = format!("{}-{:016x}", digest.hex(), child::settings(engine));
        Self { dir: dir.to_owned(), stem }
    }

    fn path(&self, extension: &str) -> PathBuf {
        self.dir.join(format!("{}.{extension}", self.stem))
    }

    /// Whether nobody but this user (and root) can put files there.
    fn is_ours(&self) -> io::Result<bool> {
        let dir = fs::metadata(&self.dir)?;
        let owner = dir.uid();
        Ok((owner == 0 || owner == rustix::process::geteuid().as_raw()) && dir.mode() & 0o022 == 0)
    }

    /// The code and what it said of itself; none where there is none, or none that can be trusted.
    pub(crate) fn load(&self, engine: &wasmtime::Engine) -> Option<Hit> {
        if !self.is_ours().ok()? {
            tracing::warn!(dir = %self.dir.display(), "others can write to the cache of compiled code: not used");
            return None;
        }
        let sidecar: Sidecar = serde_json::from_slice(unhashed(&fs::read(self.path("json")).ok()?)?).ok()?;
        if sidecar.format != FORMAT {
            return None;
        }
        let path = self.path("cwasm");
        let code = fs::read(&path).ok()?;
        if code.len() as u64 != sidecar.code_bytes || hash_text(&code) != sidecar.code_xxh3 {
            tracing::warn!(path = %path.display(), "compiled code is damaged; it is compiled again");
            return None;
        }
        drop(code);
        let wasm = deserialize(engine, &path)
            .inspect_err(|error| tracing::warn!(path = %path.display(), %error, "cached code does not load"));
        let names = Names { exports: sidecar.exports, imports: sidecar.imports };
        let symbols = Symbols::new(sidecar.debug, Kept::File(self.path("dwarf"), sidecar.debug_xxh3));
        Some(Hit { wasm: wasm.ok()?, names, about: sidecar.about.into(), symbols })
    }

    /// Keeps what was translated. The file that names the code is written last, so that a crash leaves no entry.
    pub(crate) fn save(&self, translated: &Translated, names: &Names, about: &About) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        if !self.is_ours()? {
            let why = format!("others can write to {}; `chmod go-w` it", self.dir.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        let Translated { code, index, debug } = translated;
        let sidecar = Sidecar {
            format: FORMAT,
            code_bytes: code.len() as u64,
            code_xxh3: hash_text(code),
            debug: index.clone(),
            debug_xxh3: hash_text(debug),
            exports: names.exports.clone(),
            imports: names.imports.clone(),
            about: about.clone().into(),
        };
        self.write("cwasm", code)?;
        if !debug.is_empty() {
            self.write("dwarf", debug)?;
        }
        self.write("json", &hashed(&serde_json::to_vec_pretty(&sidecar)?))?;
        File::open(&self.dir)?.sync_all()
    }

    fn write(&self, extension: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(&self.dir)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(self.path(extension)).map_err(|e| e.error)?;
        Ok(())
    }
}

/// Text behind a line with its hash.
fn hashed(text: &[u8]) -> Vec<u8> {
    [hash_text(text).as_bytes(), b"\n", text].concat()
}

/// The text, where its hash is right.
fn unhashed(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (hash, text) = (&bytes[..end], &bytes[end + 1..]);
    (hash == hash_text(text).as_bytes()).then_some(text)
}

#[expect(unsafe_code, reason = "loading compiled code is the point of the cache")]
fn deserialize(engine: &wasmtime::Engine, path: &Path) -> wasmtime::Result<Component> {
    // SAFETY: the file must hold what `Component::serialize` gave, unaltered, and stay so while it is
    // mapped. It lies in a directory that only this user can write, in which files are only ever put whole
    // by a rename and never written in place; its length and hash were just compared with what was noted
    // when the code was compiled; and wasmtime itself compares version and settings.
    unsafe { Component::deserialize_file(engine, path) }
}

/// Code that was compiled just now.
#[expect(unsafe_code, reason = "what compiles has no other way to hand its code over")]
pub(crate) fn from_compiler(engine: &wasmtime::Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the bytes must be what `Engine::precompile_component` gave, unaltered. They come from a call of it in
    // this process, or through a pipe from a process that this one started from its own program, was the only one to
    // hold the other end, and ended well; wasmtime itself compares version and settings.
    unsafe { Component::deserialize(engine, code) }
}

impl From<AboutText> for About {
    fn from(text: AboutText) -> Self {
        let AboutText { name, version, summary, config_schema, needs, hints } = text;
        Self { name, version, summary, config_schema, needs, hints }
    }
}

impl From<About> for AboutText {
    fn from(about: About) -> Self {
        let About { name, version, summary, config_schema, needs, hints } = about;
        Self { name, version, summary, config_schema, needs, hints }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    struct Kept {
        engine: wasmtime::Engine,
        entry: Entry,
        _dir: tempfile::TempDir,
    }

    fn translated(engine: &wasmtime::Engine) -> Translated {
        let component = wat::parse_str("(component)").expect("text");
        super::super::translate(engine, &component).unwrap_or_else(|_| panic!("it does not compile"))
    }

    fn kept() -> Kept {
        let dir = tempfile::tempdir().expect("a directory");
        let engine = wasmtime::Engine::default();
        let entry = Entry::of(&dir.path().join("code"), &engine, &Digest::of(b"x"));
        let names = Names { exports: vec!["a".into()], imports: vec!["b".into()] };
        let about = About { name: "n".into(), ..About::default() };
        entry.save(&translated(&engine), &names, &about).expect("saved");
        Kept { engine, entry, _dir: dir }
    }

    #[test]
    fn what_was_kept_comes_back_and_is_its_owners_alone() {
        let Kept { engine, entry, _dir } = kept();
        let hit = entry.load(&engine).expect("a hit");
        assert_eq!((hit.about.name.as_str(), &*hit.names.exports), ("n", &["a".to_owned()][..]));
        let mode = fs::metadata(&entry.dir).expect("the directory").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn damaged_code_is_not_loaded() {
        type Damage = fn(&mut Vec<u8>);
        let damages: [(&str, &str, Damage); 6] = [
            ("a bit of the code", "cwasm", |bytes| bytes[1000] ^= 1),
            ("the last byte of the code", "cwasm", |bytes| *bytes.last_mut().expect("bytes") ^= 0x80),
            ("the end of the code", "cwasm", |bytes| bytes.truncate(bytes.len() - 1)),
            ("all of the code", "cwasm", |bytes| bytes.clear()),
            ("a letter in the sidecar", "json", |bytes| {
                let at = bytes.windows(3).position(|three| three == b"\"n\"").expect("the name");
                bytes[at + 1] = b'm';
            }),
            ("the end of the sidecar", "json", |bytes| bytes.truncate(bytes.len() / 2)),
        ];
        for (what, extension, damage) in damages {
            let Kept { engine, entry, _dir } = kept();
            let path = entry.path(extension);
            let mut bytes = fs::read(&path).expect("the file");
            damage(&mut bytes);
            fs::write(&path, bytes).expect("written");
            assert!(entry.load(&engine).is_none(), "{what} was damaged, and it was loaded");
        }
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_not_used() {
        let Kept { engine, entry, _dir } = kept();
        fs::set_permissions(&entry.dir, fs::Permissions::from_mode(0o777)).expect("set");
        assert!(entry.load(&engine).is_none(), "code that anybody may have put there was loaded");
        let saved = entry.save(&translated(&engine), &Names::default(), &About::default());
        assert_eq!(saved.map_err(|error| error.kind()), Err(io::ErrorKind::PermissionDenied));
    }

    #[test]
    fn another_engine_finds_nothing() {
        let Kept { entry, .. } = kept();
        let mut config = wasmtime::Config::new();
        config.consume_fuel(true);
        let other = wasmtime::Engine::new(&config).expect("an engine");
        assert_ne!(Entry::of(&entry.dir, &other, &Digest::of(b"x")).stem, entry.stem);
    }
}
