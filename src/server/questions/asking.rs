//! Requests to the running broker: over its Unix socket, TCP or TLS.

use crate::server::listening::{ADMIN_SOCKET, runtime_folders};
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode, header};
use futures_util::StreamExt;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::ConfigVerifierExt;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// The time that an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The most bytes of an answer.
const ANSWER_MAX: usize = 256 * 1024 * 1024;

/// The address that the broker has when nobody says another one.
const USUAL_ADDRESS: &str = "127.0.0.1:9883";

/// The broker that is asked, and by what right.
#[derive(Debug, Default)]
pub(super) struct Asking {
    /// A socket's path, an address, or an `https://` URL; None finds the local broker's.
    pub(super) admin: Option<String>,
    /// A token for what the way alone does not allow.
    pub(super) token: Option<String>,
    /// The authority of the broker's certificate; None takes the system's.
    pub(super) ca: Option<PathBuf>,
}

/// A connection, below HTTP.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// One request.
#[derive(Debug)]
pub(super) struct Question<'a> {
    pub(super) method: Method,
    /// The path below `/api/v1/`.
    pub(super) path: &'a str,
    pub(super) query: Vec<(&'a str, String)>,
    pub(super) body: Option<Value>,
}

impl Asking {
    /// Asks, and returns the answer's JSON.
    ///
    /// # Errors
    /// The broker's own words for what is wrong, or why it does not answer.
    pub(super) fn ask(&self, question: &Question<'_>) -> Result<Value, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let answer = async { timeout(PATIENCE, self.exchange(question)).await };
        runtime.block_on(answer).unwrap_or_else(|_| Err("the broker does not answer".to_owned()))
    }

    /// Asks for something that goes on, and hands each line of it to `take` until that returns
    /// false, or the broker ends it. A line is JSON, or a server-sent event with it.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub(super) fn follow(
        &self,
        question: &Question<'_>,
        mut take: impl FnMut(&Value) -> bool,
    ) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        runtime.block_on(async {
            let (host, status, body) = self.open(question).await?;
            if !status.is_success() {
                let bytes = to_bytes(body, ANSWER_MAX).await.unwrap_or_default();
                return judge(&host, status, &bytes).map(|_| ());
            }
            let mut pieces = body.into_data_stream();
            let mut rest = Vec::new();
            while let Some(piece) = pieces.next().await {
                rest.extend_from_slice(&piece.map_err(|error| format!("{host}: {error}"))?);
                while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = rest.drain(..=end).collect();
                    let json = line.strip_prefix(b"data: ").unwrap_or(&line);
                    let goes_on = serde_json::from_slice(json).map_or(true, |value| take(&value));
                    if !goes_on {
                        return Ok(());
                    }
                }
            }
            Err(format!("{host}: the broker has ended the answer"))
        })
    }

    async fn exchange(&self, question: &Question<'_>) -> Result<Value, String> {
        let (host, status, body) = self.open(question).await?;
        let bytes = to_bytes(body, ANSWER_MAX).await;
        let bytes = bytes.map_err(|error| format!("{host}: the answer breaks off: {error}"))?;
        judge(&host, status, &bytes)
    }

    /// Sends the request; the broker's name, and the status and the body of its answer.
    async fn open(&self, question: &Question<'_>) -> Result<(String, StatusCode, Body), String> {
        let (stream, host) = self.connect().await?;
        let broken = |error: hyper::Error| format!("{host} does not answer as a broker: {error}");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        tokio::spawn(connection);
        let query: Vec<_> = question.query.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        let path = format!("/api/v1/{}?{query}", question.path);
        let mut request = Request::builder()
            .method(question.method.clone())
            .uri(path.trim_end_matches('?'))
            .header(header::HOST, &*host);
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let body = match &question.body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        let request = request.body(body).map_err(|error| error.to_string())?;
        let answer = sender.send_request(request).await.map_err(broken)?;
        let status = answer.status();
        Ok((host, status, Body::new(answer.into_body())))
    }

    /// Connects to the broker; the stream, and the name for `Host`.
    async fn connect(&self) -> Result<(Box<dyn Stream>, String), String> {
        let Some(admin) = self.admin.as_deref() else { return self.find().await };
        let hint = "see --admin-listen and --admin-socket of the broker";
        let away = |error: std::io::Error| format!("no broker answers at {admin}: {error}; {hint}");
        if admin.starts_with('/') {
            let stream = UnixStream::connect(admin).await.map_err(away)?;
            return Ok((Box::new(stream), "localhost".to_owned()));
        }
        if let Some(authority) = admin.strip_prefix("https://") {
            let authority = authority.trim_end_matches('/');
            let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
            let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            let name = ServerName::try_from(host).map_err(|error| format!("{admin}: {error}"))?;
            let connector = TlsConnector::from(self.tls()?);
            let stream = TcpStream::connect(authority).await.map_err(away)?;
            let stream = connector.connect(name, stream).await.map_err(away)?;
            return Ok((Box::new(stream), authority.to_owned()));
        }
        let address = admin.strip_prefix("http://").unwrap_or(admin).trim_end_matches('/');
        let stream = TcpStream::connect(address).await.map_err(away)?;
        Ok((Box::new(stream), address.to_owned()))
    }

    /// Finds the broker of this machine: by a socket where it would be, or at the usual address.
    async fn find(&self) -> Result<(Box<dyn Stream>, String), String> {
        let mut folders = runtime_folders();
        folders.push("/run/ringmq".into());
        folders.dedup();
        let mut refused = None;
        for folder in &folders {
            match UnixStream::connect(folder.join(ADMIN_SOCKET)).await {
                Ok(stream) => return Ok((Box::new(stream), "localhost".to_owned())),
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                    refused = Some(format!("{}: {error}", folder.join(ADMIN_SOCKET).display()));
                }
                Err(_) => {}
            }
        }
        match TcpStream::connect(USUAL_ADDRESS).await {
            Ok(stream) => Ok((Box::new(stream), USUAL_ADDRESS.to_owned())),
            Err(error) => Err(refused.unwrap_or_else(|| {
                let places: Vec<_> = folders.iter().map(|it| it.display().to_string()).collect();
                format!(
                    "no broker is found: there is no {ADMIN_SOCKET} in {}, and at {USUAL_ADDRESS} \
                     {error}; --admin says which broker is meant",
                    places.join(", ")
                )
            })),
        }
    }

    fn tls(&self) -> Result<Arc<ClientConfig>, String> {
        // It fails when another part of the program has installed the same.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let Some(path) = &self.ca else {
            let config = ClientConfig::with_platform_verifier();
            return config.map(Arc::new).map_err(|error| error.to_string());
        };
        let roots = authorities(path)?;
        let config = ClientConfig::builder().with_root_certificates(roots);
        Ok(Arc::new(config.with_no_client_auth()))
    }
}

/// The JSON of an answer, or what is wrong with it.
fn judge(host: &str, status: StatusCode, bytes: &[u8]) -> Result<Value, String> {
    let value: Option<Value> = serde_json::from_slice(bytes).ok();
    let error = value.as_ref().and_then(|value| value["error"].as_str()).map(str::to_owned);
    match (error, value) {
        (None, Some(value)) if status.is_success() => Ok(value),
        (Some(error), _) => {
            let hint = match status {
                StatusCode::UNAUTHORIZED => {
                    "; or ask over the broker's Unix socket, or give --token-file"
                }
                _ => "",
            };
            Err(format!("{error}{hint}"))
        }
        _ => {
            let text = String::from_utf8_lossy(bytes);
            let text = text.lines().next().unwrap_or_default();
            Err(format!("{host} answers {status}: {}", text.escape_debug()))
        }
    }
}

fn authorities(path: &Path) -> Result<RootCertStore, String> {
    let wrong = |error: String| format!("{}: {error}", path.display());
    let mut roots = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong("there is no certificate in PEM".to_owned()));
    }
    Ok(roots)
}
