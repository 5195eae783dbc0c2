//! TLS of the hub: its certificate, and whose client certificates are believed. Must not know users.

use crate::sessions::ClientCertificate;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::prelude::{AttributeTypeAndValue, FromDer as _, X509Certificate};

/// The files that TLS needs, all PEM.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The hub's certificate, and those between it and its authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authorities of client certificates; none: no one can log in by one.
    pub client_ca: Option<PathBuf>,
}

/// Why TLS cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is missing, or not what it should be.
    #[error("{place} holds no {expected} in PEM form")]
    File {
        /// The file.
        place: PathBuf,
        /// What it should hold.
        expected: &'static str,
        /// What was found.
        source: rustls::pki_types::pem::Error,
    },
    /// Key and certificate do not belong together, or are of a kind that is not accepted.
    #[error("the certificate {place} cannot be used with its key")]
    Certificate {
        /// The file.
        place: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
    /// The authorities of clients cannot be used.
    #[error("the certificates in {place} cannot be used to verify clients: {problem}")]
    ClientCa {
        /// The file.
        place: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl TlsFiles {
    /// Reads them.
    pub(crate) fn load(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let wrong = |source| TlsError::Certificate { place: self.certificate.clone(), source };
        let chain = certificates(&self.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|source| TlsError::File {
            place: self.key.clone(),
            expected: "private key",
            source,
        })?;
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(wrong)?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(place) => {
                let problem = |problem: String| TlsError::ClientCa { place: place.clone(), problem };
                let mut roots = RootCertStore::empty();
                for certificate in certificates(place)? {
                    roots.add(certificate).map_err(|error| problem(error.to_string()))?;
                }
                // Who shows none is anonymous, or logs in by password.
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .allow_unauthenticated()
                    .build()
                    .map_err(|error| problem(error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(wrong)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn certificates(place: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |source| TlsError::File { place: place.to_owned(), expected: "certificate", source };
    let found: Vec<_> =
        CertificateDer::pem_file_iter(place).map_err(wrong)?.collect::<Result<_, _>>().map_err(wrong)?;
    if found.is_empty() { Err(wrong(rustls::pki_types::pem::Error::NoItemsFound)) } else { Ok(found) }
}

/// The subject of a certificate that was verified; none if it cannot be read.
pub(crate) fn subject_of(certificate: &CertificateDer<'_>) -> Option<ClientCertificate> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let subject = certificate.subject();
    let mut names: Vec<_> = subject.iter_common_name().map(|name| name.as_str().ok().map(str::to_owned)).collect();
    // Two names: nobody can say which is meant.
    let common_name = if names.len() == 1 { names.remove(0).filter(|name| !name.is_empty()) } else { None };
    // The most particular first, as web servers hand it to a hub.
    let mut parts: Vec<String> =
        subject.iter_rdn().map(|rdn| rdn.iter().map(part).collect::<Vec<_>>().join("+")).collect();
    parts.reverse();
    Some(ClientCertificate { common_name, subject: parts.join(",") })
}

/// `CN=mwells`, escaped as RFC 4514 has it: no value can look like another part.
fn part(attribute: &AttributeTypeAndValue<'_>) -> String {
    let name = oid2abbrev(attribute.attr_type(), oid_registry());
    let mut text = name.map_or_else(|_| attribute.attr_type().to_id_string(), str::to_owned);
    text.push('=');
    for character in attribute.as_str().unwrap_or("?").chars() {
        match character {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=' | '#' => text.extend(['\\', character]),
            character if character.is_control() => text.push_str(&format!("\\{:02x}", u32::from(character))),
            character => text.push(character),
        }
    }
    text
}
