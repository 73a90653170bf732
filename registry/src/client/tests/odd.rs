//! A server that answers as a test has it answer, down to where it hangs up.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Method and target: `GET /v2/`.
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Ask {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn is(&self, begin: &str) -> bool {
        self.line.starts_with(begin)
    }
}

/// An answer, and after how many bytes of its body the line breaks.
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    cut: Option<usize>,
}

impl Reply {
    pub fn of(status: u16) -> Self {
        Self { status, headers: vec![], body: vec![], cut: None }
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..self }
    }

    pub fn cut(self, after: usize) -> Self {
        Self { cut: Some(after), ..self }
    }
}

type Script = Arc<dyn Fn(&Ask) -> Reply + Send + Sync>;

#[derive(Default)]
struct Seen {
    asks: Vec<Ask>,
    /// Bodies of requests that begin so are read up to so many bytes, and then the line breaks.
    cuts: Vec<(String, usize)>,
}

pub struct Odd {
    pub host: RegistryHost,
    seen: Arc<Mutex<Seen>>,
    serving: JoinHandle<()>,
}

impl Odd {
    pub async fn new(script: impl Fn(&Ask) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let host = listener.local_addr().expect("an address").to_string().parse().expect("a host");
        let (seen, script): (_, Script) = (Arc::new(Mutex::new(Seen::default())), Arc::new(script));
        let all = seen.clone();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, script.clone(), all.clone()));
            }
        });
        Self { host, seen, serving }
    }

    /// Has the line break once, after so many bytes of the body of a request that begins so.
    pub fn cut(&self, line: &str, after: usize) {
        self.seen.lock().expect("no test has died").cuts.push((line.to_owned(), after));
    }

    /// All that was asked that begins so.
    pub fn asked(&self, begin: &str) -> Vec<Ask> {
        let seen = self.seen.lock().expect("no test has died");
        seen.asks.iter().filter(|ask| ask.is(begin)).cloned().collect()
    }

    /// The repository `a/b` of it, for a client of its own.
    pub fn repository(&self) -> Remote {
        client().repository(&self.host, &"a/b".parse().expect("a name"))
    }
}

impl Drop for Odd {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// One request after the other, until the line breaks.
async fn converse(stream: TcpStream, script: Script, seen: Arc<Mutex<Seen>>) {
    let mut stream = BufReader::new(stream);
    while let Some(mut ask) = head(&mut stream).await {
        let bytes = ask.header("content-length").and_then(|bytes| bytes.parse().ok()).unwrap_or(0);
        let cut = {
            let mut seen = seen.lock().expect("no test has died");
            let found = seen.cuts.iter().position(|(line, _)| ask.is(line));
            found.map(|at| seen.cuts.remove(at).1)
        };
        ask.body = vec![0; cut.unwrap_or(bytes).min(bytes)];
        if stream.read_exact(&mut ask.body).await.is_err() {
            return;
        }
        let reply = script(&ask);
        let is_head = ask.is("HEAD");
        seen.lock().expect("no test has died").asks.push(ask);
        if cut.is_some() {
            return;
        }
        let mut text = format!("HTTP/1.1 {} x\r\n", reply.status);
        let has_length =
            reply.headers.iter().any(|(name, _)| name == "content-length" || name == "transfer-encoding");
        if !has_length && reply.status != 204 {
            text += &format!("content-length: {}\r\n", reply.body.len());
        }
        for (name, value) in &reply.headers {
            text += &format!("{name}: {value}\r\n");
        }
        text += "\r\n";
        let body = if is_head { &[] } else { &reply.body[..reply.cut.unwrap_or(reply.body.len())] };
        let written = async {
            stream.write_all(text.as_bytes()).await?;
            stream.write_all(body).await?;
            stream.flush().await
        };
        if written.await.is_err() || reply.cut.is_some() {
            return;
        }
    }
}

async fn head(stream: &mut BufReader<TcpStream>) -> Option<Ask> {
    let mut text = vec![];
    while !text.ends_with(b"\r\n\r\n") {
        text.push(stream.read_u8().await.ok()?);
    }
    let text = String::from_utf8(text).expect("a head is text");
    let mut lines = text.lines();
    let line = lines.next()?.trim_end_matches(" HTTP/1.1").to_owned();
    let header =
        |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    Some(Ask { line, headers: lines.filter_map(header).collect(), body: vec![] })
}
