//! What a listening source did, for whoever watches.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flow::connector::{Figure, Figures};
use flow::spool::SpoolMeter;
use hyper::StatusCode;

/// What requests are answered with.
const STATUSES: [StatusCode; 11] = [
    StatusCode::OK,
    StatusCode::BAD_REQUEST,
    StatusCode::UNAUTHORIZED,
    StatusCode::NOT_FOUND,
    StatusCode::METHOD_NOT_ALLOWED,
    StatusCode::REQUEST_TIMEOUT,
    StatusCode::PAYLOAD_TOO_LARGE,
    StatusCode::UNSUPPORTED_MEDIA_TYPE,
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::SERVICE_UNAVAILABLE,
];

#[derive(Debug)]
pub(super) struct Meter {
    answered: [AtomicU64; STATUSES.len()],
    connections: AtomicU64,
    spool: Arc<SpoolMeter>,
}

impl Meter {
    pub fn new(spool: Arc<SpoolMeter>) -> Self {
        Self { answered: Default::default(), connections: AtomicU64::new(0), spool }
    }

    pub fn count(&self, status: StatusCode) {
        if let Some(at) = STATUSES.iter().position(|known| *known == status) {
            self.answered[at].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn count_connection(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }
}

impl Figures for Meter {
    fn figures(&self) -> Vec<Figure> {
        let requests = STATUSES.iter().zip(&self.answered).map(|(status, count)| Figure {
            name: "source_requests",
            help: "Requests that a source answered, by their status",
            label: Some(("status", status.as_u16().to_string())),
            value: count.load(Ordering::Relaxed),
            counts: true,
        });
        let figure = |name, help, value, counts| Figure { name, help, label: None, value, counts };
        let connections = self.connections.load(Ordering::Relaxed);
        let mut figures: Vec<Figure> = requests.filter(|figure| figure.value > 0).collect();
        figures.extend([
            figure("source_connections", "Connections that a source took", connections, true),
            figure(
                "spool_syncs",
                "Syncs of a spool, each for all records that waited",
                self.spool.syncs(),
                true,
            ),
            figure("spool_bytes", "What a spool has on its disk", self.spool.bytes(), false),
            figure(
                "spool_records",
                "Records in a spool that no checkpoint stands behind yet: the lag of its pipeline",
                self.spool.records(),
                false,
            ),
        ]);
        figures
    }
}
