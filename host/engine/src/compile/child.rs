//! Compiling in a process of its own, which has limits: a component that takes for ever or all memory to compile
//! costs that process alone.
//!
//! The child is this program again, told what to do by one argument. It gets the component on stdin and answers on
//! stdout: one line of JSON, then the code, then the DWARF. It limits itself before it reads anything. Only its own
//! answer is ever taken for code, and wasmtime compares version and settings once more when it is loaded.

use std::hash::{Hash, Hasher};
use std::io::{self, BufRead, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use model::limits;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::translate::{Translated, Untranslated, translate};
use crate::config::config;
use crate::error::LoadError;
use crate::symbols::Index;

/// A program that compiles: it hands its last argument to [`compile_stage`].
#[derive(Clone, Debug)]
pub struct Compiler {
    pub program: PathBuf,
    pub args: Vec<String>,
    pub bounds: CompileBounds,
}

/// How much compiling one component may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileBounds {
    /// On the clock at the wall.
    pub time: Duration,
    pub memory_bytes: usize,
    /// Of the code that comes of it.
    pub code_bytes: usize,
}

impl Default for CompileBounds {
    fn default() -> Self {
        Self {
            time: limits::COMPILE_TIME,
            memory_bytes: limits::COMPILE_MEMORY_BYTES,
            code_bytes: limits::COMPILED_BYTES_MAX,
        }
    }
}

/// What the child is told.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    metered: bool,
    /// What the settings of the engine come to.
    settings: u64,
    memory_bytes: usize,
    /// Of all its threads.
    cpu_seconds: u64,
}

/// The line that its answer begins with.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Head {
    Code { bytes: usize, debug: Index },
    Invalid { why: String },
    Componentize { why: String },
    NoMemory,
}

/// Why the child has nothing to answer.
#[derive(thiserror::Error, Debug)]
pub enum CompileStageError {
    #[error("this is no order of an engine: {0}; `conveyor` starts this by itself")]
    Order(serde_json::Error),
    #[error("cannot limit itself: {0}")]
    Limit(rustix::io::Errno),
    #[error("cannot make an engine: {0}")]
    Engine(wasmtime::Error),
    #[error("its settings are others than those of the engine that asks")]
    Settings,
    #[error("cannot read the component: {0}")]
    Read(io::Error),
    #[error("cannot write the code: {0}")]
    Write(io::Error),
}

/// What the settings of an engine come to: code of one does not load in another.
pub(crate) fn settings(engine: &wasmtime::Engine) -> u64 {
    let mut hasher = Xxh3::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

/// The child's side: limits itself, compiles what comes on stdin, answers on stdout. To be called by a process that
/// does nothing else and was started by a [`Compiler`].
pub fn compile_stage(order: &str) -> Result<(), CompileStageError> {
    let order: Order = serde_json::from_str(order).map_err(CompileStageError::Order)?;
    limit_itself(&order).map_err(CompileStageError::Limit)?;
    let engine = wasmtime::Engine::new(&config(1, order.metered)).map_err(CompileStageError::Engine)?;
    if settings(&engine) != order.settings {
        return Err(CompileStageError::Settings);
    }
    let mut bytes = Vec::new();
    let most = limits::COMPONENT_BYTES_MAX as u64 + 1;
    io::stdin().lock().take(most).read_to_end(&mut bytes).map_err(CompileStageError::Read)?;
    answer(translate(&engine, &bytes)).map_err(CompileStageError::Write)
}

fn answer(translated: Result<Translated, Untranslated>) -> io::Result<()> {
    let (head, code, debug) = match translated {
        Ok(Translated { code, index, debug }) => {
            (Head::Code { bytes: code.len(), debug: index }, code, debug)
        }
        Err(Untranslated::NoMemory) => (Head::NoMemory, Vec::new(), Vec::new()),
        Err(Untranslated::Unfit(LoadError::Componentize { why })) => {
            (Head::Componentize { why }, Vec::new(), Vec::new())
        }
        Err(Untranslated::Unfit(LoadError::Invalid { why })) => {
            (Head::Invalid { why }, Vec::new(), Vec::new())
        }
        // Told before the child is started.
        Err(Untranslated::Unfit(other)) => (Head::Invalid { why: other.to_string() }, Vec::new(), Vec::new()),
    };
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, &head)?;
    out.write_all(b"\n")?;
    out.write_all(&code)?;
    out.write_all(&debug)?;
    out.flush()
}

fn limit_itself(order: &Order) -> rustix::io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    // Whoever stops while it compiles wants nothing of it any more.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let limits = [
        (Resource::Core, 0),
        // It answers through a pipe and writes no file.
        (Resource::Fsize, 0),
        (Resource::Nofile, 16),
        // What it may write to, threads' stacks among it; the address space that an engine reserves is not.
        (Resource::Data, order.memory_bytes as u64),
        // It ends by itself where nobody is left who would end it.
        (Resource::Cpu, order.cpu_seconds),
    ];
    for (resource, most) in limits {
        let most = getrlimit(resource).maximum.map_or(most, |allowed| allowed.min(most));
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    Ok(())
}

/// Ended and reaped when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended by itself is fine too.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How the child ended.
struct Ended {
    answer: Vec<u8>,
    status: ExitStatus,
    words: Vec<u8>,
}

impl Compiler {
    /// The parent's side. Blocks.
    pub(crate) fn translate(
        &self,
        engine: &wasmtime::Engine,
        metered: bool,
        bytes: &[u8],
    ) -> Result<Translated, LoadError> {
        let ended = self.run(&self.order(engine, metered), bytes)?;
        if ended.status.success() {
            return self.take(&ended.answer);
        }
        let words = String::from_utf8_lossy(&ended.words);
        let limit = self.bounds.time;
        if ended.status.signal() == Some(Signal::XCPU.as_raw()) {
            return Err(LoadError::CompileTime { limit });
        }
        // What the allocator says before it aborts.
        if words.contains("memory allocation of") {
            return Err(self.out_of_memory());
        }
        let last = words.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        Err(LoadError::CompilerDied { how: format!("with {}: {last}", ended.status) })
    }

    fn order(&self, engine: &wasmtime::Engine, metered: bool) -> Order {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
        Order {
            metered,
            settings: settings(engine),
            memory_bytes: self.bounds.memory_bytes,
            cpu_seconds: (self.bounds.time.as_secs() + 1).saturating_mul(cores),
        }
    }

    fn run(&self, order: &Order, bytes: &[u8]) -> Result<Ended, LoadError> {
        let deadline = Instant::now() + self.bounds.time;
        let broke = |error: io::Error| LoadError::Interrupted { why: error.to_string() };
        let order = serde_json::to_string(order).map_err(|error| broke(error.into()))?;
        let mut command = Command::new(&self.program);
        command.arg0("conveyor").args(&self.args).arg(order).env_clear().current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let program = self.program.clone();
        let child = command.spawn().map_err(|source| LoadError::CompilerStart { program, source })?;
        let mut child = Running(child);
        let (stdin, stdout, stderr) = (child.0.stdin.take(), child.0.stdout.take(), child.0.stderr.take());
        let most = limits::COMPILED_HEAD_BYTES_MAX + self.bounds.code_bytes + limits::DEBUG_BYTES_MAX;
        std::thread::scope(|scope| {
            // One that has enough of it has said why, or is told by how it ends.
            scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(bytes)));
            let words = scope.spawn(move || said(stderr));
            let (sender, receiver) = mpsc::sync_channel(1);
            scope.spawn(move || sender.send(answered(stdout, most)));
            let ended = receiver.recv_timeout(self.bounds.time);
            // The other threads end with the child, whatever becomes of it.
            let Ok(answer) = ended else { return Err(self.too_long(child)) };
            let answer = answer.map_err(broke)?;
            if answer.len() > most {
                drop(child);
                return Err(LoadError::CodeTooLarge { limit_bytes: self.bounds.code_bytes });
            }
            let Some(status) = ended_by(&mut child, deadline).map_err(broke)? else {
                return Err(self.too_long(child));
            };
            Ok(Ended { answer, status, words: words.join().unwrap_or_default() })
        })
    }

    fn too_long(&self, child: Running) -> LoadError {
        drop(child);
        LoadError::CompileTime { limit: self.bounds.time }
    }

    fn out_of_memory(&self) -> LoadError {
        LoadError::CompileMemory { limit_bytes: self.bounds.memory_bytes }
    }

    /// What an answer says.
    fn take(&self, answer: &[u8]) -> Result<Translated, LoadError> {
        let wrong = |why: String| LoadError::CompilerAnswer { why };
        let mut rest = answer;
        let mut line = Vec::new();
        let most = limits::COMPILED_HEAD_BYTES_MAX as u64;
        // Reading from memory does not fail.
        let _ = rest.by_ref().take(most).read_until(b'\n', &mut line);
        let head =
            serde_json::from_slice(&line).map_err(|error| wrong(format!("its head is wrong: {error}")))?;
        match head {
            Head::Code { bytes, debug } => {
                let (code, dwarf) =
                    rest.split_at_checked(bytes).ok_or_else(|| wrong("it is cut short".to_owned()))?;
                if code.len() > self.bounds.code_bytes {
                    return Err(LoadError::CodeTooLarge { limit_bytes: self.bounds.code_bytes });
                }
                if dwarf.len() != debug.bytes {
                    let why = format!("{} bytes of DWARF, not {}", dwarf.len(), debug.bytes);
                    return Err(wrong(why));
                }
                Ok(Translated { code: code.to_vec(), index: debug, debug: dwarf.to_vec() })
            }
            Head::Invalid { why } => Err(LoadError::Invalid { why }),
            Head::Componentize { why } => Err(LoadError::Componentize { why }),
            Head::NoMemory => Err(self.out_of_memory()),
        }
    }
}

/// All of an answer, one byte more than may be at most.
fn answered(stdout: Option<impl Read>, most: usize) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    if let Some(stdout) = stdout {
        stdout.take(most as u64 + 1).read_to_end(&mut answer)?;
    }
    Ok(answer)
}

/// The beginning of what it says; the rest is read and forgotten, so that it does not wait to say it.
fn said(stderr: Option<impl Read>) -> Vec<u8> {
    let mut words = Vec::new();
    if let Some(mut stderr) = stderr {
        // It is for a report, and what there is has to do.
        let _ = stderr.by_ref().take(limits::COMPILER_WORDS_BYTES_MAX).read_to_end(&mut words);
        let _ = io::copy(&mut stderr, &mut io::sink());
    }
    words
}

/// How often a child is looked after that has answered and not ended.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Waits for a child that has nothing more to say; none where it does not end.
fn ended_by(child: &mut Running, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.0.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A compiler that is a shell script.
    fn script(text: &str, bounds: CompileBounds) -> Result<Translated, LoadError> {
        let compiler = Compiler { program: "/bin/sh".into(), args: vec!["-c".into(), text.into()], bounds };
        compiler.translate(&wasmtime::Engine::default(), true, b"a component")
    }

    #[test]
    fn what_a_compiler_does_wrong_is_told() {
        let bounds =
            CompileBounds { time: Duration::from_secs(20), code_bytes: 1000, ..CompileBounds::default() };
        let cases = [
            ("exit 3", "exit status: 3: it said nothing"),
            ("echo no >&2; echo because >&2; exit 1", "exit status: 1: because"),
            ("echo \"home [$HOME]\" >&2; exit 1", "home []"),
            ("kill -SEGV $$", "signal: 11"),
            ("kill -XCPU $$", "compiling it took more than 20 s"),
            ("echo memory allocation of 8 bytes failed >&2; kill -ABRT $$", "2048 MiB of memory"),
            ("exit 0", "its head is wrong"),
            ("echo good morning", "its head is wrong"),
            (r#"echo '{"code":{"bytes":9,"debug":{"modules":[],"bytes":0}}}'; echo short"#, "cut short"),
            (r#"echo '{"code":{"bytes":1,"debug":{"modules":[],"bytes":0}}}'; echo long"#, "of DWARF"),
            (r#"echo '{"invalid":{"why":"it is odd"}}'"#, "not valid WebAssembly: it is odd"),
            (r#"echo '"no-memory"'"#, "2048 MiB of memory"),
            ("head -c 100000000 /dev/zero", "compiled, it has more than"),
        ];
        for (text, expected) in cases {
            let error = script(text, bounds).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn code_that_is_as_told_is_taken() {
        let text =
            r#"cat >/dev/null; echo '{"code":{"bytes":4,"debug":{"modules":[],"bytes":3}}}'; printf codedwa"#;
        let translated = script(text, CompileBounds::default()).expect("an answer");
        assert_eq!((&*translated.code, &*translated.debug), (&b"code"[..], &b"dwa"[..]));
    }

    #[test]
    fn a_compiler_that_does_not_end_is_ended() {
        let time = Duration::from_millis(50);
        // The second has said all that it has to say, and stays.
        for text in ["exec sleep 1000", "exec sleep 1000 >&- 2>&-"] {
            let start = Instant::now();
            let error = script(text, CompileBounds { time, ..CompileBounds::default() });
            assert!(matches!(error, Err(LoadError::CompileTime { .. })), "{text}: {error:?}");
            assert!(start.elapsed() < Duration::from_secs(10), "{text}: {:?}", start.elapsed());
        }
    }

    #[test]
    fn a_compiler_that_is_not_there_is_told() {
        let compiler =
            Compiler { program: "/nowhere".into(), args: Vec::new(), bounds: CompileBounds::default() };
        let error = compiler.translate(&wasmtime::Engine::default(), true, b"x");
        assert!(matches!(error, Err(LoadError::CompilerStart { .. })), "{error:?}");
    }

    #[test]
    fn an_order_of_nobody_is_refused_before_anything_is_limited() {
        assert!(matches!(compile_stage("{}"), Err(CompileStageError::Order(_))));
    }
}
