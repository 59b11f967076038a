//! Connections to other brokers.

use super::carry::Stream;
use super::tls;
use crate::options::{BridgeAddress, BridgeTls};
use rustls::pki_types::ServerName;
use std::io;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// The time within which a connection has to come about, TLS included.
const CONNECT_MAX: Duration = Duration::from_secs(15);

/// Connects to a broker.
///
/// # Errors
/// The network's or TLS's refusal, or a file of TLS that cannot be used any more.
pub(super) async fn dial(
    address: &BridgeAddress,
    tls: Option<&BridgeTls>,
) -> io::Result<Box<dyn Stream>> {
    let connected = timeout(CONNECT_MAX, connect(address, tls)).await;
    connected.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in 15 s")))
}

async fn connect(address: &BridgeAddress, tls: Option<&BridgeTls>) -> io::Result<Box<dyn Stream>> {
    let socket = TcpStream::connect((&*address.host, address.port)).await?;
    socket.set_nodelay(true)?;
    let Some(tls) = tls else { return Ok(Box::new(socket)) };
    // Read each time: certificates are renewed while the broker runs.
    let config = tls::config(tls).map_err(|error| io::Error::other(error.to_string()))?;
    let name = ServerName::try_from(address.host.clone()).map_err(io::Error::other)?;
    let stream = TlsConnector::from(config).connect(name, socket).await?;
    Ok(Box::new(stream))
}

/// True when something accepts connections there.
pub(super) async fn is_open(address: &BridgeAddress) -> bool {
    let connected = timeout(CONNECT_MAX, TcpStream::connect((&*address.host, address.port))).await;
    connected.is_ok_and(|connected| connected.is_ok())
}
