//! The addresses of a listener: a name stands for every address that it has on this machine.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};

/// The unspecified addresses, for every address of this machine.
const EVERYWHERE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];

/// The addresses that only this machine reaches.
pub(crate) const LOCAL: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// The addresses of `host`, or of every interface without a host; IPv4 first. `family` keeps one
/// family, perhaps leaving no address.
///
/// # Errors
/// `host` is a name without an address.
pub(crate) fn resolve(host: Option<&str>, family: Option<&str>) -> io::Result<Vec<IpAddr>> {
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

/// The addresses that this machine has, or all of them when it has none. So a machine without IPv6
/// gets IPv4 alone.
pub(crate) fn usable(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let is_here = |address: &IpAddr| UdpSocket::bind(SocketAddr::new(*address, 0)).is_ok();
    let here: Vec<_> = addresses.iter().copied().filter(is_here).collect();
    if here.is_empty() { addresses } else { here }
}
