//! Why sending failed, in words for a person, and whether the request may have left.

use std::error::Error as StdError;
use std::io;

use rustls::CertificateError;

use super::tls::{PinMismatch, print_fingerprint};
use crate::pve::http::SendError;

/// Reads an error of the HTTP library that came before any answer.
///
/// Only what fails while connecting is sure to have sent nothing; everything else may have arrived.
pub(crate) fn send_error(error: &reqwest::Error, host: &str) -> SendError {
    if let Some(error) = find::<rustls::Error>(error) {
        let (text, fatal) = tls_text(error, host);
        if fatal {
            return SendError::Refused(text);
        }
    }
    if !error.is_connect() {
        return SendError::MaybeApplied(if error.is_timeout() {
            format!("{host} did not answer in time")
        } else {
            format!("the connection to {host} broke: {}", innermost(error))
        });
    }
    SendError::NeverSent(connect_text(error, host))
}

fn connect_text(error: &reqwest::Error, host: &str) -> String {
    if error.is_timeout() {
        return format!("{host} does not answer in time: is the address right, and does a firewall let it through?");
    }
    if let Some(error) = find::<rustls::Error>(error) {
        return tls_text(error, host).0;
    }
    if chain(error).any(|error| error.to_string().starts_with("dns error")) {
        return format!("the name of {host} cannot be resolved ({})", innermost(error));
    }
    match find::<io::Error>(error).map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused) => {
            format!("{host} refuses the connection: does pveproxy run there, on this port?")
        }
        Some(io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => {
            format!("{host} closed the connection before TLS was set up")
        }
        _ => format!("{host}: {}", innermost(error)),
    }
}

/// The words for an error that came before any HTTP.
pub(crate) fn handshake_text(error: &io::Error, host: &str) -> String {
    match find::<rustls::Error>(error) {
        Some(error) => tls_text(error, host).0,
        None => format!("{host}: {}", innermost(error)),
    }
}

/// What is wrong with TLS, what to do about it, and whether trying again is pointless.
fn tls_text(error: &rustls::Error, host: &str) -> (String, bool) {
    match error {
        rustls::Error::InvalidCertificate(error) => (certificate_text(error, host), true),
        rustls::Error::InvalidMessage(_) => {
            (format!("{host} does not speak TLS on this port; Proxmox listens on 8006"), true)
        }
        error => (format!("TLS with {host} failed: {error}"), false),
    }
}

fn certificate_text(error: &CertificateError, host: &str) -> String {
    let trust = "set CA_FILE to the CA's certificate (/etc/pve/pve-root-ca.pem on a node), or FINGERPRINT; \
                 `pvefleet clusters trust` shows it";
    if let CertificateError::Other(other) = error {
        if let Some(mismatch) = other.0.downcast_ref::<PinMismatch>() {
            return format!(
                "the certificate of {host} is not the one that FINGERPRINT names: it shows {}. If the certificate \
                 was renewed, set FINGERPRINT anew (`pvefleet clusters trust`); if not, somebody may be in between",
                print_fingerprint(&mismatch.shown)
            );
        }
        // The verifier below rustls names this case only in its text.
        if other.0.to_string().contains("CaUsedAsEndEntity") {
            return format!(
                "the certificate of {host} is self-signed and cannot serve as its own CA: set FINGERPRINT instead \
                 (`pvefleet clusters trust` shows it)"
            );
        }
    }
    match error {
        CertificateError::UnknownIssuer => {
            format!("the certificate of {host} is signed by no CA that is trusted here: {trust}")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => format!(
            "the certificate of {host} is made out to another name ({error}): use that name in API_URL, or set \
             FINGERPRINT (`pvefleet clusters trust` shows it)"
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("the certificate of {host} has expired ({error}): renew it with `pvecm updatecerts` on the node")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("the certificate of {host} is not valid yet ({error}): does a clock go wrong?")
        }
        // Also where the server cannot prove that it holds the certificate's key.
        CertificateError::BadSignature => format!(
            "a signature does not fit the certificate of {host}: it is signed by no CA that is trusted here, or is \
             not that server's own: {trust}"
        ),
        error => format!("the certificate of {host} is not accepted ({error}): {trust}"),
    }
}

/// The error and its causes, from the outside in.
fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| cause(error))
}

fn cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    // An io::Error hides the error that it carries behind that error's own cause.
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    chain(error).filter_map(|error| error.downcast_ref::<E>()).last()
}

fn innermost(error: &(dyn StdError + 'static)) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}
