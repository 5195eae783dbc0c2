//! A byte range of an event log as a ConfigMap: `NAME-log-00000`, `NAME-log-00001`, ... Pure: makes and reads objects, sends
//! nothing.
//!
//! A range may begin and end anywhere, also within a line. Ranges follow each other without hole and overlap.

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use osbs_cluster::ClusterError;
use osbs_types::BuildName;
use std::io::{Cursor, Read, Write};

/// Label of chunks: the build's name.
pub(crate) const LOG_LABEL: &str = "osbs/log";
/// Label of the last chunk: nothing comes behind it.
pub(crate) const LAST_LABEL: &str = "osbs/last";
const FROM: &str = "osbs/from";
const TO: &str = "osbs/to";
const KEY: &str = "events.jsonl.gz";
/// A chunk is closed when it holds that much, compressed. A ConfigMap may hold 1 MiB.
const FULL_PACKED: usize = 700 << 10;
/// A chunk is closed when it holds that much of the log.
pub(crate) const FULL: u64 = 4 << 20;
/// Taken at once, so that no chunk is much longer than [`FULL_PACKED`].
const BLOCK: usize = 64 << 10;

/// Bytes of the log, and where they begin in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    pub from: u64,
    pub bytes: Vec<u8>,
}

/// What is known of a chunk without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChunkHead {
    /// Of the ConfigMap.
    pub name: String,
    /// Its place in the order.
    pub index: u32,
    /// Where it begins in the log.
    pub from: u64,
    /// Where it ends.
    pub to: u64,
    /// Nothing comes behind it.
    pub last: bool,
}

/// Name of the chunk.
pub(crate) fn chunk_name(build: &BuildName, index: u32) -> String {
    format!("{build}-log-{index:05}")
}

/// Reads the head of a chunk.
pub(crate) fn head(meta: &ObjectMeta) -> Result<ChunkHead, ClusterError> {
    let name = meta.name.clone().unwrap_or_default();
    let number = |key: &str| meta.annotations.as_ref()?.get(key)?.parse::<u64>().ok();
    let index = name.rsplit_once("-log-").and_then(|(_, index)| index.parse().ok());
    let last = meta.labels.as_ref().is_some_and(|labels| labels.contains_key(LAST_LABEL));
    match (index, number(FROM), number(TO)) {
        (Some(index), Some(from), Some(to)) if from <= to => Ok(ChunkHead { name, index, from, to, last }),
        _ => Err(corrupt(&name, "its name and annotations do not tell a range")),
    }
}

/// A chunk that is read: packed in memory, and unpacked a piece at a time.
pub(crate) struct Unpacking {
    name: String,
    decoder: GzDecoder<Cursor<Vec<u8>>>,
    next: u64,
    to: u64,
}

impl Unpacking {
    /// Of a ConfigMap.
    pub(crate) fn of(chunk: ConfigMap) -> Result<Self, ClusterError> {
        let ChunkHead { name, from, to, .. } = head(&chunk.metadata)?;
        let packed = chunk.binary_data.and_then(|mut data| data.remove(KEY)).map_or_else(Vec::new, |bytes| bytes.0);
        Ok(Self { name, decoder: GzDecoder::new(Cursor::new(packed)), next: from, to })
    }

    /// What comes next of it; `None`: that was all.
    pub(crate) fn next(&mut self) -> Result<Option<Piece>, ClusterError> {
        let mut bytes = Vec::with_capacity(BLOCK);
        let read = Read::by_ref(&mut self.decoder).take(BLOCK as u64).read_to_end(&mut bytes);
        read.map_err(|error| corrupt(&self.name, &error.to_string()))?;
        let from = self.next;
        self.next += bytes.len() as u64;
        // Somebody may have written it who is not us.
        if self.next > self.to || (bytes.is_empty() && self.next < self.to) {
            return Err(corrupt(&self.name, "it does not hold what its annotations say"));
        }
        Ok((!bytes.is_empty()).then_some(Piece { from, bytes }))
    }
}

fn corrupt(name: &str, why: &str) -> ClusterError {
    ClusterError::Corrupt { what: "a chunk of an event log", place: format!("ConfigMap {name}"), source: why.into() }
}

/// A chunk that is being filled. Holds its compressed form only.
pub(crate) struct OpenChunk {
    encoder: GzEncoder<Vec<u8>>,
    from: u64,
    length: u64,
}

impl OpenChunk {
    /// An empty one that begins at `from`.
    pub(crate) fn new(from: u64) -> Self {
        Self { encoder: GzEncoder::new(Vec::new(), Compression::default()), from, length: 0 }
    }

    /// Where it ends so far.
    pub(crate) fn to(&self) -> u64 {
        self.from + self.length
    }

    /// Holds nothing yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Is to be closed.
    pub(crate) fn is_full(&self) -> bool {
        self.length >= FULL || self.encoder.get_ref().len() >= FULL_PACKED
    }

    /// Takes as much of `bytes` as still fits; how much that was.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while taken < bytes.len() && !self.is_full() {
            let room = BLOCK.min((FULL - self.length) as usize);
            let block = &bytes[taken..bytes.len().min(taken + room)];
            self.encoder.write_all(block).expect("a Vec takes what is written to it");
            taken += block.len();
            self.length += block.len() as u64;
        }
        taken
    }

    /// Closes it.
    pub(crate) fn close(self) -> ClosedChunk {
        let to = self.to();
        let packed = self.encoder.finish().expect("a Vec takes what is written to it");
        ClosedChunk { from: self.from, to, packed }
    }
}

/// A chunk as it will be stored.
#[derive(Debug, Clone)]
pub(crate) struct ClosedChunk {
    pub from: u64,
    pub to: u64,
    packed: Vec<u8>,
}

impl ClosedChunk {
    /// Its ConfigMap, owned by the Job.
    pub(crate) fn config_map(&self, build: &BuildName, index: u32, last: bool, owner: OwnerReference) -> ConfigMap {
        let mut labels = [(LOG_LABEL.to_owned(), build.to_string())];
        let mut labels: std::collections::BTreeMap<_, _> =
            labels.iter_mut().map(|(k, v)| (std::mem::take(k), std::mem::take(v))).collect();
        if last {
            labels.insert(LAST_LABEL.to_owned(), "true".to_owned());
        }
        let annotations = [(FROM.to_owned(), self.from.to_string()), (TO.to_owned(), self.to.to_string())].into();
        ConfigMap {
            metadata: ObjectMeta {
                name: Some(chunk_name(build, index)),
                labels: Some(labels),
                annotations: Some(annotations),
                owner_references: Some(vec![owner]),
                ..ObjectMeta::default()
            },
            binary_data: Some([(KEY.to_owned(), ByteString(self.packed.clone()))].into()),
            ..ConfigMap::default()
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;

    fn owner() -> OwnerReference {
        OwnerReference { api_version: "batch/v1".into(), kind: "Job".into(), ..OwnerReference::default() }
    }

    fn unpack(chunk: &ConfigMap) -> Result<Vec<u8>, ClusterError> {
        let mut chunk = Unpacking::of(chunk.clone())?;
        let mut found = Vec::new();
        while let Some(piece) = chunk.next()? {
            found.extend(piece.bytes);
        }
        Ok(found)
    }

    /// Packs all of it; the ConfigMaps.
    fn pack(bytes: &[u8]) -> Vec<ConfigMap> {
        let name: BuildName = "web-1".parse().unwrap();
        let (mut chunks, mut done) = (Vec::new(), 0);
        while done < bytes.len() {
            let mut open = OpenChunk::new(done as u64);
            done += open.take(&bytes[done..]);
            assert!(open.is_full() || done == bytes.len());
            chunks.push(open.close().config_map(&name, chunks.len() as u32, done == bytes.len(), owner()));
        }
        chunks
    }

    #[track_caller]
    fn check_round_trip(bytes: &[u8]) -> usize {
        let chunks = pack(bytes);
        let (mut found, mut largest) = (Vec::new(), 0);
        for (index, chunk) in chunks.iter().enumerate() {
            let head = head(&chunk.metadata).unwrap();
            assert_eq!((head.index as usize, head.from), (index, found.len() as u64));
            assert_eq!(head.last, index + 1 == chunks.len());
            let size = serde_json::to_vec(chunk).unwrap().len();
            assert!(size < 1_400_000, "etcd takes 1.5 MiB: {size}");
            let packed = chunk.binary_data.as_ref().unwrap()[KEY].0.len();
            assert!(packed <= 1 << 20, "the API server takes 1 MiB: {packed}");
            largest = largest.max(packed);
            found.extend(unpack(chunk).unwrap());
        }
        assert!(found == bytes);
        chunks.len()
    }

    #[test]
    fn what_is_packed_comes_back() {
        check_round_trip(b"");
        assert_eq!(check_round_trip(b"{}\n"), 1);
        let mut state = 7_u64;
        let noise: Vec<u8> = (0..3_000_000)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        assert!((4..6).contains(&check_round_trip(&noise)));
        let text: Vec<u8> = (0..200_000).flat_map(|n| format!("{{\"line\":{n}}}\n").into_bytes()).collect();
        assert_eq!(check_round_trip(&vec![b'x'; 9 << 20]), 3);
        check_round_trip(&text);
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        let good = pack(b"0123456789").pop().unwrap();
        let broken = |change: &dyn Fn(&mut ConfigMap)| {
            let mut chunk = good.clone();
            change(&mut chunk);
            unpack(&chunk).unwrap_err().to_string()
        };
        let annotate = |key: &'static str, value: &'static str| {
            move |chunk: &mut ConfigMap| {
                chunk.metadata.annotations.as_mut().unwrap().insert(key.to_owned(), value.to_owned());
            }
        };
        let said = [
            broken(&annotate(TO, "9")),
            broken(&annotate(TO, "11")),
            broken(&annotate(FROM, "11")),
            broken(&annotate(TO, "x")),
            broken(&annotate(TO, "99999999999")),
            broken(&|chunk| chunk.metadata.name = Some("web-1".into())),
            broken(&|chunk| chunk.binary_data = None),
            broken(&|chunk| chunk.binary_data = Some([(KEY.into(), ByteString(b"no gzip".into()))].into())),
        ];
        for text in said {
            assert!(text.starts_with("a chunk of an event log in ConfigMap web-1"), "{text}");
        }
    }
}
