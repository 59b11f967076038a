//! Where a listener is: Mosquitto takes names and listens on all that they stand for.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};

/// Every address of this machine.
pub(super) const EVERYWHERE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];

/// Those that only this machine reaches.
pub(super) const LOCAL: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// The addresses of `host`, or everywhere, of one family where one is asked for; IPv4 first. None
/// may be left.
///
/// # Errors
/// When `host` is a name that stands for no address.
pub(super) fn resolve(host: Option<&str>, family: Option<&str>) -> io::Result<Vec<IpAddr>> {
    let mut found = match host.map(|host| (host, host.parse())) {
        None => EVERYWHERE.to_vec(),
        Some((_, Ok(address))) => vec![address],
        Some((host, Err(_))) => (host, 0).to_socket_addrs()?.map(|address| address.ip()).collect(),
    };
    found.retain(|address| family.is_none_or(|family| (family == "ipv4") == address.is_ipv4()));
    found.sort();
    found.dedup();
    Ok(usable(found))
}

/// Of several, those that this machine has: where it knows no IPv6, IPv4 is meant alone.
pub(super) fn usable(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let is_here = |address: &IpAddr| UdpSocket::bind(SocketAddr::new(*address, 0)).is_ok();
    let here: Vec<_> = addresses.iter().copied().filter(is_here).collect();
    if here.is_empty() { addresses } else { here }
}
