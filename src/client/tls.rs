//! TLS: the one place that builds a [`rustls::ClientConfig`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;

use super::failure;
use super::http::SetupError;
use crate::clusters::Tls;

/// Builds the configuration for these settings. `ca_pem` is the text of the file that `CA_FILE` names.
///
/// # Errors
///
/// No usable root certificates, in the file or in the system.
pub fn client_config(tls: &Tls, ca_pem: Option<&str>) -> Result<ClientConfig, SetupError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| SetupError::Tls(error.to_string()))?;
    let own = |check| Arc::new(OwnVerifier { check, provider });
    Ok(match tls {
        Tls::System => builder.with_root_certificates(system_roots()?).with_no_client_auth(),
        Tls::CaFile(path) => builder.with_root_certificates(pem_roots(path, ca_pem)?).with_no_client_auth(),
        Tls::Fingerprint(pins) => {
            let check = Check::Fingerprint(pins.clone());
            builder.dangerous().with_custom_certificate_verifier(own(check)).with_no_client_auth()
        }
        Tls::Unverified => {
            builder.dangerous().with_custom_certificate_verifier(own(Check::Nothing)).with_no_client_auth()
        }
    })
}

fn system_roots() -> Result<RootCertStore, SetupError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        let reason = found.errors.first().map_or_else(String::new, |error| format!(" ({error})"));
        return Err(SetupError::Tls(format!(
            "this system has no root certificates{reason}; set CA_FILE or FINGERPRINT for this cluster"
        )));
    }
    Ok(roots)
}

fn pem_roots(path: &str, ca_pem: Option<&str>) -> Result<RootCertStore, SetupError> {
    let pem = ca_pem.ok_or_else(|| SetupError::Tls(format!("CA_FILE {path} was not read")))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        certificate
            .map_err(|error| error.to_string())
            .and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string()))
            .map_err(|error| SetupError::Tls(format!("CA_FILE {path} holds a bad certificate: {error}")))?;
    }
    if roots.is_empty() {
        return Err(SetupError::Tls(format!("CA_FILE {path} holds no certificate in PEM form")));
    }
    Ok(roots)
}

/// The SHA-256 of a certificate, which is how Proxmox names it.
pub fn fingerprint(certificate: &CertificateDer<'_>) -> [u8; 32] {
    Sha256::digest(certificate).into()
}

/// A fingerprint as Proxmox prints it: `AA:BB:…`.
pub fn print_fingerprint(fingerprint: &[u8; 32]) -> String {
    fingerprint.map(|byte| format!("{byte:02X}")).join(":")
}

/// Asks a server for its certificate's fingerprint, without trusting it and without sending a credential.
///
/// # Errors
///
/// In words, where there is no certificate to be had.
pub async fn shown_fingerprint(endpoint: &str, wait: Duration) -> Result<[u8; 32], String> {
    let config = client_config(&Tls::Unverified, None).map_err(|error| error.to_string())?;
    greet(endpoint, config, wait).await
}

/// Sets up TLS with a server as these settings want it, and sends nothing. The fingerprint of the certificate that was
/// accepted.
///
/// # Errors
///
/// In words, where it is not accepted or there is none.
pub async fn verdict(endpoint: &str, tls: &Tls, ca_pem: Option<&str>, wait: Duration) -> Result<[u8; 32], String> {
    let config = client_config(tls, ca_pem).map_err(|error| error.to_string())?;
    greet(endpoint, config, wait).await
}

async fn greet(endpoint: &str, config: ClientConfig, wait: Duration) -> Result<[u8; 32], String> {
    let url = reqwest::Url::parse(endpoint).map_err(|error| format!("{endpoint}: {error}"))?;
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = url.port_or_known_default().unwrap_or(8006);
    let name = ServerName::try_from(host.clone()).map_err(|error| format!("{host}: {error}"))?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let shown = async {
        let stream = TcpStream::connect((host.as_str(), port)).await?;
        let stream = connector.connect(name, stream).await?;
        Ok(stream.get_ref().1.peer_certificates().and_then(<[_]>::first).map(fingerprint))
    };
    match tokio::time::timeout(wait, shown).await {
        Err(_) => Err(format!("{host}:{port} does not answer in time")),
        Ok(Err(error)) => Err(failure::handshake_text(&error, &format!("{host}:{port}"))),
        Ok(Ok(shown)) => shown.ok_or_else(|| format!("{host}:{port} shows no certificate")),
    }
}

/// The server's certificate is not the pinned one.
#[derive(Debug)]
pub(crate) struct PinMismatch {
    /// What the server showed.
    pub(crate) shown: [u8; 32],
}

impl fmt::Display for PinMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the certificate's fingerprint is {}", print_fingerprint(&self.shown))
    }
}

impl std::error::Error for PinMismatch {}

#[derive(Debug)]
enum Check {
    Fingerprint(Vec<[u8; 32]>),
    Nothing,
}

/// Checks the certificate in another way than by its issuer. That the server holds the certificate's key is
/// checked all the same, else anybody could show a pinned certificate.
#[derive(Debug)]
struct OwnVerifier {
    check: Check,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for OwnVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Check::Fingerprint(pins) = &self.check {
            let shown = fingerprint(end_entity);
            if !pins.contains(&shown) {
                let mismatch = OtherError(Arc::new(PinMismatch { shown }));
                return Err(Error::InvalidCertificate(CertificateError::Other(mismatch)));
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
