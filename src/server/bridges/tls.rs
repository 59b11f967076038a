//! TLS of bridges: who the other broker has to be, and who the bridge is.

use crate::options::BridgeTls;
use crate::transport::ClientFiles;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use std::error;
use std::sync::Arc;

/// The way in which a bridge speaks TLS.
///
/// # Errors
/// A file cannot be used, which the error names.
pub(super) fn config(tls: &BridgeTls) -> Result<Arc<ClientConfig>, Box<dyn error::Error>> {
    let identity = tls.certificate.as_deref().zip(tls.key.as_deref());
    let files = ClientFiles::load(&tls.authorities, identity)?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = verifier(files.authorities, &provider)?;
    let verifier = match tls.is_insecure {
        true => Arc::new(AnyName(verifier)),
        false => verifier,
    };
    let versions: &[_] = if tls.is_at_least_1_3 { &[&TLS13] } else { &[&TLS13, &TLS12] };
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match files.identity {
        Some((chain, key)) => config.with_client_auth_cert(chain, key)?,
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = tls.alpn.iter().map(|it| it.clone().into_bytes()).collect();
    Ok(Arc::new(config))
}

/// Trusts these authorities, or those of the system when there are none.
fn verifier(
    authorities: Vec<CertificateDer<'static>>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, Box<dyn error::Error>> {
    if authorities.is_empty() {
        let verifier = rustls_platform_verifier::Verifier::new(Arc::clone(provider))?;
        return Ok(Arc::new(verifier));
    }
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority)?;
    }
    let builder =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    Ok(builder.build()?)
}

/// Takes a certificate for any host, as long as a trusted authority has issued it.
#[derive(Debug)]
struct AnyName(Arc<dyn ServerCertVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified =
            self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
