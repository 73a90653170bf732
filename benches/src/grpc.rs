//! The peer that Conveyor replaces: stages as sidecars behind gRPC, called one after the other with a message
//! for each batch. tonic and prost over TCP on the loopback, no TLS, no delay.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};

use arrow::array::BinaryArray;
use arrow::buffer::Buffer;
use bytes::Bytes;
use http::uri::PathAndQuery;
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Context, Poll};
use tonic::server::UnaryService;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower_service::Service;

use crate::stages::{self, AFTER, BEFORE, Stage};
use crate::workload::Checksum;

const PATH: &str = "/conveyor.bench.Sidecar/Process";

/// Values share the memory of the message that they came in, so that decoding copies nothing.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Values {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub values: Vec<Bytes>,
}

/// Why the sidecars could not be measured.
#[derive(thiserror::Error, Debug)]
pub enum GrpcError {
    #[error("cannot listen on the loopback: {0}")]
    Listen(#[from] std::io::Error),
    #[error("the connection to the sidecar failed: {0}")]
    Transport(#[from] tonic::transport::Error),
    #[error("a sidecar refused the call: {0}")]
    Call(#[from] Status),
}

/// A sidecar that does what `stage` does.
#[derive(Clone, Copy, Debug)]
pub struct Sidecar {
    pub stage: Stage,
}

impl Sidecar {
    fn process(self, input: Vec<Bytes>) -> Vec<Bytes> {
        match self.stage {
            Stage::Half => input.into_iter().filter(|value| stages::keeps_half(value)).collect(),
            Stage::Most => input.into_iter().filter(|value| stages::keeps_most(value)).collect(),
            Stage::Wrap => input.iter().map(|value| [BEFORE, value, AFTER].concat().into()).collect(),
        }
    }

    /// Serves on a port of its own until the process or the runtime ends.
    pub async fn serve(self, listener: TcpListener) -> Result<(), GrpcError> {
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        Ok(Server::builder().serve_with_incoming(self, incoming).await?)
    }
}

/// A port that nobody else has.
pub async fn listen() -> Result<(TcpListener, SocketAddr), GrpcError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

impl UnaryService<Values> for Sidecar {
    type Response = Values;
    type Future = std::future::Ready<Result<Response<Values>, Status>>;

    fn call(&mut self, request: Request<Values>) -> Self::Future {
        std::future::ready(Ok(Response::new(Values { values: self.process(request.into_inner().values) })))
    }
}

impl Service<http::Request<Body>> for Sidecar {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let sidecar = *self;
        Box::pin(async move {
            if request.uri().path() != PATH {
                return Ok(Status::unimplemented("only Process").into_http());
            }
            let codec = ProstCodec::<Values, Values>::default();
            Ok(tonic::server::Grpc::new(codec).unary(sidecar, request).await)
        })
    }
}

/// Calls the three sidecars one after the other.
#[derive(Debug)]
pub struct Client {
    hops: Vec<tonic::client::Grpc<Channel>>,
}

impl Client {
    pub async fn connect(addresses: &[SocketAddr]) -> Result<Self, GrpcError> {
        let mut hops = Vec::with_capacity(addresses.len());
        for address in addresses {
            let endpoint = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true);
            hops.push(tonic::client::Grpc::new(endpoint.connect().await?));
        }
        Ok(Self { hops })
    }

    /// Sends a batch through all sidecars.
    pub async fn run(&mut self, batch: &Records) -> Result<Vec<Bytes>, GrpcError> {
        let mut values = batch.values();
        for hop in &mut self.hops {
            hop.ready().await?;
            let codec = ProstCodec::<Values, Values>::default();
            let request = Request::new(Values { values });
            let answer = hop.unary(request, PathAndQuery::from_static(PATH), codec).await?;
            values = answer.into_inner().values;
        }
        Ok(values)
    }

    /// Sends all batches through, adding up what comes out.
    pub async fn checksum(&mut self, batches: &[Records]) -> Result<Checksum, GrpcError> {
        let mut checksum = Checksum::default();
        for batch in batches {
            self.run(batch).await?.iter().for_each(|value| checksum.add(value));
        }
        Ok(checksum)
    }
}

/// A prepared batch whose values can be handed to a message without a copy.
#[derive(Clone, Debug)]
pub struct Records {
    bytes: Bytes,
    offsets: Vec<i32>,
}

impl Records {
    pub fn new(batch: &BinaryArray) -> Self {
        struct Owner(Buffer);
        impl AsRef<[u8]> for Owner {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        let bytes = Bytes::from_owner(Owner(batch.values().clone()));
        Self { bytes, offsets: batch.value_offsets().to_vec() }
    }

    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn values(&self) -> Vec<Bytes> {
        let bounds = self.offsets.windows(2);
        bounds.map(|bounds| self.bytes.slice(bounds[0] as usize..bounds[1] as usize)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload;

    #[tokio::test(flavor = "current_thread")]
    async fn three_hops_do_what_the_functions_do() {
        let mut addresses = Vec::new();
        for stage in Stage::ALL {
            let (listener, address) = listen().await.expect("a port");
            addresses.push(address);
            tokio::spawn(Sidecar { stage }.serve(listener));
        }
        let batches = workload::batches();
        let records: Vec<_> = batches.iter().take(3).map(Records::new).collect();
        let mut client = Client::connect(&addresses).await.expect("connected");
        let found = client.checksum(&records).await.expect("three answers each");
        assert_eq!(found, workload::expected(&batches[..3]));
    }
}
